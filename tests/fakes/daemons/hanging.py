"""The daemon whose parts hang from a signal on: `python -m tests.fakes.daemons.hanging run --config …`.

`SIGNALS` says which.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable

import structlog

from receipt_watcher.cli.main import main
from receipt_watcher.inbox.observer import InboxObserver
from receipt_watcher.jobs.log.engine.sqlite import Database
from receipt_watcher.system.state_dir import Installation
from receipt_watcher.web.server.thread import _Uvicorn

#: The signal that makes each part hang, by its name in the log.
SIGNALS = {"HTTP": signal.SIGUSR1, "the inbox office": signal.SIGUSR2, "the job log": signal.SIGWINCH}
#: The next copy of the job log never ends.
COPY_HANGS = signal.SIGURG

_for_ever = threading.Event().wait
_inbox_hangs = threading.Event()
_copy_hangs = threading.Event()
_found: dict[str, object] = {}


def _noting(name: str, init: Callable[..., None]) -> Callable[..., None]:
    def noted(self: object, *arguments: object, **options: object) -> None:
        _found[name] = self
        init(self, *arguments, **options)

    return noted


def _hang_http() -> None:
    server = _found["server"]
    assert isinstance(server, _Uvicorn)
    assert isinstance(server.loop, asyncio.AbstractEventLoop)
    server.loop.call_soon_threadsafe(_for_ever)


def _hang_log() -> None:
    database = _found["log"]
    assert isinstance(database, Database)
    database._turns._lock.acquire()  # by the main thread, which never gives it back


def _refresh(_observer: InboxObserver) -> None:
    """Hang where no file system is asked: that would be its own fault, and make the inbox unavailable."""
    if _inbox_hangs.is_set():
        _for_ever()


def _make_folder(_installation: Installation) -> None:
    """Hang just before the log is written anew, with its lock held."""
    if _copy_hangs.is_set():
        structlog.get_logger().info("test.copy_hangs")
        _for_ever()


if __name__ == "__main__":
    _Uvicorn.__init__ = _noting("server", _Uvicorn.__init__)  # type: ignore[method-assign]
    Database.__init__ = _noting("log", Database.__init__)  # type: ignore[method-assign]
    Installation.restore = _make_folder  # type: ignore[assignment,method-assign]
    InboxObserver.refresh = _refresh  # type: ignore[assignment,method-assign]
    hangs: dict[str, Callable[[], None]] = {
        "HTTP": _hang_http,
        "the inbox office": _inbox_hangs.set,
        "the job log": _hang_log,
    }
    for part, number in SIGNALS.items():
        signal.signal(number, lambda *_, hang=hangs[part]: hang())
    signal.signal(COPY_HANGS, lambda *_: _copy_hangs.set())
    main()
