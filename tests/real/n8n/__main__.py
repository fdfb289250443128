"""The command: `python -m tests.real.n8n [--receipts N]`, from the repository's folder.

Runs the daemon together with a real n8n and the workflows that ship, through everything that n8n does in its life, and
prints a line for each scenario. Exit code 0 where every receipt ended right, else 1; 2 where n8n is not installed:
`tests/real/n8n/install.sh` does that. It takes some two and a half minutes with 200 receipts.
"""

from __future__ import annotations

import argparse
import functools
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from tests.real.n8n import scenarios
from tests.real.n8n.server import VERSION, why_absent


def main() -> int:
    """Run all scenarios and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.real.n8n", description="The daemon and a real n8n.")
    parser.add_argument("--receipts", type=int, default=200, help="how many go in one go; default 200")
    parser.add_argument("--only", nargs="+", default=[""], help="only scenarios whose name has one of these in it")
    options = parser.parse_args()
    if absent := why_absent():
        print(absent, file=sys.stderr)  # noqa: T201
        return 2
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, scenarios.pair(Path(folder)) as pair:
        _say(began, f"n8n {VERSION} has started, with the shipped workflows imported and published")
        chosen = [
            run for run in _scenarios(options.receipts) if any(part in run.func.__name__ for part in options.only)
        ]
        failed = [run for run in chosen if not _ends_right(run, pair, began)]
        pages = pair.services.counted()
        _say(began, f"{pages.total()} receipts were booked, {pages.total() - len(pages)} of them twice")
    _say(began, f"{len(failed)} of {len(chosen)} scenarios failed" if failed else "every receipt ended right")
    return 1 if failed else 0


def _scenarios(receipts: int) -> list[functools.partial[str]]:
    return [
        functools.partial(scenarios.tests_have_no_effect),
        functools.partial(scenarios.all_kinds, count=receipts, payload="json"),
        functools.partial(scenarios.all_kinds, count=receipts, payload="multipart", per_job_tokens=True),
        functools.partial(scenarios.looked_at),
        functools.partial(scenarios.repeated),
        functools.partial(scenarios.wrong_key),
        functools.partial(scenarios.unpublished),
        functools.partial(scenarios.stopped_in_a_burst, count=max(8, receipts // 4)),
        functools.partial(scenarios.killed_after_its_200, count=max(4, receipts // 20)),
        functools.partial(scenarios.nodes_that_throw),
        functools.partial(scenarios.by_link),
        functools.partial(scenarios.signatures),
        functools.partial(scenarios.forged),
        functools.partial(scenarios.large),
        functools.partial(scenarios.extracted),
    ]


def _ends_right(run: Callable[[scenarios.Pair], str], pair: scenarios.Pair, began: float) -> bool:
    try:
        _say(began, run(pair))
    except AssertionError:
        traceback.print_exc()
        return False
    return True


def _say(began: float, line: str) -> None:
    print(f"{time.monotonic() - began:6.1f} s  {line}", flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
