"""A process in pieces: its threads run one at a time, stop between any two steps, and die together when it is killed.

A step is a transaction or a query of the job log, a move or a flush of the spool, or whatever else calls `Life.step`.
An `Actor` runs so many steps as it is told and then waits, so a test decides which thread goes on next; nothing else
runs meanwhile, so the same decisions have the same end. Never paused is what holds the log's lock. A killed process
does not clean up: whatever its handlers try ends in `Killed`, too.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from receipt_watcher.jobs.job import Folder
from receipt_watcher.jobs.log.engine.sqlite import Database
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.spool.folders import Spool
from receipt_watcher.spool.paths import SpoolFolders
from receipt_watcher.spool.processing import Processing

_DEADLOCK_SECONDS = 60.0


class Killed(BaseException):
    """The process is over."""


class Life:
    """One life of a process; each of its steps asks here whether it goes on."""

    def __init__(self) -> None:
        self.is_over = False
        self.steps_left: int | None = None  # until it dies by itself; None: it does not
        self.actors: dict[threading.Thread, Actor] = {}

    def step(self, *, may_pause: bool = True) -> None:
        """Go on, pause, or die."""
        if self.steps_left == 0:
            self.is_over = True
        elif self.steps_left is not None:
            self.steps_left -= 1
        actor = self.actors.get(threading.current_thread())
        if may_pause and actor is not None and not self.is_over:
            actor.pause_when_told()
        if self.is_over:
            raise Killed


class Actor:
    """One thread of the process."""

    def __init__(self, life: Life, work: Callable[[], object]) -> None:
        self.has_ended = False
        self._life = life
        self._work = work
        self._steps = 0
        self._error: BaseException | None = None
        self._mine, self._yours = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, daemon=True)
        life.actors[self._thread] = self

    def go_on(self, steps: int) -> None:
        """Let it do so many steps; return when it has ended or waits. Its error is raised here."""
        self._steps = steps
        if self._thread.ident is None:
            self._thread.start()
        else:
            self._mine.release()
        if not self._yours.acquire(timeout=_DEADLOCK_SECONDS):
            raise AssertionError("the process hangs: a thread waits for one that is paused")
        if self.has_ended:
            self._thread.join()
            del self._life.actors[self._thread]
        if self._error is not None:
            raise self._error

    def pause_when_told(self) -> None:
        """Wait here for the next `go_on` when the steps are used up."""
        if self._steps == 0:
            self._yours.release()
            self._mine.acquire()
        self._steps -= 1

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001 - it is raised where the actor is told to go on
            if not self._life.is_over:
                self._error = error
        finally:
            self.has_ended = True
            self._yours.release()


class SteppingDatabase(Database):
    """A database whose every transaction is a step, and in which every statement may be the last."""

    _life: Life

    @classmethod
    def put_into(cls, log: JobLog, life: Life) -> None:
        """Let all parts of a job log, which hold its database, go step by step."""
        log.database.__class__ = cls
        assert isinstance(log.database, cls)
        log.database._life = life

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Do a step before and after what is a transaction of its own."""
        is_inner = self.in_transaction
        if not is_inner:
            self._life.step()
        with super().transaction():
            yield
        if not is_inner:
            self._life.step()

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Do a step before what is asked outside of a transaction: what is read may be old when it is used.

        None between several questions of one turn: there nobody else is let in.
        """
        if not self._turns.is_my_turn:
            self._life.step()
        with super().reading():
            yield

    def change(self, statement: str, *values: object) -> int:
        """Perhaps die in the middle of a transaction."""
        if self.in_transaction:
            self._life.step(may_pause=False)
        return super().change(statement, *values)

    def die(self) -> None:
        """Drop the connection, as the end of the process does."""
        self.connection.close()


class SteppingLog(JobLog):
    """A job log on such a database."""

    def __init__(self, path: Path, life: Life) -> None:
        super().__init__(path)
        SteppingDatabase.put_into(self, life)

    def die(self) -> None:
        """Drop the connection, as the end of the process does."""
        assert isinstance(self.database, SteppingDatabase)
        self.database.die()


class SteppingProcessing(Processing):
    """A folder processing/ whose tidying is a step."""

    def __init__(self, folders: SpoolFolders, life: Life) -> None:
        super().__init__(folders)
        self._life = life

    def tidy(self, job_id: str) -> None:
        """Tidy after a step."""
        self._life.step()
        super().tidy(job_id)


class SteppingSpool(Spool):
    """A spool whose moves and flushes are steps."""

    def __init__(self, name: str, folders: SpoolFolders, life: Life) -> None:
        super().__init__(name, folders)
        self.processing = SteppingProcessing(folders, life)
        self._life = life

    def take(self, relative: Path, job_id: str) -> Path:
        """Move a file in, between two steps."""
        self._life.step()
        path = super().take(relative, job_id)
        self._life.step()
        return path

    def move(self, source: Path, folder: Folder, path: Path) -> None:
        """Move a file, between two steps."""
        self._life.step()
        super().move(source, folder, path)
        self._life.step()

    def flush(self, paths: Collection[Path]) -> None:
        """Flush after a step."""
        self._life.step()
        super().flush(paths)

    def flush_moves(self, targets: Collection[Path]) -> None:
        """Flush after a step."""
        self._life.step()
        super().flush_moves(targets)
