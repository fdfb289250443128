"""Files that a program still writes, by their names, and that no longer change."""

from __future__ import annotations

from pathlib import Path

from receipt_watcher.inbox.wait_reasons import WaitReason
from receipt_watcher.inbox.watching.ignored import Ignored
from receipt_watcher.inbox.watching.listing import Listing
from receipt_watcher.inbox.watching.settling import Signature
from receipt_watcher.inbox.watching.unfinished import STALE_SECONDS, UnfinishedFiles

BEFORE, AFTER = Signature(3, 1, 1), Signature(4, 2, 1)


def test_one_that_no_longer_changes_is_told_of() -> None:
    """A transfer counts as broken off when its file has not changed for a while since the last change."""
    files = UnfinishedFiles()
    files.scanned({"scan.tmp": BEFORE}, 0)
    files.scanned({"scan.tmp": AFTER}, 60)
    assert list(files.stale(60 + STALE_SECONDS - 1)) == []
    [(relative, seen)] = files.stale(60 + STALE_SECONDS)
    assert (relative, seen.why, seen.first_seen_at) == ("scan.tmp", WaitReason.UNFINISHED, 0)


def test_one_that_is_gone_is_forgotten() -> None:
    """A file that got its real name is no longer unfinished; one that comes back begins again."""
    files = UnfinishedFiles()
    files.scanned({"scan.tmp": BEFORE}, 0)
    files.scanned({}, 10)
    files.scanned({"scan.tmp": BEFORE}, 20)
    assert list(files.stale(STALE_SECONDS)) == []
    assert len(list(files.stale(20 + STALE_SECONDS))) == 1


def test_only_unfinished_transfers_are_listed(tmp_path: Path) -> None:
    """Of what is passed over, only transfers may become receipts; litter and what the admin ignores may not."""
    for name in ("a.part", "b.pdf.crdownload", ".DS_Store", "~$c.doc", "~d.tmp", "e.pdf", "f.private"):
        (tmp_path / name).write_text("x")
    listing = Listing(tmp_path, Ignored(globs=["*.private"]), recursive=False)
    assert [relative for relative, _ in listing.files()] == ["e.pdf"]
    assert sorted(listing.unfinished) == ["a.part", "b.pdf.crdownload"]
    (tmp_path / "a.part").unlink()
    assert len(list(listing.files())) == 1
    assert sorted(listing.unfinished) == ["b.pdf.crdownload"]
