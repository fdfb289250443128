"""Logs: one event name per fact, the job's id on each, on stderr.

Three forms: `console` for people at a terminal, `json` for everything else that reads lines, and `journal`, a line
of text with the priority in front that systemd reads (sd-daemon(3)). Libraries that log by the standard library
come out the same way, at fitting levels. Names of any bytes are shown so that they cannot steer a terminal.

`configure` is called once, by the command line, before any thread starts.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import MutableMapping
from typing import Any, Literal, TextIO, cast

import structlog

Format = Literal["console", "json", "journal"]

_SYSLOG_PRIORITIES = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}

#: Libraries whose everyday messages are no news to an admin.
_QUIET_LIBRARIES = (
    "apscheduler",
    "httpx",
    "httpcore",
    "uvicorn",
    "watchdog",
    "PIL",
    "peewee",
    "asyncio",
    "requests",
    "urllib3",
    "oauthlib",
    "requests_oauthlib",
)


def choose_format(wanted: str, stream: TextIO) -> Format:
    """Return the form of the log lines: under systemd its own, at a terminal the readable one, else JSON."""
    if wanted in ("console", "json", "journal"):
        return wanted  # type: ignore[return-value]
    if _is_journal(stream):
        return "journal"
    return "console" if stream.isatty() else "json"


def _is_journal(stream: TextIO) -> bool:
    """Whether the stream is the journal: systemd says so by device and inode ($JOURNAL_STREAM, systemd.exec(5))."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def configure(level: str = "info", wanted_format: str = "auto", stream: TextIO = sys.stderr) -> None:
    """Send all log lines of at least `level` to `stream`."""
    log_format = choose_format(wanted_format, stream)
    shared: list[Any] = [structlog.stdlib.add_log_level, structlog.processors.StackInfoRenderer()]
    if log_format != "journal":  # the journal has its own clock
        is_json = log_format == "json"
        shared.append(structlog.processors.TimeStamper(fmt="iso" if is_json else "%Y-%m-%d %H:%M:%S", utc=is_json))
    last = _renderers(log_format, colours=stream.isatty())
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", _Unfailing(stream))),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(cast("TextIO", _Unfailing(stream)))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last]
        )
    )
    logging.root.handlers[:] = [handler]
    logging.root.setLevel(number)
    for name in _QUIET_LIBRARIES:
        logging.getLogger(name).setLevel(max(number, logging.WARNING))


class _Unfailing:
    """A stream whose own trouble, a full disk or a reader that left, costs log lines and never ends a loop."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        """Write what can be written."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)

    def flush(self) -> None:
        """Flush what can be flushed."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


def _renderers(log_format: Format, *, colours: bool) -> list[Any]:
    match log_format:
        case "json":
            # The library's own dict_tracebacks writes local variables too: headers with keys and tokens among them.
            trace = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
            return [structlog.processors.ExceptionRenderer(trace), structlog.processors.JSONRenderer()]
        case "console":
            plain = structlog.dev.plain_traceback
            return [
                _drop_unset,
                structlog.processors.format_exc_info,
                _make_printable,
                structlog.dev.ConsoleRenderer(colors=colours, exception_formatter=plain),
            ]
        case "journal":
            line = structlog.processors.LogfmtRenderer(key_order=["event"], drop_missing=True)
            return [_drop_unset, structlog.processors.format_exc_info, _make_printable, _Prioritised(line)]


class _Prioritised:
    """Puts the syslog priority in front of each line, so that `journalctl -p err` finds errors."""

    def __init__(self, render: Any) -> None:
        self._render = render

    def __call__(self, logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
        prefix = f"<{_SYSLOG_PRIORITIES.get(event.pop('level', 'info'), 6)}>"
        trace = event.pop("exception", "")
        line = f"{prefix}{self._render(logger, method, event)}"
        return "\n".join([line, *(f"{prefix}{part}" for part in trace.splitlines())])


def _drop_unset(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {name: value for name, value in event.items() if value is not None}


def _make_printable(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name, value in event.items():
        if isinstance(value, str | os.PathLike | BaseException):
            lines = str(value).split("\n") if name == "exception" else [str(value)]
            event[name] = "\n".join(printable(line) for line in lines)
    return event


def printable(text: str) -> str:
    """Return text with everything that could steer a terminal written out."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
