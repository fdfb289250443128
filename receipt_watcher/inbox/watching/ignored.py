"""Names: which are no receipts, by which rule, and which are conflict copies of another file.

What it promises: pure functions over names, whatever bytes they hold; nothing on disk is looked at. Each rule belongs
to a pack that an admin can switch off; patterns are those of a shell (fnmatch), and case does not matter. Our own
probe files and status files are never receipts, whatever is switched off.

Any thread may call it.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

#: The beginning of the names of our own files that are in an inbox for a moment.
OWN_PREFIX = ".receipt-watcher-"

#: The file that `status_file` writes for people at the share.
STATUS_FILE_NAME = "_receipt-watcher status.txt"

#: The packs in the order in which they are asked: the most telling first. A pattern that ends in / is for folders.
PACKS: dict[str, tuple[str, ...]] = {
    "syncthing": (".syncthing.*", "~syncthing~*", ".stfolder/", ".stversions/", ".stignore"),
    "nextcloud": (
        "*.nextcloud",
        "*.owncloud",
        ".sync_*.db*",
        "._sync_*.db*",
        ".csync_journal.db*",
        ".nextcloudsync.log",
    ),
    "dropbox": (".dropbox", ".dropbox.*", ".dropbox.cache/"),
    "onedrive": ("~*.tmp", ".849c9593-d756-4e56-8d6e-42412f2a707b"),
    "browser": ("*.crdownload", "*.download", "*.opdownload"),
    "temporary": (
        *("*.part", "*.partial", "*.filepart", "*.tmp", "*.aria2", "*.!sync", "*.bts", "*.swp", "*~", "#*#"),
        *(".in.*.", ".~tmp~/"),
    ),
    "office-locks": ("~$*", ".~lock.*#"),
    "macos": (".ds_store", "._*", "icon\r", "*.icloud", ".spotlight-v100/", ".trashes/", ".temporaryitems/"),
    "windows": (
        *("thumbs.db", "desktop.ini", "*:zone.identifier"),
        *("$recycle.bin/", "recycler/", "system volume information/"),
    ),
    # Bins, snapshots and thumbnails: Synology, QNAP, NetApp, AFP, and what fsck finds.
    "nas": (
        *("@eadir/", ".@__thumb/", "#recycle/", "#snapshot/", "@recycle/", "@recently-snapshot/", "~snapshot/"),
        *("network trash folder/", "temporary items/", "lost+found/"),
    ),
    "scanners": ("nextname.dat", "netscan.dat", "netscan.xst", "xsmdesc.dat"),  # Xerox keeps them in the scan folder
    "hidden": (".*", ".*/"),
}

#: Files that these packs ignore are on their way to become receipts; when one stays, an admin should know.
UNFINISHED = frozenset({"syncthing", "nextcloud", "browser", "temporary"})

#: The pack of the admin's own patterns, and of ours.
OWN_GLOBS, OURS = "ignore", "receipt-watcher"


@dataclass(frozen=True, slots=True)
class Rule:
    """Why a name is ignored: the pack, and its pattern."""

    pack: str
    pattern: str


class Ignored:
    """The names that one inbox ignores."""

    def __init__(self, packs: Sequence[str] = tuple(PACKS), globs: Sequence[str] = ()) -> None:
        rules = [Rule(OURS, f"{OWN_PREFIX}*"), Rule(OURS, STATUS_FILE_NAME)]
        rules += [Rule(pack, pattern) for pack in PACKS if pack in packs for pattern in PACKS[pack]]
        rules += [Rule(OWN_GLOBS, glob) for glob in globs]
        self._rules = rules
        unfinished = [rule.pattern for rule in rules if rule.pack in UNFINISHED and not rule.pattern.endswith("/")]
        self._may_be_unfinished = _matcher(unfinished)
        patterns = [(rule.pattern.removesuffix("/"), rule.pattern.endswith("/")) for rule in rules]
        self._is_file = _matcher([pattern for pattern, of_folder in patterns if not of_folder and "/" not in pattern])
        self._is_folder = _matcher([pattern for pattern, of_folder in patterns if of_folder and "/" not in pattern])
        self._is_path = _matcher([pattern for pattern, of_folder in patterns if not of_folder and "/" in pattern])
        self._is_folder_path = _matcher([pattern for pattern, of_folder in patterns if of_folder and "/" in pattern])

    def ignores_folder(self, relative: str) -> bool:
        """Whether a folder, given below the inbox, is passed over with all that is in it."""
        return bool(self._is_folder(relative.rpartition("/")[2]) or self._is_folder_path(relative))

    def ignores(self, relative: str) -> bool:
        """Whether a file, given below the inbox, is passed over, by its name or by a folder's on the way."""
        name = relative.rpartition("/")[2]
        if self._is_file(name) or self._is_path(relative):
            return True
        return "/" in relative and any(self.ignores_folder(folder) for folder in _folders(relative))

    def is_unfinished(self, relative: str) -> bool:
        """Whether the name of a file that is passed over says that it may yet become a receipt."""
        if not self._may_be_unfinished(relative.rpartition("/")[2]):
            return False
        rule = self.rule_for(relative)  # another pack may come first
        return rule is not None and rule.pack in UNFINISHED

    def rule_for(self, relative: str) -> Rule | None:
        """Return the rule by which a file is ignored, given below the inbox; None where it is not."""
        if not self.ignores(relative):
            return None
        for rule in self._rules:
            pattern, of_folder = rule.pattern.removesuffix("/"), rule.pattern.endswith("/")
            match = _matcher([pattern])
            paths = list(_folders(relative)) if of_folder else [relative]
            if any(match(path if "/" in pattern else path.rpartition("/")[2]) for path in paths):
                return rule
        return None


def _folders(relative: str) -> Iterator[str]:
    """Yield the folders on the way to a file, below the inbox."""
    at = relative.find("/")
    while at >= 0:
        yield relative[:at]
        at = relative.find("/", at + 1)


def _matcher(patterns: Sequence[str]) -> Callable[[str], object]:
    if not patterns:
        return lambda _: None
    return re.compile("|".join(fnmatch.translate(pattern) for pattern in patterns), re.IGNORECASE).match


# Syncthing, then Nextcloud and Dropbox, then Nextcloud before 2.6.
_CONFLICTS = re.compile(
    r"(?P<stem>.+?)"
    r"(?:\.sync-conflict-\d{8}-\d{6}-[A-Z0-9]{7}"
    r"| \((?:[^()]*['\u2019]s )?conflicted copy[^()]*\)"
    r"|_conflict-\d{8}-\d{6})"
    r"(?P<suffix>\.[^.]*)?",
    re.DOTALL,
)


def original_of(relative: Path) -> Path | None:
    """Return the path that a conflict copy of a sync client is a copy of; None where it is none."""
    match = _CONFLICTS.fullmatch(relative.name)
    return relative.with_name(match["stem"] + (match["suffix"] or "")) if match else None
