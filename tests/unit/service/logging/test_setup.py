"""The log lines in their three forms, and that nothing in them can steer a terminal."""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from receipt_watcher.service.logging import setup
from receipt_watcher.service.logging.setup import choose_format, configure
from receipt_watcher.system.display import printable

FORMS = ["console", "json", "journal"]
TEXT_FORMS = ["console", "journal"]
QUIET = ["apscheduler", "httpx", "httpcore", "uvicorn", "watchdog", "PIL", "peewee", "asyncio"]
QUIET += ["requests", "urllib3", "oauthlib", "requests_oauthlib"]  # the URLs of channels are secrets

#: Names as they may come from a scanner, a share, or somebody who means harm.
STEERING = [
    "a\x1b[31mred\x1b[0m.jpg",
    "a\x1b]0;title\x07.jpg",
    "a\rforged line.jpg",
    "a\n<0>forged line.jpg",
    "a\x85forged.jpg",
    "a\u2028forged.jpg",
    "a\x9b31m.jpg",
    "caf\udce9.jpg",
    "a\u202egpj.exe",
    "a\x00b\x7f.jpg",
]


@pytest.fixture(autouse=True)
def undone() -> Iterator[None]:
    """The standard library's loggers are afterwards as they were before."""
    names = [None, *QUIET]
    levels = {name: logging.getLogger(name).level for name in names}
    handlers = logging.root.handlers[:]
    yield
    logging.root.handlers[:] = handlers
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture(autouse=True)
def no_journal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """There is no journal, whatever machine this is: its lines go to the stream."""
    monkeypatch.setattr(setup, "SOCKET", str(tmp_path / "journal"))


@pytest.fixture
def stream() -> io.TextIOWrapper:
    """A stream like stderr: UTF-8, with what cannot be encoded written out."""
    return io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace", write_through=True)


def written(stream: io.TextIOWrapper) -> list[str]:
    """Return the lines that were written."""
    buffer = stream.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue().decode().split("\n")[:-1]


def told(stream: io.TextIOWrapper) -> list[dict[str, Any]]:
    """Return the lines that were written as JSON."""
    return [json.loads(line) for line in written(stream)]


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


# --- which form ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", FORMS)
def test_the_form_can_be_chosen(wanted: str) -> None:
    """A form that is asked for is taken, whatever the stream is."""
    assert choose_format(wanted, Terminal()) == choose_format(wanted, io.StringIO()) == wanted


def test_the_form_fits_the_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By itself it is readable at a terminal, systemd's form where systemd reads this very stream, JSON elsewhere."""
    with (tmp_path / "journal").open("w") as journal, (tmp_path / "file").open("w") as file:
        status = os.fstat(journal.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        assert choose_format("auto", journal) == "journal"
        assert choose_format("auto", file) == "json"
        assert choose_format("auto", Terminal()) == "console"
        monkeypatch.delenv("JOURNAL_STREAM")
        assert choose_format("auto", journal) == "json"


# --- the lines -----------------------------------------------------------------------------------------------------


def test_a_line_of_json(stream: io.TextIOWrapper) -> None:
    """In JSON each line is one object with its event, its level, its time in UTC, and what was said."""
    configure("info", "json", stream)
    structlog.get_logger().info("job.recorded", job_id="018b", size=7, reason=None)
    [line] = told(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "job.recorded", "level": "info", "job_id": "018b", "size": 7, "reason": None}


def test_a_line_for_people(stream: io.TextIOWrapper) -> None:
    """At a terminal a line is a sentence, then the event's name, and what the sentence does not say."""
    configure("info", "console", stream)
    fields = {"inbox": "office", "filename": "scan.jpg", "reason": None, "attempt": 2, "seconds": 0.4}
    structlog.get_logger().info("job.accepted", job_id="018b", **fields)
    [line] = written(stream)
    day, hour, rest = line.split(" ", 2)
    assert re.fullmatch(r"\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}", f"{day} {hour}")
    assert rest == "[info     ] office: scan.jpg accepted by N8N (attempt 2, 0.4 s) [job.accepted] job_id=018b"


def test_colours_only_at_a_terminal() -> None:
    """Colours come where a terminal shows them."""
    terminal = Terminal()
    configure("info", "console", terminal)
    structlog.get_logger().info("job.recorded")
    assert "\x1b[" in terminal.getvalue()


def test_a_line_where_there_is_no_journal(stream: io.TextIOWrapper) -> None:
    """Without a journal's socket a line begins with its priority, and ends with what else finds it."""
    configure("info", "journal", stream)
    structlog.get_logger().info("job.recorded", job_id="018b", filename="my scan.jpg", inbox="office", reason=None)
    assert written(stream) == ['<6>office: "my scan.jpg" taken in [job.recorded, 018b]']


@pytest.mark.parametrize(
    ("level", "priority"), [("debug", 7), ("info", 6), ("warning", 4), ("error", 3), ("critical", 2), ("exception", 3)]
)
def test_priorities(stream: io.TextIOWrapper, level: str, priority: int) -> None:
    """Each level has its syslog priority, from us as well as from a library, so that `journalctl -p err` finds it."""
    configure("debug", "journal", stream)
    getattr(structlog.get_logger(), level)("ours", exc_info=False)
    getattr(logging.getLogger("some.package"), level)("theirs", exc_info=False)
    assert written(stream) == [f"<{priority}>ours [ours]", f"<{priority}>some.package: theirs"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("WARNING", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_only_what_is_asked_for(stream: io.TextIOWrapper, form: str, level: str, expected: list[str]) -> None:
    """Lines below the level are not written, ours and the libraries' alike."""
    configure(level, form, stream)
    for name in ("debug", "info", "warning", "error"):
        getattr(structlog.get_logger(), name)(f"ours.{name}")
        getattr(logging.getLogger("some.package"), name)(f"theirs.{name}")
    lines = written(stream)
    assert len(lines) == 2 * len(expected)
    for line, wanted in zip(lines, [f"{who}.{name}" for name in expected for who in ("ours", "theirs")], strict=True):
        assert wanted in line


# --- libraries -----------------------------------------------------------------------------------------------------


def test_libraries_come_out_the_same_way(stream: io.TextIOWrapper) -> None:
    """What a library logs by the standard library is a line like any other, with its arguments filled in."""
    configure("info", "json", stream)
    logging.getLogger("some.package").warning("disk %s is %d%% full", "sda", 97)
    [line] = told(stream)
    assert (line["event"], line["level"]) == ("disk sda is 97% full", "warning")
    assert line["timestamp"].endswith("Z")


@pytest.mark.parametrize("name", QUIET)
@pytest.mark.parametrize("level", ["debug", "info"])
def test_everyday_messages_of_libraries_are_no_news(stream: io.TextIOWrapper, name: str, level: str) -> None:
    """The libraries that talk much are heard from a warning on, also where we tell everything."""
    configure(level, "json", stream)
    logging.getLogger(f"{name}.part").info("everyday")
    logging.getLogger(f"{name}.part").warning("trouble")
    assert [line["event"] for line in told(stream)] == ["trouble"]


def test_configuring_twice_tells_once(stream: io.TextIOWrapper) -> None:
    """However often it is configured, each line comes once."""
    for _ in range(2):
        configure("info", "json", stream)
    logging.getLogger("some.package").warning("trouble")
    structlog.get_logger().info("job.recorded")
    assert [line["event"] for line in told(stream)] == ["trouble", "job.recorded"]


# --- nothing steers a terminal -------------------------------------------------------------------------------------


def say_name(name: str) -> None:
    """Tell a name in each way in which it can get into a line."""
    structlog.get_logger().info("file.taken", filename=name, path=Path("inbox", name), error=ValueError(name))
    structlog.get_logger().info("file.taken", names=[name, Path(name)])
    structlog.get_logger().info(name)
    logging.getLogger("some.package").warning("cannot open %s", name)


def fail_at(name: str) -> None:
    """Log an error whose text has a name in it."""
    for logger in (structlog.get_logger(), logging.getLogger("some.package")):
        try:
            raise ValueError(f"cannot open {name}")
        except ValueError:
            logger.exception("stage.failed")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", STEERING)
def test_a_name_cannot_steer_a_terminal(stream: io.TextIOWrapper, form: str, name: str) -> None:
    """Whatever a file is named, what reaches the terminal is printable, in fields, messages and tracebacks."""
    configure("info", form, stream)
    say_name(name)
    fail_at(name)
    assert [line for line in written(stream) if not line.isprintable()] == []


@pytest.mark.parametrize("form", TEXT_FORMS)
@pytest.mark.parametrize("name", STEERING)
def test_a_name_cannot_forge_a_line(stream: io.TextIOWrapper, form: str, name: str) -> None:
    """A name makes no line of its own: as many lines come as for a harmless name, with the same beginnings."""
    configure("info", form, stream)
    say_name("harmless")
    harmless = written(stream)
    say_name(name)
    lines = written(stream)[len(harmless) :]
    assert len(lines) == len(harmless)
    if form == "journal":
        assert [line[:3] for line in lines] == [line[:3] for line in harmless]
        fail_at(name)
        assert {line[:3] for line in written(stream)[len(harmless + lines) :]} == {"<3>"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Überweisung 100 € «so».pdf", "Überweisung 100 € «so».pdf"),
        ("a\x1b[31m\n\t\x85", "a\\x1b[31m\\n\\t\\x85"),
        ("caf\udce9", "caf\\udce9"),
        ("\u202e\U000e0001", "\\u202e\\U000e0001"),
        ("", ""),
    ],
)
def test_what_is_shown(text: str, shown: str) -> None:
    """Letters of any language stay as they are; everything else that is not printable is written out."""
    assert printable(text) == shown


# --- errors --------------------------------------------------------------------------------------------------------


def fail_with_a_secret() -> None:
    """Log an error from where a secret is at hand."""
    token = f"{'hush'}-{'hush'}"  # as such it is not in the line that a traceback shows
    try:
        raise ValueError("no total")
    except ValueError:
        structlog.get_logger().exception("stage.failed", stage="filing")
        logging.getLogger("some.package").exception("broken")
    assert token


@pytest.mark.parametrize("form", FORMS)
def test_an_error_comes_with_its_place(stream: io.TextIOWrapper, form: str) -> None:
    """An error of ours comes with where it happened, in every form, from us as well as from a library."""
    configure("info", form, stream)
    fail_with_a_secret()
    text = "\n".join(written(stream))
    assert text.count("fail_with_a_secret") == 2
    assert text.count("no total") >= 2


@pytest.mark.parametrize("form", FORMS)
def test_an_error_tells_no_secrets(stream: io.TextIOWrapper, form: str) -> None:
    """Of what the program had at hand when it failed, headers with keys among it, nothing gets into the log."""
    configure("info", form, stream)
    fail_with_a_secret()
    assert "hush-hush" not in "\n".join(written(stream))


def test_each_line_of_an_error_has_its_priority(stream: io.TextIOWrapper) -> None:
    """In the journal each line of a traceback is an error as well."""
    configure("info", "journal", stream)
    fail_with_a_secret()
    lines = written(stream)
    assert len(lines) > 6
    assert {line[:3] for line in lines} == {"<3>"}
    said = "a defect of receipt-watcher: filing failed, and is tried again (ValueError: no total)"
    assert lines[0] == f"<3>{said} [stage.failed]"


def test_an_error_in_json_is_one_line(stream: io.TextIOWrapper) -> None:
    """In JSON an error is one object with its type, its text and its frames."""
    configure("info", "json", stream)
    fail_with_a_secret()
    ours, theirs = told(stream)
    assert (ours["event"], theirs["event"]) == ("stage.failed", "broken")
    for line in (ours, theirs):
        [error] = line["exception"]
        assert (error["exc_type"], error["exc_value"]) == ("ValueError", "no total")
        assert error["frames"][-1]["name"] == "fail_with_a_secret"


# --- a stream that fails -------------------------------------------------------------------------------------------


class Failing(io.StringIO):
    """A stream that takes nothing: its disk is full, its reader left, or it was closed."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error
        self.calls = 0

    def write(self, text: str) -> int:
        """Fail."""
        self.calls += 1
        raise self.error

    def flush(self) -> None:
        """Fail."""
        raise self.error


FULL = OSError(errno.ENOSPC, "No space left on device")
NO_READER = BrokenPipeError(errno.EPIPE, "Broken pipe")
CLOSED = ValueError("I/O operation on closed file")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("error", [FULL, NO_READER, CLOSED], ids=["full", "no reader", "closed"])
def test_a_stream_that_fails_costs_lines_only(form: str, error: Exception) -> None:
    """Where nothing can be written lines are lost, and whoever logs does not notice."""
    stream = Failing(error)
    configure("info", form, stream)
    for _ in range(3):
        structlog.get_logger().info("job.recorded", job_id="018b")
    assert stream.calls == 3


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("error", [FULL, NO_READER, CLOSED], ids=["full", "no reader", "closed"])
def test_a_stream_that_fails_stops_no_library(form: str, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines of libraries are lost in the same way: what calls them goes on."""
    stream = Failing(error)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stream)  # where the standard library complains of its own trouble
        configure("info", form, stream)
        logging.getLogger("some.package").warning("trouble")
        fail_with_a_secret()
    assert stream.calls >= 3


# --- threads -------------------------------------------------------------------------------------------------------


class Pieces(io.StringIO):
    """A stream that keeps each write by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[str] = []

    def write(self, text: str) -> int:
        """Keep it."""
        self.pieces.append(text)
        return len(text)


@pytest.mark.parametrize("form", FORMS)
def test_a_line_is_one_write(form: str) -> None:
    """Each line goes out in one write with its end, so that lines of two threads or two loggers never mix."""
    stream = Pieces()
    configure("info", form, stream)

    def work() -> None:
        for _ in range(50):
            structlog.get_logger().info("job.recorded")
            logging.getLogger("some.package").warning("trouble")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    assert len(stream.pieces) == 400
    assert all(piece.endswith("\n") and piece.count("\n") == 1 for piece in stream.pieces)


def test_the_list_of_quiet_libraries() -> None:
    """The libraries that are kept quiet are those that this test knows."""
    assert sorted(setup._QUIET_LIBRARIES) == sorted(QUIET)
