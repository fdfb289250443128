"""Attacks on the HTTP side, one at a time, and what a well-behaved N8N and people at the page notice of each.

`python -m tests.properties.fuzz_http` runs them first and prints the table.
"""

from __future__ import annotations

import contextlib
import http.client
import sqlite3
import ssl
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from receipt_watcher.cli.demo.stand_in import Behaviour, StandIn
from receipt_watcher.config.roles import Role
from receipt_watcher.config.secrets import hash_of
from receipt_watcher.web.server.admission import _YOUNG_SECONDS
from receipt_watcher.web.server.tls import Certificate
from tests.conftest import TOKEN
from tests.fakes.api_client import SECRETS
from tests.fakes.daemons.process import REPOSITORY, RunningDaemon, jpegs, wait_until
from tests.properties.attackers import ATTACKS, FIRST, TLS_ATTACKS
from tests.unit.web.server.test_thread import certificate_for

#: Most files that the daemon may have open, as by default (ulimit -n).
FILES = 1024
#: By how much an attack may delay a callback, by the median.
DELAY_SECONDS = 0.05
#: Time within which a person gets some page, and N8N an answer, whatever is locked or busy.
PAGE_SECONDS, CALLBACK_SECONDS = 3.0, 8.0
_PAUSE_SECONDS = 0.05
_BODY = b'{"status": "success", "message": "booked"}'


#: Another program keeps the job log locked.
LOCKED = "job_log_locked"
ALL = (*ATTACKS, LOCKED, *TLS_ATTACKS)


@contextlib.contextmanager
def _attacker(name: str, port: int, job_log: Path) -> Iterator[None]:
    """Attack while this lasts."""
    if name == LOCKED:
        with contextlib.closing(sqlite3.connect(job_log, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
            other.execute("ROLLBACK")
        return
    command = [sys.executable, "-m", "tests.properties.attackers", name, str(port), SECRETS[Role.OPERATOR]]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(FIRST)] == [b"connected\n"] * FIRST
        yield
        assert process.poll() is None, f"the attack {name} ended by itself"
    finally:
        process.kill()
        process.communicate()


# --- what others notice --------------------------------------------------------------------------------------------


@dataclass
class Noticed:
    """The times that callbacks and pages took, in seconds, and the wrong answers."""

    callbacks: list[float] = field(default_factory=list)
    pages: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    slow: list[str] = field(default_factory=list)
    files: int = 0

    @property
    def median(self) -> float:
        """Of the callbacks, in seconds."""
        return statistics.median(self.callbacks or [0.0])


@dataclass(frozen=True)
class Row:
    """One attack, and what was noticed with and without it."""

    name: str
    calm: Noticed
    attacked: Noticed

    def __str__(self) -> str:
        figures = [
            f"{self.calm.median * 1000:.1f} ms",
            f"{self.attacked.median * 1000:.1f} ms",
            f"{max(self.attacked.callbacks, default=0) * 1000:.0f} ms",
            f"{len(self.attacked.callbacks)}",
            f"{max(self.attacked.pages, default=0) * 1000:.0f} ms",
            f"{len(self.attacked.pages)}",
            f"{self.attacked.files}",
        ]
        return "| " + " | ".join([self.name.replace("_", " "), *figures]) + " |"

    def complaints(self) -> list[str]:
        """Return what must not be, whatever the machine's speed."""
        found = [f"{self.name}: {each}" for each in (*self.calm.wrong, *self.attacked.wrong)]
        if not self.attacked.callbacks or not self.attacked.pages:
            found.append(f"{self.name}: nothing was tried")
        if self.attacked.files >= FILES * 3 // 4:
            found.append(f"{self.name}: {self.attacked.files} files were open")
        return found

    def delays(self) -> list[str]:
        """Return what took too long."""
        if self.name == LOCKED:  # a callback is kept elsewhere when the log has not taken it for some seconds
            slowest = max(self.attacked.callbacks, default=0.0)
            return [f"{self.name}: a callback took {slowest:.1f} s"] if slowest > CALLBACK_SECONDS else []
        later = self.attacked.median - self.calm.median
        slowest = max(self.attacked.pages, default=0.0)
        found = [f"{self.name}: {each}" for each in (*self.calm.slow, *self.attacked.slow)]
        if later > DELAY_SECONDS:
            found.append(f"{self.name}: callbacks took {later * 1000:.0f} ms more")
        return found + ([f"{self.name}: a page took {slowest:.1f} s"] if slowest > PAGE_SECONDS else [])


TABLE_HEAD = """
| attack | callbacks before, median | while it runs, median | slowest | heard | slowest page | pages | files open |
|---|---|---|---|---|---|---|---|"""


class Office:
    """N8N that calls back, and people who look at pages, of one daemon."""

    def __init__(self, daemon: RunningDaemon, standin: StandIn, trust: ssl.SSLContext | None = None) -> None:
        self._daemon = daemon
        self._standin = standin
        self._trust = trust
        self.port = int(daemon.url.rpartition(":")[2])
        self._dropped = self._called = 0
        self._job_ids(1)  # only when N8N has called back once more than one receipt is sent at a time
        self._call(self._standin.deliveries[0].job_id, Noticed())

    def notice(self, seconds: float) -> Noticed:
        """Call back and look for so long; each of both by one caller, with a pause between two."""
        noticed, over = Noticed(), threading.Event()
        looking = threading.Thread(target=self._look, args=[noticed, over])
        looking.start()
        ends_at = time.monotonic() + seconds
        try:
            for job_id in self._job_ids(max(3, int(seconds / _PAUSE_SECONDS / 2))):
                self._call(job_id, noticed)
                if over.wait(_PAUSE_SECONDS) or time.monotonic() > ends_at:
                    break
        finally:
            over.set()
            looking.join()
        return noticed

    def prepare(self, count: int) -> None:
        """Have `count` receipts sent, so that N8N has something to call back for."""
        self._job_ids(count)
        self._called -= count

    def _job_ids(self, count: int) -> list[str]:
        missing = self._called + count - self._dropped
        for content in jpegs(max(0, missing), self._dropped):
            self._daemon.drop(f"{self._dropped}.jpg", content)
            self._dropped += 1
        wait_until(lambda: len(self._standin.deliveries) >= self._called + count, "receipts are sent", 60)
        found = [each.job_id for each in self._standin.deliveries[self._called : self._called + count]]
        self._called += count
        return found

    def _ask(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> tuple[int, float]:
        began = time.monotonic()
        line = (
            http.client.HTTPConnection("localhost", self.port, timeout=30)
            if self._trust is None
            else http.client.HTTPSConnection("localhost", self.port, timeout=30, context=self._trust)
        )
        with contextlib.closing(line):
            line.request(method, path, body, dict(headers))
            with line.getresponse() as answer:
                answer.read()
                return answer.status, time.monotonic() - began

    def _call(self, job_id: str, noticed: Noticed) -> None:
        try:
            headers = {"X-Callback-Token": TOKEN, "Content-Type": "application/json"}
            status, seconds = self._ask("POST", f"/api/v1/jobs/{job_id}/callback", headers, _BODY)
        except (OSError, http.client.HTTPException) as error:
            noticed.wrong.append(f"a callback was not heard: {error!r}")
            return
        noticed.callbacks.append(seconds)
        if status != 200:
            noticed.wrong.append(f"a callback was answered {status}")

    def _look(self, noticed: Noticed, over: threading.Event) -> None:
        """Look at pages, signed in and as somebody on this machine, and at how many files are open."""
        assert self._daemon.process is not None
        files = Path("/proc", str(self._daemon.process.pid), "fd")
        known = {"Authorization": f"Bearer {SECRETS[Role.OPERATOR]}", "Accept": "text/html"}
        while True:
            for headers in (known, {"Accept": "text/html"}):
                began = time.monotonic()
                try:
                    status, seconds = self._ask("GET", "/", headers)
                except (OSError, http.client.HTTPException) as error:
                    # Attacker and person have one address here. After its first second, a connection without a token is
                    # closed when its address has too many (see `admission`): that page was slow before it was closed.
                    is_young = time.monotonic() - began < _YOUNG_SECONDS
                    (noticed.wrong if is_young else noticed.slow).append(f"a page was not answered: {error!r}")
                else:
                    noticed.pages.append(seconds)
                    if status not in (200, 503):
                        noticed.wrong.append(f"a page was answered {status}")
            noticed.files = max(noticed.files, len(list(files.iterdir())))
            if over.wait(4 * _PAUSE_SECONDS):
                return


def attack(
    names: Collection[str], seconds: float, root: Path, say: Callable[[str], None] = lambda _: None
) -> tuple[list[str], list[str]]:
    """Run some attacks, so long each; return what was wrong, and what was slow."""
    wrong: list[str] = []
    slow: list[str] = []
    certificate = certificate_for(root, "here")
    say(TABLE_HEAD.strip())
    for its, its_certificate in (([*ATTACKS, LOCKED], None), ([*TLS_ATTACKS], certificate)):
        chosen = [name for name in its if name in names]
        if chosen:
            for row in _rows(root / chosen[0], chosen, seconds, its_certificate, wrong):
                say(str(row))
                wrong += row.complaints()
                slow += row.delays()
    return wrong, slow


def _rows(
    root: Path, names: Collection[str], seconds: float, certificate: Certificate | None, wrong: list[str]
) -> Iterator[Row]:
    """Attack one daemon, with TLS or without; what its log says in the end is added to what was wrong."""
    tls = {"tls_certificate": str(certificate.chain), "tls_key": str(certificate.key)} if certificate else {}
    trust = ssl.create_default_context(cafile=str(certificate.chain)) if certificate else None
    known = {f"the-{role}": {"role": str(role), "hash": hash_of(SECRETS[role])} for role in Role}
    changes = {
        "logging": {"level": "info"},
        "callback": {"deadline_seconds": 3600},
        "http": {"tokens": known, "local_role": "viewer", **tls},
    }
    root.mkdir()
    with (
        StandIn(TOKEN, behave=lambda _: Behaviour(verdict=None)) as standin,
        RunningDaemon(
            root,
            standin.webhook_url,
            TOKEN,
            changes=changes,
            prefix=["prlimit", f"--nofile={FILES}:{FILES}"],
        ) as daemon,
    ):
        office = Office(daemon, standin, trust)
        for name in names:
            yield _row(name, office, daemon, seconds)
        if daemon.terminate() != 0:
            wrong.append("the daemon did not end by itself")
        wrong += [f"{line['event']}: {line}"[:500] for line in daemon.events() if _is_shortage(line)]


def _row(name: str, office: Office, daemon: RunningDaemon, seconds: float) -> Row:
    """Measure before an attack and while it runs; afterwards its connections must be gone."""
    assert daemon.process is not None
    files = Path("/proc", str(daemon.process.pid), "fd")
    office.prepare(2 * max(3, int(seconds / _PAUSE_SECONDS / 2)))
    before = len(list(files.iterdir()))
    calm = office.notice(seconds)
    with _attacker(name, office.port, daemon.state / "receipts.db"):
        attacked = office.notice(seconds)
    wait_until(lambda: len(list(files.iterdir())) <= before + 16, f"the connections of {name} are gone")
    return Row(name, calm, attacked)


def _is_shortage(line: Mapping[str, object]) -> bool:
    return (
        line["event"] in ("http.no_files", "inbox.unavailable")
        or line["level"] in ("error", "critical")
        or "Too many open files" in str(line)
    )
