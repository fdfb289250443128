"""The demo shows each receipt reach its end, on terminals and in pipes, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from receipt_watcher.cli.demo import demo
from tests.fakes.daemons.process import REPOSITORY
from tests.unit.cli.demo.demo_run import ENDS, ESCAPES, on_terminal, processes_in, read_all, screen_of

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
