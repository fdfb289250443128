"""The command: `python -m tests.real.systemd [--debian NAME] [--only NAME…]`, from the repository's folder, as root.

Boots a Debian with a real systemd (see `machine`), installs the service, and takes it through what a service meets in
its life. Prints a line for each scenario. Exit code 0 where all ended right, else 1; 2 where no machine
can be booted here. The first run makes the Debian: a minute, 300 MB. `--debian trixie` boots one with systemd 257.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from tests.real.systemd import scenarios, upkeep
from tests.real.systemd.machine import Machine, own_debian, tree, why_impossible
from tests.real.systemd.office import Office

#: In this order: each goes on with what the one before left.
SCENARIOS: tuple[Callable[[Office], str], ...] = (
    upkeep.pasted,
    scenarios.installed_by_command,
    scenarios.packaged,
    scenarios.rebooted,
    scenarios.killed,
    scenarios.stopped_while_n8n_hangs,
    scenarios.misconfigured,
    scenarios.hanging,
    scenarios.reloaded,
    scenarios.with_credentials,
    scenarios.two_instances,
    scenarios.mounted_late,
    scenarios.journalled,
    upkeep.strict,
    upkeep.idle,
    upkeep.restarted_often,
    upkeep.upgraded_under_callbacks,
    upkeep.upgrade_failed,
    scenarios.upgraded,
    scenarios.purged,
)
#: Scenarios that all others build on.
_ALWAYS = frozenset({"packaged"})


def main() -> int:
    """Run the scenarios and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.real.systemd", description="The service on a real systemd.")
    parser.add_argument("--only", nargs="+", default=[""], help="only scenarios whose name has one of these in it")
    parser.add_argument("--debian", default="", metavar="NAME", help="such as trixie; by default that of this machine")
    options = parser.parse_args()
    if impossible := why_impossible():
        print(impossible, file=sys.stderr)  # noqa: T201
        return 2
    debian = options.debian or own_debian()
    tree(debian)
    began = time.monotonic()
    chosen = [run for run in SCENARIOS if run.__name__ in _ALWAYS or any(part in run.__name__ for part in options.only)]
    with tempfile.TemporaryDirectory() as folder, Machine(Path(folder), debian) as machine:
        office = Office(machine)
        version = machine.run("systemctl", "--version").stdout.split()[1]
        _say(began, "ready", f"systemd {version} has booted")
        office.start_n8n()
        ends = [_ends(run, office, began) for run in chosen]
    failed = ends.count("FAILED")
    waiting = f", {ends.count('waits')} wait" if "waits" in ends else ""
    _say(began, "FAILED" if failed else "right", f"{failed} of {len(chosen)} scenarios failed{waiting}")
    return 1 if failed else 0


def _ends(run: Callable[[Office], str], office: Office, began: float) -> str:
    try:
        office.n8n_does("answer")
        said, end = run(office), "right"
    except scenarios.Waiting as waiting:
        said, end = str(waiting), "waits"
    except Exception:  # noqa: BLE001 - the others are to be seen, too
        traceback.print_exc()
        said, end = run.__name__, "FAILED"
    _say(began, end, said)
    return end


def _say(began: float, end: str, line: str) -> None:
    print(f"{time.monotonic() - began:6.1f} s  {end:6}  {line}", flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
