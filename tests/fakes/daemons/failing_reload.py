"""The daemon with a defect that shows at a reload: `python -m tests.fakes.daemons.failing_reload run …`.

`STUMBLES=build` or `STUMBLES=start` says where.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from receipt_watcher.cli.main import main
from receipt_watcher.service.process.daemon import Daemon


def _once(call: Callable[..., None]) -> Callable[..., None]:
    """Return the call, whose second time ends in an error."""
    times = 0

    def counted(*arguments: object, **options: object) -> None:
        nonlocal times
        times += 1
        call(*arguments, **options)
        if times == 2:
            raise RuntimeError("can't start new thread")

    return counted


if __name__ == "__main__":
    if os.environ["STUMBLES"] == "build":
        Daemon.__init__ = _once(Daemon.__init__)  # type: ignore[method-assign]
    else:
        Daemon.start = _once(Daemon.start)  # type: ignore[method-assign]
    main()
