"""Reports to a person about a receipt that waits for N8N or for its delivery window, and about N8N itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from receipt_watcher.config.options import Config
from receipt_watcher.config.sources.load import load
from receipt_watcher.jobs.job import Job, new_job_id
from receipt_watcher.jobs.log.holds import HoldKind
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.report.closed_windows import closed_windows
from receipt_watcher.report.explain import Explainer
from receipt_watcher.report.status import Status, collect_status
from receipt_watcher.system.state_dir import Installation
from tests.conftest import make_job

URL = "http://n8n/webhook/receipts"
NOON = 1_795_176_000.0  # Friday, 2026-11-20, 12:00 UTC
MON_TO_FRI = {"days": "mon-fri", "hours": "07:00-19:00", "time_zone": "Etc/UTC"}
EVENING, MONDAY = NOON + 8 * 3600, "2026-11-23T07:00:00.000Z"


def configured(root: Path, n8n: Mapping[str, Any] | None = None, **inbox: Any) -> Config:
    """Return a configuration of one inbox."""
    (root / "inbox").mkdir(exist_ok=True)
    tree = {
        "inboxes": [{"path": str(root / "inbox"), "name": "office", **inbox}],
        "n8n": {"webhook_url": URL, **(n8n or {})},
        "state_dir": str(root),
    }
    path = root / "watcher.yaml"
    path.write_text(yaml.safe_dump(tree))
    return load(path, {})


def recorded(log: JobLog, now: float = NOON, **changes: object) -> Job:
    """Return a job that is queued."""
    return log.jobs.insert(make_job(now, job_id=new_job_id(now), **changes))


def answer(config: Config, log: JobLog, job: Job, now: float) -> str:
    """Return what `explain` answers about a job."""
    explainer = Explainer(config, log, is_running=True, now=now, wait=lambda _: None)
    return explainer.about_job(job, log).answer


def status(config: Config, log: JobLog, now: float) -> Status:
    """Return what `status` says."""
    return collect_status(config, log, log.holds, Installation(config.state_dir), now)


def test_the_window_is_told(tmp_path: Path, log: JobLog) -> None:
    """Outside the window a receipt says on which days and at which hours it is sent, and when next."""
    config, job = configured(tmp_path, deliver_when=MON_TO_FRI), recorded(log)
    assert answer(config, log, job, NOON) == "It is sent as soon as a worker is free."
    told = f"Receipts are sent mon-fri, 07:00-19:00, Etc/UTC; it waits until {MONDAY}."
    assert answer(config, log, job, EVENING) == told


def test_the_window_and_a_hold_are_both_told(tmp_path: Path, log: JobLog) -> None:
    """Where N8N is held and the window closed, both are told; the probe waits for the window, so no time is given."""
    config, job = configured(tmp_path, deliver_when=MON_TO_FRI), recorded(log)
    log.holds.hold(URL, HoldKind.ANSWERS, "N8N answered 404", NOON, NOON + 5)
    told = answer(config, log, job, EVENING)
    assert f"waits until {MONDAY}. N8N is held since 2026-11-20T12:00:00.000Z: N8N answered 404." in told
    assert "next probe" not in told
    assert "The next probe is at 2026-11-20T12:00:05.000Z." in answer(config, log, job, NOON)


def test_a_pause_that_n8n_asks_for_is_told(tmp_path: Path, log: JobLog) -> None:
    """A Retry-After before any hold is told with the answer that brought it."""
    config, job = configured(tmp_path), recorded(log)
    log.holds.missed(URL, "N8N answered 429")
    log.holds.pause(URL, NOON + 60)
    assert answer(config, log, job, NOON) == ("N8N asks for patience until 2026-11-20T12:01:00.000Z: N8N answered 429.")
    assert answer(config, log, job, NOON + 61) == "It is sent as soon as a worker is free."


def test_a_failure_before_a_hold_is_told(tmp_path: Path, log: JobLog) -> None:
    """A receipt that waits after one or two failures says what N8N answered; status says it, too, as no trouble yet."""
    config, job = configured(tmp_path), recorded(log, next_attempt_at=NOON + 5)
    holds = log.holds
    holds.missed(URL, "no connection")
    assert answer(config, log, job, NOON).endswith("2026-11-20T12:00:05.000Z. N8N has failed once: no connection.")
    holds.missed(URL, "no connection")
    found = status(config, log, NOON)
    assert "N8N has failed 2 times in a row: no connection" in list(found.lines())
    assert found.as_json()["failing"] == [{"times": 2, "message": "no connection"}]
    assert not any("no connection" in trouble for trouble in found.troubles)
    holds.accepted(URL, NOON)
    assert status(config, log, NOON).failing == []


def test_the_draining_is_told(tmp_path: Path, log: JobLog) -> None:
    """While a queue drains at a pace, what has waited says so; what came since does not."""
    config = configured(tmp_path, {"drain_per_minute": 30})
    waited, new = recorded(log), recorded(log, NOON + 100)
    holds = log.holds
    holds.hold(URL, HoldKind.ANSWERS, "down", NOON, NOON)
    holds.accepted(URL, NOON + 60)
    told = "N8N is back since 2026-11-20T12:01:00.000Z; what has waited is sent in order, 30 a minute."
    assert answer(config, log, waited, NOON + 200) == told
    assert answer(config, log, new, NOON + 200) == "It is sent as soon as a worker is free."


@pytest.mark.parametrize(("now", "closed"), [(NOON, ["office/late"]), (EVENING, ["office"])])
def test_each_subfolder_has_its_window(tmp_path: Path, log: JobLog, now: float, closed: list[str]) -> None:
    """A subfolder with hours of its own is told by itself, with how many receipts wait in it."""
    late = {"deliver_when": {"hours": "20:00-23:00", "time_zone": "Etc/UTC"}}
    config = configured(tmp_path, deliver_when=MON_TO_FRI, recursive=True, routes={"late": late})
    recorded(log)
    recorded(log, branch="office/late")
    recorded(log, branch="office/late")
    found = closed_windows(config, config.inboxes[0], log, now)
    assert [each.branch for each in found] == closed
    assert [each.queued for each in found] == [1 if now == EVENING else 2]
    told = [line for line in status(config, log, now).lines() if "deliver_when" in line]
    assert told == [f"  {each.queued} receipts {each.words}" for each in found]
