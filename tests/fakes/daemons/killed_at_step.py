"""A process that ends in the midst of its work: killed (-9) instead of any one of its steps on disk.

A step is whatever changes a folder or a file (Python's audit events tell it, so none is left out when the code is
written differently), a flush, the middle of a copy, and the begin of each transaction. No handler runs after the last
one, nothing is flushed and nothing is cleaned up.
"""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import IO, Any, NoReturn

from receipt_watcher.jobs.log.engine.sqlite import Database
from receipt_watcher.system import disk

#: The exit code of a process that died before its work was done; any other is an error in it.
DIED = -signal.SIGKILL
_BROKEN = 98

_CHANGES = {"os.rename", "os.remove", "os.link", "os.mkdir", "os.rmdir", "os.utime", "os.chmod", "os.truncate"}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class _Steps:
    """Counts steps, writes each one's name into a pipe, and ends the process instead of the last."""

    def __init__(self, last: int | None, pipe: int) -> None:
        self._last = last
        self._pipe = pipe
        self._done = 0

    def step(self, name: str) -> None:
        if self._done == self._last:
            os.kill(os.getpid(), signal.SIGKILL)
        self._done += 1
        os.write(self._pipe, f"{name}\n".encode())

    def on_audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in _CHANGES:
            self.step(event.removeprefix("os."))
        elif event == "open" and arguments[2] & _WRITES:
            self.step("open")

    def before(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def stepping(*arguments: Any, **options: Any) -> Any:
            self.step(name)
            return call(*arguments, **options)

        return stepping

    def plug(self) -> None:
        """Be asked before each step, from now on."""
        transaction = Database.transaction

        @contextlib.contextmanager
        def committing(database: Database) -> Iterator[None]:
            if not database.in_transaction:
                self.step("transaction")
            with transaction(database):
                yield

        def in_halves(reader: IO[bytes], writer: IO[bytes], *_: int) -> None:
            content = reader.read()
            writer.write(content[: len(content) // 2])
            writer.flush()
            self.step("second half of the copy")
            writer.write(content[len(content) // 2 :])

        setattr(Database, "transaction", committing)  # noqa: B010 - mypy does not let a method be assigned
        setattr(shutil, "copyfileobj", in_halves)  # noqa: B010 - likewise
        os.fsync = self.before("fsync", os.fsync)
        disk._renameat2 = self.before("renameat2", disk._renameat2)
        sys.addaudithook(self.on_audit)


def steps_until(last: int | None, work: Callable[[], object]) -> tuple[list[str], int]:
    """Do something in a process of its own that ends instead of this step; return its steps and its exit code.

    The caller has no open database, and no thread that holds a lock: where pytest shares the tests out, its own one
    only reads. With `last` None the process does all its steps, and ends with 0.
    """
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside that thread, from Python 3.12 on
        child = os.fork()
    if child == 0:
        gc.disable()  # it soon ends, and what it has from us is much
        _do(work, _Steps(last, writing))
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as pipe:
        steps = pipe.read().splitlines()
    return steps, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _do(work: Callable[[], object], steps: _Steps) -> NoReturn:
    try:
        steps.plug()
        work()
    except BaseException:  # noqa: BLE001 - this process must not become a second pytest
        traceback.print_exc()
        os._exit(_BROKEN)
    os._exit(0)
