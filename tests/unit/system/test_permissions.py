"""Refusals by the system: reported with the change that helps, tried again, and never half done; from outside."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from receipt_watcher.cli.demo.stand_in import StandIn
from receipt_watcher.inbox.wait_reasons import WaitReason
from receipt_watcher.system.permissions import folder_advice, owner_of, refusal, user_name
from tests.conftest import TOKEN
from tests.fakes.daemons.process import RunningDaemon, jpegs, wait_until, without_capabilities
from tests.fakes.mounts import Mounts

NOBODY = 65534
MENDED = 60.0  # until it is tried again, in seconds, and then some


@pytest.fixture
def mounts() -> Iterator[Mounts]:
    """A mount namespace of our own."""
    try:
        namespace = Mounts()
    except OSError as error:
        pytest.skip(str(error.strerror))
    with namespace:
        yield namespace


def said_of(daemon: RunningDaemon, filename: str) -> dict[str, Any] | None:
    """Return the warning about a file, once there is one."""
    return next((line for line in daemon.events("file.blocked") if line["filename"] == filename), None)


def assert_left_in_peace(daemon: RunningDaemon) -> None:
    """Check that nothing was taken, recorded or failed."""
    assert daemon.recorded() == []
    assert [entry.name for entry in daemon.processing.iterdir()] == [".owner"]
    assert daemon.files(daemon.failed) == []


def test_a_file_that_we_may_not_read(tmp_path: Path, n8n: StandIn) -> None:
    """It stays, with its owner and the advice in one warning; check finds it first; once readable it is delivered."""
    (content,) = jpegs(1)
    prefix = without_capabilities("dac_override", "dac_read_search")
    daemon = RunningDaemon(tmp_path, n8n.webhook_url, TOKEN, prefix=prefix, inbox={"patience_seconds": 600})
    path = daemon.drop("scan.jpg", content)
    path.chmod(0)
    checked = daemon.run("check")
    assert "scan.jpg cannot be read: Permission denied" in checked.stdout
    assert "umask 027" in checked.stdout
    with daemon:
        wait_until(lambda: said_of(daemon, "scan.jpg"), "it is told")
        told = said_of(daemon, "scan.jpg")
        assert told is not None
        assert told["reason"] == WaitReason.UNREADABLE
        assert owner_of(path.lstat()) in told["why"]
        assert "umask 027" in told["why"]
        assert_left_in_peace(daemon)
        path.chmod(0o640)
        daemon.wait_quiet(1, MENDED)
        assert daemon.count("file.blocked") == 1
    assert [delivery.filename for delivery in n8n.deliveries] == ["scan.jpg"]


def test_a_sticky_folder(tmp_path: Path, n8n: StandIn) -> None:
    """Where only the owners may move files the service says who they are; without the bit the file is delivered."""
    prefix = without_capabilities("fowner")
    if not prefix:
        pytest.skip("only root can make files of another user")
    daemon = RunningDaemon(tmp_path, n8n.webhook_url, TOKEN, prefix=prefix)
    daemon.inbox.chmod(0o1777)
    os.chown(daemon.inbox, NOBODY, NOBODY)
    os.chown(daemon.drop("scan.jpg", jpegs(1)[0]), NOBODY, NOBODY)
    checked = daemon.run("check")
    assert "scan.jpg cannot be moved: its folder is sticky" in checked.stdout
    assert f"chmod -t {daemon.inbox}" in checked.stdout
    with daemon:
        wait_until(lambda: said_of(daemon, "scan.jpg"), "it is told")
        told = said_of(daemon, "scan.jpg")
        assert told is not None
        assert told["reason"] == WaitReason.IMMOVABLE
        assert f"only {user_name(NOBODY)} may move the file" in told["why"]
        assert_left_in_peace(daemon)
        daemon.inbox.chmod(0o777)
        daemon.wait_quiet(1, MENDED)


def test_a_share_that_is_read_only(tmp_path: Path, n8n: StandIn, mounts: Mounts) -> None:
    """The inbox is unavailable, with how it has to be mounted as the advice; nothing fails, and it opens by itself."""
    spool = tmp_path / "share"
    spool.mkdir()
    mounts.mount_memory(spool)
    daemon = RunningDaemon(
        tmp_path, n8n.webhook_url, TOKEN, prefix=mounts.prefix, inbox={"path": str(spool / "inbox"), "name": "office"}
    )
    inside = mounts.seen(spool) / "inbox"
    inside.mkdir()
    (inside / "scan.jpg").write_bytes(jpegs(1)[0])
    assert mounts.run("mount", "-o", "remount,ro", str(spool)) == ""
    with daemon:
        (told,) = daemon.events("inbox.unavailable")
        assert "is mounted read-only; mount it with rw" in told["why"]
        assert "chgrp" not in told["why"]
        assert mounts.run("mount", "-o", "remount,rw", str(spool)) == ""
        wait_until(lambda: daemon.count("inbox.available"), "it opens")
        wait_until(lambda: list((inside.parent / "done").rglob("scan.jpg")), "it is delivered and filed")
        assert daemon.count("inbox.unavailable") == 1
    assert [delivery.filename for delivery in n8n.deliveries] == ["scan.jpg"]


# --- the words -----------------------------------------------------------------------------------------------------


def test_refusals_name_owner_and_remedy(tmp_path: Path) -> None:
    """A refusal says who owns what and who we are; a read-only file system how to mount it; others what they say."""
    denied = refusal(PermissionError(errno.EACCES, "Permission denied"), tmp_path)
    assert owner_of(tmp_path.stat()) in denied
    assert "; we are " in denied
    assert refusal(OSError(errno.EROFS, "Read-only"), tmp_path).endswith("mounted read-only; mount it with rw")
    assert refusal(OSError(errno.EIO, "Input/output error"), tmp_path) == "Input/output error"
    assert "cannot even be looked at" in refusal(PermissionError(errno.EACCES, "no"), tmp_path / "gone")


def test_owners_without_a_name(tmp_path: Path) -> None:
    """Numbers that no user or group has are said as numbers."""
    path = tmp_path / "scan.jpg"
    path.touch()
    status = list(path.stat())
    status[4:6] = [4_000_001, 4_000_002]
    assert owner_of(os.stat_result(status)) == "-rw-r--r-- user 4000001:group 4000002"
    assert str(tmp_path / "gone") in folder_advice(tmp_path / "gone")
