"""The pulse of a page changes when there is something new to show."""

from __future__ import annotations

from pathlib import Path

from receipt_watcher.jobs.job import Folder
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import Event
from tests.unit.delivery.worker_world import URL
from tests.unit.web.pages.page_site import Office, inbox_state


def test_the_pulse_changes_when_there_is_something_to_show(office: Office) -> None:
    """A browser that has the page open learns by one short question that something else is to be shown."""

    def pulse() -> str:
        found: str = office.get("/page/pulse").json()["pulse"]
        return found

    seen = [pulse()]
    assert pulse() == seen[-1]
    assert f'data-beat="{seen[-1]}"' in office.get("/").text  # so that nothing in between is missed
    office.failed()
    seen.append(pulse())
    office.holds.missed(URL, "502")
    seen.append(pulse())
    office.inbox = inbox_state(unavailable="gone", unavailable_since=1.0)
    seen.append(pulse())
    assert len(set(seen)) == 4


def test_the_pulse_changes_when_a_file_was_moved(office: Office) -> None:
    """No line of a history tells that a file is where it belongs now, and the page says where it is."""
    [job] = office.record()
    assert office.log.jobs.advance(job.job_id, Event.FAIL, office.clock.advance(1), reason=Reason.EMPTY)
    before = office.get("/page/pulse").json()
    office.log.moves.finish_moves([(office.job(job), Folder.FAILED, Path(job.job_id))], office.clock.now)
    assert office.get("/page/pulse").json() != before
