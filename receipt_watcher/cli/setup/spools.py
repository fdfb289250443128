"""The spools that the service is made for: their folders, and what lets its sandbox in there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from receipt_watcher.cli.setup.files import Step, file_step, folder_step
from receipt_watcher.cli.setup.host import Host
from receipt_watcher.cli.setup.places import DROP_IN, RECEIPTS, STATE
from receipt_watcher.config.sources.load import SYSTEM_CONFIG_FILE, load
from receipt_watcher.errors import ReceiptWatcherError
from receipt_watcher.jobs.job import Folder
from receipt_watcher.spool.paths import SpoolFolders


def spools_of(host: Host, inbox: Path | None) -> list[SpoolFolders]:
    """Return the spools of the configuration that is there, else the one that is asked for."""
    file = host.at(SYSTEM_CONFIG_FILE)
    wanted = Path(os.path.normpath(inbox or RECEIPTS / "inbox"))
    if not file.exists():
        return [SpoolFolders(wanted, *(wanted.with_name(folder.value) for folder in Folder))]
    spools = [SpoolFolders.of(configured) for configured in load(file, {"STATE_DIRECTORY": str(STATE)}).inboxes]
    if inbox and wanted not in {spool.inbox for spool in spools}:
        raise ReceiptWatcherError(
            f"{SYSTEM_CONFIG_FILE} is there and has no inbox {wanted}; add «- path: {wanted}» below inboxes: there, "
            "then run this again without --inbox"
        )
    return spools


def folder_steps(host: Host, spool: SpoolFolders) -> Iterator[Step]:
    """Yield the steps for its folders; one that is there stays as it is, since others may depend on its mode."""
    # 3: files get the folder's group, and nobody takes away what others dropped; the service, its owner, may.
    for path, mode in ((spool.inbox, 0o3770), (spool.processing, 0o700), (spool.done, 0o2750), (spool.failed, 0o2770)):
        yield folder_step(host, path, mode, is_shared=path == spool.inbox)


def sandbox_steps(host: Host, spools: list[SpoolFolders]) -> Iterator[Step]:
    """Yield what lets the unit's sandbox in where the receipts are."""
    outside = [path for spool in spools for path in _parents_of(spool) if not path.is_relative_to(RECEIPTS)]
    if not outside:
        return
    at_home = [path for path in outside if path.is_relative_to("/home")]
    lines = ["# Written by «receipt-watcher service install»: where the receipts are.", "[Service]"]
    lines += ["# Of the homes, it sees these folders alone.", "ProtectHome=tmpfs"] if at_home else []
    lines += [f"BindPaths={_quoted(path)}" for path in at_home]
    lines += [f"ReadWritePaths={_quoted(path)}" for path in outside if path not in at_home]
    yield file_step(host, DROP_IN, "\n".join([*lines, ""]).encode())


def _quoted(path: Path) -> str:
    """Return a path as a unit has it, where spaces and percent signs mean something; with - it need not be there."""
    escaped = "-" + str(path).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"' if " " in escaped or '"' in escaped else escaped


def _parents_of(spool: SpoolFolders) -> list[Path]:
    """Return one parent for all four, so that a move between them is one rename; else each alone."""
    parent = Path(os.path.commonpath(spool.all))
    return spool.all if parent in {Path("/"), Path("/home"), Path("/srv"), Path("/mnt")} else [parent]
