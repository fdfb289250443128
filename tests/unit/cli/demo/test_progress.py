"""The progress fits the terminal, and keeps what matters."""

from __future__ import annotations

import io
import os
import re

import pytest

from receipt_watcher.cli.demo import demo, progress
from receipt_watcher.cli.demo.progress import (
    Lines,
    LiveTable,
    ProgressRow,
    encodable,
    fit,
    render,
    result_table,
    view_for,
)
from tests.unit.cli.demo.demo_run import ESCAPES, on_terminal, read_all, resize, screen_of


@pytest.fixture
def rows() -> list[ProgressRow]:
    """One receipt that has ended, one under way, one that has not come yet."""
    way = ["inbox", "processing", "N8N", "done"]
    return [
        ProgressRow("phone-photo.jpg", "a photo (JPEG)", 10, way, "success", progress.Tone.GOOD, 1.0, 2.26),
        ProgressRow("hotel.pdf", "a document (PDF)", 10, way[:2], "waits for its turn", progress.Tone.PLAIN, 1.5),
        ProgressRow("in-outage.png", "comes in an outage", 10),
    ]


def test_no_line_is_wider_than_the_terminal(rows: list[ProgressRow]) -> None:
    """However narrow the terminal, each line of the table fits, and it has a line per receipt below its heading."""
    for width in range(1, 131):
        lines = render(rows, width, 3.0, colours=False)
        assert len(lines) == len(rows) + 1
        assert max(map(len, lines)) <= width


def test_a_wide_table_shows_everything(rows: list[ProgressRow]) -> None:
    """Where there is room, a row has the file, what it is, its way, its state and its seconds with one decimal."""
    _, ended, going, absent = render(rows, 110, 3.0, colours=False)
    cells = [re.split(" {2,}", line) for line in (ended, going, absent)]
    assert cells[0] == ["phone-photo.jpg", "a photo (JPEG)", "inbox → processing → N8N → done", "success", "1.3 s"]
    assert cells[1] == ["hotel.pdf", "a document (PDF)", "inbox → processing", "waits for its turn", "1.5 s"]
    assert cells[2] == ["in-outage.png", "comes in an outage"]


def test_a_narrow_table_keeps_what_matters(rows: list[ProgressRow]) -> None:
    """Where there is less room, the file, where it is, its state and its seconds are what stays."""
    _, _, going, _ = render(rows, 70, 3.0, colours=False)
    assert re.split(" {2,}", going) == ["hotel.pdf", "processing", "waits for its turn", "1.5 s"]


def test_colours_take_no_room(rows: list[ProgressRow]) -> None:
    """With colours the table is the same as without them."""
    coloured = "\n".join(render(rows, 110, 3.0, colours=True))
    assert "\x1b[32msuccess" in coloured
    plain = [line.rstrip() for line in ESCAPES.sub("", coloured).splitlines()]
    assert plain == render(rows, 110, 3.0, colours=False)


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [("receipt", 7, "receipt"), ("receipt", 6, "recei…"), ("receipt", 1, "…"), ("ab", 0, "")],
)
def test_text_is_cut_to_width(text: str, width: int, shown: str) -> None:
    """A text that is too long ends in dots, within its width."""
    assert fit(text, width) == shown


def test_a_poor_encoding_still_shows_the_way() -> None:
    """A terminal without arrows gets plain characters of the same width."""
    assert encodable("inbox → N8N…", "ascii") == "inbox > N8N~"
    assert encodable("inbox → N8N…", "utf-8") == "inbox → N8N…"


def test_the_result_table_fits_a_narrow_terminal() -> None:
    """Where the table is too wide, what a receipt was and why it ended so stand below it; nothing is left out."""
    records = [("hotel.pdf", "a document (PDF)", "success", "rejected", "failed", "N8N: no total found")]
    wide = result_table(demo._TITLES, records, None)
    assert re.split(" {2,}", wide[1]) == list(records[0])
    narrow = result_table(demo._TITLES, records, 60)
    assert narrow[2:] == [
        "hotel.pdf  success     rejected  failed",
        "    a document (PDF); N8N: no total found",
    ]
    assert max(map(len, result_table(demo._TITLES, records, 20))) <= 20


@pytest.mark.parametrize(
    ("size", "term", "kind"),
    [
        ((80, 24), "xterm", LiveTable),
        ((80, 24), "dumb", Lines),
        ((80, 5), "xterm", Lines),
        ((0, 0), "xterm", LiveTable),
    ],
)
def test_the_view_fits_the_terminal(rows: list[ProgressRow], size: tuple[int, int], term: str, kind: type) -> None:
    """A table needs a terminal that moves its cursor and is tall enough; one without a size counts as 80 by 24."""
    program, ours = on_terminal(*size)
    with os.fdopen(program, "w") as stream:
        assert isinstance(view_for(stream, rows, {"TERM": term}, 0.0), kind)
    os.close(ours)


def test_a_pipe_gets_lines(rows: list[ProgressRow]) -> None:
    """Where the output is no terminal there is one line per change."""
    stream = io.StringIO()
    view = view_for(stream, rows, {"TERM": "xterm"}, 1.0)
    view.draw(rows, "N8N answers", 2.0)
    view.show_change("hotel.pdf", "is in the inbox", 2.5)
    view.close()
    assert stream.getvalue() == "  1.5 s  hotel.pdf        is in the inbox\n"


@pytest.mark.parametrize("environ", [{"TERM": "xterm"}, {"TERM": "xterm", "NO_COLOR": "1"}])
def test_the_table_is_redrawn_in_place(rows: list[ProgressRow], environ: dict[str, str]) -> None:
    """Two drawings leave one table, as wide as the terminal, with colours unless NO_COLOR is set."""
    program, ours = on_terminal(60, 24)
    with os.fdopen(program, "w", encoding="utf-8") as stream:
        view = view_for(stream, rows, environ, 0.0)
        view.draw(rows, "N8N answers", 3.0)
        rows[1].state = "success"
        view.draw(rows, "N8N is down", 4.0)
        view.close()
    output = read_all(ours)
    assert screen_of(output) == [*render(rows, 60, 4.0, colours=False), "N8N is down", ""]
    assert ("\x1b[32m" in output) == ("NO_COLOR" not in environ)
    assert output.endswith("\x1b[?7h\x1b[?25h")


def test_the_table_follows_a_resized_terminal(rows: list[ProgressRow]) -> None:
    """A terminal that became narrower gets narrower lines at the next drawing."""
    program, ours = on_terminal(100, 24)
    with os.fdopen(program, "w", encoding="utf-8") as stream:
        view = view_for(stream, rows, {"TERM": "xterm", "NO_COLOR": "1"}, 0.0)
        view.draw(rows, "", 3.0)
        resize(ours, 40, 24)
        view.draw(rows, "", 3.0)
        view.close()
    assert max(map(len, screen_of(read_all(ours)))) <= 40
