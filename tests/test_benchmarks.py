"""The benchmarks run, verify and print every figure; how fast it was is no matter of a test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.running import REPOSITORY

_TINY = {
    "latency-receipts": 4,
    "burst-receipts": 20,
    "runs": 1,
    "idle-seconds": 1,
    "calm-seconds": 0,
    "memory-receipts": 2,
    "memory-mb": 2,
    "scan-files": 50,
    "start-receipts": 50,
    "pages-receipts": 100,
}
FIGURES = {
    "latency": [
        "settled to POST, moved in",
        "settled to POST, written",
        "settled to POST",
        "verdict to filed",
        "settled to filed",
    ],
    "burst": [
        "drop to all filed, s",
        "finished a second, since the drop",
        "finished a second, since the first POST",
        "reference, finished a second",
        "ratio to the reference",
        "CPU of the daemon, ms a receipt",
        "CPU of the far side, ms a receipt",
        "peak memory of the daemon, MB",
    ],
    "idle": ["CPU, % of a core", "wake-ups a second", "memory, MB", "memory of its own, MB"],
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
}


def test_each_benchmark_verifies_and_prints_every_figure(tmp_path: Path) -> None:
    """With tiny sizes all benchmarks end well, and every figure is printed and in the JSON."""
    sizes = [word for name, size in _TINY.items() for word in (f"--{name}", str(size))]
    command = [sys.executable, "-m", "tests.benchmarks", "all", "--short", "--json", str(tmp_path / "figures.json")]
    ended = subprocess.run([*command, *sizes], cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=100)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    told = json.loads((tmp_path / "figures.json").read_text())
    for name, labels in FIGURES.items():
        assert list(told[name]["figures"]) == labels
        assert told[name]["problems"] == []
        for label in labels:
            assert f"  {label}  " in ended.stdout
            assert None not in told[name]["figures"][label].values()
    assert {"cpu", "cores", "pinned_to", "file_system", "python"} <= told["machine"].keys()
