"""The list of what is wrong: each kind from its facts, in words, and on the screens of a running daemon."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from receipt_watcher.inbox.state import Waiting
from receipt_watcher.inbox.wait_reasons import NEEDS_A_PERSON, WaitReason
from receipt_watcher.jobs.log.holds import HoldKind
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import State
from receipt_watcher.report.balance.last_result import LastBalance, keep_balance
from receipt_watcher.report.health.troubles import Trouble, TroubleKind, in_order, troubles_of_inbox
from receipt_watcher.service.daemon_parts import DaemonParts
from tests.conftest import FakeClock, make_job
from tests.unit.notify.notice_office import OFFICE
from tests.unit.report.health.conftest import URL

NOW = 1_700_000_000.0


def waiting(why: WaitReason, age: float, path: str = "scan.pdf", detail: str = "") -> Waiting:
    """Return a file that has waited for so long."""
    return Waiting(path, why, detail, 3, 0, NOW - age, NOW - age, None)


def of_files(*files: Waiting) -> dict[str, str]:
    """Return what is wrong with files that wait, in few words, by kind."""
    return {trouble.kind.value: trouble.short for trouble in troubles_of_inbox(replace(OFFICE, waiting=files), NOW)}


# --- an inbox ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("why", sorted(NEEDS_A_PERSON))
def test_what_needs_a_person_does_not_wait(why: WaitReason) -> None:
    """A file that only a person can help is on the list at once."""
    assert of_files(waiting(why, 5)) == {"blocked": "a person is needed for 1 file in office"}


def test_other_files_wait_for_ten_minutes() -> None:
    """A file that may yet go on is on the list after ten minutes, one that an admin holds never."""
    assert of_files(waiting(WaitReason.OPEN, 599)) == {}
    assert of_files(waiting(WaitReason.OPEN, 600)) == {"long_wait": "waiting for long in office: 1 file"}
    assert of_files(waiting(WaitReason.HELD, 9999)) == {}


def test_the_first_that_needs_a_person_is_named() -> None:
    """The text names the file that waits longest, why, what to do, and how many more there are."""
    first = waiting(WaitReason.UNREADABLE, 90, "a.pdf", "Permission denied")
    [trouble] = troubles_of_inbox(replace(OFFICE, waiting=(waiting(WaitReason.UNREADABLE, 9), first)), NOW)
    advice = WaitReason.UNREADABLE.advice
    assert trouble.text == f"inbox office: a.pdf needs a person, and 1 more: Permission denied. {advice}"
    assert (trouble.count, trouble.since) == (2, NOW - 90)


@pytest.mark.parametrize(
    ("field", "kind"),
    [("unavailable", "inbox"), ("filing", "filing"), ("disk", "disk"), ("job_log", "job_log"), ("events", "watch")],
)
def test_each_trouble_of_an_inbox_is_listed(field: str, kind: str) -> None:
    """Whatever an inbox says of itself is one trouble, which says why."""
    changes: dict[str, Any] = {field: "it is gone"}
    [trouble] = troubles_of_inbox(replace(OFFICE, **changes), NOW)
    assert trouble.kind.value == kind
    assert trouble.text.endswith("it is gone")


# --- the list ------------------------------------------------------------------------------------------------------


def test_all_is_well(parts: DaemonParts) -> None:
    """Nothing is wrong with a daemon where nothing waits."""
    assert parts.reports.overview.troubles() == []
    assert parts.reports.overview.in_one_line() == "0 waiting, 0 at N8N"


def test_the_log_tells_its_own(parts: DaemonParts, clock: FakeClock) -> None:
    """Failures, disagreements, receipts that are stuck or of no inbox, and holds are listed, the worst first."""
    log, now = parts.shared.log, clock.now
    with log.database.transaction():
        failed = make_job(now, state=State.FAILURE, completed_at=now, reason=Reason.ENCRYPTED)
        old = make_job(now, state=State.FAILURE, completed_at=now - 90_000, reason=Reason.ENCRYPTED)
        for job in (failed, old, make_job(now - 15_000, filename="late.pdf"), make_job(now, inbox="gone")):
            log.jobs.insert(job)
    keep_balance(log, LastBalance(now, 4, 3, 0, None, [], ["missing: done/scan.pdf"]))
    shorts = [trouble.short for trouble in parts.reports.overview.troubles()]
    assert shorts == [
        "under way for long: 1 receipt",
        "failed in 24 hours: 1 receipt",
        "the balance disagrees about 3 files",
        "of inboxes that are gone: 1 receipt",
    ]
    assert parts.reports.overview.in_one_line() == ", ".join(["1 waiting, 0 at N8N", *shorts])
    parts.shared.holds.hold(URL, HoldKind.ANSWERS, "503", now, now)
    kinds = [trouble.kind for trouble in parts.reports.overview.troubles()]
    assert kinds == [TroubleKind.HOLD, TroubleKind.FAILED, TroubleKind.BALANCE, TroubleKind.UNROUTED]


def test_health_names_the_rest(parts: DaemonParts, clock: FakeClock) -> None:
    """What no check of health fails for is beside the checks, by name."""
    keep_balance(parts.shared.log, LastBalance(clock.now, 4, 1, 0, None, [], []))
    said = parts.reports.overview.troubles_to_look_at()
    assert said == {"balance": "log and folders disagree about 1 file; receipt-watcher balance names them"}


def test_a_log_that_cannot_be_asked(parts: DaemonParts) -> None:
    """A log that is closed is the trouble; nothing raises."""
    parts.shared.log.database.close()
    [trouble] = parts.reports.overview.troubles()
    assert trouble.kind is TroubleKind.JOB_LOG
    assert trouble.is_failing


def test_one_trouble_is_told_once() -> None:
    """All inboxes tell of the same job log; it is listed once, before what matters less."""
    log = Trouble(TroubleKind.JOB_LOG, "it is damaged")
    failed = Trouble(TroubleKind.FAILED, "2 receipts failed", count=2)
    assert in_order([failed, log, log]) == [log, failed]
