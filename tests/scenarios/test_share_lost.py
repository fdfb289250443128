"""An inbox is torn away and given back, in each way that a folder can be, and no receipt is lost."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from receipt_watcher.cli.demo.stand_in import Behaviour, StandIn
from receipt_watcher.inbox.gate import RETRY_SECONDS
from tests.fakes.daemons.process import wait_until, without_capabilities
from tests.fakes.mounts import Mounts
from tests.scenarios.torn_inboxes import (
    STRAY,
    Away,
    BoundOver,
    Disconnected,
    DisconnectedSpool,
    MemoryUnmounted,
    MountedOver,
    Offices,
    Renamed,
    RenamedAbove,
    Silent,
    SilentSpool,
    Unmounted,
    UnmountedSpool,
    Unreadable,
    put,
)


def test_folders_torn_away_and_given_back(tmp_path: Path, n8n: StandIn) -> None:
    """Inboxes that are deleted, renamed or shut: nothing is lost, and each is watched again when it is back."""
    ways = [
        Away(tmp_path, "deleted"),
        Away(tmp_path, "deleted-listed", "polling"),
        Renamed(tmp_path, "renamed"),
        RenamedAbove(tmp_path, "renamed-above"),
        Unreadable(tmp_path, "unreadable"),
        Unreadable(tmp_path, "unreadable-listed", "polling"),
    ]
    with Offices(tmp_path, n8n, *ways, prefix=without_capabilities("dac_override", "dac_read_search")) as daemon:
        tear_and_give_back(daemon)


def test_mounts_torn_away_and_given_back(tmp_path: Path, n8n: StandIn, mounts: Mounts) -> None:
    """Inboxes that are unmounted or mounted over: nothing is lost, and nothing is taken from what is in their place."""
    ways = [
        Unmounted(tmp_path, "bound", mounts),
        Unmounted(tmp_path, "bound-listed", mounts, "polling"),
        UnmountedSpool(tmp_path, "bound-spool", mounts),
        MemoryUnmounted(tmp_path, "memory", mounts),
        MountedOver(tmp_path, "covered", mounts),
        MountedOver(tmp_path, "covered-listed", mounts, "polling"),
        BoundOver(tmp_path, "covered-by-its-like", mounts),
    ]
    with Offices(tmp_path, n8n, *ways, prefix=mounts.prefix) as daemon:
        tear_and_give_back(daemon)
        assert list((tmp_path / "bound-spool").iterdir()) == []  # nothing was made in the empty mount point


@pytest.mark.long
def test_shares_torn_away_and_given_back(tmp_path: Path, n8n: StandIn, mounts: Mounts) -> None:
    """Inboxes whose server is silent or gone hold up nobody else, and go on when it is back."""
    ways = [
        Silent(tmp_path, "silent", mounts),
        SilentSpool(tmp_path, "silent-spool", mounts),
        Disconnected(tmp_path, "disconnected", mounts),
        DisconnectedSpool(tmp_path, "disconnected-spool", mounts),
    ]
    with Offices(tmp_path, n8n, *ways, prefix=mounts.prefix) as daemon:
        tear_and_give_back(daemon)


def tear_and_give_back(daemon: Offices) -> None:
    """Let all be torn away at once, drop what can be dropped, then give them back."""
    daemon.n8n.behave = lambda _: Behaviour(callback_delay_seconds=1)  # some verdicts come when the spool is away
    for way in daemon.ways.values():
        daemon.put(way)
    daemon.wait_delivered()
    strays = []
    for way in daemon.ways.values():
        way.tear()
        name = daemon.put(way, way.inside_meanwhile) if way.inside_meanwhile is not None else "stray.jpg"
        if way.instead is not None:
            strays.append(way.instead / name)
            put(strays[-1], STRAY)
    daemon.wait_away()
    daemon.put(daemon.desk)
    daemon.wait_delivered(daemon.desk)
    if strays:
        threading.Event().wait(RETRY_SECONDS + 0.5)  # so that the inboxes are looked for while the strays lie there
    assert [stray.read_bytes() for stray in strays] == [STRAY] * len(strays)
    assert daemon.failing().keys() == {f"inbox:{name}" for name in daemon.ways}
    for way in daemon.ways.values():
        way.give_back()
    daemon.wait_back()
    daemon.wait_delivered()
    for way in daemon.ways.values():
        daemon.put(way)
    daemon.assert_all_well(absences=1, returns=1)


def recreate(folder: Path) -> None:
    """Delete a folder and make it anew, until the new one has the old one's inode number."""
    for _ in range(100):
        inode = folder.stat().st_ino
        folder.rmdir()
        folder.mkdir()
        if folder.stat().st_ino == inode:
            return
    pytest.skip("this file system does not give a deleted folder's inode number to the next one")


def test_recreated_under_the_same_inode_number(tmp_path: Path, n8n: StandIn) -> None:
    """A folder that only events tell from the old one is watched anew, whether it was seen to be away or not."""
    way = Away(tmp_path, "office", "native")
    with Offices(tmp_path, n8n, way) as daemon:
        daemon.put(way)
        daemon.wait_delivered()
        recreate(way.path)
        daemon.put(way)
        daemon.wait_delivered()
        daemon.put(way)
        daemon.wait_delivered()
        wait_until(lambda: daemon.failing() == {}, "all is well")
        times = min(1, len(daemon.told("inbox.unavailable", "office")))
        daemon.assert_all_well(absences=times, returns=times)


def test_started_while_unmounted(tmp_path: Path, n8n: StandIn, mounts: Mounts) -> None:
    """Inboxes that have given receipts are known over a restart: their empty mount points are no empty inboxes."""
    bound, memory = Unmounted(tmp_path, "bound", mounts), MemoryUnmounted(tmp_path, "memory", mounts)
    with Offices(tmp_path, n8n, bound, memory, prefix=mounts.prefix) as daemon:
        daemon.put(bound)
        daemon.put(memory)
        daemon.assert_all_well(absences=0, returns=0)
        assert daemon.terminate() == 0
        strays = [tmp_path / name / "inbox" / "stray.jpg" for name in ("bound", "memory")]
        for way, stray in zip((bound, memory), strays, strict=True):
            way.tear()
            put(stray, STRAY)
        daemon.put(bound)
        daemon.start()
        daemon.wait_away()
        daemon.put(daemon.desk)
        daemon.wait_delivered(daemon.desk)
        assert [stray.read_bytes() for stray in strays] == [STRAY, STRAY]
        bound.give_back()
        memory.give_back()
        daemon.wait_back()
        daemon.put(memory)
        daemon.assert_all_well(absences=1, returns=1)
