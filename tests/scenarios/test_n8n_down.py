"""The real daemon gets through outages, lost answers and callbacks that never come."""

from __future__ import annotations

from pathlib import Path

from receipt_watcher.cli.demo import samples
from receipt_watcher.cli.demo.stand_in import Behaviour, StandIn
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import State
from tests.fakes.daemons.process import assert_consistent, jpegs, wait_until
from tests.scenarios.one_office import ACCEPTED, assert_arrived, office


def test_an_outage_of_n8n(tmp_path: Path, n8n: StandIn) -> None:
    """While N8N cannot be reached nothing fails and no attempt is used; afterwards everything goes through."""
    contents = jpegs(5)
    n8n.stop_listening()
    with office(tmp_path, n8n) as daemon:
        for number, content in enumerate(contents):
            daemon.drop(f"scan-{number}.jpg", content)
        wait_until(lambda: daemon.count("job.deferred") >= 4, "it was tried, and tried again")
        assert daemon.count("destination.held") == 1
        n8n.listen_again()
        assert_arrived(daemon, n8n, contents)
        assert {job.attempts for job in daemon.recorded()} == {1}
        assert daemon.count("destination.resumed") == 1
        assert not daemon.files(daemon.failed)


def test_a_lost_answer_is_waited_for_then_sent_again(tmp_path: Path, n8n: StandIn) -> None:
    """A receipt whose answer was lost is sent again after the deadline, under its id, even if it is the only one."""
    content = samples.jpeg(1)
    n8n.behave = lambda _: Behaviour(reset=True, verdict=None) if len(n8n.deliveries) == 1 else Behaviour()
    with office(tmp_path, n8n, changes={"callback": {"deadline_seconds": 0.5}}) as daemon:
        daemon.drop("scan.jpg", content)
        daemon.wait_quiet(1)
        assert_consistent(daemon, n8n.deliveries, [content], resent=1)
        assert daemon.job("scan.jpg").state is State.SUCCESS


def test_no_callback_at_all(tmp_path: Path, n8n: StandIn) -> None:
    """A receipt that N8N takes and never speaks of fails after its resends, with the reason no_callback."""
    n8n.behave = lambda _: ACCEPTED
    changes = {"callback": {"deadline_seconds": 0.1, "max_resends": 0}}
    with office(tmp_path, n8n, changes=changes) as daemon:
        daemon.drop("scan.jpg", samples.jpeg(1))
        daemon.wait_quiet(1)
        job = daemon.job("scan.jpg")
        assert (job.state, job.reason) == (State.FAILURE, Reason.NO_CALLBACK)
        assert Reason.NO_CALLBACK.advice in (daemon.failed / "scan.jpg.reason.txt").read_text()
