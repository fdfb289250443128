"""Receipts under the unit's own filter, and with the one capability that it gives."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from receipt_watcher.cli.demo import samples
from receipt_watcher.cli.demo.stand_in import StandIn
from receipt_watcher.jobs.states import State
from tests.conftest import TOKEN
from tests.fakes.daemons.process import REPOSITORY, RunningDaemon, assert_consistent, wait_until
from tests.real.systemd import sandbox

#: A user other than the service's, such as the scanner's.
_SCANNER = 4321

_FORBIDDEN = {
    "to change an owner": "os.chown('.', 0, 0)",
    "a socket of another family": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
    "memory that is written and run": "mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC)",
    "another rank to run": "os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))",
}


@pytest.fixture
def prefix() -> list[str]:
    """Return the words before a command that run it as the unit does, but for its file system."""
    why = sandbox.missing()
    if why is not None:
        pytest.skip(why)
    capabilities = ["setpriv", "--bounding-set=-all,+lease", "--inh-caps=-all"] if os.geteuid() == 0 else []
    return [*capabilities, sys.executable, "-m", "tests.real.systemd.sandbox"]


@pytest.mark.parametrize("what", _FORBIDDEN)
def test_the_filter_is_there(prefix: list[str], what: str) -> None:
    """What the unit does not allow fails with EPERM or EACCES, so what follows shows something."""
    program = f"import mmap, os, socket\ntry: {_FORBIDDEN[what]}\nexcept PermissionError: print('refused')"
    command = [*prefix, sys.executable, "-c", program]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout == "refused\n", done.stderr


def test_receipts_arrive_under_the_filter(tmp_path: Path, n8n: StandIn, prefix: list[str]) -> None:
    """Each accepted kind is examined, sent and filed under the unit's filter, and nothing of it fails on the way."""
    contents = {f"scan.{kind}": getattr(samples, kind)(1) for kind in ("jpeg", "png", "pdf", "heic", "tiff", "webp")}
    with RunningDaemon(tmp_path, n8n.webhook_url, TOKEN, prefix=prefix) as daemon:
        for name, content in contents.items():
            daemon.drop(name, content)
        daemon.wait_quiet(len(contents))
        wait_until(lambda: daemon.count("balance.checked"), "the balance is made")
        assert daemon.process is not None
        assert len(os.sched_getaffinity(daemon.process.pid)) == 1
        assert daemon.terminate() == 0
        assert [line for line in daemon.events() if line["level"] in ("warning", "error")] == []
    jobs = assert_consistent(daemon, n8n.deliveries, contents.values())
    assert {job.state for job in jobs.values()} == {State.SUCCESS}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files of another user")
def test_another_users_file_is_waited_for(tmp_path: Path, n8n: StandIn, prefix: list[str]) -> None:
    """With CAP_LEASE alone a file of the scanner's user is left alone for as long as the scanner has it open."""
    content = samples.jpeg(1)
    with RunningDaemon(tmp_path, n8n.webhook_url, TOKEN, prefix=prefix) as daemon:
        path = daemon.inbox / "scan.jpg"
        with path.open("wb") as scanner:
            os.chown(path, _SCANNER, _SCANNER)
            scanner.write(content)
            scanner.flush()
            wait_until(lambda: "open" in [line["reason"] for line in daemon.events("file.waiting")], "it is open")
            assert path.exists()
        daemon.wait_quiet(1)
    assert_consistent(daemon, n8n.deliveries, [content])
