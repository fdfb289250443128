"""The command: `python -m tests.benchmarks [latency|burst|…|all]`, from the repository's folder.

Runs the real daemon and a stand-in for N8N on a temporary folder (on $TMPDIR) and prints medians; with --json FILE,
the same for programs. What must be so in any case, that each receipt arrives once and is filed byte for byte, is
verified: exit code 1 if it is not. How fast it was never changes the exit code. Ctrl-C ends everything and removes
the folder; `all` takes some fifteen minutes and 2 GB of disk, with --short one.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks import machine
from tests.benchmarks.burst import Plan, burst
from tests.benchmarks.callbacks import callbacks
from tests.benchmarks.decompose import decompose
from tests.benchmarks.idle import idle
from tests.benchmarks.latency import latency
from tests.benchmarks.log import log
from tests.benchmarks.memory import memory
from tests.benchmarks.pages import pages
from tests.benchmarks.report import Table
from tests.benchmarks.scan import scan
from tests.benchmarks.start import start
from tests.benchmarks.steady import steady

_RECEIPT_BYTES, _LARGE_BYTES, _SMALL_BYTES = 200_000, 5_000_000, 20_000
#: Option, its value, its value with --short, and what it means.
_SIZES: dict[str, tuple[float, float, str]] = {
    "latency-receipts": (100, 10, "receipts one by one"),
    "decompose-receipts": (50, 10, "receipts one by one, with a stopwatch on each stage"),
    "burst-receipts": (2000, 300, "receipts of 200 kB at once"),
    "large-receipts": (200, 20, "receipts of 5 MB at once, as multipart"),
    "small-receipts": (10_000, 500, "receipts of 20 kB at once"),
    "runs": (3, 1, "runs of each burst"),
    "steady-seconds": (60, 5, "how long receipts come at a fixed rate"),
    "steady-per-second": (20, 20, "that rate"),
    "callbacks": (2_000, 200, "callbacks at a fixed rate"),
    "callbacks-per-second": (200, 200, "that rate"),
    "idle-seconds": (60, 20, "how long nothing comes"),
    "calm-seconds": (6, 6, "pause before that: kept connections are closed after 5 s"),
    "idle-waiting": (100_000, 2_000, "receipts that wait on a hold meanwhile"),
    "memory-receipts": (10, 10, "large receipts at once"),
    "scan-files": (100_000, 20_000, "files that wait in the inbox"),
    "start-receipts": (100_000, 5_000, "receipts that wait at a start"),
    "pages-receipts": (1_000_000, 20_000, "receipts in the log that pages are made of"),
    "memory-mb": (20, 20, "how large each of them is"),
    "log-rows": (1_000_000, 20_000, "receipts in the job log"),
}


def main() -> int:
    """Measure what is asked for, print it, and return the exit code."""
    options = _options()
    cpus = machine.choose_cpus(options.pin)
    machine.keep_off(cpus)
    with tempfile.TemporaryDirectory(prefix="receipt-watcher-benchmarks-") as folder:
        root = Path(folder)
        found = machine.describe(root, cpus)
        _show(machine.in_words(found))
        tables = [_measure(name, root / name, cpus, options) for name in _wanted(options.what)]
    if options.json:
        told = {"machine": found, **{table.name: table.as_json() for table in tables}}
        options.json.write_text(json.dumps(told, indent=2) + "\n")
    return int(any(table.problems for table in tables))


def _measure(name: str, root: Path, cpus: list[int], options: argparse.Namespace) -> Table:
    root.mkdir()
    table = _BENCHMARKS[name](root, cpus, options)
    _show(f"{table}\n")
    return table


def _latency(root: Path, cpus: list[int], options: argparse.Namespace) -> Table:
    return latency(root, cpus, receipts=int(options.latency_receipts), size=_RECEIPT_BYTES)


def _decompose(root: Path, cpus: list[int], options: argparse.Namespace) -> Table:
    return decompose(root, cpus, receipts=int(options.decompose_receipts), size=_RECEIPT_BYTES)


def _burst(root: Path, cpus: list[int], options: argparse.Namespace) -> Table:
    return burst(root, cpus, Plan("burst", int(options.burst_receipts), _RECEIPT_BYTES, int(options.runs)))


def _burst_large(root: Path, cpus: list[int], options: argparse.Namespace) -> Table:
    plan = Plan("burst-large", int(options.large_receipts), _LARGE_BYTES, int(options.runs), "multipart")
    return burst(root, cpus, plan)


def _burst_small(root: Path, cpus: list[int], options: argparse.Namespace) -> Table:
    return burst(root, cpus, Plan("burst-small", int(options.small_receipts), _SMALL_BYTES, int(options.runs)))


def _steady(root: Path, cpus: list[int], options: argparse.Namespace) -> Table:
    per_second = options.steady_per_second
    receipts = max(1, int(options.steady_seconds * per_second))
    return steady(root, cpus, receipts=receipts, per_second=per_second, size=_RECEIPT_BYTES)


def _callbacks(root: Path, cpus: list[int], options: argparse.Namespace) -> Table:
    per_second = options.callbacks_per_second
    return callbacks(root, cpus, receipts=int(options.callbacks), per_second=per_second, size=_SMALL_BYTES)


def _idle(root: Path, cpus: list[int], options: argparse.Namespace) -> Table:
    waiting = int(options.idle_waiting)
    return idle(root, cpus, seconds=options.idle_seconds, calm_seconds=options.calm_seconds, waiting=waiting)


def _memory(root: Path, cpus: list[int], options: argparse.Namespace) -> Table:
    size = int(options.memory_mb * 1_000_000)
    return memory(root, cpus, receipts=int(options.memory_receipts), size=size)


def _scan(root: Path, cpus: list[int], options: argparse.Namespace) -> Table:
    del cpus  # one process, one thread
    return scan(root, files=int(options.scan_files))


def _start(root: Path, cpus: list[int], options: argparse.Namespace) -> Table:
    return start(root, cpus, waiting=int(options.start_receipts))


def _pages(root: Path, cpus: list[int], options: argparse.Namespace) -> Table:
    del cpus  # likewise
    return pages(root, receipts=int(options.pages_receipts))


def _log(root: Path, cpus: list[int], options: argparse.Namespace) -> Table:
    del cpus  # likewise
    return log(root, rows=int(options.log_rows))


_BENCHMARKS: dict[str, Callable[[Path, list[int], argparse.Namespace], Table]] = {
    "latency": _latency,
    "decompose": _decompose,
    "burst": _burst,
    "burst-large": _burst_large,
    "burst-small": _burst_small,
    "steady": _steady,
    "callbacks": _callbacks,
    "idle": _idle,
    "memory": _memory,
    "scan": _scan,
    "start": _start,
    "pages": _pages,
    "log": _log,
}


def _wanted(what: str) -> list[str]:
    return list(_BENCHMARKS) if what == "all" else [what]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description="How fast receipt-watcher is, and what it costs, with a stand-in N8N that answers at once.",
        epilog="Example: python -m tests.benchmarks burst --runs 1 --json burst.json",
    )
    parser.add_argument("what", nargs="?", default="all", choices=[*_BENCHMARKS, "all"])
    parser.add_argument("--short", action="store_true", help="smaller sizes, for a first look")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    pinning = parser.add_mutually_exclusive_group()
    pinning.add_argument("--pin", type=_cpus, metavar="0,1", help="processors for daemon and far side; default: two")
    pinning.add_argument("--no-pin", dest="pin", action="store_const", const=[], help="all processors for everything")
    for name, (usual, short, meaning) in _SIZES.items():
        parser.add_argument(f"--{name}", type=float, help=f"{meaning}; default {usual:g}, with --short {short:g}")
    options = parser.parse_args()
    for name, (usual, short, _) in _SIZES.items():
        key = name.replace("-", "_")
        if getattr(options, key) is None:
            setattr(options, key, short if options.short else usual)
    if absent := set(options.pin or ()) - machine.there():
        parser.error(f"no such processor here: {', '.join(map(str, sorted(absent)))}")
    return options


def _cpus(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def _show(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - what the command is for


if __name__ == "__main__":
    sys.exit(main())
