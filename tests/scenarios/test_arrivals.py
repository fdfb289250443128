"""A file arrives at N8N once, byte for byte, however it came into the inbox."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

from receipt_watcher.cli.demo import samples
from receipt_watcher.cli.demo.stand_in import StandIn
from tests.fakes.daemons.process import jpegs
from tests.scenarios.one_office import API_KEY, assert_arrived, office


def drip(path: Path, content: bytes, chunks: int, seconds: float) -> None:
    """Write a file as a slow scanner does: a piece now and then."""
    size = -(-len(content) // chunks)
    pace = threading.Event()
    with path.open("wb", buffering=0) as file:
        for start in range(0, len(content), size):
            file.write(content[start:][:size])
            pace.wait(seconds / chunks)


def test_a_file_that_is_written_slowly(tmp_path: Path, n8n: StandIn) -> None:
    """A file written in 20 chunks over 3 seconds is sent once, whole."""
    content = samples.jpeg(1, 200_000)
    with office(tmp_path, n8n, inbox={"settle_seconds": 1}) as daemon:
        drip(daemon.inbox / "scan.jpg", content, chunks=20, seconds=3)
        assert_arrived(daemon, n8n, [content])


def test_a_file_that_is_renamed_into_place(tmp_path: Path, n8n: StandIn) -> None:
    """A file that gets its name when it is whole is sent once, and under that name only."""
    content = samples.jpeg(1)
    with office(tmp_path, n8n) as daemon:
        (daemon.inbox / "scan.jpg.part").write_bytes(content)
        (daemon.inbox / "scan.jpg.part").rename(daemon.inbox / "scan.jpg")
        assert_arrived(daemon, n8n, [content])
    assert [delivery.filename for delivery in n8n.deliveries] == ["scan.jpg"]


def test_a_file_with_an_old_time(tmp_path: Path, n8n: StandIn) -> None:
    """A copy that keeps its modification time of years ago (cp -p) is sent once, and keeps that time in done/."""
    content = samples.jpeg(1)
    source = tmp_path / "old.jpg"
    source.write_bytes(content)
    os.utime(source, (1_000_000_000, 1_000_000_000))
    with office(tmp_path / "spool", n8n) as daemon:
        shutil.copy2(source, daemon.inbox / "old.jpg")
        assert_arrived(daemon, n8n, [content])
        (filed,) = daemon.files(daemon.done)
    assert filed.stat().st_mtime == 1_000_000_000


def test_many_at_once(tmp_path: Path, n8n: StandIn) -> None:
    """500 files that appear together each arrive once."""
    contents = jpegs(500)
    with office(tmp_path, n8n, changes={"logging": {"level": "info"}}) as daemon:
        for number, content in enumerate(contents):
            daemon.drop(f"scan-{number}.jpg", content)
        assert_arrived(daemon, n8n, contents)


def test_files_from_before_the_start(tmp_path: Path, n8n: StandIn) -> None:
    """50 files that are in the inbox before the daemon starts each arrive once."""
    contents = jpegs(50)
    daemon = office(tmp_path, n8n)
    for number, content in enumerate(contents):
        daemon.drop(f"scan-{number}.jpg", content)
    with daemon:
        assert_arrived(daemon, n8n, contents)


def test_what_n8n_is_sent(tmp_path: Path, n8n: StandIn) -> None:
    """A delivery carries what the contract names, and names the same receipt in body and headers."""
    content = samples.jpeg(1)
    n8n.api_key = API_KEY
    changes = {"n8n": {"api_key": API_KEY}}
    with office(tmp_path, n8n, inbox={"notion_database_id": "0f3c"}, changes=changes) as daemon:
        daemon.drop("scan.jpg", content)
        assert_arrived(daemon, n8n, [content])
        (delivery,) = n8n.deliveries
        assert delivery.callback_url == f"{daemon.url}/api/v1/jobs/{delivery.job_id}/callback"
    assert (delivery.filename, delivery.inbox, delivery.notion_database_id) == ("scan.jpg", "office", "0f3c")
    assert (delivery.mime_type, delivery.size, delivery.attempt) == ("image/jpeg", len(content), 1)


def test_multipart(tmp_path: Path, n8n: StandIn) -> None:
    """With payload: multipart a receipt arrives byte for byte as a form's file."""
    content = samples.jpeg(1, 2_000_000)
    with office(tmp_path, n8n, changes={"n8n": {"payload": "multipart"}}) as daemon:
        daemon.drop("scan.jpg", content)
        assert_arrived(daemon, n8n, [content])
    assert [delivery.payload for delivery in n8n.deliveries] == ["multipart"]
