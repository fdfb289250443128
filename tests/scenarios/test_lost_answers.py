"""The real daemon before an N8N that answers with its verdict and remembers nothing: whatever is lost, none twice."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from receipt_watcher.cli.demo.stand_in import Behaviour, StandIn
from receipt_watcher.jobs.job import Job
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import State
from tests.conftest import TOKEN
from tests.fakes.daemons.process import RunningDaemon, jpegs, wait_until

SUCCESS = b'{"status": "success", "message": "booked"}'
LONG = json.dumps({"status": "success", "message": "booked", "data": "x" * 2_000_000}).encode()


def answering(tmp_path: Path, n8n: StandIn, stop_timeout_seconds: float = 20, **options: object) -> RunningDaemon:
    """Return a daemon whose workflow answers with its verdict; deadlines and time limits are short."""
    changes = {
        "n8n": {"accept": "last_node", "timeout_seconds": 0.5, **options},
        "callback": {"deadline_seconds": 0.5},
        "limits": {"stop_timeout_seconds": stop_timeout_seconds},
    }
    return RunningDaemon(tmp_path, n8n.webhook_url, TOKEN, changes=changes)


def ended(daemon: RunningDaemon) -> Job:
    """Return the only receipt once it has ended and is filed."""
    daemon.wait_quiet(1)
    return daemon.job("scan.jpg")


#: An answer, the reason that it ends as, and what its message says.
LOSSES: dict[str, tuple[Behaviour, Reason, str]] = {
    "no answer in time": (
        Behaviour(hang=threading.Event(), verdict=None),
        Reason.OUTCOME_UNKNOWN,
        "No answer within n8n.timeout_seconds. It may have been booked.",
    ),
    "reset after it was read": (Behaviour(reset=True, verdict=None), Reason.OUTCOME_UNKNOWN, "It may have been booked"),
    "cut before the verdict": (
        Behaviour(body=b'{"message": "boo', missing_bytes=50, verdict=None),
        Reason.OUTCOME_UNKNOWN,
        "(cut: after 16 bytes",
    ),
    "no content": (Behaviour(204, b"", verdict=None), Reason.OUTCOME_UNKNOWN, "204"),
    "words": (Behaviour(body=b"OK", content_type="text/html", verdict=None), Reason.OUTCOME_UNKNOWN, "200 OK"),
    "a proxy that gave up": (Behaviour(504, b"", verdict=None), Reason.OUTCOME_UNKNOWN, "504"),
    "JSON of something else": (Behaviour(body=b'[{"id": 7}]', verdict=None), Reason.UNREADABLE_VERDICT, '[{"id": 7}]'),
}


#: Answers in which a verdict stands, however wrapped or cut.
VERDICTS = {
    "as a string": Behaviour(body=json.dumps(SUCCESS.decode()).encode(), verdict=None),
    "a list that says it is a page": Behaviour(body=b"[%b]" % SUCCESS, content_type="text/html", verdict=None),
    "cut behind it": Behaviour(body=SUCCESS[:-1] + b", ", missing_bytes=50, verdict=None),
    "too long to be read whole": Behaviour(body=LONG, verdict=None),
}


def test_what_is_lost_is_not_sent_again(tmp_path: Path, n8n: StandIn) -> None:
    """Each receipt is posted once. What is lost fails with its reason; a verdict that stands in an answer counts."""
    answers = {name: behaviour for name, (behaviour, _, _) in LOSSES.items()} | VERDICTS
    n8n.behave = lambda delivery: answers[delivery.filename.removesuffix(".jpg")]
    with answering(tmp_path, n8n, hold_after=100) as daemon:
        for name, content in zip(answers, jpegs(len(answers)), strict=True):
            daemon.drop(f"{name}.jpg", content)
        daemon.wait_quiet(len(answers))
        jobs = {name: daemon.job(f"{name}.jpg") for name in answers}
        for name, (_, reason, words) in LOSSES.items():
            job = jobs[name]
            assert (name, job.state, job.reason) == (name, State.FAILURE, reason)
            assert words in (job.message or "")
            assert f"settle {job.job_id} --delivered" in (daemon.failed / f"{name}.jpg.reason.txt").read_text()
        assert {jobs[name].state for name in VERDICTS} == {State.SUCCESS}
        assert {jobs[name].message for name in VERDICTS} == {"booked"}
        assert daemon.run("retry", "--failed").returncode == 1
        assert daemon.run("settle", "words.jpg", "--delivered").returncode == 0
        wait_until(lambda: list(daemon.done.rglob("words.jpg")), "what was settled is in done/")
    assert Counter(delivery.filename for delivery in n8n.deliveries) == {f"{name}.jpg": 1 for name in answers}


def test_a_workflow_that_remembers_jobs_is_sent_it_again(tmp_path: Path, n8n: StandIn) -> None:
    """With n8n.remembers_jobs a lost answer is followed by the same id after the deadline, and by its verdict."""
    n8n.behave = lambda _: Behaviour(reset=True, verdict=None) if len(n8n.deliveries) < 2 else Behaviour(body=SUCCESS)
    with answering(tmp_path, n8n, remembers_jobs=True) as daemon:
        daemon.drop("scan.jpg", jpegs(1)[0])
        assert ended(daemon).state is State.SUCCESS
    assert len({delivery.job_id for delivery in n8n.deliveries}) == 1
    assert len(n8n.deliveries) == 2


def test_what_was_certainly_not_sent_goes_again(tmp_path: Path, n8n: StandIn) -> None:
    """Where nobody listens nothing can have been booked: the receipt waits, and goes when N8N is back."""
    n8n.behave = lambda _: Behaviour(body=SUCCESS, verdict=None)
    n8n.stop_listening()
    with answering(tmp_path, n8n) as daemon:
        daemon.drop("scan.jpg", jpegs(1)[0])
        wait_until(lambda: daemon.count("job.deferred"), "it could not be sent")
        n8n.listen_again()
        assert ended(daemon).state is State.SUCCESS
    assert len(n8n.deliveries) == 1


@pytest.mark.parametrize("end", [RunningDaemon.kill, RunningDaemon.terminate], ids=["KILL", "TERM"])
def test_an_end_while_it_is_sent(tmp_path: Path, n8n: StandIn, end: Callable[[RunningDaemon], object]) -> None:
    """A daemon that ends while an answer is awaited does not send the receipt again after its next start."""
    n8n.behave = lambda _: Behaviour(hang=threading.Event(), verdict=None)
    daemon = answering(tmp_path, n8n, timeout_seconds=30, stop_timeout_seconds=0.2)
    with daemon:
        daemon.drop("scan.jpg", jpegs(1)[0])
        wait_until(lambda: n8n.deliveries, "it has been sent")
        end(daemon)
        daemon.start()
        job = ended(daemon)
        assert (job.state, job.reason) == (State.FAILURE, Reason.OUTCOME_UNKNOWN)
    assert len(n8n.deliveries) == 1


def test_run_once_gives_up_what_it_cannot_know(tmp_path: Path, n8n: StandIn) -> None:
    """Run --once ends with 1 after one POST, and says what is unknown."""
    n8n.behave = lambda _: Behaviour(reset=True, verdict=None)
    daemon = answering(tmp_path, n8n)
    daemon.drop("scan.jpg", jpegs(1)[0])
    first = daemon.run("run", "--once")
    assert first.returncode == 1
    assert daemon.job("scan.jpg").reason is Reason.OUTCOME_UNKNOWN
    assert len(n8n.deliveries) == 1


def test_an_unreadable_callback_is_followed_by_nothing(tmp_path: Path, n8n: StandIn) -> None:
    """A callback with the right token that cannot be read ends the receipt; a readable success later wins."""
    n8n.behave = lambda _: Behaviour(verdict=None)
    changes = {"callback": {"deadline_seconds": 0.5}, "n8n": {"payload": "link"}}
    with RunningDaemon(tmp_path, n8n.webhook_url, TOKEN, changes=changes) as daemon:
        daemon.drop("scan.jpg", jpegs(1)[0])
        wait_until(lambda: n8n.deliveries, "it has been sent")
        job_id = n8n.deliveries[0].job_id
        assert daemon.call(job_id, {"state": "booked"}, TOKEN).status_code == 422
        job = ended(daemon)
        assert (job.state, job.reason) == (State.FAILURE, Reason.UNREADABLE_VERDICT)
        assert '{"state":"booked"}' in (job.message or "").replace(" ", "")
        assert daemon.call(job_id, {"status": "success"}, TOKEN).status_code == 200
        assert ended(daemon).state is State.SUCCESS
    assert len(n8n.deliveries) == 1
