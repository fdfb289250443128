"""Shows receipts on their way: a table that is redrawn in place on a terminal, one line per change elsewhere.

`Ways` follows each receipt by what is really there, the folders and the lines of the daemon's JSON log, and tells a
`View` of each change; nothing is shown because it was to be expected. `view_for` chooses the view: the table needs a
terminal that is tall enough and moves its cursor (TERM is set and not dumb); NO_COLOR is obeyed. No line of it is
wider than the terminal, which may be resized meanwhile.

One thread uses it, the demo's. The table hides the cursor while it is shown: `close` brings it back, and so must be
called however the demo ends. Nothing is kept on disk.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, TextIO

from receipt_watcher.jobs.job import Folder
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import State
from receipt_watcher.system.display import printable

INBOX, AT_N8N = "inbox", "N8N"
_GAP = "  "
_SECONDS_WIDTH = 6
_WAY_WIDTH = len("inbox → processing → N8N → failed")
_PLACE_WIDTH = len("processing")
_STATE_WIDTH = 18  # fewer columns are left for the state only when everything else has been left out
_FALLBACK_SIZE = os.terminal_size((80, 24))
_SETTLING = "must stay unchanged"
_SPOKEN_ELSEWHERE = ("job.deferred", "job.concluded", "destination.held")


class Tone(StrEnum):
    """The look of a state; the values are ANSI colours."""

    PLAIN = ""
    GOOD = "32"
    WAITING = "36"
    NEEDS_A_PERSON = "33"


@dataclass(slots=True)
class ProgressRow:
    """One receipt as it is shown; `places` is its way so far, times are monotonic seconds."""

    name: str
    what: str
    size: int
    places: list[str] = field(default_factory=list)
    state: str = ""
    tone: Tone = Tone.PLAIN
    began_at: float | None = None
    ended_at: float | None = None

    def seconds(self, now: float) -> str:
        """Return how long it has been on its way, or was."""
        return "" if self.began_at is None else f"{(self.ended_at or now) - self.began_at:.1f} s"


class View(Protocol):
    """A display of changes."""

    def show_change(self, name: str, text: str, now: float) -> None:
        """Say that something happened to a receipt, or to the program of that name."""

    def draw(self, rows: Sequence[ProgressRow], footer: str, now: float) -> None:
        """Show how everything stands."""

    def close(self) -> None:
        """End; what was shown stays."""


class Journeys:
    """Follows the receipts of `rows` and shows `view` each change; other files are left alone."""

    def __init__(self, rows: Sequence[ProgressRow], view: View) -> None:
        self.rows = {row.name: row for row in rows}
        self.job_ids: dict[str, str] = {}  # by file name
        self.events: list[str] = []
        self.footer = "N8N (the stand-in) answers"
        self._names: dict[str, str] = {}  # by job id
        self._view = view

    def has_ended(self, name: str) -> bool:
        """Return whether the receipt has been filed."""
        return self.rows[name].ended_at is not None

    def draw(self, now: float) -> None:
        """Show how everything stands."""
        self._view.draw(list(self.rows.values()), self.footer, now)

    def about_n8n(self, footer: str, text: str, now: float) -> None:
        """Say how N8N stands."""
        self.footer = f"N8N (the stand-in) {footer}"
        self._view.show_change("N8N", text, now)

    def read_folders(self, root: Path, now: float) -> None:
        """Look into inbox and processing for what the log does not tell."""
        for row in self.rows.values():
            if not row.places and (root / INBOX / row.name).exists():
                row.began_at = now
                self._enter(row, INBOX, "", f"is in the inbox: {row.what}", now)
            if row.places == [INBOX]:
                self._look_at(row, root, now)

    def _look_at(self, row: ProgressRow, root: Path, now: float) -> None:
        try:
            size = (root / INBOX / row.name).stat().st_size
        except FileNotFoundError:
            if any((root / Folder.PROCESSING).glob(f"*/{row.name}")):
                self._enter(row, Folder.PROCESSING, "being checked", "is moved to processing, to be checked", now)
            return
        if size < row.size:
            row.state = f"being written: {100 * size // row.size} %"
        elif row.state.startswith("being written"):
            self._show(row, _SETTLING, "is written to its end; now it must stay unchanged for a moment", now)
        else:
            row.state = _SETTLING

    def note_line(self, line: Mapping[str, Any], now: float) -> None:
        """Take note of one line of the daemon's log."""
        event = str(line.get("event"))
        self.events.append(event)
        if event == "job.recorded" and line.get("filename") in self.rows:
            self._names[line["job_id"]] = line["filename"]
            self.job_ids[line["filename"]] = line["job_id"]
        if row := self.rows.get(self._names.get(str(line.get("job_id")), "")):
            self._note_event(row, event, line, now)
        if event == "destination.held":
            self.about_n8n(
                "does not answer; receipts are held",
                "does not answer: receipts are held here, and one is tried now and then",
                now,
            )
        elif event == "destination.resumed":
            self.about_n8n("answers again", "answers again: what was held goes on", now)
        elif line.get("level") in ("warning", "error", "critical") and event not in _SPOKEN_ELSEWHERE:
            self._view.show_change(
                "the daemon", printable(f"warns of {event}: {line.get('message') or line.get('why')}"), now
            )

    def _note_event(self, row: ProgressRow, event: str, line: Mapping[str, Any], now: float) -> None:
        match event:
            case "job.recorded":
                self._recorded(row, line, now)
            case "job.accepted":
                self._enter(row, AT_N8N, "N8N reads it", "is sent: N8N has it and reads it", now)
            case "job.deferred":
                row.tone = Tone.WAITING
                self._show(row, "waits for N8N", "cannot be sent, N8N does not answer; it waits for the next try", now)
            case "job.concluded":
                row.tone = Tone.PLAIN
                self._show(row, *_conclusion(line, self._names), now)
            case "file.filed":
                row.ended_at = now
                row.tone = Tone.GOOD if line["folder"] == Folder.DONE else Tone.NEEDS_A_PERSON
                where = Path(line["folder"], line["path"]).parent
                self._enter(row, line["folder"], row.state, f"is filed in {where} after {row.seconds(now)}", now)

    def _recorded(self, row: ProgressRow, line: Mapping[str, Any], now: float) -> None:
        row.began_at = row.began_at or now
        verdict = {State.QUEUED: "it can be sent", State.DUPLICATE: "it is a copy"}.get(
            line["status"], "it cannot be sent"
        )
        self._enter(row, Folder.PROCESSING, "waits for its turn", f"is in processing, and is checked: {verdict}", now)

    def _enter(self, row: ProgressRow, place: str, state: str, text: str, now: float) -> None:
        if row.places[-1:] != [place]:
            row.places.append(place)
        self._show(row, state, text, now)

    def _show(self, row: ProgressRow, state: str, text: str, now: float) -> None:
        row.state = printable(state)
        self._view.show_change(row.name, printable(text), now)


def _conclusion(line: Mapping[str, Any], names: Mapping[str, str]) -> tuple[str, str]:
    """Return in few words, and in a sentence, what became of a receipt."""
    if line["status"] == State.SUCCESS:
        return "success", "succeeds: N8N has called back"
    if line["status"] == State.DUPLICATE:
        original = names.get(line["duplicate_of"], "another receipt")
        return "copy, not sent", f"has the same bytes as {original}; it is not sent again"
    words = reason_in_words(line["reason"], line["message"])
    if line["reason"] == Reason.N8N_FAILURE:
        return words, f"fails; N8N says: {line['message']}"
    meaning = next((reason.meaning for reason in Reason if reason == line["reason"]), words)
    return words, f"is refused: {meaning}"


def reason_in_words(reason: str | None, message: str | None) -> str:
    """Return a job's reason in few words."""
    if reason == Reason.N8N_FAILURE:
        return f"N8N: {message}"
    return (reason or "").replace("_", " ")


# --- views -----------------------------------------------------------------------------------------------------


class Lines:
    """One line per change, for pipes, files and terminals that cannot do more."""

    def __init__(self, stream: TextIO, name_width: int, started_at: float) -> None:
        self._stream = stream
        self._name_width = name_width
        self._started_at = started_at

    def show_change(self, name: str, text: str, now: float) -> None:
        """Write it, with the seconds since the start."""
        line = f"{now - self._started_at:5.1f} s  {name:{self._name_width}}  {text}\n"
        self._stream.write(encodable(line, self._stream.encoding))
        self._stream.flush()

    def draw(self, rows: Sequence[ProgressRow], footer: str, now: float) -> None:
        """Nothing more: each change has been shown."""

    def close(self) -> None:
        """Nothing to do."""


class LiveTable:
    """A table that is redrawn in place."""

    def __init__(self, stream: TextIO, *, colours: bool) -> None:
        self._stream = stream
        self._colours = colours
        self._height = 0

    def show_change(self, name: str, text: str, now: float) -> None:
        """Nothing: the next drawing shows it."""

    def draw(self, rows: Sequence[ProgressRow], footer: str, now: float) -> None:
        """Draw over what was drawn before; the cursor is hidden, and lines are not wrapped, until `close`."""
        width = size_of(self._stream).columns
        lines = [*render(rows, width, now, colours=self._colours), fit(footer, width)]
        begin = f"\x1b[{self._height}A\r" if self._height else "\x1b[?25l\x1b[?7l"
        self._height = len(lines)
        # Erasing comes first: behind a line of full width it would take the last character, where the cursor stays.
        drawn = "".join(f"\x1b[K{line}\n" for line in lines)
        self._stream.write(encodable(f"{begin}{drawn}\x1b[J", self._stream.encoding))
        self._stream.flush()

    def close(self) -> None:
        """Bring the cursor back, and the wrapping of lines."""
        if self._height:
            self._stream.write("\x1b[?7h\x1b[?25h")
            self._stream.flush()
            self._height = 0


def view_for(stream: TextIO, rows: Sequence[ProgressRow], environ: Mapping[str, str], started_at: float) -> View:
    """Return the view that the stream can show."""
    lines_drawn = len(rows) + 2
    can_move = stream.isatty() and environ.get("TERM", "dumb") != "dumb"
    if can_move and size_of(stream).lines > lines_drawn:
        return LiveTable(stream, colours=not environ.get("NO_COLOR"))
    return Lines(stream, max(len(row.name) for row in rows), started_at)


def size_of(stream: TextIO) -> os.terminal_size:
    """Return the terminal's size; one that does not know its own counts as 80 by 24."""
    try:
        size = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        return _FALLBACK_SIZE
    return os.terminal_size((size.columns or _FALLBACK_SIZE.columns, size.lines or _FALLBACK_SIZE.lines))


# --- drawing, pure ---------------------------------------------------------------------------------------------


def render(rows: Sequence[ProgressRow], width: int, now: float, *, colours: bool) -> list[str]:
    """Return a heading and one line per row, none wider than `width`; what has no room is left out."""
    name = max(len(row.name) for row in rows)
    what = max(len(row.what) for row in rows)
    fixed = name + _SECONDS_WIDTH + _STATE_WIDTH + 2 * len(_GAP)
    whole_way = width >= fixed + len(_GAP) + _WAY_WIDTH
    shows_what = width >= fixed + 2 * len(_GAP) + _WAY_WIDTH + what
    way = _WAY_WIDTH if whole_way else _PLACE_WIDTH
    used = name + _SECONDS_WIDTH + way + 3 * len(_GAP) + (what + len(_GAP)) * shows_what
    state = max(0, width - used)
    widths = [name, *([what] if shows_what else []), way, state, _SECONDS_WIDTH]
    lines = [_line(["file", *(["what it is"] if shows_what else []), "way", "now", "time"], widths, width)]
    for row in rows:
        place = " → ".join(row.places) if whole_way else "".join(row.places[-1:])
        cells = [row.name, *([row.what] if shows_what else []), place, row.state, row.seconds(now)]
        lines.append(_line(cells, widths, width, row.tone.value if colours else ""))
    return lines


def _line(cells: Sequence[str], widths: Sequence[int], width: int, colour: str = "") -> str:
    *texts, seconds = cells
    padded = [fit(text, room).ljust(room) for text, room in zip(texts, widths[:-1], strict=True)]
    padded.append(seconds.rjust(widths[-1]))
    line = _GAP.join(padded)
    if len(line) > width or not colour:
        return fit(line, width).rstrip()
    *others, state, last = padded
    return _GAP.join([*others, f"\x1b[{colour}m{state}\x1b[0m", last])


def fit(text: str, width: int) -> str:
    """Return text of at most `width` characters."""
    return text if len(text) <= width else f"{text[: max(0, width - 1)]}…"[:width]


def encodable(text: str, encoding: str | None) -> str:
    """Return text that the stream can write, of the same width: arrows and dots become plain where need be."""
    try:
        text.encode(encoding or "utf-8")
    except UnicodeEncodeError:
        return text.replace("→", ">").replace("…", "~").encode("ascii", "replace").decode("ascii")
    return text


def result_table(titles: Sequence[str], records: Sequence[Sequence[str]], width: int | None) -> list[str]:
    """Return a table; where it is wider than `width`, the second and last cell of each record go below it, indented."""
    rows = [list(titles), *map(list, records)]
    widths = [max(len(row[index]) for row in rows) for index in range(len(titles))]
    if width is None or sum(widths) + len(_GAP) * (len(widths) - 1) <= width:
        return [_GAP.join(cell.ljust(room) for cell, room in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines = []
    for name, what, *others, reason in rows:
        cells = zip([name, *others], [widths[0], *widths[2:-1]], strict=True)
        lines.append(fit(_GAP.join(cell.ljust(room) for cell, room in cells).rstrip(), width))
        lines.append(fit("    " + "; ".join(filter(None, [what, reason])), width))
    return lines
