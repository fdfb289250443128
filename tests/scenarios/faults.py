"""Failures of the disk and the job log, before one's eyes.

`python -m tests.scenarios.faults` names the faults, `python -m tests.scenarios.faults NAME…` plays them: the real
daemon, a stand-in for N8N, and a disk that is full, broken, read-only, or a job log that is locked, damaged, deleted,
replaced or lost. Each checks that no receipt is harmed, that health says why, and that work goes on when the fault
ends; it prints the log lines that tell. The tests play the same. Those that mount something do it in a mount namespace
of their own.
"""

from __future__ import annotations

import contextlib
import html
import json
import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

from receipt_watcher.cli.demo.stand_in import Behaviour, StandIn
from receipt_watcher.inbox.watching.ignored import STATUS_FILE_NAME
from receipt_watcher.jobs.states import State
from tests.fakes.daemons.process import RunningDaemon, jpegs, wait_until
from tests.fakes.mounts import CannotMountError, Mounts

TOKEN = "a-token-for-tests-only"
MENDED = 60.0  # until it is tried again, in seconds, and then some
TELLING = frozenset(
    {"job_log.failing", "job_log.mended", "job_log.restored", "job_log.rebuilt", "file.not_filed", "filing.resumed"}
    | {"inbox.unavailable", "inbox.available", "stage.failed", "task.failed"}
)


class _Impatient(RunningDaemon):
    def command(self, *arguments: str) -> list[str]:
        return [
            "tests.fakes.daemons.short_timeouts" if word == "receipt_watcher" else word
            for word in super().command(*arguments)
        ]


class Scene:
    """One fault's stage: a folder, a stand-in for N8N, a daemon, and mounts where it needs them."""

    def __init__(self, root: Path, n8n: StandIn, mounts: Mounts | None, kind: type[RunningDaemon]) -> None:
        self.root = root
        self.n8n = n8n
        self.contents = iter(jpegs(1000))
        self.daemon: RunningDaemon
        self._mounts = mounts
        self._kind = kind
        self._made: list[RunningDaemon] = []
        self.dropped = 0

    @property
    def mounts(self) -> Mounts:
        """The mount namespace."""
        assert self._mounts is not None
        return self._mounts

    def close(self) -> None:
        """End the daemon, if there is one yet."""
        for daemon in self._made:
            daemon.close()

    def folder(self, name: str) -> Path:
        """Make a folder and return it."""
        path = self.root / name
        path.mkdir(parents=True)
        return path

    def seen(self, path: Path) -> Path:
        """Return how a folder is reached from here, whatever is mounted on it in the namespace."""
        return self.mounts.seen(path)

    def make_daemon(self, *, inbox: dict[str, Any] | None = None, **changes: Any) -> RunningDaemon:
        """Make the daemon, which is not started; inside the namespace where there is one."""
        prefix = self._mounts.prefix if self._mounts else []
        self.daemon = self._kind(self.root, self.n8n.webhook_url, TOKEN, inbox=inbox, changes=changes, prefix=prefix)
        self._made.append(self.daemon)
        return self.daemon

    def drop(self, folder: Path | None = None) -> str:
        """Drop a receipt, and return its name."""
        self.dropped += 1
        name = f"scan-{self.dropped}.jpg"
        target = folder or self.daemon.inbox
        (target / f".{name}").write_bytes(next(self.contents))
        (target / f".{name}").rename(target / name)
        return name

    def wait_for(self, event: str, count: int = 1) -> dict[str, Any]:
        """Wait for a log line, and return it."""
        wait_until(lambda: self.daemon.count(event) >= count, f"{event} is logged", MENDED)
        return self.daemon.events(event)[count - 1]

    def health(self) -> dict[str, str]:
        """Return what health says is failing."""
        answer = httpx.get(f"{self.daemon.url}/health/ready", timeout=MENDED)
        assert (answer.status_code == 200) is ("failing" not in answer.json()), answer.text
        failing: dict[str, str] = answer.json().get("failing", {})
        return failing

    def wait_failing(self, check: str, words: str) -> None:
        """Wait until a check of health fails with these words."""
        wait_until(lambda: words in self.health().get(check, ""), f"{check} says «{words}»", MENDED)

    def wait_shown(self, words: str) -> None:
        """Wait until status, page and the file in the share all say so."""
        share = self.seen(self.daemon.inbox) / STATUS_FILE_NAME

        def said() -> dict[str, bool]:
            screens = {
                "status": self.daemon.run("status").stdout,
                "page": html.unescape(httpx.get(self.daemon.url, timeout=MENDED).text),
                "share": share.read_text("utf-8") if share.exists() else "",
            }
            return {name: words in " ".join(text.split()) for name, text in screens.items()}

        wait_until(lambda: all(said().values()), f"all screens say «{words}»", MENDED)

    def wait_healthy(self) -> None:
        """Wait until nothing is failing."""
        wait_until(lambda: not self.health(), "all is well again", MENDED)

    def wait_delivered(self, count: int) -> None:
        """Wait until so many receipts have succeeded, each sent once."""
        wait_until(lambda: self._succeeded() >= count, f"{count} receipts succeed", MENDED)
        names = [delivery.filename for delivery in self.n8n.deliveries]
        assert sorted(set(names)) == sorted(names), names

    def _succeeded(self) -> int:
        return sum(job.state is State.SUCCESS for job in self.daemon.recorded())

    def told(self) -> Iterator[str]:
        """Yield the lines that tell of the fault: of the log, and of a start that was refused."""
        for line in self.daemon.log_file.read_text().splitlines():
            if not line.startswith("{"):
                yield line
            elif (told := json.loads(line))["event"] in TELLING:
                said = {key: value for key, value in told.items() if key not in ("timestamp", "level", "event")}
                yield f"{told['level']:8} {told['event']:20} {said}"


def _fill(folder: Path) -> list[Path]:
    """Fill a file system to the last byte and the last inode, and return what has to go again."""
    fillers = [folder / ".filler"]
    with contextlib.suppress(OSError), fillers[0].open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    with contextlib.suppress(OSError):
        for number in range(10_000):
            fillers.append(folder / f".filler-{number}")
            fillers[-1].touch()
    return fillers


def _empty(fillers: list[Path]) -> None:
    for path in fillers:
        path.unlink(missing_ok=True)


# --- disks ---------------------------------------------------------------------------------------------------------


def state_full(scene: Scene) -> None:
    """The disk with the job log is full: nothing is sent, callbacks are asked to come again, health says why."""
    scene.mounts.mount_memory(scene.folder("state"), "size=3m")
    state = scene.seen(scene.root / "state")
    with scene.make_daemon():
        scene.drop()
        wait_until(lambda: scene.n8n.callbacks, "the first one is through")
        fillers = _fill(state)
        while not scene.daemon.count("job_log.failing"):
            scene.drop()
            with contextlib.suppress(AssertionError):
                wait_until(lambda: scene.daemon.count("job_log.failing"), "the log cannot be written", 1.0)
        assert "its disk is full" in scene.health()["job_log"]
        _empty(fillers)
        scene.wait_for("job_log.mended")
        scene.wait_healthy()
        wait_until(lambda: len(scene.n8n.deliveries) >= scene.dropped, "all are sent", MENDED)
        wait_until(lambda: not scene.daemon.files(scene.daemon.inbox), "none is left", MENDED)
        wait_until(lambda: len(scene.daemon.files(scene.daemon.done)) == scene.dropped, "all are filed", MENDED)


def done_full(scene: Scene) -> None:
    """The disk with done/ is full: the receipt stays in processing/, whole, and is filed when there is room."""
    _filing(scene, "done", lambda folder: _full(scene, folder), "No space left on device: scan-2.jpg needs")


def failed_full(scene: Scene) -> None:
    """The disk with failed/ is full: likewise."""
    scene.n8n.behave = lambda _: Behaviour(verdict="failure", message="no total")
    _filing(scene, "failed", lambda folder: _full(scene, folder), "No space left on device: scan-2.jpg needs")


def done_read_only(scene: Scene) -> None:
    """done/ becomes read-only: the receipt stays in processing/ until it can be written again."""
    _filing(scene, "done", lambda folder: _read_only(scene, folder), "Read-only file system")


def done_broken(scene: Scene) -> None:
    """The disk with done/ ends each call in an I/O error: the inbox is unavailable, the receipt stays in it."""
    folder = scene.folder("done")
    begin, end = _broken(scene, folder)
    with scene.make_daemon():
        scene.drop()
        scene.wait_for("file.filed")
        begin()
        scene.wait_failing("inbox:office", "Input/output error")
        kept = scene.drop()
        assert scene.daemon.files(scene.daemon.processing) == []
        assert [path.name for path in scene.daemon.files(scene.daemon.inbox)] == [kept]
        end()
        scene.wait_for("inbox.available")
        scene.wait_healthy()
        scene.wait_for("file.filed", 2)


Mending = Callable[[], None]


def _filing(scene: Scene, name: str, break_disk: Callable[[Path], tuple[Mending, Mending]], words: str) -> None:
    folder = scene.folder(name)
    begin, end = break_disk(folder)
    with scene.make_daemon(inbox={"status_file": True}):
        scene.drop()
        wait_until(lambda: scene.n8n.callbacks, "the first one is through")
        scene.wait_for("file.filed")
        begin()
        kept = scene.drop()
        assert words in scene.wait_for("file.not_filed")["message"]
        scene.wait_failing("filing:office", words)
        scene.wait_shown(words)
        assert [path.name for path in scene.daemon.files(scene.daemon.processing)] == [kept]
        end()
        scene.wait_for("filing.resumed")
        scene.wait_healthy()
        wait_until(lambda: not scene.daemon.files(scene.daemon.processing), "it is filed", MENDED)
        assert sum(path.name == kept for path in scene.daemon.files(scene.seen(folder))) == 1


def _full(scene: Scene, folder: Path) -> tuple[Mending, Mending]:
    scene.mounts.mount_memory(folder, "size=1m", "nr_inodes=100")
    fillers: list[Path] = []
    return lambda: fillers.extend(_fill(scene.seen(folder))), lambda: _empty(fillers)


def _read_only(scene: Scene, folder: Path) -> tuple[Mending, Mending]:
    scene.mounts.bind(folder, folder)
    return lambda: scene.mounts.remount(folder, "bind", "ro"), lambda: scene.mounts.remount(folder, "bind", "rw")


def _broken(scene: Scene, folder: Path) -> tuple[Mending, Mending]:
    share = scene.mounts.share(scene.folder("far-side"), folder)
    return share.fail, share.thaw


def processing_full(scene: Scene) -> None:
    """The disk with inbox and processing/ is full: the inbox is unavailable, the receipt stays in it."""
    share = scene.folder("share")
    scene.mounts.mount_memory(share, "size=1m", "nr_inodes=100")
    inbox = scene.seen(share) / "inbox"
    inbox.mkdir()
    with scene.make_daemon(inbox={"path": str(share / "inbox")}):
        (scene.root / "waits.jpg").write_bytes(next(scene.contents))
        target = inbox / "waits.jpg"
        target.touch()
        fillers = _fill(scene.seen(share))[1:]  # inodes are gone; there is room for a few bytes
        _empty([scene.seen(share) / ".filler"])
        fillers += [extra for extra in _fill(scene.seen(share)) if extra.name != ".filler"]
        _empty([scene.seen(share) / ".filler"])
        (scene.seen(share) / ".filler-last").touch()
        shutil.copyfile(scene.root / "waits.jpg", target)
        words = f"{share / 'processing'}: No space left on device: waits.jpg needs 0.0 MB"
        assert words in scene.wait_for("inbox.unavailable")["why"]
        scene.wait_failing("inbox:office", words)
        assert target.exists()
        _empty([*fillers, scene.seen(share) / ".filler-last"])
        scene.wait_for("inbox.available")
        wait_until(lambda: len(scene.n8n.deliveries) == 1, "it is delivered", MENDED)
        scene.wait_healthy()
        assert scene.daemon.count("inbox.unavailable") == scene.daemon.count("inbox.available") == 1


def processing_full_elsewhere(scene: Scene) -> None:
    """The disk with processing/ is another one, and full: one state until there is room, which names that folder."""
    processing = scene.folder("work")
    scene.mounts.mount_memory(processing, "size=1m")
    with scene.make_daemon(inbox={"processing_dir": str(processing), "status_file": True}):
        scene.drop()
        scene.wait_delivered(1)
        fillers = _fill(scene.seen(processing))
        large = scene.daemon.inbox / "large.jpg"
        large.write_bytes(next(scene.contents) + bytes(400_000))
        words = f"{processing}: No space left on device: large.jpg needs 0.4 MB, {{}} MB are free; make room there"
        assert scene.wait_for("inbox.unavailable")["why"] == words.format("0.0")
        os.truncate(fillers[0], fillers[0].stat().st_size - 200_000)  # that is too little
        scene.wait_failing("inbox:office", words.format("0.2"))
        scene.wait_shown(words.format("0.2"))
        assert large.exists()
        _empty(fillers)
        scene.wait_for("inbox.available")
        scene.wait_delivered(2)
        scene.wait_healthy()
        assert scene.daemon.count("inbox.unavailable") == scene.daemon.count("inbox.available") == 1


def processing_full_and_left(scene: Scene) -> None:
    """The disk with processing/ is full, and what needed room is taken back: then nothing is wrong any more."""
    processing = scene.folder("work")
    scene.mounts.mount_memory(processing, "size=1m")
    with scene.make_daemon(inbox={"processing_dir": str(processing)}):
        fillers = _fill(scene.seen(processing))
        os.truncate(fillers[0], fillers[0].stat().st_size - 100_000)
        large = scene.daemon.inbox / "large.jpg"
        large.write_bytes(next(scene.contents) + bytes(400_000))
        scene.wait_for("inbox.unavailable")
        large.unlink()
        _empty(fillers)
        scene.wait_for("inbox.available")
        scene.wait_healthy()


def spool_broken(scene: Scene) -> None:
    """The disk with the whole spool ends each call in an I/O error: the inbox is unavailable until it is mended."""
    folder = scene.folder("share")
    share = scene.mounts.share(scene.folder("far-side"), folder)
    (scene.root / "far-side" / "inbox").mkdir()
    with scene.make_daemon(inbox={"path": str(folder / "inbox")}):
        share.fail()
        scene.wait_for("inbox.unavailable")
        scene.wait_failing("inbox:office", "Input/output error")
        scene.drop(scene.root / "far-side" / "inbox")
        share.thaw()
        scene.wait_for("inbox.available")
        scene.wait_delivered(1)
        scene.wait_healthy()


# --- the job log ---------------------------------------------------------------------------------------------------


def locked(scene: Scene) -> None:
    """Another program keeps the job log locked: the receipt waits, and goes on when the lock is gone."""
    with scene.make_daemon():
        scene.drop()
        scene.wait_delivered(1)
        with contextlib.closing(sqlite3.connect(scene.daemon.state / "receipts.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            scene.drop()
            assert "another program keeps it locked" in scene.wait_for("job_log.failing")["why"]
            scene.wait_failing("job_log", "keeps it locked")
            other.execute("ROLLBACK")
        scene.wait_for("job_log.mended")
        scene.wait_delivered(2)
        scene.wait_healthy()


def damaged_at_start(scene: Scene) -> None:
    """The job log is damaged: the start is refused in words and touches nothing; with the backup work goes on."""
    daemon = scene.make_daemon()
    with daemon:
        scene.drop()
        scene.wait_delivered(1)
        backup = scene.root / "backup.db"
        assert daemon.run("backup", str(backup)).returncode == 0
        daemon.terminate()
    scene.drop()
    log = daemon.state / "receipts.db"
    log.write_bytes(b"\xff" * 50_000)
    daemon.start(wait=False)
    assert daemon.ended() == 1
    said = daemon.log_file.read_text()
    assert "it is damaged" in said
    assert "put the last backup in its place" in said
    assert len(daemon.files(daemon.inbox)) == 1
    shutil.copyfile(backup, log)
    with daemon:
        scene.wait_delivered(2)


def from_a_newer_version(scene: Scene) -> None:
    """The job log was written by a newer version: the start is refused, and nothing is touched."""
    daemon = scene.make_daemon()
    with daemon:
        daemon.terminate()
    with contextlib.closing(sqlite3.connect(daemon.state / "receipts.db")) as newer, newer:
        table = "SELECT name FROM sqlite_master WHERE name LIKE '%migration%' AND type = 'table'"
        (name,) = newer.execute(table).fetchone()
        newer.execute(f"INSERT INTO {name} (name, applied) VALUES ('9999_future', '2031-01-01')")
    scene.drop()
    daemon.start(wait=False)
    assert daemon.ended() == 2
    assert "written by a newer version (it has 9999_future)" in daemon.log_file.read_text()
    assert len(daemon.files(daemon.inbox)) == 1


def deleted(scene: Scene) -> None:
    """Somebody deletes the job log while it is in use: it is written anew, whole, and nothing is sent twice."""
    with scene.make_daemon():
        scene.drop()
        scene.wait_delivered(1)
        for path in scene.daemon.state.glob("receipts.db*"):
            path.unlink()
        scene.wait_for("job_log.restored")
        scene.drop()
        scene.wait_delivered(2)
        scene.wait_healthy()
        for path in scene.daemon.state.glob("receipts.db*"):
            path.unlink()
        scene.daemon.terminate()  # at once
        assert scene.daemon.count("job_log.restored") == 2
    with scene.daemon:
        scene.drop()
        scene.wait_delivered(3)


def folder_deleted(scene: Scene) -> None:
    """Somebody deletes the whole state folder: log, lock, name and token are made anew, the same as before."""
    with scene.make_daemon():
        scene.drop()
        scene.wait_delivered(1)
        before = (scene.daemon.state / "installation").read_text()
        shutil.rmtree(scene.daemon.state)
        scene.wait_for("job_log.restored")
        assert (scene.daemon.state / "installation").read_text() == before
        second = scene.daemon.run("run")
        assert second.returncode == 1
        assert "is running on" in second.stderr
        scene.drop()
        scene.wait_delivered(2)
        scene.daemon.terminate()
    with scene.daemon:
        scene.drop()
        scene.wait_delivered(3)


def replaced(scene: Scene) -> None:
    """Another file is put in the job log's place while it is in use: nothing is written or taken until a restart."""
    with scene.make_daemon():
        scene.drop()
        scene.wait_delivered(1)
        backup = scene.root / "backup.db"
        assert scene.daemon.run("backup", str(backup)).returncode == 0
        backup.rename(scene.daemon.state / "receipts.db")
        assert "was replaced by another file" in scene.wait_for("job_log.failing")["why"]
        scene.wait_failing("job_log", "restart the daemon")
        waits = scene.drop()
        scene.daemon.terminate()
        places = (scene.daemon.inbox, scene.daemon.processing)
        assert [path.name for place in places for path in scene.daemon.files(place)] == [waits]
    with scene.daemon:
        scene.wait_delivered(2)


def lost(scene: Scene) -> None:
    """The job log is gone at start: what may have been sent is awaited first, what is in done/ is never sent again."""
    is_silent = False
    scene.n8n.behave = lambda _: Behaviour(verdict=None if is_silent else "success")
    with scene.make_daemon():
        filed = scene.drop()
        scene.wait_delivered(1)
        is_silent = True
        scene.drop()
        wait_until(lambda: len(scene.n8n.deliveries) == 2, "the second one is sent")
        scene.wait_for("job.accepted", 2)
        wait_until(lambda: scene.daemon.files(scene.daemon.done), "the first one is filed")
    for path in scene.daemon.state.glob("receipts.db*"):
        path.unlink()
    awaited = scene.n8n.deliveries[1]
    written = scene.daemon.processing / awaited.job_id / awaited.filename
    with written.open("ab"), scene.daemon:  # while somebody has it open it is not recorded
        assert scene.wait_for("job_log.rebuilt")["jobs"] == 1
    with scene.daemon:
        (done,) = scene.daemon.files(scene.daemon.done)
        shutil.copyfile(done, scene.daemon.inbox / "again.jpg")
        wait_until(lambda: _state(scene, "again.jpg") is State.DUPLICATE, "the copy is known")
        assert _state(scene, filed) is State.SUCCESS
        wait_until(lambda: _state(scene, awaited.filename), "the one in processing/ is recorded")
        assert scene.daemon.call(awaited.job_id, {"status": "success"}, TOKEN).status_code == 200
        scene.daemon.wait_quiet(3)
    assert len(scene.n8n.deliveries) == 2


def _state(scene: Scene, name: str) -> State | None:
    return next((job.state for job in scene.daemon.recorded() if job.filename == name), None)


#: Each fault by its name, and whether it mounts something.
FAULTS: dict[str, tuple[Callable[[Scene], None], bool]] = {
    **{
        fault.__name__.replace("_", "-"): (fault, True)
        for fault in (
            state_full,
            done_full,
            failed_full,
            processing_full,
            processing_full_elsewhere,
            processing_full_and_left,
            done_read_only,
            done_broken,
            spool_broken,
        )
    },
    **{
        fault.__name__.replace("_", "-"): (fault, False)
        for fault in (locked, damaged_at_start, from_a_newer_version, deleted, folder_deleted, replaced, lost)
    },
}


def play(name: str, root: Path, *, is_impatient: bool = False) -> Scene:
    """Play one fault, with the daemon as it is, or with one that waits for less (see `impatient`).

    Raises:
        AssertionError: something is not as promised.
        CannotMountError: what it needs cannot be mounted here.
    """
    fault, mounts = FAULTS[name]
    with Mounts() if mounts else contextlib.nullcontext() as namespace, StandIn(TOKEN) as n8n:
        scene = Scene(root, n8n, namespace, _Impatient if is_impatient else RunningDaemon)
        try:
            fault(scene)
        finally:
            scene.close()
    return scene


def main(names: list[str]) -> int:
    """Play the faults that are named, or name them all."""
    say = sys.stdout.write
    if not names or not set(names) <= FAULTS.keys():
        for name, (fault, _) in FAULTS.items():
            say(f"{name:22} {(fault.__doc__ or '').strip()}\n")
        return 2 if names else 0
    for name in names:
        say(f"{name}: {(FAULTS[name][0].__doc__ or '').strip()}\n")
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as root:
            try:
                scene = play(name, Path(root))
            except CannotMountError as error:
                say(f"  cannot be played here: {error.strerror}\n")
                return 1
            for line in scene.told():
                say(f"  {line}\n")
        say("  as promised\n")
    return 0


if __name__ == "__main__":
    os.umask(0o022)
    sys.exit(main(sys.argv[1:]))
