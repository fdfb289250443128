"""Time limits for calls that the kernel may never return from: a share whose server is gone hangs even a stat(2).

What it promises: `within` and `answering` return or raise in time. What hangs goes on hanging in a thread of its own,
which keeps nobody from exiting; there is no way to end it.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import TypeVar

_Result = TypeVar("_Result")

#: Seconds between two looks for a stop.
_LOOK_SECONDS = 0.1


def within(seconds: float, call: Callable[[], _Result], what: object) -> _Result:
    """Return what `call` returns, or raise what it raises.

    Raises:
        TimeoutError: it did neither within so many seconds; `what` names what did not answer.
        OSError: no thread can be started.
    """
    thread, future = _started(call, f"within {seconds:g} s")
    thread.join(seconds)
    if not future.done():
        raise _timed_out(seconds, what)
    return future.result()


def answering(
    seconds: float, steps: Iterable[_Result], what: object, stopping: threading.Event | None = None
) -> list[_Result]:
    """Return what `steps` yields, or raise what it raises; each step has so many seconds, their number none.

    When `stopping` is set, what was yielded until then is returned at once.

    Raises:
        TimeoutError: a step took longer; `what` names what did not answer.
        OSError: no thread can be started.
    """
    answers: list[_Result] = []

    def run_through() -> None:
        for step in steps:
            answers.append(step)
            if stopping is not None and stopping.is_set():
                return

    thread, future = _started(run_through, f"answering in {seconds:g} s")
    known, quiet_seconds, look_seconds = 0, 0.0, min(_LOOK_SECONDS, seconds)
    while not future.done():
        thread.join(look_seconds)
        if stopping is not None and stopping.is_set():
            return list(answers)
        known, quiet_seconds = len(answers), 0.0 if len(answers) > known else quiet_seconds + look_seconds
        if quiet_seconds >= seconds and not future.done():
            raise _timed_out(seconds, what)
    future.result()
    return answers


def _started(call: Callable[[], _Result], name: str) -> tuple[threading.Thread, Future[_Result]]:
    """Start a call in a thread of its own."""
    future: Future[_Result] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except Exception as error:  # noqa: BLE001 - raised again in the thread that asked
            future.set_exception(error)

    # Not of a pool: the interpreter waits for a pool's threads before it exits.
    thread = threading.Thread(target=run, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        why = f"{error}; look at TasksMax= of the service, and at ulimit -u"
        raise OSError(errno.EAGAIN, why) from error
    return thread, future


def _timed_out(seconds: float, what: object) -> TimeoutError:
    return TimeoutError(errno.ETIMEDOUT, f"did not answer within {seconds:g} s; is its server there?", str(what))
