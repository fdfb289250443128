"""The service tells systemd when it is ready, and how it stands."""

from __future__ import annotations

from pathlib import Path

from receipt_watcher.cli.demo import samples
from receipt_watcher.cli.demo.stand_in import Behaviour, StandIn
from receipt_watcher.report.status_line import in_one_line
from tests.conftest import TOKEN
from tests.fakes.daemons.process import wait_until
from tests.unit.service.systemd_service import FakeSystemd, service


def test_ready_when_it_is(tmp_path: Path, n8n: StandIn, systemd: FakeSystemd) -> None:
    """READY=1 comes once, when the inboxes are watched and the port is bound; a stop is said, with its time."""
    with service(tmp_path, n8n, systemd) as daemon:
        wait_until(lambda: systemd.count("READY=1"), "it is ready")
        assert daemon.count("inbox.watched") == 1
        assert daemon.call("nobody", {"status": "success"}, TOKEN).status_code == 404
        assert systemd.status == "0 waiting, 0 at N8N"
        assert daemon.terminate() == 0
    assert (systemd.count("READY=1"), systemd.count("STOPPING=1")) == (1, 1)
    assert systemd.lines.index("STOPPING=1") < systemd.lines.index("EXTEND_TIMEOUT_USEC=35000000")


def test_a_start_that_fails_is_never_ready(tmp_path: Path, n8n: StandIn, systemd: FakeSystemd) -> None:
    """A mistake in the configuration is exit status 2 and one line, and READY=1 is not said."""
    daemon = service(tmp_path, n8n, systemd, changes={"n8n": {"workers": 0}})
    daemon.start(wait=False)
    assert daemon.ended() == 2
    assert systemd.count("READY=1") == 0
    assert "n8n.workers" in daemon.log_file.read_text()


def test_an_inbox_that_is_away_delays_nothing(tmp_path: Path, n8n: StandIn, systemd: FakeSystemd) -> None:
    """A share that is not there is known to be unavailable: the service is ready, and its status names the inbox."""
    changes = {"inboxes": [{"path": str(tmp_path / "share" / "inbox"), "name": "share"}]}
    with service(tmp_path, n8n, systemd, changes=changes):
        wait_until(lambda: systemd.count("READY=1"), "it is ready")
        assert systemd.status == "0 waiting, 0 at N8N, inbox share unavailable"


def test_the_status_says_what_is_done(tmp_path: Path, n8n: StandIn, systemd: FakeSystemd) -> None:
    """The status counts what is at N8N, and says since when N8N is on hold."""
    n8n.behave = lambda _: Behaviour(verdict=None)
    with service(tmp_path, n8n, systemd, changes={"n8n": {"hold_after": 1}}) as daemon:
        daemon.drop("scan.jpg", samples.jpeg(1))
        wait_until(lambda: systemd.status == "0 waiting, 1 at N8N", "it is at N8N")
        assert daemon.call(daemon.job("scan.jpg").job_id, {"status": "success"}, TOKEN).status_code == 200
        n8n.stop_listening()
        daemon.drop("next.jpg", samples.jpeg(2))
        wait_until(lambda: systemd.status.startswith("1 waiting, 0 at N8N, 127.0.0.1 on hold since "), "it is on hold")


def test_the_status_in_words() -> None:
    """Each destination that is held is named, and each inbox that is away."""
    held = {"n8n.example.com": 5.0, "other": None}
    said = in_one_line(3, 1, held, ["office"], lambda at: f"{at:02.0f}:00")
    assert said == "3 waiting, 1 at N8N, n8n.example.com on hold since 05:00, other on hold, inbox office unavailable"
