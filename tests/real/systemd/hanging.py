"""The daemon, with an event loop that is blocked on purpose as soon as the file /run/receipt-watcher/block is there."""

from __future__ import annotations

import asyncio
import gc
import threading
from pathlib import Path

from receipt_watcher.cli.main import main

_BLOCK = Path("/run/receipt-watcher/block")
_LOOK_SECONDS = 0.1
_NEVER = threading.Event()


def block() -> None:
    """Wait for the file, then give each loop that runs something to do that does not end."""
    while not _BLOCK.exists():
        _NEVER.wait(_LOOK_SECONDS)
    for loop in gc.get_objects():
        if isinstance(loop, asyncio.BaseEventLoop) and loop.is_running():
            loop.call_soon_threadsafe(_NEVER.wait)


if __name__ == "__main__":
    threading.Thread(target=block, daemon=True).start()
    main()
