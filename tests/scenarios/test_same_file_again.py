"""A file that comes again is treated as the policy for duplicates says."""

from __future__ import annotations

from pathlib import Path

import pytest

from receipt_watcher.cli.demo import samples
from receipt_watcher.cli.demo.stand_in import Behaviour, StandIn
from receipt_watcher.jobs.job import Folder
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import State
from tests.conftest import TOKEN
from tests.fakes.daemons.process import assert_consistent, wait_until
from tests.scenarios.one_office import ACCEPTED, FAILING, office

FAILED_VERDICT = {"status": "failure", "message": "The supplier is unknown."}


@pytest.mark.parametrize(
    ("policy", "states", "deliveries"),
    [
        ("skip", [State.SUCCESS, State.DUPLICATE], 1),
        ("send", [State.SUCCESS, State.SUCCESS], 2),
        ("fail", [State.SUCCESS, State.FAILURE], 1),
    ],
)
def test_duplicates(policy: str, states: list[State], deliveries: int, tmp_path: Path, n8n: StandIn) -> None:
    """A second copy is filed with the first, sent under an id of its own, or failed, as `duplicates` says."""
    content = samples.jpeg(1)
    with office(tmp_path, n8n, changes={"duplicates": policy}) as daemon:
        for number, name in enumerate(("first.jpg", "second.jpg"), 1):
            daemon.drop(name, content)
            daemon.wait_quiet(number)
        jobs = [daemon.job("first.jpg"), daemon.job("second.jpg")]
        files = [path.name for folder in (daemon.done, daemon.failed) for path in daemon.files(folder)]
    assert [job.state for job in jobs] == states
    assert len({delivery.job_id for delivery in n8n.deliveries}) == len(n8n.deliveries) == deliveries
    assert files == ["first.jpg", "second.jpg"]
    assert jobs[1].duplicate_of == (jobs[0].job_id if policy == "skip" else None)
    assert jobs[1].folder is (Folder.FAILED if policy == "fail" else Folder.DONE)


def test_a_copy_of_a_receipt_under_way(tmp_path: Path, n8n: StandIn) -> None:
    """A copy of a receipt that is under way waits for it, is never sent, and is filed where that one is filed."""
    n8n.behave = lambda _: ACCEPTED
    content = samples.jpeg(1)
    with office(tmp_path, n8n) as daemon:
        daemon.drop("first.jpg", content)
        wait_until(lambda: daemon.count("job.accepted"), "it is at N8N")
        daemon.drop("second.jpg", content)
        wait_until(lambda: daemon.count("job.recorded") == 2, "the copy is recorded")
        assert daemon.job("second.jpg").folder is Folder.PROCESSING
        assert daemon.call(daemon.job("first.jpg").job_id, FAILED_VERDICT, TOKEN).status_code == 200
        daemon.wait_quiet(2)
        assert [path.name for path in daemon.files(daemon.failed)] == ["first.jpg", "second.jpg"]
        assert daemon.job("first.jpg").job_id in (daemon.failed / "second.jpg.reason.txt").read_text()
    assert len(n8n.deliveries) == 1


def test_a_failed_file_that_is_dropped_back(tmp_path: Path, n8n: StandIn) -> None:
    """A failed file that somebody moves back retries its old job; its note comes along and is no receipt, and goes."""
    n8n.behave = lambda _: FAILING if len(n8n.deliveries) == 1 else Behaviour()
    content = samples.jpeg(1)
    with office(tmp_path, n8n) as daemon:
        daemon.drop("scan.jpg", content)
        daemon.wait_quiet(1)
        first = daemon.job("scan.jpg")
        assert first.reason is Reason.N8N_FAILURE
        for name in ("scan.jpg.reason.txt", "scan.jpg"):
            (daemon.failed / name).rename(daemon.inbox / name)
        wait_until(lambda: len(n8n.deliveries) == 2, "it is sent again")
        daemon.wait_quiet(1)
        assert_consistent(daemon, n8n.deliveries, [content], resent=1)
        after = daemon.job("scan.jpg")
        assert (after.job_id, after.state, after.attempts) == (first.job_id, State.SUCCESS, 2)
        wait_until(lambda: not [*daemon.failed.iterdir(), *daemon.inbox.iterdir()], "the note is gone")
