"""Marks: what an admin has accepted by a command, for the running or the next daemon to do once.

Promise: a mark is used once, and only for what the admin saw. It names the folders' identities and the installation
that processing/.owner named then; it is void when either differs, and after 24 hours. It is a file in the state folder,
which belongs to the service's user like all others there.

Commands leave marks; the thread of the inbox finds and uses them. A crash after the use and before the removal leaves
a mark that is void, because the owner that it replaces is there no more, or that has nothing left to do.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import structlog

from receipt_watcher.jobs.job import Folder
from receipt_watcher.spool.folders import Spool
from receipt_watcher.system.disk import flush_folder
from receipt_watcher.system.display import display_name
from receipt_watcher.system.folder_identity import FolderPlace

logger = structlog.get_logger()

FOLDER = "marks"

#: A mark is valid for so long.
LIFE_SECONDS = 86400.0


class MarkKind(StrEnum):
    """The purpose of a mark; each is also the name of the command that leaves it."""

    BACKLOG = "accept-backlog"
    SPOOL = "take-over"


@dataclass(frozen=True, slots=True)
class Sight:
    """The spool as an admin sees it: whose it is, and where its folders are (None: not there)."""

    owner: str
    folders: dict[str, FolderPlace | None]

    @classmethod
    def of(cls, owner: str, *folders: Path) -> Sight:
        """Look at the folders that an act is about.

        Raises:
            OSError: a disk cannot tell.
        """
        return cls(owner, {display_name(folder): FolderPlace.of(folder) for folder in folders})

    def is_same(self, other: Sight) -> bool:
        """Whether the same owner and the same folders are seen, be it through other mounts."""
        if self.owner != other.owner or self.folders.keys() != other.folders.keys():
            return False
        return all(_are_same(place, other.folders[path]) for path, place in self.folders.items())

    def as_json(self) -> dict[str, Any]:
        """Return it as a mark keeps it."""
        places = {path: place and place.as_json() for path, place in self.folders.items()}
        return {"owner": self.owner, "folders": places}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Sight:
        """Return what `as_json` made this of."""
        return cls(
            fields["owner"], {path: place and FolderPlace.from_json(place) for path, place in fields["folders"].items()}
        )


def sight_of(what: MarkKind, spool: Spool) -> Sight:
    """Look at what an act is about: old files of the inbox, or the whole spool.

    Raises:
        OSError: a disk cannot tell.
    """
    folders = spool.folders
    seen = (folders.inbox,) if what is MarkKind.BACKLOG else (folders.inbox, *map(folders.path_of, Folder))
    return Sight.of(spool.owner.installation, *seen)


class Marks:
    """The marks for one inbox."""

    def __init__(self, state_dir: Path, inbox: str) -> None:
        self._folder = state_dir / FOLDER
        self._inbox = inbox

    def leave(self, what: MarkKind, seen: Sight, now: float) -> None:
        """Leave a mark, in the place of an older one.

        Raises:
            OSError: the state folder cannot be written.
        """
        self._folder.mkdir(mode=0o700, exist_ok=True)
        path = self._path(what)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.unlink(missing_ok=True)
        temporary.touch(mode=0o600, exist_ok=False)
        with temporary.open("w", encoding="ascii") as file:
            file.write(json.dumps({"left_at": now, **seen.as_json()}))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        flush_folder(self._folder)

    def has(self, what: MarkKind, seen: Sight, now: float) -> bool:
        """Whether there is a mark for what is seen now; one that is void is removed, with a word in the log.

        Raises:
            OSError: the state folder cannot be read or written.
        """
        try:
            text = self._path(what).read_text("ascii", "replace")
        except (FileNotFoundError, NotADirectoryError):
            return False
        why = _why_void(text, seen, now)
        if why:
            logger.warning("mark.void", inbox=self._inbox, command=what.value, why=why)
            self._remove(what)
        return not why

    def use(self, what: MarkKind) -> None:
        """Remove a mark whose act has been done.

        Raises:
            OSError: the state folder cannot be written.
        """
        logger.info("mark.used", inbox=self._inbox, command=what.value)
        self._remove(what)

    def _remove(self, what: MarkKind) -> None:
        self._path(what).unlink(missing_ok=True)
        flush_folder(self._folder)

    def _path(self, what: MarkKind) -> Path:
        return self._folder / f"{self._inbox}.{what.value}.json"


def _why_void(text: str, seen: Sight, now: float) -> str:
    """Return why a mark says nothing about what is seen now, or "" if it does."""
    try:
        fields = json.loads(text)
        left_at, before = float(fields["left_at"]), Sight.from_json(fields)
    except (ValueError, TypeError, KeyError, AttributeError):
        return "it cannot be read"
    if not 0 <= now - left_at < LIFE_SECONDS:
        return "it is older than 24 hours, or from the future"
    if before.owner != seen.owner:
        return f"processing/.owner named {before.owner or 'nobody'} then, and names {seen.owner or 'nobody'} now"
    if not before.is_same(seen):
        return "a folder is another one now than it was then"
    return ""


def _are_same(place: FolderPlace | None, other: FolderPlace | None) -> bool:
    if place is None or other is None:
        return place is other
    return place.is_same_in_another_namespace(other)
