from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from receipt_watcher.cli.demo import samples
from receipt_watcher.cli.demo.stand_in import Behaviour, StandIn
from receipt_watcher.config.roles import Role
from receipt_watcher.config.secrets import hash_of
from tests.conftest import TOKEN
from tests.fakes.api_client import SECRETS, bearer
from tests.fakes.daemons.process import RunningDaemon, folder_on_another_device, wait_until

#: Calls that put bytes and names on disk or on the wire. A `?` lets strace pass over calls that this machine has not.
CALLS = (
    *("fsync", "fdatasync", "?rename", "renameat", "renameat2", "?link", "linkat", "?unlink", "unlinkat"),
    *("?mkdir", "mkdirat", "write", "writev", "pwrite64", "sendto", "sendmsg", "recvfrom"),
)
_LINE = re.compile(r"(?P<pid>\d+) +(?:<\.\.\. )?(?P<name>\w+)(?P<rest>.*)")
_RESULT = re.compile(r"= (-?\d+)[^=]*$")


@dataclass(frozen=True)
class Call:
    """One system call: between which lines of the trace it ran, its arguments, its result."""

    name: str
    text: str
    begun: int
    ended: int
    result: int

    def precedes(self, other: Call) -> bool:
        """Return whether it had returned before the other was made."""
        return self.ended < other.begun


def calls_of(trace: str) -> list[Call]:
    """Read strace's lines; a call that another thread interrupted stands on two of them."""
    open_calls: dict[str, tuple[str, int]] = {}
    calls = []
    for number, line in enumerate(trace.splitlines()):
        found = _LINE.match(line)
        if found is None or "+++" in line or "---" in line:
            continue
        text, begun = found["rest"], number
        if text.endswith("<unfinished ...>"):
            open_calls[found["pid"]] = (text, number)
            continue
        if " resumed>" in text:
            before, begun = open_calls.pop(found["pid"])
            text = before + text
        result = _RESULT.search(text)
        calls.append(Call(found["name"], text, begun, number, int(result[1]) if result else 0))
    return sorted(calls, key=lambda call: call.begun)


class Trace:
    """The calls of one daemon, in order."""

    def __init__(self, text: str) -> None:
        self.calls = calls_of(text)

    def all(self, names: str, *parts: str) -> list[Call]:
        """Return the successful calls of one of these names whose arguments contain each of these parts."""
        return [
            call
            for call in self.calls
            if call.name in names.split() and call.result >= 0 and all(part in call.text for part in parts)
        ]

    def one(self, names: str, *parts: str) -> Call:
        """Return the only such call."""
        found = self.all(names, *parts)
        assert len(found) == 1, (names, parts, found)
        return found[0]

    def rename(self, source: Path, target: Path | str) -> Call:
        """Return the rename of one path to another."""
        return self.one("rename renameat renameat2", f'"{source}"', f"{target}")

    def flush(self, path: Path, after: Call) -> Call:
        """Return the first flush of a file or folder that was made after a call had returned."""
        return next(call for call in self.all("fsync fdatasync", f"<{path}>") if after.precedes(call))

    def commits(self) -> list[Call]:
        """Return the commits of the job log: each flushes its write-ahead log."""
        return self.all("fsync fdatasync", "receipts.db-wal>")


#: An admin's token for the API.
API = {"http": {"tokens": {"admin": {"role": "admin", "hash": hash_of(SECRETS[Role.ADMIN])}}}}


@pytest.fixture(scope="session")
def can_trace(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skip where system calls cannot be watched."""
    if shutil.which("strace") is None:
        pytest.skip("there is no strace here")
    target = tmp_path_factory.mktemp("strace") / "trace"
    tried = subprocess.run(
        ["strace", "-D", "-f", "-yy", "-e", "trace=write", "-o", str(target), sys.executable, "-c", "print(1)"],
        capture_output=True,
        check=False,
        timeout=30,
    )
    if tried.returncode != 0 or not target.exists():
        pytest.skip(f"strace may not trace here: {tried.stderr.decode(errors='replace').strip()}")


@pytest.fixture
def other_device(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system than the temporary folder."""
    with folder_on_another_device(tmp_path) as folder:
        yield folder


def drop(daemon: RunningDaemon) -> None:
    """Let one receipt, scan.jpg, go all the way."""
    daemon.drop("scan.jpg", samples.jpeg(1))
    daemon.wait_quiet(1)


def traced(
    root: Path, n8n: StandIn, let_go: Callable[[RunningDaemon], None] = drop, inbox: dict[str, str] | None = None
) -> tuple[RunningDaemon, Trace]:
    """Let one receipt go through a daemon that is traced, and return what it did."""
    target = root / "trace"
    # With -D the daemon is our child, and strace watches from the side.
    prefix = ["strace", "-D", "-f", "-yy", "-s", "0", "-e", f"trace={','.join(CALLS)}", "-o", str(target)]
    with RunningDaemon(root, n8n.webhook_url, TOKEN, inbox=inbox, changes=API, prefix=prefix) as daemon:
        let_go(daemon)
        assert daemon.terminate() == 0
        assert daemon.process is not None
        end = f"{daemon.process.pid} +++ exited with 0 +++"
        wait_until(lambda: end in re.sub(" +", " ", target.read_text()), "strace has written everything")
    return daemon, Trace(target.read_text())


def test_order(can_trace: None, tmp_path: Path, n8n: StandIn) -> None:
    """Flushes, commits, requests and renames keep the order that a power loss at any moment asks for."""
    daemon, trace = traced(tmp_path, n8n)
    job = daemon.job("scan.jpg")
    folder = daemon.processing / job.job_id

    taken = trace.rename(daemon.inbox / "scan.jpg", folder / "scan.jpg")
    flushes = [trace.flush(path, taken) for path in (folder / "scan.jpg", folder, daemon.processing)]
    posted = trace.all("sendto sendmsg write writev", f"->127.0.0.1:{n8n.port}]")[0]
    recorded, claimed = [
        call for call in trace.commits() if all(map(Call.precedes, flushes, [call] * 3)) and call.precedes(posted)
    ][:2]
    assert recorded.precedes(claimed)

    port = daemon.url.rpartition(":")[2]
    asked, answered = (trace.all(name, f"TCP:[127.0.0.1:{port}->") for name in ("recvfrom", "sendto sendmsg"))
    assert posted.precedes(answered[0])
    concluded = [call for call in trace.commits() if asked[0].precedes(call) and call.precedes(answered[0])]
    assert concluded

    month = (daemon.done / job.stored_path).parent
    filed = trace.rename(folder / "scan.jpg", month / "scan.jpg")
    made = trace.one("mkdir mkdirat", f'"{month}"')
    assert trace.flush(daemon.done, made).precedes(filed)
    intended = [call for call in trace.commits() if concluded[0].precedes(call) and call.precedes(filed)]
    assert intended
    flushed = trace.flush(month, filed)
    assert any(flushed.precedes(call) for call in trace.commits())
    assert not [call for call in trace.commits() if filed.begun < call.ended < flushed.begun]


class Caller:
    """Asks the traced daemon over the API, and knows its connection, so that the answer is found in the trace."""

    def __init__(self) -> None:
        self.connection = ""

    def post(self, daemon: RunningDaemon, path: str, **options: Any) -> None:
        """Ask, and be accepted."""
        with httpx.stream("POST", f"{daemon.url}{path}", headers=bearer(Role.ADMIN), timeout=30, **options) as response:
            host, port = response.extensions["network_stream"].get_extra_info("client_addr")
            response.read()
        assert response.status_code == 202, response.text
        self.connection = f"->{host}:{port}]"

    def asked(self, trace: Trace) -> Call:
        """Return when its question was heard first."""
        return trace.all("recvfrom", self.connection)[0]

    def answered(self, trace: Trace) -> Call:
        """Return when its answer was sent."""
        return trace.all("sendto sendmsg", self.connection)[0]


def test_order_of_an_upload(can_trace: None, tmp_path: Path, n8n: StandIn) -> None:
    """An upload is answered when its bytes, its name and its row are durable, and sent to N8N only then, too."""
    caller = Caller()

    def upload(daemon: RunningDaemon) -> None:
        caller.post(daemon, "/api/v1/receipts/upload", files={"file": ("scan.jpg", samples.jpeg(1))})
        daemon.wait_quiet(1)

    daemon, trace = traced(tmp_path, n8n, upload)
    folder = daemon.processing / daemon.job("scan.jpg").job_id
    taken, _filed = trace.all("rename renameat renameat2", f'"{folder / "scan.jpg"}"')
    assert caller.asked(trace).precedes(taken)
    flushes = [trace.flush(path, taken) for path in (folder / "scan.jpg", folder, daemon.processing)]
    recorded = next(call for call in trace.commits() if all(flush.precedes(call) for flush in flushes))
    posted = trace.all("sendto sendmsg write writev", f"->127.0.0.1:{n8n.port}]")[0]
    assert recorded.precedes(caller.answered(trace))
    assert recorded.precedes(posted)


def test_order_of_a_retry(can_trace: None, tmp_path: Path, n8n: StandIn) -> None:
    """A retry over the API is in the job log for good before it is answered."""
    caller = Caller()
    n8n.behave = lambda delivery: Behaviour(verdict="failure" if delivery.attempt == 1 else "success")

    def retry(daemon: RunningDaemon) -> None:
        daemon.drop("scan.jpg", samples.jpeg(1))
        wait_until(lambda: daemon.is_quiet(1) and daemon.files(daemon.failed), "it is in failed/")
        caller.post(daemon, f"/api/v1/jobs/{daemon.job('scan.jpg').job_id}/retry")
        wait_until(lambda: daemon.is_quiet(1) and daemon.files(daemon.done), "it is in done/")

    daemon, trace = traced(tmp_path, n8n, retry)
    asked, answered = caller.asked(trace), caller.answered(trace)
    assert [call for call in trace.commits() if asked.precedes(call) and call.precedes(answered)]
    filed, processed = daemon.failed / "scan.jpg", daemon.processing / daemon.job("scan.jpg").job_id / "scan.jpg"
    _there, back = trace.all("rename renameat renameat2", f'"{filed}"', f'"{processed}"')
    posted = trace.all("sendto sendmsg write writev", f"->127.0.0.1:{n8n.port}]")[-1]
    flushed = trace.flush(processed.parent, back)
    assert [call for call in trace.commits() if flushed.precedes(call) and call.precedes(posted)]


def assert_copied(trace: Trace, source: Path, target: Path) -> None:
    """The copy is flushed, then renamed, then its folder is flushed, and only then the original is removed."""
    written = trace.all("write", f"<{target.parent}/.", "partial>")
    copied = trace.flush(Path(re.findall(r"<([^>]*partial)>", written[-1].text)[0]), written[-1])
    renamed = trace.one("rename renameat renameat2", 'partial"', f'"{target}"')
    assert copied.precedes(renamed)
    flushes = [trace.flush(folder, renamed) for folder in (target.parent, target.parent.parent)]
    removed = trace.one("unlink unlinkat", f'"{source}"')
    assert all(flush.precedes(removed) for flush in flushes)
    trace.flush(source.parent, removed)


def test_order_of_a_copy_from_the_inbox(can_trace: None, tmp_path: Path, other_device: Path, n8n: StandIn) -> None:
    """A copy from an inbox on another file system is durable, name and bytes, before the original is removed."""
    places = {f"{name}_dir": str(tmp_path / name) for name in ("processing", "done", "failed")}
    daemon, trace = traced(tmp_path, n8n, inbox={"path": str(other_device / "inbox"), **places})
    assert_copied(trace, daemon.inbox / "scan.jpg", daemon.processing / daemon.job("scan.jpg").job_id / "scan.jpg")


def test_order_of_a_copy_to_done(can_trace: None, tmp_path: Path, other_device: Path, n8n: StandIn) -> None:
    """A copy to a done folder on another file system is durable, name and bytes, before the original is removed."""
    daemon, trace = traced(tmp_path, n8n, inbox={"done_dir": str(other_device / "done")})
    job = daemon.job("scan.jpg")
    assert_copied(trace, daemon.processing / job.job_id / "scan.jpg", daemon.done / job.stored_path)


@pytest.mark.parametrize(
    ("line", "name", "result"),
    [
        ("12 fsync(3</x/a>)                 = 0", "fsync", 0),
        ("12 fsync(3</x/a>)                 = -1 EIO (Input/output error)", "fsync", -1),
        ('12 sendto(7<TCP:[127.0.0.1:1->127.0.0.1:2]>, ""..., 99, 0, NULL, 0) = 99', "sendto", 99),
    ],
)
def test_reading_a_trace(line: str, name: str, result: int) -> None:
    """A line of strace is read with its name and its result."""
    (call,) = calls_of(line)
    assert (call.name, call.result) == (name, result)


def test_reading_an_interrupted_call() -> None:
    """A call that another thread's line interrupts ends where it was resumed, and so precedes nothing in between."""
    lines = ["1 fsync(3</x/a> <unfinished ...>", "2 write(4</x/b>, ..., 5) = 5", "1 <... fsync resumed>) = 0"]
    flushed, written = calls_of("\n".join(lines))
    assert (flushed.name, flushed.begun, flushed.ended) == ("fsync", 0, 2)
    assert not flushed.precedes(written)
