"""A copy of the job log while it is in use: as a backup, or in the place of the file that was deleted under us.

What it promises: a copy is of one moment, whole and durable, or it is not there.

Any thread may call it; only one copies at a time, and nobody writes meanwhile. A crash leaves a hidden file, which the
next copy replaces.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path

from receipt_watcher.errors import JobLogError, ReceiptWatcherError
from receipt_watcher.jobs.log.engine.connection import logger
from receipt_watcher.jobs.log.engine.errors import is_damage
from receipt_watcher.jobs.log.engine.sqlite import Database
from receipt_watcher.system.disk import PARTIAL_SUFFIX, flush_file, flush_folder, make_private_file, move_file


class Backup:
    """Copies of one job log; `on_copy` is a statement that is run on each that is no replacement."""

    def __init__(self, database: Database, on_copy: str) -> None:
        self._database = database
        self._path = database.path
        self._on_copy = on_copy

    def write(self, target: Path) -> int:
        """Write a consistent copy, as of one moment, to a new file, and return how many jobs it has.

        It is whole and durable, or not there.

        Raises:
            JobLogError: it cannot be read or written, or the name is taken.
        """
        partial = target.with_name(f".{target.name}{PARTIAL_SUFFIX}")
        try:
            jobs = self._copy_to(partial, self._on_copy)
            move_file(partial, target)
            flush_folder(target.parent)
        except FileExistsError as error:
            raise JobLogError(f"{target} is there already; nothing was overwritten") from error
        except OSError as error:
            raise JobLogError(f"{target} cannot be written ({error.strerror})") from error
        finally:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
        return jobs

    def restore(self, make_folder: Callable[[], None] = lambda: None) -> None:
        """Write the file anew, whole, where it was deleted while it was in use; its folder is made before.

        Raises:
            JobLogError: it cannot be written; the open file is kept, so that it can be tried again.
        """
        temporary = self._path.with_name(f".{self._path.name}.restored")
        try:
            with self._database.alone():
                make_folder()
                self._copy_to(temporary)
                for path in self._database.connection.files.beside:  # of the file that was deleted
                    path.unlink(missing_ok=True)
                temporary.replace(self._path)
                flush_folder(self._path.parent)
                self._database.connection.close()  # not before: until here there was no other
                self._database.open()
        except (ReceiptWatcherError, OSError) as error:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            why = f"the job log {self._path} was deleted while it was in use, and cannot be written anew: {error}"
            self._database.connection.note_trouble(why)
            raise JobLogError(why) from error
        logger.warning("job_log.restored", path=str(self._path), why="its file was deleted while it was in use")

    def _copy_to(self, target: Path, then: str = "") -> int:
        """Copy the log to a file of its own, run a statement on the copy, and return how many jobs it has."""
        try:
            target.unlink(missing_ok=True)
            make_private_file(target)
            with contextlib.closing(sqlite3.connect(target)) as copy:
                with self._database.alone():
                    self._database.connection.raw().backup(copy)
                if then:
                    with copy:
                        copy.execute(then)
                copy.execute("PRAGMA journal_mode = delete")  # one file, which can be read where nothing can be written
                verdict = copy.execute("PRAGMA quick_check").fetchone()[0]
                jobs = int(copy.execute("SELECT COUNT(*) FROM job").fetchone()[0])
            flush_file(target)
        except (sqlite3.Error, OSError) as error:
            if is_damage(error):
                raise JobLogError(self._database.connection.texts.damaged(str(error))) from error
            raise JobLogError(f"{target} cannot be written ({error}); is there room for it?") from error
        if verdict != "ok":
            raise JobLogError(self._database.connection.texts.damaged(verdict.splitlines()[-1]))
        return jobs
