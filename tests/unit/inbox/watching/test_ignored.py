"""Names that are no receipts, with the rule for each, and names of conflict copies."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receipt_watcher.config.sections.inbox import IgnorePack
from receipt_watcher.inbox.watching.ignored import OURS, PACKS, UNFINISHED, Ignored, Rule, original_of
from receipt_watcher.system.display import lies_below

ALL_PACKS = Ignored()

IGNORED = [
    *(".scan.pdf", ".", "scan.pdf.part", "scan.partial", "scan.filepart", "scan.tmp", "scan.PDF.TMP"),
    *("scan.crdownload", "scan.download", "scan.opdownload", "scan.aria2", "scan.!sync", "scan.bts", ".scan.swp"),
    *("scan.swp", "scan.pdf.icloud", "scan.nextcloud", "scan.owncloud", "~$scan.docx", "~scan.tmp", "scan.pdf~"),
    *("#scan.pdf#", "Thumbs.db", "thumbs.db", "desktop.ini", "Icon\r", "scan.pdf:Zone.Identifier"),
    *("~syncthing~scan.pdf.tmp", ".syncthing.scan.pdf.tmp", "~syncthing~scan.pdf"),
    *("@eaDir/scan.pdf", ".@__thumb/scan.pdf", "#recycle/scan.pdf", ".stfolder/scan.pdf", ".stversions/scan.pdf"),
    *("@Recycle/scan.pdf", "@Recently-Snapshot/GMT+01_2026/scan.pdf", "#snapshot/scan.pdf", "~snapshot/scan.pdf"),
    *("$RECYCLE.BIN/S-1-5/scan.pdf", "RECYCLER/scan.pdf", "System Volume Information/scan.pdf"),
    *("Network Trash Folder/scan.pdf", "Temporary Items/scan.pdf", "lost+found/scan.pdf"),
    *("NEXTNAME.DAT", "NETSCAN.DAT", "NETSCAN.XST", "XSMDESC.DAT", "sub/NextName.dat"),
    *("sub/@eaDir/scan.pdf", "sub/deeper/.hidden/scan.pdf", "sub/scan.part"),
]
TAKEN = [
    *("report.pdf", "a~b.pdf", "~scan.pdf", "scan", "scan.PDF", "a.b.c", "#1 scan.pdf", "scan #2#.pdf", "part.pdf"),
    *(
        "scan.part.pdf",
        "tmp",
        "Thumbs.db.pdf",
        "Icon",
        "recycle/scan.pdf",
        "eaDir/scan.pdf",
        "snapshot/scan.pdf",
        "a:b.pdf",
        "$scan.pdf",
    ),
    "N.sync-conflict-20240101-120000-ABCDEFG.pdf",
    "N (conflicted copy 2024-01-01 120000).pdf",
    "N (Ann's conflicted copy 2024-01-01).pdf",
    *("caf\udce9.pdf", "a\nb.pdf", "Beleg Nr. 5", "x.reason.txt"),
]


@pytest.mark.parametrize("relative", IGNORED)
def test_litter_and_unfinished_files_are_ignored(relative: str) -> None:
    """Unfinished downloads and copies, locks and the litter of systems and sync clients are no receipts."""
    assert ALL_PACKS.ignores(relative)
    assert ALL_PACKS.rule_for(relative) is not None


@pytest.mark.parametrize("relative", TAKEN)
def test_every_other_name_is_a_receipts(relative: str) -> None:
    """Odd names are taken, conflicted copies above all: they are whole files."""
    assert not ALL_PACKS.ignores(relative)
    assert ALL_PACKS.rule_for(relative) is None


def test_the_packs_are_those_of_the_configuration() -> None:
    """An admin can name each pack, and no other."""
    assert sorted(get_args(IgnorePack)) == sorted(PACKS)
    assert PACKS.keys() >= UNFINISHED


@pytest.mark.parametrize("pack", PACKS)
def test_each_pack_can_be_left_out(pack: str) -> None:
    """Each pack ignores what its own patterns say, and with it left out no name is ignored by it."""
    for pattern in PACKS[pack]:
        relative = pattern.replace("*", "x").replace("/", "/x")
        assert Ignored([pack]).rule_for(relative) == Rule(pack, pattern)
        rule = Ignored([other for other in PACKS if other != pack]).rule_for(relative)
        assert rule is None or rule.pack != pack


def test_own_globs_are_added() -> None:
    """The admin's own patterns are for names, for folders, and for paths below the inbox."""
    ignored = Ignored([], ["*.bak", "old/", "a/*.pdf", "in/tray/"])
    for relative in ("x.BAK", "sub/x.bak", "old/x.pdf", "sub/old/x.pdf", "a/x.pdf", "in/tray/deep/x.pdf"):
        assert ignored.ignores(relative), relative
        assert ignored.rule_for(relative) is not None
    for relative in ("x.pdf", "old", "b/x.pdf", "in/x.pdf", ".hidden", "~$x.docx"):
        assert not ignored.ignores(relative), relative


def test_our_own_probes_are_never_receipts() -> None:
    """Whatever is switched off, a probe file of ours is not taken."""
    rule = Ignored([]).rule_for(".receipt-watcher-probe-0f3c")
    assert rule is not None
    assert rule.pack == OURS


@given(st.text(max_size=40).map(lambda text: text.replace("\0", "")))
def test_a_rule_is_named_for_whatever_is_ignored(relative: str) -> None:
    """Whatever the name, it is ignored exactly where a rule can be named."""
    assert ALL_PACKS.ignores(relative) == (ALL_PACKS.rule_for(relative) is not None)


@pytest.mark.parametrize(
    ("name", "original"),
    [
        ("scan.sync-conflict-20260101-120000-ABCDEFG.pdf", "scan.pdf"),
        ("scan (conflicted copy 2026-01-01 120000).pdf", "scan.pdf"),
        ("scan (Ann's conflicted copy 2026-01-01).pdf", "scan.pdf"),
        ("scan (Ann Bee\u2019s conflicted copy 2026-01-01).pdf", "scan.pdf"),
        ("scan_conflict-20260101-120000.pdf", "scan.pdf"),
        ("a/b/scan.v2.sync-conflict-20260101-120000-ABCDEFG.tar.gz", None),
        ("a/b/scan.v2.sync-conflict-20260101-120000-ABCDEFG.pdf", "a/b/scan.v2.pdf"),
        ("scan.sync-conflict-20260101-120000-ABCDEFG", "scan"),
        ("caf\udce9\n (conflicted copy 2026-01-01 120000).pdf", "caf\udce9\n.pdf"),
        ("scan.pdf", None),
        ("scan (2).pdf", None),
        ("conflicted copy.pdf", None),
        ("scan.sync-conflict-2026-ABCDEFG.pdf", None),
    ],
)
def test_a_conflict_copy_names_its_original(name: str, original: str | None) -> None:
    """The names that sync clients give to a second version lead back to the first."""
    assert original_of(Path(name)) == (None if original is None else Path(original))


def test_what_lies_below_a_subfolder() -> None:
    """A folder holds what is in it at any depth, and every folder lies in the inbox itself."""
    assert lies_below(Path("a/b/c"), "a/b")
    assert lies_below(Path("a/b"), "a/b")
    assert not lies_below(Path("a/bc"), "a/b")
    assert not lies_below(Path(), "a")
    assert lies_below(Path(), "")


@pytest.mark.parametrize(
    ("glob", "ignored", "taken"),
    [
        ("list", "list", "list/scan.pdf"),
        ("scan*", "scan.pdf", "scans/receipt.pdf"),
        ("old/", "old/scan.pdf", "old"),
        ("a*b/", "a-b/scan.pdf", "ax/yb/scan.pdf"),
        ("private/list", "private/list", "private/list/scan.pdf"),
        ("private/old/", "private/old/scan.pdf", "private/old"),
        ("private/old/", "private/old/scan.pdf", "old/scan.pdf"),
    ],
)
def test_a_pattern_means_files_or_folders_by_name_or_by_path(glob: str, ignored: str, taken: str) -> None:
    """A pattern with a slash at its end means folders, one with a slash within means a path; others mean file names."""
    names = Ignored(packs=(), globs=[glob])
    for relative, is_ignored in ((ignored, True), (taken, False)):
        assert names.ignores(relative) is is_ignored
        assert (names.rule_for(relative) is not None) is is_ignored
