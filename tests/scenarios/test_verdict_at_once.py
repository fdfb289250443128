"""A verdict in the answer to a delivery counts as a callback does."""

from __future__ import annotations

import pytest

from receipt_watcher.delivery.callbacks import Reception
from receipt_watcher.delivery.destinations import Concluded, Lost
from receipt_watcher.jobs.log.holds import HoldKind
from receipt_watcher.jobs.states import State
from receipt_watcher.jobs.verdict import Verdict
from tests.scenarios.outage_office import BOOKED, Office
from tests.unit.delivery.worker_world import URL


def test_a_verdict_at_once_is_kept_as_a_callback_is(office: Office) -> None:
    """A verdict that comes as the answer concludes the job in one step, with page and history, and awaits nothing."""
    (job,) = office.record()
    office.destination.script = lambda _: BOOKED
    office.deliver_all()
    after = office.job(job)
    assert (after.state, after.message, after.notion_page_url) == (State.SUCCESS, "booked", "https://notion.example/1")
    assert (after.deadline_at, after.move_due, after.attempts) == (None, True, 1)
    claim, verdict = office.log.histories.lines(job.job_id)[-2:]
    assert (claim["event"], verdict["event"], verdict["from_state"]) == ("claim", "succeed", "delivering")
    assert '"data": {"total": 12}' in verdict["detail"]
    assert office.deadlines().expire_due() == []


@pytest.mark.parametrize(
    ("at_once", "later", "reception", "state"),
    [
        (True, True, Reception.RECEIVED, State.SUCCESS),
        (True, False, Reception.CONTRARY, State.SUCCESS),
        (False, True, Reception.RECEIVED, State.SUCCESS),
        (False, False, Reception.RECEIVED, State.FAILURE),
    ],
)
def test_a_callback_after_a_verdict_at_once(
    office: Office, at_once: bool, later: bool, reception: Reception, state: State
) -> None:
    """A workflow that answers and calls back, too, is treated as one that calls back twice: a success stays or wins."""
    (job,) = office.record()
    office.destination.script = lambda _: Concluded(Verdict(success=at_once), "200", 200)
    office.deliver_all()
    assert office.conclusion().conclude(job.job_id, Verdict(success=later)) is reception
    assert office.job(job).state is state


def test_a_verdict_at_once_gives_resends_back(office: Office) -> None:
    """A verdict that ends a hold ends it for those whose resends the outage has used up, too."""
    (waiting,) = office.record(state=State.PROCESSING, resends=1, deadline_at=office.clock.now + 10**6)
    office.holds.hold(URL, HoldKind.ANSWERS, "down", office.clock.now, office.clock.now)
    office.destination.script = lambda _: BOOKED
    office.record()
    office.deliver_all()
    assert not office.standing.is_held
    assert office.job(waiting).resends == 0


def test_an_answer_that_nobody_agreed_on_is_awaited(office: Office) -> None:
    """An answer that n8n.accept does not know may have started the workflow: three hold it, and none goes out twice."""
    jobs = office.record(5)
    office.destination.script = lambda _: Lost("N8N answered 200 {}, which n8n.accept does not know", 200)
    assert office.deliver_all() == 3
    assert office.standing.is_held
    assert office.log.histories.attempts(jobs[0].job_id)[0]["status_code"] == 200
    assert office.destination.delivered == [job.job_id for job in jobs[:3]]
