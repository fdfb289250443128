from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from receipt_watcher.cli.demo import demo, play, progress
from receipt_watcher.cli.demo.play import clean_environment
from receipt_watcher.cli.demo.progress import (
    Journeys,
    Lines,
    LiveTable,
    ProgressRow,
    encodable,
    fit,
    render,
    result_table,
    view_for,
)
from receipt_watcher.cli.demo.receipts import Outcome, Receipt, differences, find, in_a_word, leftovers, make_receipts
from receipt_watcher.jobs.job import Folder
from tests.fakes.daemons.process import REPOSITORY

COMMAND = [sys.executable, "-m", "receipt_watcher", "demo"]
#: The demo alone; also under nohup or in the background of a script, where SIGHUP or SIGINT are ignored from the start.
ALONE = [
    sys.executable,
    "-c",
    (
        "import signal, sys; signal.signal(signal.SIGHUP, signal.SIG_DFL);"
        "signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from receipt_watcher.cli.demo.demo import run_demo; sys.exit(run_demo(keep=False))"
    ),
]
ESCAPES = re.compile(r"\x1b\[(\d*)([AJKm])|\x1b\[\?(25|7)([hl])")
#: The end of each receipt of the demo: the word, and the folder without the month.
ENDS = {
    "phone-photo.jpg": ("success", "done"),
    "slow-scan.jpg": ("success", "done"),
    "web-shop.png": ("success", "done"),
    "three-pages.tif": ("success", "done"),
    "hotel.pdf": ("success", "done"),
    "same-photo.jpg": ("copy", "done"),
    "cut-off.jpg": ("refused", "failed"),
    "not-a-photo.jpg": ("refused", "failed"),
    "no-total.pdf": ("rejected", "failed"),
    "in-outage.png": ("success", "done"),
}


@dataclass(frozen=True)
class Run:
    """One demo that has been run: its exit code, what it wrote, and the folder for its temporary files."""

    code: int
    output: str
    temporary: Path


def start(command: list[str], temporary: Path, stdout: int, **variables: str) -> subprocess.Popen[bytes]:
    """Start a demo of a user who has settings of an own."""
    environ = os.environ | {"TMPDIR": str(temporary), "N8N_WEBHOOK_URL": "http://192.0.2.1/leaked"} | variables
    return subprocess.Popen(
        command, cwd=REPOSITORY, env=environ, stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.STDOUT
    )


def on_terminal(columns: int, lines: int) -> tuple[int, int]:
    """Return the two ends of a pseudo terminal of that size: the program's and ours."""
    ours, program = pty.openpty()
    resize(ours, columns, lines)
    return program, ours


def resize(terminal: int, columns: int, lines: int) -> None:
    """Give a pseudo terminal another size."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))


def read_all(descriptor: int) -> str:
    """Read a pseudo terminal until the last program has closed it."""
    content = b""
    try:
        while piece := os.read(descriptor, 65536):
            content += piece
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(descriptor)
    return content.decode()


def screen_of(output: str) -> list[str]:
    """Return what a terminal without an end shows after this output; an escape that is not known to it is an error."""
    screen, line, column = [""], 0, 0
    for escape, number, what, character in re.findall(r"(\x1b\[\??(\d*)([A-Za-z]))|((?s:.))", output):
        if escape:
            assert ESCAPES.fullmatch(escape), repr(escape)
            line -= int(number) if what == "A" else 0
            screen[line] = screen[line][:column] if what in "JK" else screen[line]
            screen = screen[: line + 1] if what == "J" else screen
        elif character in "\r\n":
            line, column = line + (character == "\n"), 0
            screen += [""] * (line + 1 - len(screen))
        else:
            assert character.isprintable(), repr(character)
            screen[line] = screen[line][:column].ljust(column) + character + screen[line][column + 1 :]
            column += 1
    return screen


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    """The demo once with its output in a pipe, and at the same time once on a terminal, with --keep."""
    piped_in, shown_in = tmp_path_factory.mktemp("piped"), tmp_path_factory.mktemp("shown")
    program, ours = on_terminal(110, 50)
    shown = start([*COMMAND, "--keep"], shown_in, program, TERM="xterm", NO_COLOR="")
    os.close(program)
    piped = start(COMMAND, piped_in, subprocess.PIPE)
    screen = read_all(ours)
    output, _ = piped.communicate(timeout=90)
    return Run(piped.returncode, output.decode(), piped_in), Run(shown.wait(30), screen, shown_in)


def results_in(lines: list[str]) -> dict[str, list[str]]:
    """Return the cells of the final table, by the name of the file."""
    table = lines[lines.index("What happened:") + 3 :]
    rows = [re.split(" {2,}", line) for line in table[: len(ENDS)]]
    return {row[0]: row[1:] for row in rows}


# --- the whole demo ----------------------------------------------------------------------------------------------


def test_it_shows_each_receipt_reach_its_end(runs: tuple[Run, Run]) -> None:
    """The demo exits 0, and its table names each receipt with the end that it should have and had."""
    piped, _ = runs
    assert piped.code == 0, piped.output
    results = results_in(piped.output.splitlines())
    assert {name: (row[2], row[3].split("/")[0]) for name, row in results.items()} == ENDS
    assert all(row[1] == row[2] for row in results.values())


def test_lines_tell_the_way_of_each_receipt(runs: tuple[Run, Run]) -> None:
    """Where no terminal is, each change is one line, with the seconds, from the inbox to the folder where it ends."""
    piped, _ = runs
    for name, (_, folder) in ENDS.items():
        told = re.findall(rf"^ +\d+\.\d s  {re.escape(name)} +(.+)$", piped.output, re.MULTILINE)
        assert told[0].startswith("is in the inbox")
        assert f"is filed in {folder}" in told[-1]
    assert "\x1b" not in piped.output


def test_the_outage_is_told(runs: tuple[Run, Run]) -> None:
    """The receipt that comes while N8N is down waits, is held, and goes on with one counted attempt."""
    piped, _ = runs
    told = [
        "N8N              is switched off",
        "in-outage.png    cannot be sent",
        "N8N              is switched on",
        "N8N              answers again",
        "in-outage.png    is sent",
    ]
    positions = [piped.output.index(text) for text in told]
    assert positions == sorted(positions)
    assert "receipts are held" in piped.output
    assert results_in(piped.output.splitlines())["in-outage.png"][-1] == "held, 1 attempt counted"


def test_it_says_what_it_is_and_what_comes_next(runs: tuple[Run, Run]) -> None:
    """The first lines say that the N8N is a stand-in and where the folders are, the last ones what to do next."""
    piped, _ = runs
    assert "stand-in" in piped.output
    assert str(piped.temporary) in piped.output
    assert [line.split()[-2] for line in piped.output.splitlines() if line.endswith("init DIR")] == ["init"]


def test_it_leaves_nothing_behind(runs: tuple[Run, Run]) -> None:
    """After the demo its folder and its daemon are gone."""
    piped, _ = runs
    assert list(piped.temporary.iterdir()) == []
    assert processes_in(piped.temporary) == []


def test_keep_leaves_the_folder(runs: tuple[Run, Run]) -> None:
    """With --keep the folder stays, with the filed receipts, the notes and the daemon's log; the daemon is gone."""
    _, shown = runs
    (root,) = shown.temporary.iterdir()
    assert str(root) in shown.output
    assert (root / "daemon.log").is_file()
    assert (root / "failed" / "cut-off.jpg.reason.txt").is_file()
    assert {path.name for path in (root / "done").glob("*/*")} == {
        name for name, (_, folder) in ENDS.items() if folder == "done"
    }
    assert processes_in(root) == []


def test_a_terminal_sees_one_row_per_receipt(runs: tuple[Run, Run]) -> None:
    """On a terminal the table is redrawn in place: at the end it shows the whole way of each receipt, once."""
    _, shown = runs
    assert shown.code == 0, shown.output
    screen = screen_of(shown.output)
    live = screen[: screen.index("What happened:")]
    for name, (_, folder) in ENDS.items():
        (row,) = [line for line in live if line.startswith(name)]
        assert re.search(rf"inbox → processing → .*{folder} .* \d+\.\d s$", row), row
    assert len(results_in(screen)) == len(ENDS)


def test_a_terminal_gets_its_cursor_back(runs: tuple[Run, Run]) -> None:
    """The cursor and the wrapping of lines are switched off while the table is shown, and on again after it."""
    _, shown = runs
    switched = [(escape[2], escape[3]) for escape in ESCAPES.findall(shown.output) if escape[2]]
    assert switched == [("25", "l"), ("7", "l"), ("7", "h"), ("25", "h")]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_cleanly(number: signal.Signals, tmp_path: Path) -> None:
    """Ctrl-C, SIGTERM or a closed terminal in the middle stop the daemon and remove the folder; the exit code is 1."""
    process = start(ALONE, tmp_path, subprocess.PIPE)
    assert process.stdout is not None
    before = b"".join(iter(lambda: line_until(process, b"phone-photo.jpg"), b""))
    assert b"stand-in" in before
    process.send_signal(number)
    rest, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert b"stopped before the end" in rest
    assert b"Traceback" not in rest
    assert list(tmp_path.iterdir()) == []
    assert processes_in(tmp_path) == []


def test_a_signal_leaves_a_usable_terminal(tmp_path: Path) -> None:
    """Ctrl-C while the table is shown brings the cursor and the wrapping of lines back."""
    program, ours = on_terminal(100, 40)
    process = start(ALONE, tmp_path, program, TERM="xterm")
    os.close(program)
    before = b""
    while b"inbox \xe2\x86\x92 processing" not in before:
        before += os.read(ours, 65536)
    process.send_signal(signal.SIGINT)
    output = before.decode(errors="replace") + read_all(ours)
    assert process.wait(30) == 1
    switched = [(escape[2], escape[3]) for escape in ESCAPES.findall(output) if escape[2]]
    assert switched == [("25", "l"), ("7", "l"), ("7", "h"), ("25", "h")]
    assert list(tmp_path.iterdir()) == []


def line_until(process: subprocess.Popen[bytes], word: bytes) -> bytes:
    """Return the next line of output, nothing once one contains `word`."""
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, "it ended early"
    return b"" if word in line else line


def processes_in(folder: Path) -> list[str]:
    """Return the command lines that name this folder."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return [line for line in lines if str(folder) in line]


@pytest.mark.parametrize(
    ("has_script", "path", "shown"),
    [
        (True, "bin", "receipt-watcher"),
        (True, "", "bin/receipt-watcher"),
        (False, "bin", "bin/python -m receipt_watcher"),
    ],
)
def test_the_next_step_can_be_typed_as_it_is(
    has_script: bool, path: str, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commands name the program so that a shell finds it: by name, by path, or as a module where not installed."""
    script = tmp_path / "bin" / "receipt-watcher"
    script.parent.mkdir()
    if has_script:
        script.touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    assert demo._program().removeprefix(f"{tmp_path}/") == shown


# --- when something is wrong -------------------------------------------------------------------------------------


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder in which this process makes its temporary folders."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_daemon_that_does_not_start_is_told(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the daemon ends by itself, the demo shows the end of its log, exits 1 and keeps the folder."""
    monkeypatch.setattr(play, "example_yaml", lambda values: "inboxes: 3\n")
    assert demo.run_demo(keep=False) == 1
    output = capsys.readouterr().out
    assert "the daemon ended by itself, with code 2" in output
    assert "the configuration has 1 mistake" in output
    assert len(list(temporary.glob("receipt-watcher-demo-*/daemon.log"))) == 1


def test_a_daemon_that_hangs_is_told(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the daemon does not get ready in time, the demo says so, stops it and exits 1."""
    monkeypatch.setattr(play, "START_SECONDS", 0.0)
    assert demo.run_demo(keep=False) == 1
    assert "not within 0 s was it so that the daemon has started" in capsys.readouterr().out
    assert processes_in(temporary) == []


def test_a_difference_is_told(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where one thing differs at the end, it is named, the exit code is 1, and the folder stays with the log."""
    monkeypatch.setattr(demo, "_show", lambda root, stop: ["hotel.pdf: status should be: success, but is: failure"])
    assert demo.run_demo(keep=False) == 1
    output = capsys.readouterr().out
    (root,) = temporary.iterdir()
    assert "hotel.pdf: status should be: success, but is: failure" in output
    assert f"The demo's folder stays: {root};" in " ".join(output.split())
    assert "init DIR" not in output


def test_a_folder_that_cannot_be_made_is_told(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a place for temporary files there is a sentence and the exit code 1, no traceback."""
    monkeypatch.setattr(tempfile, "tempdir", str(temporary / "not there"))
    assert demo.run_demo(keep=False) == 1
    assert "no temporary folder can be made" in capsys.readouterr().err


def test_a_full_disk_is_told(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An error of the system before the daemon runs is a sentence and the exit code 1, no traceback."""

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(demo, "DemoDaemon", fail)
    assert demo.run_demo(keep=False) == 1
    assert "No space left on device" in capsys.readouterr().out


# --- what is compared --------------------------------------------------------------------------------------------


def as_expected(receipt: Receipt) -> Outcome:
    """Return what is found where a receipt ended as it should."""
    digest = receipt.sha256
    return Outcome(
        folders=("done/2026-11" if receipt.folder is Folder.DONE else "failed",),
        sha256=digest,
        has_note=receipt.folder is Folder.FAILED,
        status=receipt.status.value,
        reason=receipt.reason.value if receipt.reason else None,
        attempts=int(receipt.is_sent),
        uncounted_tries=2 if receipt.meets_outage else 0,
        copy_of=receipt.copy_of,
        arrived=(digest,) if receipt.is_sent else (),
    )


@pytest.fixture(scope="module")
def receipts() -> Mapping[str, Receipt]:
    """The receipts of the demo, by name."""
    return {receipt.name: receipt for receipt in make_receipts()}


def test_the_receipts_are_what_is_promised(receipts: Mapping[str, Receipt]) -> None:
    """There are ten, each with a name of its own and content of its own, except the copy."""
    assert {name: in_a_word(receipt.status, receipt.reason) for name, receipt in receipts.items()} == {
        name: word for name, (word, _) in ENDS.items()
    }
    assert len({receipt.content for receipt in receipts.values()}) == len(ENDS) - 1


def test_nothing_differs_where_all_is_as_it_should_be(receipts: Mapping[str, Receipt]) -> None:
    """A receipt that ended as it should has no difference."""
    assert [differences(receipt, as_expected(receipt)) for receipt in receipts.values()] == [[]] * len(ENDS)


@pytest.mark.parametrize(
    ("name", "planted", "told"),
    [
        ("hotel.pdf", {"folders": ("failed",)}, "folder should be: done, but is: failed"),
        ("hotel.pdf", {"folders": ("done/2026-11", "inbox")}, "folder should be: done, but is: done, inbox"),
        ("hotel.pdf", {"sha256": "0" * 64}, "content should be: unchanged, but is: changed"),
        ("hotel.pdf", {"status": "processing"}, "status should be: success, but is: processing"),
        ("hotel.pdf", {"has_note": True}, "note beside it should be: no, but is: yes"),
        ("hotel.pdf", {"attempts": 2}, "counted attempts should be: 1, but is: 2"),
        ("hotel.pdf", {"arrived": ()}, "arrival at N8N should be: once, unchanged, but is: none"),
        ("hotel.pdf", {"arrived": ("0",)}, "arrival at N8N should be: once, unchanged, but is: once, changed"),
        ("no-total.pdf", {"reason": None}, "reason should be: n8n_failure, but is: none"),
        ("cut-off.jpg", {"has_note": False}, "note beside it should be: yes, but is: no"),
        ("cut-off.jpg", {"arrived": ("0",)}, "arrival at N8N should be: none, but is: once, changed"),
        ("same-photo.jpg", {"copy_of": ""}, "original should be: phone-photo.jpg, but is: none"),
        ("in-outage.png", {"attempts": 2}, "counted attempts should be: 1, but is: 2"),
        ("in-outage.png", {"uncounted_tries": 0}, "waiting for N8N should be: yes, but is: no"),
    ],
)
def test_each_planted_difference_is_found(
    receipts: Mapping[str, Receipt], name: str, planted: dict[str, Any], told: str
) -> None:
    """Whatever differs from what should be is told in one sentence."""
    receipt = receipts[name]
    assert differences(receipt, replace(as_expected(receipt), **planted)) == [f"{name}: {told}"]


def test_a_second_arrival_is_found(receipts: Mapping[str, Receipt]) -> None:
    """A receipt that reached N8N twice is a difference, even unchanged."""
    receipt = receipts["hotel.pdf"]
    found = replace(as_expected(receipt), arrived=(receipt.sha256, receipt.sha256))
    assert differences(receipt, found) == [
        "hotel.pdf: arrival at N8N should be: once, unchanged, but is: 2 times, unchanged"
    ]
    assert found.why == "arrived 2 times, unchanged"


def test_what_is_found_is_what_is_on_disk(receipts: Mapping[str, Receipt], tmp_path: Path) -> None:
    """A receipt is looked for in all four folders, and its digest and note are read there."""
    receipt = receipts["cut-off.jpg"]
    for folder in ("failed", "processing/0192"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / receipt.name).write_bytes(receipt.content)
    (tmp_path / "failed" / f"{receipt.name}.reason.txt").touch()
    found = find(receipt, tmp_path, {}, {}, [])
    assert sorted(found.folders) == ["failed", "processing"]
    assert found.sha256 == receipt.sha256
    assert found.has_note
    assert found.status == "not seen"


def test_leftovers_are_found(tmp_path: Path) -> None:
    """Whatever is still in the inbox or in processing is told; the daemon's own hidden files are not."""
    for name in ("inbox/late.jpg", "processing/0192/scan.jpg", "processing/.owner", "done/scan.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert leftovers(tmp_path) == [
        "inbox/late.jpg should be gone, and is still there",
        "processing/0192 should be gone, and is still there",
    ]


def test_the_users_settings_stay_outside() -> None:
    """No setting of this program, of a service or of a proxy reaches the demo's daemon; everything else does."""
    kept = {"PATH": "/bin", "HOME": "/home/anna", "DATABASE_URL_OF_ANOTHER": "x", "no_proxy": "*"}
    dropped = dict.fromkeys(
        (
            *("RECEIPT_WATCHER_CONFIG", "RECEIPT_WATCHER_HTTP__PORT", "N8N_WEBHOOK_URL", "N8N_API_KEY"),
            *(
                "CALLBACK_SECRET_TOKEN",
                "CALLBACK_PREVIOUS_SECRET_TOKEN",
                "DATABASE_URL",
                "CREDENTIALS_DIRECTORY",
                "STATE_DIRECTORY",
            ),
            *("NOTIFY_SOCKET", "HTTP_PROXY", "https_proxy", "ALL_PROXY"),
        ),
        "x",
    )
    assert clean_environment(kept | dropped) == kept


# --- what is shown -----------------------------------------------------------------------------------------------


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


# --- what is followed --------------------------------------------------------------------------------------------


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
        ways.hear(line, 2.0)
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
    ways.hear(recorded("a.jpg", "1"), 1.0)
    ways.hear(line, 2.0)
    assert ways.rows["a.jpg"].state == state


def test_the_inbox_is_looked_into(ways: Journeys, told: Told, tmp_path: Path) -> None:
    """What the log does not tell is seen in the folders: a file that arrives, grows, is whole, and is taken in."""
    path, processing = tmp_path / "inbox" / "a.jpg", tmp_path / "processing" / "0192"
    path.parent.mkdir()
    processing.mkdir(parents=True)
    ways.look(tmp_path, 1.0)
    states = [ways.rows["a.jpg"].state]
    for content in (b"12345", b"1234567890"):
        path.write_bytes(content)
        ways.look(tmp_path, 2.0)
        states.append(ways.rows["a.jpg"].state)
    path.rename(processing / "a.jpg")
    ways.look(tmp_path, 3.0)
    assert [*states, ways.rows["a.jpg"].state] == ["", "being written: 50 %", "must stay unchanged", "being checked"]
    assert ways.rows["a.jpg"].places == ["inbox", "processing"]
    assert [name for name, _ in told.told] == ["a.jpg"] * 3


def test_other_files_and_lines_are_left_alone(ways: Journeys, told: Told) -> None:
    """A line about a file that is not the demo's, or about nothing known, changes no row."""
    for line in (recorded("stranger.jpg", "9"), concluded("9", "success"), {"event": "daemon.started"}, {}):
        ways.hear(line, 1.0)
    assert told.told == []
    assert all(row.places == [] for row in ways.rows.values())


def test_holds_and_warnings_are_told(ways: Journeys, told: Told) -> None:
    """That N8N is held and goes on is told, and so is every warning that the demo has no words for."""
    ways.hear({"event": "destination.held", "level": "warning"}, 1.0)
    ways.draw(1.0)
    assert told.footer == "N8N (the stand-in) does not answer; receipts are held"
    ways.hear({"event": "destination.resumed", "level": "info"}, 2.0)
    ways.hear({"event": "file.blocked", "level": "warning", "why": "no \x1b[31mright"}, 3.0)
    assert [name for name, _ in told.told] == ["N8N", "N8N", "the daemon"]
    assert told.told[-1][1] == "warns of file.blocked: no \\x1b[31mright"
