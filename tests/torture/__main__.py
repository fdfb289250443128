"""The command: `python -m tests.torture [--rounds N] [--seed S] [--planted FAULT]`, from the repository's folder.

Tortures the real daemon: a round has one fault of N8N, a handful of receipts that are dropped in all manners, and a
kill -9, a SIGTERM or a power cut at a random moment. In the end everything heals, and when nothing is left to do it is
audited by the ledgers of those who dropped and of N8N's side. Exit code 0 where nothing was found, else 1; then the
folders are kept, and the command that repeats it is printed. The seed makes the whole plan; at which step the daemon is
just then is a matter of timing. `--planted` breaks one promise on purpose, has to end with 1, and keeps nothing.
Twenty rounds take less than a minute, three hundred some ten. Ctrl-C ends everything, and keeps the folders.
"""

from __future__ import annotations

import argparse
import os
import sys
import time

from tests.torture.audit import EXPLANATIONS, KINDS, Report
from tests.torture.drive import torture
from tests.torture.folders import temporary_folders
from tests.torture.plan import Plan, planted
from tests.torture.watcher import PLANTED

_SHOWN = 20
_FIGURES = {
    "receipts": "receipts dropped",
    "round": "rounds",
    "kill": "kills (kill -9)",
    "power cut": "of them power cuts",
    "zeroed": "files that a power cut took",
    "term": "stops (SIGTERM)",
    "starts": "starts",
    "order": "retry and cancel by an admin",
    "POSTs that arrived": "POSTs that arrived whole",
    "of them taken by N8N": "of them taken by N8N",
    "booked by the sink": "of them booked by the sink",
}


def main() -> int:
    """Torture, print what was found, and return the exit code."""
    options = _options()
    rounds = planted(options.planted) if options.planted else Plan(options.seed).rounds(options.rounds)
    began = time.monotonic()
    with temporary_folders() as (root, memory):
        report = torture(root, memory, rounds, options.seed, options.planted)
        _show(_summary(report, time.monotonic() - began))
        if not report.is_clean:
            _show(_findings(report))
            own = f"--planted {options.planted}" if options.planted else f"--rounds {options.rounds}"
            _show(f"Again: python -m tests.torture {own} --seed {options.seed}")
        if not report.is_clean and not options.planted:
            (root / "keep").touch()
            _show(f"Kept: {root} and {memory}")
    return int(not report.is_clean)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description="Breaks things, and audits.")
    parser.add_argument("--rounds", type=int, default=20, help="how many, besides the first five; default 20")
    parser.add_argument("--seed", type=int, default=None, help="makes the plan; default: a new one, which is printed")
    parser.add_argument("--planted", choices=sorted(PLANTED), default="", help="break this promise, to see it found")
    options = parser.parse_args()
    if options.seed is None:
        options.seed = int.from_bytes(os.urandom(3), "big")
    return options


def _summary(report: Report, seconds: float) -> str:
    extra = report.explained.total() + len(report.findings["unexplained deliveries"])
    lines = [(words, report.figures[name]) for name, words in _FIGURES.items()]
    lines += [("taken more than once", extra), *((f"  {why}", report.explained[why]) for why in EXPLANATIONS)]
    lines += [(kind, len(report.findings[kind])) for kind in KINDS]
    lines += [("seconds", round(seconds))]
    return "\n".join(f"{words:32} {count:8,}" for words, count in lines)


def _findings(report: Report) -> str:
    lines = []
    for kind, found in report.findings.items():
        lines += [f"{kind}: {text}" for text in found[:_SHOWN]]
        lines += [f"{kind}: and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
    return "\n".join(lines)


def _show(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - what the command is for


if __name__ == "__main__":
    sys.exit(main())
