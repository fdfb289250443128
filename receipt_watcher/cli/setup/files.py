"""Steps for a file or a folder of the machine."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from receipt_watcher.cli.setup.host import Host
from receipt_watcher.cli.setup.places import UNITS, USER
from receipt_watcher.errors import ReceiptWatcherError


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that is to be so: in words, whether it is, and what makes it so.

    `is_so` is what is looked at afterwards, where that is another question than before.
    """

    what: str
    is_done: Callable[[], bool]
    do: Callable[[], object]
    is_so: Callable[[], bool] | None = None

    def carry_out(self) -> None:
        """Do it, and look.

        Raises:
            ReceiptWatcherError: it failed, or is not so afterwards.
        """
        self.do()
        if not (self.is_so or self.is_done)():
            raise ReceiptWatcherError(f"{self.what}: that was done without an error, and is not so; see journalctl -xe")


def copy_step(host: Host, source: Path, place: Path) -> Step:
    """Return the step for a file that we ship."""
    update = ("journalctl", "--update-catalog") if source.suffix == ".catalog" else ()
    return file_step(host, place, source.read_bytes(), *update)


def file_step(host: Host, place: Path, content: bytes, *update: str) -> Step:
    """Return the step for a file of ours; `update` is the command of the system that reads it."""
    target = host.at(place)

    def write() -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        replace_file(target, content, 0o644)
        if update:
            host.run(*update)

    return Step(str(place), lambda: target.is_file() and target.read_bytes() == content, write)


def removal_step(host: Host, path: Path) -> Step:
    """Return the step that takes a file away, and the folder of drop-ins that it leaves empty."""

    def remove() -> None:
        host.at(path).unlink()
        if path.parent.name.endswith(".d") and path.parent.parent == UNITS and not any(host.at(path.parent).iterdir()):
            host.at(path.parent).rmdir()

    return Step(f"{path} removed", lambda: not os.path.lexists(host.at(path)), remove)


def replace_file(path: Path, content: bytes, mode: int) -> None:
    """Write a file that is whole at each moment."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    new.touch(mode=mode)
    new.write_bytes(content)
    new.chmod(mode)
    new.rename(path)


def folder_step(host: Host, path: Path, mode: int, *, is_shared: bool = False, by_root: bool = False) -> Step:
    """Return the step for a folder; one that is there stays as it is, since others may depend on its mode."""
    folder = host.at(path)

    def make() -> None:
        folder.mkdir(parents=True)
        host.own(folder, mode, by_root=by_root)
        if is_shared:
            _let_group_read(folder)

    owner = "root" if by_root else USER
    return Step(f"the folder {path} (mode {mode:o}, {owner}:{USER})", folder.is_dir, make)


def _let_group_read(folder: Path) -> None:
    """Files that are made in it can be read by its group, whatever the umask of who makes them; see acl(5)."""
    header, everybody = struct.pack("<I", 2), 0xFFFFFFFF
    entries = ((0x01, 7), (0x04, 7), (0x20, 0))  # owner and group all, others nothing
    packed = header + b"".join(struct.pack("<HHI", tag, rights, everybody) for tag, rights in entries)
    try:
        os.setxattr(folder, "system.posix_acl_default", packed)
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:  # such as NFS: `check` says so when a file cannot be read
            raise
