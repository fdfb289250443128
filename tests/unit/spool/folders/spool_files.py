"""Files of a spool, and the jobs that they belong to."""

from __future__ import annotations

from pathlib import Path

from receipt_watcher.spool.paths import SpoolFolders

JOB = "01900000-0000-7000-8000-000000000001"
OTHER_JOB = "01900000-0000-7000-8000-000000000002"
SCAN = Path("scan.pdf")
CONTENT = b"%PDF-1.7 a receipt" * 100


def drop(folders: SpoolFolders, name: str | Path = SCAN, content: bytes = CONTENT) -> Path:
    """Put a file into the inbox."""
    path = folders.inbox / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def files(folder: Path) -> list[str]:
    """Return what is below a folder, folders too, but not the owner's mark."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.name != ".owner")
