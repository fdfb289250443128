"""The real daemon as a process, with a spool and a state directory of its own, for tests that look from outside."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import pytest
import yaml

from receipt_watcher.cli.demo import samples
from receipt_watcher.cli.demo.received_posts import ReceivedPost
from receipt_watcher.jobs.job import Folder, Job
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.states import CLOSED_STATES, INITIAL_STATES, OPEN_STATES, TRANSITIONS, Event, State
from receipt_watcher.spool.reason_file import NOTE_SUFFIX
from tests.fakes.daemons.fork_server import fork_server

REPOSITORY = Path(__file__).parents[3]
DEADLINE_SECONDS = 30.0
_LOOK_SECONDS = 0.01


def wait_until(is_so: Callable[[], object], what: str, deadline_seconds: float = DEADLINE_SECONDS) -> None:
    """Return as soon as a fact can be observed; fail with `what` when it cannot within the deadline."""
    pause = threading.Event()
    ends_at = time.monotonic() + deadline_seconds
    while not is_so():
        if time.monotonic() > ends_at:
            raise AssertionError(f"not within {deadline_seconds:g} s: {what}")
        pause.wait(_LOOK_SECONDS)


def merge(base: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with the changes laid over it, section by section."""
    merged = dict(base)
    for key, value in changes.items():
        merged[key] = merge(merged.get(key, {}), value) if isinstance(value, Mapping) else value
    return merged


def jpegs(count: int, first: int = 0) -> list[bytes]:
    """Return so many different genuine JPEGs, quickly: one picture, each with another comment."""
    picture = samples.jpeg(1)
    comments = [f"receipt {number:8}".encode() for number in range(first, first + count)]
    return [
        picture[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + picture[2:]
        for comment in comments
    ]


@contextlib.contextmanager
def folder_on_another_device(here: Path) -> Iterator[Path]:
    """A folder on another file system than `here`; skips the test where there is none."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == here.stat().st_dev:
        pytest.skip("there is no second file system to write to: /dev/shm is missing or the same")
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


def without_capabilities(*names: str) -> list[str]:
    """Return what goes before a command so that permissions bind it, also where it is root's; see capabilities(7)."""
    if os.geteuid() != 0:
        return []
    prefix = ["setpriv", f"--bounding-set={','.join(f'-{name}' for name in names)}"]
    if shutil.which("setpriv") is None or subprocess.run([*prefix, "true"], check=False).returncode != 0:
        pytest.skip("root's power over permissions cannot be laid down: setpriv is missing, or may not do it")
    return prefix


_HAND_OVER = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1');"
    "os.execvp(sys.argv[2], sys.argv[2:])"
)


def handing_over(held: socket.socket) -> list[str]:
    """Return what goes before a command to hand it a listening socket, as a socket unit does; see `pass_fds`."""
    return [sys.executable, "-c", _HAND_OVER, str(held.fileno())]


def digest(content: bytes) -> str:
    """Return the SHA-256 in hex."""
    return hashlib.sha256(content).hexdigest()


#: Tests need not wait for scanners.
_QUICK = {"settle_seconds": 0.2, "patience_seconds": 1}


def files_below(folder: Path) -> list[Path]:
    """Return all files below a folder, sorted; what goes meanwhile is passed over, which `Path.rglob` does not do."""
    return sorted(Path(place, name) for place, _, names in os.walk(folder) for name in names)


class _GrowingLog:
    """The JSON lines of a log that grows: each is read once, however often a test looks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._path: Path | None = None
        self._read_bytes = 0
        self._lines: list[dict[str, Any]] = []

    def lines(self, path: Path) -> list[dict[str, Any]]:
        """Return the lines so far; the last one may be just being written, and is then left for later."""
        if not path.exists():
            return []
        with self._lock, path.open("rb") as log:
            if path != self._path or log.seek(0, os.SEEK_END) < self._read_bytes:
                self._path, self._read_bytes, self._lines = path, 0, []
            log.seek(self._read_bytes)
            text, end, _ = log.read().rpartition(b"\n")
            self._read_bytes += len(text) + len(end)
            self._lines += [json.loads(line) for line in text.splitlines() if line.startswith(b"{")]
            return list(self._lines)


class RunningDaemon:
    """`receipt-watcher run` on a folder; may be started, stopped, killed and started again."""

    #: Longest wait for a start.
    start_seconds = DEADLINE_SECONDS

    #: True if a plain start and plain commands may be forked from a process that has imported the program. A test that
    #: means the start itself, its time or its memory, sets this to False.
    is_forked = True

    def __init__(
        self,
        root: Path,
        webhook_url: str,
        token: str,
        *,
        inbox: Mapping[str, Any] | None = None,
        changes: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
    ) -> None:
        self.root = root
        places = dict(inbox or {})
        self.inbox = Path(places.get("path", root / "inbox"))
        self.processing = Path(places.get("processing_dir", self.inbox.parent / "processing"))
        self.done = Path(places.get("done_dir", self.inbox.parent / "done"))
        self.failed = Path(places.get("failed_dir", self.inbox.parent / "failed"))
        self.state = root / "state"
        self.config_file = root / "watcher.yaml"
        self.log_file = root / "daemon.log"
        self.environment = dict(environment or {})
        self.prefix = list(prefix)
        self.pass_fds: Sequence[int] = ()
        self.process: subprocess.Popen[bytes] | None = None
        self._log = _GrowingLog()
        self.inbox.mkdir(parents=True, exist_ok=True)
        base = {
            "inboxes": [
                {"path": str(self.inbox), "name": "office", "settle_seconds": 0.2, "patience_seconds": 1, **places}
            ],
            "n8n": {"webhook_url": webhook_url, "backoff_initial_seconds": 0.1, "backoff_max_seconds": 0.5},
            "callback": {"secret_token": token},
            "http": {"port": 0},
            "limits": {"min_free_mb": 0},  # some tests have disks of a megabyte
            "state_dir": str(self.state),
            "logging": {"format": "json", "level": "debug"},
        }
        self.config_file.write_text(yaml.safe_dump(merge(base, changes or {}), allow_unicode=True))

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it, however."""
        self.kill()

    def command(self, *arguments: str) -> list[str]:
        """Return the words of a command with this configuration."""
        return [*self.prefix, sys.executable, "-m", "receipt_watcher", *arguments, "--config", str(self.config_file)]

    def start(self, *arguments: str, wait: bool = True, crash_at: str | None = None) -> None:
        """Start it, and wait until it says that it has started; with `crash_at` it dies there (see `crashing`)."""
        started = self.count("daemon.started")
        command, environment = self.command("run", *arguments), os.environ | self.environment
        if crash_at is not None:
            command[command.index("receipt_watcher")] = "tests.fakes.daemons.crash_at_point"
            environment["CRASH_AT"] = crash_at
        with self.log_file.open("ab") as log:
            if self._may_fork(command, environment):
                self.process = fork_server().start(command, environment, 1, log)
            else:
                self.process = subprocess.Popen(
                    command, cwd=REPOSITORY, stderr=log, env=environment, pass_fds=self.pass_fds
                )
        if wait:
            wait_until(
                lambda: (
                    self.count("daemon.started") > started or self.process is None or self.process.poll() is not None
                ),
                "the daemon starts",
                self.start_seconds,
            )
            assert self.process.poll() is None, self.log_file.read_text()

    def terminate(self, timeout_seconds: float = DEADLINE_SECONDS) -> int:
        """Send SIGTERM and return the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_seconds)

    def kill(self) -> None:
        """Send SIGKILL; harmless when it has ended."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def ended(self, timeout_seconds: float = DEADLINE_SECONDS) -> int:
        """Wait for the process to end by itself, and return its exit code."""
        assert self.process is not None
        return self.process.wait(timeout_seconds)

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run another command with the same configuration, but for these environment variables."""
        command, environment = self.command(*arguments), os.environ | self.environment | variables
        if self._may_fork(command, environment):
            return subprocess.CompletedProcess(command, *fork_server().run(command, environment, 60))
        return subprocess.run(
            command,
            cwd=REPOSITORY,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def _may_fork(self, command: Sequence[str], environment: Mapping[str, str]) -> bool:
        return self.is_forked and not self.pass_fds and fork_server().can_start(command, environment)

    # --- what can be seen from outside -----------------------------------------------------------------------------

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """Return the log lines so far, or those of one event."""
        return [line for line in self._log.lines(self.log_file) if name in (None, line["event"])]

    def count(self, name: str) -> int:
        """Return how many log lines of one event there are so far."""
        return len(self.events(name))

    def jobs(self, *arguments: str) -> list[dict[str, Any]]:
        """Return the jobs as the command line lists them, the newest first."""
        found: list[dict[str, Any]] = json.loads(self.run("jobs", "--json", "--limit", "10000", *arguments).stdout)
        return found

    @property
    def url(self) -> str:
        """The URL that it listens at."""
        address: str = self.events("daemon.started")[-1]["public_url"]
        return address

    def call(self, job_id: str, body: Mapping[str, Any], token: str) -> httpx.Response:
        """Call back."""
        return httpx.post(
            f"{self.url}/api/v1/jobs/{job_id}/callback",
            json=dict(body),
            headers={"X-Callback-Token": token},
            timeout=DEADLINE_SECONDS,
        )

    @contextlib.contextmanager
    def job_log(self) -> Iterator[JobLog]:
        """Look into the job log itself."""
        log = JobLog(self.state / "receipts.db")
        log.database.open()
        yield log
        log.database.close()

    def recorded(self) -> list[Job]:
        """Return all jobs, the oldest first."""
        with self.job_log() as log:
            return log.lookups.listing(limit=None)[::-1]

    def job(self, filename: str) -> Job:
        """Return the only job of a file."""
        found = [job for job in self.recorded() if job.filename == filename]
        assert len(found) == 1, found
        return found[0]

    def is_quiet(self, jobs: int) -> bool:
        """Return whether this number of jobs is recorded, all are concluded and filed, and no work is left."""
        open_states = ", ".join(f"'{state.value}'" for state in OPEN_STATES)
        query = f"SELECT COUNT(*), TOTAL(move_due OR state IN ({open_states})) FROM job"
        address = f"file:{self.state / 'receipts.db'}?mode=ro"
        try:
            with contextlib.closing(sqlite3.connect(address, uri=True)) as database:
                if database.execute(query).fetchone() != (jobs, 0):
                    return False
        except sqlite3.OperationalError:  # not there yet
            return False
        return not self.files(self.inbox) and [entry.name for entry in self.processing.iterdir()] == [".owner"]

    def wait_quiet(self, jobs: int, deadline_seconds: float = DEADLINE_SECONDS) -> None:
        """Wait until so many jobs are recorded and nothing is left to do."""
        try:
            wait_until(lambda: self.is_quiet(jobs), f"{jobs} jobs are concluded and filed", deadline_seconds)
        except AssertionError as error:
            rest = [str(path) for folder in (self.inbox, self.processing) for path in files_below(folder)]
            listing = "\n".join(map(str, [*rest, *self.recorded()]))
            raise AssertionError(f"{error}\n{listing}\n{self.log_file.read_text()}") from error

    @staticmethod
    def files(folder: Path) -> list[Path]:
        """Return all receipts below a folder, without our own notes and hidden files."""
        return [
            path
            for path in files_below(folder)
            if not path.name.startswith(".") and not path.name.endswith(NOTE_SUFFIX)
        ]

    def drop(self, name: str, content: bytes) -> Path:
        """Put a whole file into the inbox by one rename, as a careful program does."""
        temporary = self.inbox.parent / f"drop-{name.replace('/', '_')}"
        temporary.write_bytes(content)
        target = self.inbox / name
        target.parent.mkdir(parents=True, exist_ok=True)
        return temporary.rename(target)


def assert_consistent(
    daemon: RunningDaemon, deliveries: Sequence[ReceivedPost], dropped: Iterable[bytes], *, resent: int = 0
) -> dict[str, Job]:
    """Audit a daemon with nothing left to do, after whatever happened to it, and return its jobs by digest.

    1. Each dropped file is in exactly one place, byte for byte, and nothing else is there, torn copies least of all.
    2. It has one job, which is concluded, claims nothing, owes no move, and names the place where the file is.
    3. Each job's history is a legal path through TRANSITIONS.
    4. Each delivery of a receipt was whole and bore its job's id; so many deliveries as `resent` were repetitions.
    """
    expected = Counter(digest(content) for content in dropped)
    assert Counter(digest(path.read_bytes()) for path in _all_files(daemon)) == expected
    with daemon.job_log() as log:
        jobs = log.lookups.listing(limit=None)
        histories = {job.job_id: log.histories.lines(job.job_id) for job in jobs}
    assert Counter(job.sha256 for job in jobs) == expected
    for job in jobs:
        assert job.state in CLOSED_STATES
        assert (job.move_due, job.moving_to_folder, job.moving_to_path) == (False, None, None)
        folder = {Folder.PROCESSING: daemon.processing, Folder.DONE: daemon.done, Folder.FAILED: daemon.failed}
        assert digest((folder[job.folder] / job.stored_path).read_bytes()) == job.sha256
        _assert_legal(histories[job.job_id], job.state)
    assert [entry.name for entry in daemon.processing.iterdir()] == [".owner"]
    by_digest = {job.sha256 or "": job for job in jobs}
    for delivery in deliveries:
        assert delivery.sha256 == delivery.claimed_sha256
        job_id = by_digest[delivery.sha256].job_id
        assert {delivery.job_id, delivery.headers["idempotency-key"], delivery.headers["webhook-id"]} == {job_id}
    counts = Counter(delivery.job_id for delivery in deliveries)
    assert counts.total() - len(counts) == resent, counts
    return by_digest


def _all_files(daemon: RunningDaemon) -> list[Path]:
    """Return every file in the four folders, hidden ones and torn copies too, but not what is ours by name."""
    return [
        path
        for folder in (daemon.inbox, daemon.processing, daemon.done, daemon.failed)
        for path in files_below(folder)
        if path.name != ".owner" and not path.name.endswith(NOTE_SUFFIX)
    ]


def _assert_legal(history: Sequence[Mapping[str, Any]], state: State) -> None:
    """Follow a job's history: it begins in an initial state and each change is one that TRANSITIONS allows."""
    first, *changes = [row for row in history if row["to_state"] is not None]
    assert first["event"] == "record"
    assert first["from_state"] is None
    now = State(first["to_state"])
    assert now in INITIAL_STATES
    for row in changes:
        transition = TRANSITIONS[Event(row["event"])]
        assert row["from_state"] == now
        assert now in transition.sources
        assert row["to_state"] == transition.target
        now = transition.target
    assert now is state
