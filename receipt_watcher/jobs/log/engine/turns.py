"""Turns at the connection, and transactions that share one commit.

What it promises: transactions of threads that wait for each other share one commit, so that a slow disk is waited for
once: each is a part of its own, which can fail alone, and no method returns, be it one that only read, before what it
wrote or saw is durable. Write transactions begin IMMEDIATE, since SQLite refuses at once to upgrade a transaction that
has read, whatever the busy timeout; so other processes (`retry`, `cancel`) may write too.

Any thread may call it: one connection, one lock. A crash leaves whole transactions or none.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Iterator

from peewee import DatabaseError

from receipt_watcher.errors import JobLogError
from receipt_watcher.jobs.log.engine.connection import LogConnection
from receipt_watcher.jobs.log.engine.errors import LOCKED
from receipt_watcher.jobs.log.engine.locked import patience_seconds

#: For how long a request sleeps while it waits for its turn.
_LOOK_SECONDS = 0.05


class Group:
    """Transactions that share a commit; `before` is how many rows had ever been changed when it began."""

    def __init__(self, before: int) -> None:
        self.before = before
        self.why_lost: str | None = "its commit was broken off"
        self._is_over = threading.Event()

    def end(self, why_lost: str | None) -> None:
        """Let all parts go on: what they wrote is durable, or lost."""
        self.why_lost = why_lost
        self._is_over.set()

    def wait(self) -> None:
        """Return when the group is durable.

        Raises:
            JobLogError: nothing of it was written.
        """
        self._is_over.wait()
        if self.why_lost is not None:
            raise JobLogError(self.why_lost)


class OwnTurn:
    """The turn of one thread; a class and no generator, since each question takes one."""

    __slots__ = ("_is_first", "_turns")

    def __init__(self, turns: ConnectionTurns) -> None:
        self._turns = turns
        self._is_first = False

    def __enter__(self) -> None:
        self._is_first = self._turns.begin_turn()

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if self._is_first:
            group = self._turns.end_turn()
            if group is not None and error is None:
                group.wait()


class ConnectionTurns:
    """The turns of all threads at one connection."""

    def __init__(self, connection: LogConnection) -> None:
        self._connection = connection
        self._lock = threading.RLock()
        self._waiting: deque[None] = deque()  # as many as there are threads that wait for their turn
        self._owner: int | None = None  # the thread whose turn it is
        self._is_writing = False  # it is inside of a transaction
        self._group: Group | None = None  # what was written in this turn and those before, and is not committed

    @property
    def has_uncommitted(self) -> bool:
        """Whether something was written that may be lost yet."""
        return self._group is not None

    @property
    def in_transaction(self) -> bool:
        """Whether the calling thread is inside of a transaction."""
        return self._is_writing and self.is_my_turn

    @property
    def is_my_turn(self) -> bool:
        """Whether the calling thread has the connection to itself."""
        return self._owner == threading.get_ident()

    def turn(self) -> OwnTurn:
        """Return a context to have the connection to oneself; at its end all that was written so far is durable.

        Whoever ends a turn while somebody waits for the next one leaves the commit to them: the last one commits for
        all. No group grows for ever, for each thread that took part waits for its end.
        """
        return OwnTurn(self)

    def begin_turn(self) -> bool:
        """Wait for the connection, and return whether the calling thread has it only now.

        Raises:
            JobLogError: another program keeps the log locked for longer than the caller waits.
        """
        if self.is_my_turn:
            return False
        self._waiting.append(None)
        try:
            is_ours = self._has_taken_turn()
        finally:
            self._waiting.pop()
        if not is_ours:
            self._give_up_turn()
        self._owner = threading.get_ident()
        return True

    def end_turn(self) -> Group | None:
        """Give the connection on, and return what must be waited for: what was written by now."""
        self._owner = None
        group = self._group
        try:
            if group is not None and not self._waiting:
                self.commit(group)
        finally:
            self._lock.release()
        return group

    def _has_taken_turn(self) -> bool:
        """Wait for the connection; return False when another program has locked the log for longer than we wait.

        A caller that is less patient than others finds out at once whether it still is locked: reading may go on
        meanwhile, but what is shown then may be about to change, and the next write would keep the caller waiting.
        """
        patience = patience_seconds.get()
        if patience is None:
            return self._lock.acquire()
        while not self._lock.acquire(timeout=_LOOK_SECONDS):
            if self._connection.locked.seconds >= patience:
                return False
        is_ours = False
        try:
            is_ours = self._connection.locked.seconds < patience or not self._is_still_locked()
        finally:  # also if the file turns out to be damaged: nobody else would ever have a turn
            if not is_ours:
                self._lock.release()
        return is_ours

    def _is_still_locked(self) -> bool:
        return self._group is None and self._connection.is_open and self._connection.is_still_locked()

    def _give_up_turn(self) -> None:
        """Leave without a turn.

        Raises:
            JobLogError: always: another program keeps the log locked.
        """
        if self._group is not None:  # whose last part may have left the commit to us
            with self.alone():
                pass
        raise JobLogError(
            f"the job log {self._connection.files.path} cannot be used now: {LOCKED}; {self._connection.locked.advice}"
        )

    @contextlib.contextmanager
    def part(self) -> Iterator[Group]:
        """Write as a part of a group, which begins with its first part; a later one that fails is taken back alone."""
        group = self._group
        is_first = group is None
        if group is None:
            group = Group(self._connection.changes())
            self._connection.execute("BEGIN IMMEDIATE", ())
            self._connection.locked.is_over()
            self._group = group
        else:
            self._connection.execute("SAVEPOINT part", ())
        self._is_writing = True
        try:
            yield group
            if not is_first:
                self._connection.execute("RELEASE part", ())
        except BaseException as error:
            if is_first or not self._take_back():
                self._group = None
                self._roll_back()
                group.end(str(error) if isinstance(error, JobLogError) else self._connection.texts.why(error))
            raise
        finally:
            self._is_writing = False

    def _take_back(self) -> bool:
        """Take back a part; False where SQLite has taken back the whole group, as it does when a disk is full."""
        try:
            self._connection.execute("ROLLBACK TO part", ())
            self._connection.execute("RELEASE part", ())
        except DatabaseError:
            return False
        return True

    def _roll_back(self) -> None:
        with contextlib.suppress(DatabaseError):  # SQLite may have done it by itself
            self._connection.execute("ROLLBACK", ())

    def commit(self, group: Group) -> None:
        """Make a group durable, or let all of its parts fail."""
        self._group = None
        why_lost: str | None = group.why_lost
        try:
            with self._connection.in_own_words():
                self._connection.execute("COMMIT", ())
            why_lost = None
        except JobLogError as error:
            why_lost = str(error)
        finally:
            if why_lost is not None:
                self._roll_back()
            group.end(why_lost)
        if why_lost is None and self._connection.changes() != group.before:
            self._connection.note_mended()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Have the connection to oneself, with nothing that is not committed."""
        with self._lock:
            if self._group is not None and not self.is_my_turn:
                self.commit(self._group)
            yield
