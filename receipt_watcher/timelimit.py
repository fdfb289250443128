"""Time limits for calls that the kernel may never return from: a share whose server is gone hangs even a stat(2).

What it promises: `within` returns or raises in time. What hangs goes on hanging in a thread of its own, which keeps
nobody from exiting; there is no way to end it.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

_Result = TypeVar("_Result")


def within(seconds: float, call: Callable[[], _Result], what: object) -> _Result:
    """Return what `call` returns, or raise what it raises.

    Raises:
        TimeoutError: it did neither within so many seconds; `what` names what did not answer.
    """
    future: Future[_Result] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except Exception as error:  # noqa: BLE001 - raised again in the thread that asked
            future.set_exception(error)

    # Not of a pool: the interpreter waits for a pool's threads before it exits.
    thread = threading.Thread(target=run, name=f"within {seconds:g} s", daemon=True)
    thread.start()
    thread.join(seconds)
    if not future.done():
        raise TimeoutError(errno.ETIMEDOUT, f"did not answer within {seconds:g} s; is its server there?", str(what))
    return future.result()
