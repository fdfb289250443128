"""The way of each receipt is read from the log and the inbox."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from receipt_watcher.cli.demo.progress import Journeys, ProgressRow


class Told:
    """A view that keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.footer = ""

    def show_change(self, name: str, text: str, now: float) -> None:
        """Keep it."""
        self.told.append((name, text))

    def draw(self, rows: object, footer: str, now: float) -> None:
        """Keep how N8N stands."""
        self.footer = footer

    def close(self) -> None:
        """Nothing to do."""


def recorded(name: str, job_id: str, status: str = "queued") -> dict[str, Any]:
    """Return the daemon's line about a receipt that it took in."""
    return {"event": "job.recorded", "level": "info", "job_id": job_id, "filename": name, "status": status}


def concluded(job_id: str, status: str, **others: Any) -> dict[str, Any]:
    """Return the daemon's line about a receipt that ended."""
    line = {"event": "job.concluded", "level": "warning", "job_id": job_id, "status": status}
    return {**line, "reason": None, "message": None, "duplicate_of": None, **others}


def filed(job_id: str, folder: str, path: str) -> dict[str, Any]:
    """Return the daemon's line about a file that reached its folder."""
    return {"event": "file.filed", "level": "debug", "job_id": job_id, "folder": folder, "path": path}


@pytest.fixture
def told() -> Told:
    """A view that keeps what it was told."""
    return Told()


@pytest.fixture
def ways(told: Told) -> Journeys:
    """Two receipts that have not come yet."""
    return Journeys([ProgressRow("a.jpg", "a photo", 10), ProgressRow("b.jpg", "a copy", 10)], told)


def test_the_way_is_read_from_the_log(ways: Journeys) -> None:
    """A receipt's way grows with each line of the log, and ends where its file was filed."""
    for line in (
        recorded("a.jpg", "1"),
        {"event": "job.accepted", "job_id": "1"},
        concluded("1", "success"),
        filed("1", "done", "2026-11/a.jpg"),
    ):
        ways.note_line(line, 2.0)
    row = ways.rows["a.jpg"]
    assert (row.places, row.state, ways.has_ended("a.jpg")) == (["processing", "N8N", "done"], "success", True)
    assert not ways.has_ended("b.jpg")


@pytest.mark.parametrize(
    ("line", "state"),
    [
        (concluded("1", "success"), "success"),
        (concluded("1", "duplicate", duplicate_of="2"), "copy, not sent"),
        (concluded("1", "failure", reason="unsupported_type"), "unsupported type"),
        (concluded("1", "failure", reason="n8n_failure", message="no total found"), "N8N: no total found"),
        (concluded("1", "failure", reason="a_new_reason"), "a new reason"),
        ({"event": "job.deferred", "job_id": "1"}, "waits for N8N"),
    ],
)
def test_each_end_has_its_words(ways: Journeys, line: dict[str, Any], state: str) -> None:
    """What became of a receipt is said in words, whatever the reason is."""
    ways.note_line(recorded("a.jpg", "1"), 1.0)
    ways.note_line(line, 2.0)
    assert ways.rows["a.jpg"].state == state


def test_the_inbox_is_looked_into(ways: Journeys, told: Told, tmp_path: Path) -> None:
    """What the log does not tell is seen in the folders: a file that arrives, grows, is whole, and is taken in."""
    path, processing = tmp_path / "inbox" / "a.jpg", tmp_path / "processing" / "0192"
    path.parent.mkdir()
    processing.mkdir(parents=True)
    ways.read_folders(tmp_path, 1.0)
    states = [ways.rows["a.jpg"].state]
    for content in (b"12345", b"1234567890"):
        path.write_bytes(content)
        ways.read_folders(tmp_path, 2.0)
        states.append(ways.rows["a.jpg"].state)
    path.rename(processing / "a.jpg")
    ways.read_folders(tmp_path, 3.0)
    assert [*states, ways.rows["a.jpg"].state] == ["", "being written: 50 %", "must stay unchanged", "being checked"]
    assert ways.rows["a.jpg"].places == ["inbox", "processing"]
    assert [name for name, _ in told.told] == ["a.jpg"] * 3


def test_other_files_and_lines_are_left_alone(ways: Journeys, told: Told) -> None:
    """A line about a file that is not the demo's, or about nothing known, changes no row."""
    for line in (recorded("stranger.jpg", "9"), concluded("9", "success"), {"event": "daemon.started"}, {}):
        ways.note_line(line, 1.0)
    assert told.told == []
    assert all(row.places == [] for row in ways.rows.values())


def test_holds_and_warnings_are_told(ways: Journeys, told: Told) -> None:
    """That N8N is held and goes on is told, and so is every warning that the demo has no words for."""
    ways.note_line({"event": "destination.held", "level": "warning"}, 1.0)
    ways.draw(1.0)
    assert told.footer == "N8N (the stand-in) does not answer; receipts are held"
    ways.note_line({"event": "destination.resumed", "level": "info"}, 2.0)
    ways.note_line({"event": "file.blocked", "level": "warning", "why": "no \x1b[31mright"}, 3.0)
    assert [name for name, _ in told.told] == ["N8N", "N8N", "the daemon"]
    assert told.told[-1][1] == "warns of file.blocked: no \\x1b[31mright"
