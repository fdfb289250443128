"""Real programs that drop files, each with its way to write, pause and abort: every file arrives whole and once."""

from __future__ import annotations

import io
import os
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from receipt_watcher.cli.demo import samples
from receipt_watcher.cli.demo.stand_in import StandIn
from receipt_watcher.inbox.wait_reasons import WaitReason
from receipt_watcher.jobs.job import Folder
from tests.conftest import TOKEN
from tests.fakes.daemons.process import RunningDaemon, assert_consistent, digest, folder_on_another_device, wait_until
from tests.real.clients.servers import (
    FtpServer,
    SmbClient,
    SmbServer,
    SshServer,
    SyncSide,
    begun,
    download,
    ftp_server,
    program,
    run,
    smb_server,
    ssh_server,
    syncthing_pair,
)

SETTLE_SECONDS = 0.5
#: Longer than a file has to be quiet, shorter than patience: what is not whole then is not to be taken.
PAUSE_SECONDS = 1.5
#: More than rsync keeps in memory before it writes.
SIZE = 600_000
#: Of the year 2001, to the nanosecond.
OLD_NS = 1_000_000_000_123_456_789


@pytest.fixture
def office(tmp_path: Path, n8n: StandIn) -> Iterator[RunningDaemon]:
    """A daemon that settles fast and is patient with what is not whole."""
    with running(tmp_path, n8n) as daemon:
        yield daemon


def running(
    root: Path, n8n: StandIn, *, inbox: Path | None = None, settle_seconds: float = SETTLE_SECONDS
) -> RunningDaemon:
    """Return a daemon with one inbox, which may be anywhere, that sends to the stand-in."""
    places = {
        "path": inbox or root / "inbox",
        **{f"{name}_dir": root / name for name in ("processing", "done", "failed")},
    }
    options = {
        "settle_seconds": settle_seconds,
        "patience_seconds": 60,
        **{key: str(path) for key, path in places.items()},
    }
    return RunningDaemon(root, n8n.webhook_url, TOKEN, inbox=options)


def assert_arrived(daemon: RunningDaemon, n8n: StandIn, *receipts: tuple[str, bytes]) -> None:
    """Each was delivered under its name exactly once, byte for byte, nothing else was, and each is in done/."""
    daemon.wait_quiet(len(receipts))
    jobs = assert_consistent(daemon, n8n.deliveries, [content for _, content in receipts])
    sent = Counter((delivery.filename, delivery.sha256) for delivery in n8n.deliveries)
    assert sent == Counter((name, digest(content)) for name, content in receipts)
    assert {job.folder for job in jobs.values()} == {Folder.DONE}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A receipt outside of the inbox, of some years ago."""
    path = tmp_path / "source.jpg"
    path.write_bytes(samples.jpeg(1, SIZE))
    os.utime(path, ns=(OLD_NS, OLD_NS))
    return path


def pause(seconds: float = PAUSE_SECONDS) -> None:
    """Write nothing for a while."""
    threading.Event().wait(seconds)


def wait_until_left(daemon: RunningDaemon, why: WaitReason) -> None:
    """Wait until the daemon has looked at the settled file and left it where it is, for this reason."""
    wait_until(lambda: why in [event["reason"] for event in daemon.events("file.waiting")[-1:]], f"it waits: {why}")


def halves(content: bytes) -> tuple[bytes, bytes]:
    """Cut a receipt in two."""
    return content[: len(content) // 2], content[len(content) // 2 :]


def is_begun(path: Path) -> bool:
    """Return whether there is something of a file."""
    return path.exists() and path.stat().st_size > 0


def is_torso(path: Path, whole: Path) -> bool:
    """Return whether there is something of a file, but not all."""
    return is_begun(path) and path.stat().st_size < whole.stat().st_size


# --- SMB -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def smb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmbServer]:
    """A samba server whose share holds the folders of all tests."""
    with smb_server(tmp_path_factory.getbasetemp(), tmp_path_factory.mktemp("smb")) as server:
        yield server


@pytest.fixture
def explorer(smb: SmbServer) -> Iterator[SmbClient]:
    """A connection to the samba server."""
    with SmbClient(smb) as client:
        yield client


def test_smbclient(office: RunningDaemon, n8n: StandIn, smb: SmbServer, source: Path) -> None:
    """A file that smbclient puts arrives."""
    smb.put(source, office.inbox / "scan.jpg")
    assert_arrived(office, n8n, ("scan.jpg", source.read_bytes()))


def test_smb_full_size_at_once(office: RunningDaemon, n8n: StandIn, explorer: SmbClient) -> None:
    """A file that gets its full size at once and its bytes slowly, as by Windows' Explorer, arrives.

    A BMP of which only the last bytes are missing: nothing but the open handle tells that it is not whole.
    """
    content = samples.bmp(1)
    first, second = content[:-1000], content[-1000:]
    with explorer.opened(office.inbox / "scan.bmp", anew=True) as file:
        file.set_size(len(content))
        wait_until_left(office, WaitReason.PLACEHOLDER)
        file.write(first, 0)
        wait_until_left(office, WaitReason.OPEN)
        file.write(second, len(first))
        pause()
    assert_arrived(office, n8n, ("scan.bmp", content))


def test_smb_opened_again(office: RunningDaemon, n8n: StandIn, explorer: SmbClient) -> None:
    """A file that is closed half-way and goes on after a pause arrives."""
    content = samples.jpeg(1, SIZE)
    first, second = halves(content)
    path = office.inbox / "scan.jpg"
    with explorer.opened(path, anew=True) as file:
        file.write(first, 0)
    wait_until_left(office, WaitReason.INCOMPLETE)
    with explorer.opened(path, anew=False) as file:
        file.write(second, len(first))
    assert_arrived(office, n8n, ("scan.jpg", content))


def test_smb_touched_first(office: RunningDaemon, n8n: StandIn, explorer: SmbClient) -> None:
    """A file that is made empty, closed, and filled after a pause arrives."""
    content = samples.pdf(1)
    path = office.inbox / "scan.pdf"
    with explorer.opened(path, anew=True):
        pass
    wait_until_left(office, WaitReason.EMPTY)
    with explorer.opened(path, anew=False) as file:
        file.write(content, 0)
    assert_arrived(office, n8n, ("scan.pdf", content))


@pytest.mark.parametrize("full_size", [False, True], ids=["half the size", "full size"])
def test_smb_aborted(office: RunningDaemon, n8n: StandIn, explorer: SmbClient, *, full_size: bool) -> None:
    """An upload that was aborted half-way and made again under the same name arrives, and its torso does not."""
    content = samples.jpeg(1, SIZE)
    first, _ = halves(content)
    path = office.inbox / "scan.jpg"
    with explorer.opened(path, anew=True) as file:
        if full_size:
            file.set_size(len(content))
        file.write(first, 0)
    wait_until_left(office, WaitReason.INCOMPLETE)
    with explorer.opened(path, anew=True) as file:
        file.write(content, 0)
    assert_arrived(office, n8n, ("scan.jpg", content))


# --- FTP -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ftp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FtpServer]:
    """An FTP server that serves the folders of all tests."""
    with ftp_server(tmp_path_factory.getbasetemp(), tmp_path_factory.mktemp("ftp")) as server:
        yield server


def test_ftp(office: RunningDaemon, n8n: StandIn, ftp: FtpServer, source: Path) -> None:
    """A file that is uploaded by FTP, for longer than it has to be quiet, arrives."""
    address = ftp.address(office.inbox / "scan.jpg")
    run(program("curl"), "--limit-rate", "300k", "--upload-file", source, address)
    assert_arrived(office, n8n, ("scan.jpg", source.read_bytes()))


def test_ftp_resumed(office: RunningDaemon, n8n: StandIn, ftp: FtpServer, source: Path) -> None:
    """An upload by FTP that was cut off, and is resumed after a pause, arrives."""
    path = office.inbox / "scan.jpg"
    upload = [program("curl"), "--upload-file", source, ftp.address(path)]
    with begun(*upload, "--limit-rate", "50k"):
        wait_until(lambda: is_begun(path), "the upload has begun")
    wait_until_left(office, WaitReason.INCOMPLETE)
    assert is_torso(path, source)
    run(*upload, "--continue-at", "-")
    assert_arrived(office, n8n, ("scan.jpg", source.read_bytes()))


# --- SSH -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ssh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    """An SSH server."""
    with ssh_server(tmp_path_factory.mktemp("ssh")) as server:
        yield server


def test_scp(office: RunningDaemon, n8n: StandIn, ssh: SshServer, source: Path) -> None:
    """A file that scp copies with its old time arrives."""
    run(program("scp"), "-F", ssh.client_config, "-q", "-p", source, ssh.place(office.inbox / "scan.jpg"))
    assert_arrived(office, n8n, ("scan.jpg", source.read_bytes()))


def test_sftp(office: RunningDaemon, n8n: StandIn, ssh: SshServer, source: Path) -> None:
    """A file that sftp puts arrives."""
    ssh.type_into_sftp(f"put {source} {office.inbox / 'scan.jpg'}")
    assert_arrived(office, n8n, ("scan.jpg", source.read_bytes()))


def test_sftp_resumed(office: RunningDaemon, n8n: StandIn, ssh: SshServer, source: Path) -> None:
    """An upload by SFTP that was cut off, and is resumed after a pause, arrives."""
    path = office.inbox / "scan.jpg"
    slow = ["-q", "-l", "400"]  # kbit/s
    with begun(program("scp"), "-F", ssh.client_config, *slow, source, ssh.place(path)):
        wait_until(lambda: is_begun(path), "the upload has begun")
    wait_until_left(office, WaitReason.INCOMPLETE)
    assert is_torso(path, source)
    ssh.type_into_sftp(f"reput {source} {path}")
    assert_arrived(office, n8n, ("scan.jpg", source.read_bytes()))


@pytest.mark.parametrize("mode", ["--partial", "--inplace"])
def test_rsync(office: RunningDaemon, n8n: StandIn, ssh: SshServer, source: Path, mode: str) -> None:
    """A file that rsync writes slowly, under a temporary name or under its own, arrives with its old time."""
    rsync = [program("rsync"), "-a", "-e", ssh.shell, mode, "--bwlimit=300"]
    run(*rsync, source, ssh.place(office.inbox / "scan.jpg"))
    assert_arrived(office, n8n, ("scan.jpg", source.read_bytes()))
    assert [path.stat().st_mtime_ns for path in office.files(office.done)] == [OLD_NS]


def test_rsync_resumed(office: RunningDaemon, n8n: StandIn, ssh: SshServer, source: Path) -> None:
    """What rsync leaves when it is cut off is not taken; once it is resumed, the file arrives.

    A photo with a film behind it, as phones make them: what is left of it is a whole JPEG, only without its time.
    """
    source.write_bytes(samples.jpeg(1) + b"a film" * SIZE)
    path = office.inbox / "scan.jpg"
    rsync = [program("rsync"), "-a", "-e", ssh.shell, "--partial"]
    with begun(*rsync, "--bwlimit=1000", source, ssh.place(path)):
        wait_until(lambda: any(is_begun(part) for part in office.inbox.glob(".scan.jpg.*")), "the upload has begun")
    wait_until_left(office, WaitReason.UNDATED)
    assert is_torso(path, source)
    run(*rsync, source, ssh.place(path))
    assert_arrived(office, n8n, ("scan.jpg", source.read_bytes()))


# --- Syncthing -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sync(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SyncSide, SyncSide]]:
    """Two Syncthing instances that share a folder."""
    with syncthing_pair(tmp_path_factory.mktemp("syncthing")) as sides:
        yield sides


def test_syncthing(tmp_path: Path, n8n: StandIn, sync: tuple[SyncSide, SyncSide], source: Path) -> None:
    """A file put at one side of a shared folder arrives in the inbox at the other, and then is gone at both."""
    here, there = sync
    with running(tmp_path, n8n, inbox=there.folder) as daemon:
        shutil.copy2(source, here.folder / "scan.jpg")
        here.scan()
        assert_arrived(daemon, n8n, ("scan.jpg", source.read_bytes()))
        there.scan()
        wait_until(lambda: not (here.folder / "scan.jpg").exists(), "it is gone at the other side too")
        assert_arrived(daemon, n8n, ("scan.jpg", source.read_bytes()))


def test_syncthing_conflict(tmp_path: Path, n8n: StandIn, sync: tuple[SyncSide, SyncSide]) -> None:
    """Two receipts that got the same name while the sides were apart both arrive, one as the other's conflict copy."""
    here, there = sync
    with here.apart_from(there):
        for side, seed in ((here, 2), (there, 3)):
            (side.folder / "scan.jpg").write_bytes(samples.jpeg(seed))
            side.scan()
    wait_until(lambda: len(list(there.folder.glob("scan*.jpg"))) == 2, "the inbox has both")
    wait_until(lambda: here.is_idle() and there.is_idle(), "the two sides agree")
    with running(tmp_path, n8n, inbox=there.folder) as daemon:
        daemon.wait_quiet(2)
        jobs = assert_consistent(daemon, n8n.deliveries, [samples.jpeg(2), samples.jpeg(3)])
    [original] = [job for job in jobs.values() if job.filename == "scan.jpg"]
    [copy] = [job for job in jobs.values() if job.filename.startswith("scan.sync-conflict-")]
    assert (original.conflict_of, copy.conflict_of) == (None, original.job_id)
    assert len(n8n.deliveries) == 2


# --- on the same machine -------------------------------------------------------------------------------------------


def test_cp(office: RunningDaemon, n8n: StandIn, source: Path) -> None:
    """A file that cp copies with its old time arrives."""
    run(program("cp"), "-p", source, office.inbox / "scan.jpg")
    assert_arrived(office, n8n, ("scan.jpg", source.read_bytes()))


def test_mv_from_another_file_system(office: RunningDaemon, n8n: StandIn, source: Path) -> None:
    """A file that mv moves in from another file system, with its old time, arrives."""
    content = source.read_bytes()
    with folder_on_another_device(office.inbox) as elsewhere:
        shutil.copy2(source, elsewhere / "scan.jpg")
        run(program("mv"), elsewhere / "scan.jpg", office.inbox)
    assert_arrived(office, n8n, ("scan.jpg", content))


def test_curl(office: RunningDaemon, n8n: StandIn) -> None:
    """A file that curl downloads straight into the inbox, from a server that pauses, arrives."""
    content = samples.jpeg(1, SIZE)
    with download(halves(content), pause) as address:
        run(program("curl"), "-o", office.inbox / "scan.jpg", address)
        assert_arrived(office, n8n, ("scan.jpg", content))


def test_tiffcp(tmp_path: Path, n8n: StandIn) -> None:
    """Pages that tiffcp appends one after another, each of them a whole TIFF already, arrive as one file."""
    tiffcp = program("tiffcp")
    pages = [tmp_path / f"page-{number}.tif" for number in range(3)]
    for number, page in enumerate(pages):
        page.write_bytes(samples.tiff(number, pages=1))
    with running(tmp_path, n8n, settle_seconds=3) as daemon:  # no structure tells that a page is to come
        path = daemon.inbox / "scan.tif"
        for page in pages:
            run(tiffcp, "-a", page, path)
            pause(0.5)
        content = path.read_bytes()
        assert_arrived(daemon, n8n, ("scan.tif", content))
    with Image.open(io.BytesIO(content)) as picture:
        assert getattr(picture, "n_frames", 1) == len(pages)


def test_scanner_batch(office: RunningDaemon, n8n: StandIn) -> None:
    """Pages that a scanner writes as *.part and renames in its own time, as scanimage does, arrive."""
    pages = [(f"out{number}.tif", samples.tiff(number, pages=1)) for number in range(2)]
    for name, content in pages:
        part = office.inbox / f"{name}.part"
        part.write_bytes(content)
        pause()
        part.rename(office.inbox / name)
    assert_arrived(office, n8n, *pages)
