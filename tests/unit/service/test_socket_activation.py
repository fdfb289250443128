"""Callbacks wait at the socket while the service restarts."""

from __future__ import annotations

import contextlib
import socket
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from receipt_watcher.cli.demo import samples
from receipt_watcher.cli.demo.stand_in import Behaviour, StandIn
from receipt_watcher.jobs.states import State
from receipt_watcher.service.systemd import Systemd, handed_over, systemd_of
from tests.conftest import TOKEN
from tests.fakes.daemons.process import assert_consistent, handing_over, wait_until
from tests.unit.service.systemd_service import FakeSystemd, service


def test_callbacks_wait_for_a_restart(tmp_path: Path, n8n: StandIn) -> None:
    """With a socket that systemd holds, a callback that comes while no daemon runs is answered 200 by the next one."""
    n8n.behave = lambda _: Behaviour(verdict=None)
    content = samples.jpeg(1)
    with socket.create_server(("127.0.0.1", 0)) as held:
        daemon = service(tmp_path, n8n, prefix=handing_over(held), changes={"http": {"port": 1}})
        daemon.pass_fds = (held.fileno(),)
        with daemon, ThreadPoolExecutor(1) as caller:
            assert daemon.url == f"http://127.0.0.1:{held.getsockname()[1]}"
            daemon.drop("scan.jpg", content)
            wait_until(lambda: [job.state for job in daemon.recorded()] == [State.PROCESSING], "it is accepted")
            assert daemon.terminate() == 0
            answer = caller.submit(daemon.call, daemon.job("scan.jpg").job_id, {"status": "success"}, TOKEN)
            daemon.start()
            assert answer.result().status_code == 200
            daemon.wait_quiet(1)
    assert_consistent(daemon, n8n.deliveries, [content])


def test_the_variables_are_for_us_alone() -> None:
    """What systemd says is taken out of the environment, for another process's eyes or for ours."""
    environ = {
        "NOTIFY_SOCKET": "/run/systemd/notify",
        "WATCHDOG_USEC": "120000000",
        "WATCHDOG_PID": "7",
        "LISTEN_PID": "8",
        "LISTEN_FDS": "1",
        "LISTEN_FDNAMES": "http",
        "HOME": "/",
    }
    assert systemd_of(environ, 7).watchdog_seconds == 120
    assert handed_over(environ, 7) is None
    assert environ == {"HOME": "/"}


@pytest.mark.parametrize(
    ("environ", "listens", "watchdog_seconds"),
    [
        ({}, False, None),
        ({"WATCHDOG_USEC": "5000000"}, False, None),
        ({"NOTIFY_SOCKET": "@x"}, True, None),
        ({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "5000000"}, True, 5.0),
        ({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "5000000", "WATCHDOG_PID": "8"}, True, None),
        ({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "soon"}, True, None),
        ({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "9" * 5000}, True, None),
        ({"NOTIFY_SOCKET": "vsock:2:1234"}, False, None),
    ],
)
def test_who_is_told(environ: dict[str, str], listens: bool, watchdog_seconds: float | None) -> None:
    """Without a socket nobody is told, and nobody watches; a watchdog may be another process's."""
    found = systemd_of(environ, 7)
    assert (found.listens, found.watchdog_seconds) == (listens, watchdog_seconds)


def test_nobody_listens_any_more() -> None:
    """A notify socket that is gone, or a path of it, keeps nobody from working."""
    with tempfile.TemporaryDirectory() as folder:
        address = f"{folder}/notify"
        told = Systemd(address)
        told.ready("nobody hears this")
        with contextlib.closing(FakeSystemd(address)) as fake:
            told.ready("two\nlines")
            wait_until(lambda: fake.messages, "it is heard")
            assert fake.messages == ["READY=1\nSTATUS=two lines"]
