"""The benchmarks run, verify and print every figure; how fast it was is no matter of a test."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.benchmarks import __main__, stage
from tests.benchmarks.timed import STAGES
from tests.fakes.daemons.fork_server import fork_server

_TINY = {
    "latency-receipts": 4,
    "decompose-receipts": 3,
    "burst-receipts": 20,
    "large-receipts": 2,
    "small-receipts": 20,
    "steady-seconds": 0.5,
    "callbacks": 20,
    "idle-waiting": 20,
    "log-rows": 100,
    "runs": 1,
    "idle-seconds": 1,
    "calm-seconds": 0,
    "memory-receipts": 2,
    "memory-mb": 2,
    "scan-files": 50,
    "start-receipts": 50,
    "pages-receipts": 100,
}
_LEGS = ["settled to POST", "verdict to filed", "settled to filed"]
_BURST = [
    "drop to all filed, s",
    "finished a second, since the drop",
    "finished a second, since the first POST",
    "MB a second, since the first POST",
    "reference, finished a second",
    "ratio to the reference",
    "CPU of the daemon, ms a receipt",
    "CPU of the far side, ms a receipt",
    "peak memory of the daemon, MB",
]
FIGURES = {
    "latency": ["settled to POST, moved in", "settled to POST, written", *_LEGS],
    "decompose": [*STAGES, "the whole process"],
    "burst": _BURST,
    "burst-large": _BURST,
    "burst-small": _BURST,
    "steady": [*_LEGS, "dropped too late"],
    "callbacks": ["callback", "upload", "page"],
    "idle": [
        "CPU, % of a core",
        "wake-ups a second",
        "memory, MB",
        "memory of its own, MB",
        "memory for each that waits, bytes",
    ],
    "memory": ["peak before, MB", "peak, MB"],
    "scan": ["first scan", "later scan", "bare listing"],
    "start": ["nothing waits", "queued jobs", "files in the inbox"],
    "pages": [
        *["overview", "failed", "one receipt", "pulse"],
        *[
            f"{what}, {which}"
            for which in ("first page", "page 10,000")
            for what in (
                *("all", "failed", "done in one inbox", "one inbox"),
                *("text that is there", "text that is nowhere"),
            )
        ],
    ],
    "log": [
        "record",
        "next due",
        "claim",
        "settle",
        "conclude",
        "file away",
        "overdue",
        "next deadline",
        "oldest open",
        "open in an inbox",
        "failures since",
        "list a page",
        "list failed",
        "show one",
        "bytes a job",
    ],
}

#: No such figure: the process has no wall time of its own.
NONE = {("decompose", "the whole process", "wall")}


@pytest.fixture(autouse=True)
def every_processor() -> Iterator[None]:
    """A benchmark keeps off the processors of what it measures; later tests may use all of them again."""
    before = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, before)


@pytest.mark.parametrize("name", FIGURES)
def test_a_benchmark_verifies_and_prints_every_figure(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With tiny sizes each benchmark ends well, and every figure is printed and in the JSON.

    What the daemon's start costs is no matter either: it is forked, but for `start` and half of `idle`.
    """
    sizes = [word for option, size in _TINY.items() for word in (f"--{option}", str(size))]
    words = [name, "--short", "--json", str(tmp_path / "figures.json"), *sizes]
    monkeypatch.setattr(sys, "argv", ["tests.benchmarks", *words])
    monkeypatch.setattr(stage._Plugged, "is_forked", True)
    monkeypatch.setenv("STAGES_FILE", "")  # which a benchmark sets to its own
    code = __main__.main()
    printed = capsys.readouterr().out
    assert code == 0, printed
    told = json.loads((tmp_path / "figures.json").read_text())
    assert list(told) == ["machine", name]
    assert {"cpu", "cores", "pinned_to", "file_system", "python"} <= told["machine"].keys()
    assert told[name]["problems"] == []
    assert list(told[name]["figures"]) == FIGURES[name]
    for label in FIGURES[name]:
        assert f"  {label}  " in printed
        figures = told[name]["figures"][label]
        assert {(name, label, column) for column, figure in figures.items() if figure is None} <= NONE


def test_all_benchmarks_are_tested() -> None:
    """There is no other benchmark than those above."""
    code, printed, _ = fork_server().run([sys.executable, "-m", "tests.benchmarks", "--help"], os.environ, timeout=100)
    assert code == 0
    assert f"{{{','.join([*FIGURES, 'all'])}}}" in "".join(printed.split())
