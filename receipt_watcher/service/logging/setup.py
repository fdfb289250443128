"""Logs: one event name per fact, the job's id on each, on stderr.

Three forms: `console`, sentences for people at a terminal; `json` for everything that reads lines, with the events'
names; and `journal`, entries with fields for systemd's journal, or lines with a priority in front where there is none.
Libraries that log by the standard library come out the same way, at fitting levels. Names of any bytes are shown so
that they cannot steer a terminal.

`configure` is called once, by the command line, before any thread starts.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, MutableMapping
from typing import Any, Literal, TextIO, cast

import structlog

from receipt_watcher.service.logging.entries import entry_of, line_of, message_of
from receipt_watcher.service.logging.events import SENTENCES
from receipt_watcher.service.logging.journald import SOCKET, Journal
from receipt_watcher.service.logging.sentences import fields_said
from receipt_watcher.service.logging.stream import LogStream
from receipt_watcher.system.display import printable

logger = structlog.get_logger()

__all__ = ["SOCKET", "Format", "choose_format", "complaint", "configure", "printable"]

Format = Literal["console", "json", "journal"]

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
    """Return whether the stream is the journal, by its device and inode ($JOURNAL_STREAM, systemd.exec(5))."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def complaint(text: str, stream: TextIO) -> str:
    """Return what is said before there is a log; in the journal it is an error, line by line."""
    return "\n".join(f"<3>{line}" for line in text.splitlines()) if _is_journal(stream) else text


def configure(
    level: str = "info", wanted_format: str = "auto", stream: TextIO = sys.stderr, journal_socket: str | None = None
) -> None:
    """Send all log lines of at least `level` to `stream`, or to the journal."""
    log_format = choose_format(wanted_format, stream)
    number = logging.getLevelNamesMapping()[level.upper()]
    output = LogStream(stream)
    _outputs[:] = [output]
    if log_format == "journal":
        processors, logger_factory, handler = _entries(journal_socket or SOCKET, output)
    else:
        processors, logger_factory, handler = _lines(log_format, output, colours=stream.isatty())
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=logger_factory,
        cache_logger_on_first_use=False,
    )
    logging.root.handlers[:] = [handler]
    logging.root.setLevel(number)
    for name in _QUIET_LIBRARIES:
        logging.getLogger(name).setLevel(max(number, logging.WARNING))


#: The present outputs of log lines: the stream, and the journal if there is one.
_outputs: list[LogStream | Journal] = []


def output_trouble() -> str | None:
    """Return why log lines are lost now, in words; None if they are not."""
    return next((trouble for each in _outputs if (trouble := each.trouble) is not None), None)


_Way = tuple[list[Any], Callable[..., Any], logging.Handler]


def _entries(address: str, stream: LogStream) -> _Way:
    """Return how our events, and the words of libraries, become entries of the journal."""
    journal = Journal(address)
    _outputs.append(journal)
    entries = _JournalLogger(journal, stream)
    return _JOURNAL_PROCESSORS, lambda *_: entries, _FromLibraries(entries)


def _lines(log_format: Format, stream: LogStream, *, colours: bool) -> _Way:
    """Return how they become lines."""
    is_json = log_format == "json"
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.processors.StackInfoRenderer(),
        structlog.processors.TimeStamper(fmt="iso" if is_json else "%Y-%m-%d %H:%M:%S", utc=is_json),
    ]
    last = _JSON_PROCESSORS if is_json else [*_CONSOLE_PROCESSORS, _console(colours=colours)]
    handler = logging.StreamHandler(cast("TextIO", stream))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last]
        )
    )
    lines = _LineLogger(stream)
    return [*shared, *last], lambda *_: lines, handler


class _LineLogger:
    """A logger that writes our events, as finished lines, to a stream."""

    def __init__(self, stream: LogStream) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        """Write a line, and tell afterwards how many were lost before it."""
        self._stream.write(f"{line}\n")
        if lost := self._stream.take_lost():
            logger.warning("output.clogged", lines=lost)
            if self._stream.is_clogged:
                self._stream.keep_lost(lost)

    debug = info = warning = error = critical = msg


class _JournalLogger:
    """A logger that sends our events and the lines of libraries to the journal."""

    def __init__(self, journal: Journal, stream: LogStream) -> None:
        self._journal = journal
        self._stream = stream

    def msg(self, event: MutableMapping[str, Any]) -> None:
        """Send an event; to the stream where there is no journal."""
        entry = entry_of(event)
        if not self._journal.send(entry):
            self._stream.write(f"{line_of(entry)}\n")
        elif lost := self._journal.take_lost():
            logger.warning("journal.clogged", lines=lost)

    debug = info = warning = error = critical = msg


class _FromLibraries(logging.Handler):
    """Sends the words of libraries to the journal."""

    def __init__(self, journal: _JournalLogger) -> None:
        super().__init__()
        self._journal = journal
        self._traces = logging.Formatter()

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record."""
        try:
            words = record.getMessage()
        except (TypeError, ValueError, LookupError):  # the library's arguments do not fit its words
            words = str(record.msg)
        event = {
            "event": words,
            "level": record.levelname.lower(),
            "logger": record.name,
            "pathname": record.pathname,
            "lineno": record.lineno,
            "func_name": record.funcName,
        }
        if record.exc_info and record.exc_info[1] is not None:
            event["exception"] = self._traces.formatException(record.exc_info)
        self._journal.msg(event)


def _name_error(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Name the error that is logged with its traceback, so that the sentence can."""
    raised = event.get("exc_info")
    if raised and "error" not in event:
        error = raised if isinstance(raised, BaseException) else sys.exc_info()[1]
        event["error"] = f"{type(error).__name__}: {error}"
    return event


def _in_words(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Put the sentence in the event's place, its name behind it, and leave out the fields that it says."""
    name = event["event"]
    if name not in SENTENCES:
        return event
    message = {"event": message_of(name, event), "logger": name}
    return {field: value for field, value in event.items() if field not in fields_said(name)} | message


def _as_argument(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> tuple[tuple[Any], dict[str, Any]]:
    return (event,), {}


def _drop_unset(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {name: value for name, value in event.items() if value is not None}


def _make_printable(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name, value in event.items():
        if isinstance(value, str | os.PathLike | BaseException):
            lines = str(value).split("\n") if name == "exception" else [str(value)]
            event[name] = "\n".join(printable(line) for line in lines)
    return event


def _console(*, colours: bool) -> Any:
    no_padding = 0  # a sentence is its own width; by position, for the argument's name has changed
    return structlog.dev.ConsoleRenderer(no_padding, colors=colours, exception_formatter=structlog.dev.plain_traceback)


_JSON_PROCESSORS: list[Any] = [
    # The library's own dict_tracebacks writes local variables too: headers with keys and tokens among them.
    structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False)),
    structlog.processors.JSONRenderer(),
]
_CONSOLE_PROCESSORS: list[Any] = [
    _drop_unset,
    _name_error,
    structlog.processors.format_exc_info,
    _in_words,
    _make_printable,
]
_CALLSITE = structlog.processors.CallsiteParameter
_JOURNAL_PROCESSORS: list[Any] = [
    structlog.stdlib.add_log_level,
    structlog.processors.CallsiteParameterAdder([_CALLSITE.PATHNAME, _CALLSITE.LINENO, _CALLSITE.FUNC_NAME]),
    _name_error,
    structlog.processors.format_exc_info,
    _as_argument,
]
