"""The command: `python -m tests.mutation [MODULE…]`, from the repository's folder.

Each mutant of each pure module is run against the module's own tests. Prints those that no test notices: with the
reason if it is known to change nothing, and exit code 1 if another one is among them. It takes some fifteen minutes.
"""

from __future__ import annotations

import argparse
import sys

from tests.mutation.equivalents import EQUIVALENT
from tests.mutation.run import Result, survivors_of
from tests.mutation.targets import TARGETS


def main() -> int:
    """Print the survivors of the modules that are asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description="Changes that no test notices.")
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="such as inbox.turns; all without one")
    wanted = parser.parse_args().modules or list(TARGETS)
    unknown = 0
    for module in wanted:
        result = survivors_of(module, TARGETS[module])
        unknown += _show(module, result)
    return 1 if unknown else 0


def _show(module: str, result: Result) -> int:
    """Print what became of a module's mutants; return how many survived without a reason."""
    sys.stdout.write(f"{module}: {result.mutants - len(result.survivors)} of {result.mutants} noticed\n")
    unknown = 0
    for mutant in result.survivors:
        reason = EQUIVALENT.get((module, mutant.name))
        unknown += reason is None
        sys.stdout.write(f"  line {mutant.line}: {mutant.name}\n    {reason or 'NOT NOTICED'}\n")
    sys.stdout.flush()
    return unknown


if __name__ == "__main__":
    sys.exit(main())
