"""receipt-watcher on a machine whose clock is set while it runs.

`python -m tests.fakes.daemons.clock_steps run …` with CLOCK_FILE naming a file that holds by how many seconds the
system's clock is wrong, and by how many the machine has slept: both may change at any time. Nothing in the production
code knows of it.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from receipt_watcher.cli import main
from receipt_watcher.service import wiring
from receipt_watcher.system import clock


def _read(index: int) -> float:
    return float(Path(os.environ["CLOCK_FILE"]).read_text("ascii").split()[index])


class SteppedClock(clock.SteadyClock):
    """The real one, on a system's clock that is wrong."""

    def __init__(self, *_: object) -> None:
        super().__init__(
            wall=lambda: time.time() + _read(0),
            boot_time=lambda: time.clock_gettime(time.CLOCK_BOOTTIME) + _read(1),
        )


if __name__ == "__main__":
    setattr(wiring, "SteadyClock", SteppedClock)  # noqa: B010 - that is the plug
    sys.argv[0] = "receipt-watcher"
    main.main()
