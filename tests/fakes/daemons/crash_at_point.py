"""receipt-watcher that dies, as by kill -9 or a power cut, at one point of the crash table.

`python -m tests.fakes.daemons.crash_at_point run …` with CRASH_AT naming one of `POINTS`: the step behind that point is
replaced by one that ends the process at once. Nothing in the production code knows of it. A step that was renamed is an
AttributeError here: move the plug along with it.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

from receipt_watcher.cli import main
from receipt_watcher.delivery import callbacks
from receipt_watcher.delivery.destinations.n8n import webhook
from receipt_watcher.delivery.outcomes import Outcomes
from receipt_watcher.inbox.duplicates import DuplicateCheck
from receipt_watcher.jobs.job import Folder, Job
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.log.moves import Moves
from receipt_watcher.jobs.log.transitions import Jobs
from receipt_watcher.spool import retention
from receipt_watcher.spool.filing import Filing
from receipt_watcher.spool.folders import Spool
from receipt_watcher.spool.retention import Remover
from receipt_watcher.system import disk

#: The crash table: what a stop at each boundary leaves behind, and what the next start does. The README shows the same.
BOUNDARIES: dict[str, str] = {
    "after the move into processing": (
        "On disk: the file in processing/<job id>/. In the log: nothing. "
        "Recovery: examines it and records it under the id that its folder bears; then it is sent."
    ),
    "after the record": (
        "On disk: the file in processing/<job id>/. In the log: queued. Recovery: nothing to mend; it is sent."
    ),
    "after the claim": (
        "On disk: the file in processing/<job id>/. In the log: delivering. "
        "Recovery: nobody knows whether it was sent, so the callback is awaited; after the deadline it is sent again "
        "under the same id. If no callback can come, it fails as outcome_unknown and is not sent again."
    ),
    "in the POST": (
        "On disk: the file in processing/<job id>/. In the log: delivering. "
        "Recovery: as after the claim; N8N drops a request without its end."
    ),
    "after the POST": (
        "On disk: the file in processing/<job id>/. In the log: delivering, since the answer was not written down. "
        "Recovery: as after the claim; N8N's callback, when it comes, concludes the job, and nothing is sent again."
    ),
    "after accept": (
        "On disk: the file in processing/<job id>/. In the log: processing, with a deadline. "
        "Recovery: the deadline is moved by the time we were away, and the callback is awaited until then."
    ),
    "after the verdict": (
        "On disk: the file in processing/<job id>/. In the log: success or failure, its move due. "
        "Recovery: files it away; N8N, which got no answer, may call back again and gets 200."
    ),
    "in the move to done": (
        "On disk: the file in processing/<job id>/. In the log: success, and where it is being moved to. "
        "Recovery: moves it there."
    ),
    "after the move to done": (
        "On disk: the file in done/. In the log: success, and that it is being moved there. "
        "Recovery: finds it there and writes that down."
    ),
    "in the move to failed": (
        "On disk: the file in processing/<job id>/. In the log: failure, and where it is being moved to. "
        "Recovery: moves it there and writes the note beside it."
    ),
    "after the move to failed": (
        "On disk: the file in failed/, perhaps with its note. In the log: failure, and that it is being moved there. "
        "Recovery: finds it there, writes the note again, and writes both down."
    ),
    "in a retry's move back": (
        "On disk: the file in failed/ or in processing/<job id>/. In the log: queued, and that it is being moved back. "
        "Recovery: finishes the move, examines the file again and sends it; until then it is not sent."
    ),
    "in a dropped-back file's move to its old id": (
        "On disk: the file in processing/<new id>/ or in processing/<old id>/. In the log: the old job, queued, and "
        "that it is being moved to its old id. Recovery: finishes the move, and sends it under the old id."
    ),
    "in a removal by retention": (
        "On disk: the file in done/ or in failed/, or nothing any more. "
        "In the log: the verdict, and that the file is removed. "
        "Recovery: compares it with its digest again and removes it, with its note; what is another file by now stays, "
        "and the log says so."
    ),
    "in a copy to another file system": (
        "On disk: the file in its old place, and a part of it, or all, under a temporary name in its new place. "
        "In the log: as before the move. Recovery: removes the copy, or overwrites it, and moves the file again."
    ),
    "after the rename of a copy on another file system": (
        "On disk: the file whole in both places. In the log: as before the move. "
        "Recovery: compares the two byte for byte, and removes the one in the old place."
    ),
    "after the link, where no rename keeps from replacing": (
        "On disk: one file under its old name and its new one. In the log: as before the move. "
        "Recovery: removes the old name."
    ),
    "after a name was reserved, where links cannot be made either": (
        "On disk: the file in its old place, and an empty one under its new name. In the log: as before the move. "
        "Recovery: removes the empty one, and moves the file again."
    ),
}


@dataclass(frozen=True, slots=True)
class Point:
    """A point to die at: a boundary of the table, and the plug that is put behind it."""

    boundary: str
    plug: Callable[[], None]


def die(*_: object, **__: object) -> NoReturn:
    """End as by kill -9: no handler runs, nothing is flushed."""
    os.kill(os.getpid(), signal.SIGKILL)
    threading.Event().wait()
    sys.exit("unreachable")


def _instead_of(owner: Any, name: str, is_meant: Callable[..., bool] = lambda *_, **__: True) -> Callable[[], None]:
    """Return the plug that dies instead of doing a step, where the call is the one that is meant."""

    def plug() -> None:
        original = getattr(owner, name)

        def step(*arguments: Any, **options: Any) -> Any:
            if is_meant(*arguments, **options):
                die()
            return original(*arguments, **options)

        setattr(owner, name, step)

    return plug


def _move_to(folder: Folder) -> Callable[[], None]:
    return _instead_of(Spool, "move", lambda _spool, _source, to, _path: to is folder)


def _flush_of_moves_to(folder: Folder) -> Callable[[], None]:
    def is_meant(spool: Spool, targets: Iterable[Path]) -> bool:
        root = spool.folders.path_of(folder)
        return any(root in target.parents for target in targets)

    def plug() -> None:
        original = Spool.flush_moves

        def step(spool: Spool, targets: Iterable[Path]) -> None:
            kept = list(targets)
            if is_meant(spool, kept):
                die()
            original(spool, kept)

        Spool.flush_moves = step  # type: ignore[method-assign,assignment]  # that is the plug

    return plug


def _record_of_moves_to(folder: Folder) -> Callable[[], None]:
    def is_meant(_log: JobLog, moves: Iterable[tuple[Job, Folder, Path]], _now: float) -> bool:
        return any(to is folder for _, to, _ in moves)

    return _instead_of(Moves, "finish_moves", is_meant)


def _clean_up_after(folder: Folder) -> Callable[[], None]:
    return _instead_of(Filing, "_clean_up", lambda _filing, _route, _job, to, _note: to is folder)


def _in_the_body() -> None:
    """Die when a part of the receipt is on the wire: its third piece is asked for once the first was sent."""
    original = webhook._verified_pieces

    def pieces(path: Path, job: Job) -> Iterator[bytes]:
        for number, piece in enumerate(original(path, job)):
            if number == 2:
                die()
            yield piece

    webhook._verified_pieces = pieces


def _in_the_copy() -> None:
    """Die when half of a file was copied."""

    def half(reader: IO[bytes], writer: IO[bytes], _piece_bytes: int) -> None:
        content = reader.read()
        writer.write(content[: len(content) // 2])
        writer.flush()
        die()

    shutil.copyfileobj = half  # type: ignore[assignment]


def _around_the_rename(flushes: int | None) -> Callable[[], None]:
    """Die instead of the copy's rename (None), or behind it and so many flushes of folders."""

    def plug() -> None:
        rename, flush = disk._rename_no_replace, disk.flush_folder
        left: list[int] = []

        def renaming(source: Path, target: Path) -> None:
            is_copy = source.name.endswith(disk.PARTIAL_SUFFIX)
            if is_copy and flushes is None:
                die()
            rename(source, target)
            if is_copy:
                left.append(flushes or 0)

        def flushing(path: Path) -> None:
            if left and left[0] == 0:
                die()
            flush(path)
            if left:
                left[0] -= 1
                if left[0] == 0 and flushes == _FLUSHES_BEFORE_REMOVAL:
                    die()

        disk._rename_no_replace = renaming
        disk.flush_folder = flushing

    return plug


def _without_renameat2(
    owner: Any, name: str, is_meant: Callable[..., bool], *, links: bool = True
) -> Callable[[], None]:
    """Return a plug as `_instead_of` does, on a file system that knows no exclusive rename, and perhaps no links."""

    def refuse(*_: object, **__: object) -> NoReturn:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    def plug() -> None:
        disk._renameat2 = lambda *_: False
        if not links:
            os.link = refuse
        _instead_of(owner, name, is_meant)()

    return plug


def _is_second_name(path: Path, **_: object) -> bool:
    return "processing" in path.parts and path.stat().st_nlink > 1


def _is_to_done(_: Path, target: Path) -> bool:
    return "done" in target.parts


#: The copy's folder, and the one above that names it.
_FLUSHES_BEFORE_REMOVAL = 2

POINTS: dict[str, Point] = {
    "taken": Point("after the move into processing", _instead_of(Spool, "flush")),
    "examined": Point("after the move into processing", _instead_of(DuplicateCheck, "record")),
    "recorded": Point("after the record", _instead_of(Jobs, "claim")),
    "claimed": Point("after the claim", _instead_of(webhook.N8N, "deliver")),
    "posting": Point("in the POST", _in_the_body),
    "answered": Point("after the POST", _instead_of(Outcomes, "settle")),
    "accepted": Point("after accept", _instead_of(Outcomes, "_log_outcome")),
    "concluded": Point("after the verdict", _instead_of(callbacks, "log_concluded")),
    "done-intended": Point("in the move to done", _move_to(Folder.DONE)),
    "done-renamed": Point("after the move to done", _flush_of_moves_to(Folder.DONE)),
    "done-flushed": Point("after the move to done", _record_of_moves_to(Folder.DONE)),
    "done-written": Point("after the move to done", _clean_up_after(Folder.DONE)),
    "failed-intended": Point("in the move to failed", _move_to(Folder.FAILED)),
    "failed-renamed": Point("after the move to failed", _flush_of_moves_to(Folder.FAILED)),
    "failed-noted": Point("after the move to failed", _record_of_moves_to(Folder.FAILED)),
    "failed-written": Point("after the move to failed", _clean_up_after(Folder.FAILED)),
    "retry-intended": Point("in a retry's move back", _move_to(Folder.PROCESSING)),
    "retry-renamed": Point("in a retry's move back", _flush_of_moves_to(Folder.PROCESSING)),
    "retry-written": Point("in a retry's move back", _clean_up_after(Folder.PROCESSING)),
    "again-intended": Point("in a dropped-back file's move to its old id", _move_to(Folder.PROCESSING)),
    "again-renamed": Point("in a dropped-back file's move to its old id", _flush_of_moves_to(Folder.PROCESSING)),
    "again-written": Point("in a dropped-back file's move to its old id", _clean_up_after(Folder.PROCESSING)),
    "removal-intended": Point("in a removal by retention", _instead_of(retention, "_unlink")),
    "removal-unlinked": Point("in a removal by retention", _instead_of(Remover, "_finish")),
    "removal-flushed": Point("in a removal by retention", _instead_of(Moves, "finish_removals")),
    "copying": Point("in a copy to another file system", _in_the_copy),
    "copied": Point("in a copy to another file system", _around_the_rename(None)),
    "copy-renamed": Point("after the rename of a copy on another file system", _around_the_rename(0)),
    "copy-flushed": Point(
        "after the rename of a copy on another file system", _around_the_rename(_FLUSHES_BEFORE_REMOVAL)
    ),
    "done-linked": Point(
        "after the link, where no rename keeps from replacing", _without_renameat2(Path, "unlink", _is_second_name)
    ),
    "done-reserved": Point(
        "after a name was reserved, where links cannot be made either",
        _without_renameat2(Path, "rename", _is_to_done, links=False),
    ),
}

if __name__ == "__main__":
    POINTS[os.environ.pop("CRASH_AT")].plug()
    main.main()
