"""The daemon makes a balance every day, and warns of what disagrees."""

from __future__ import annotations

import csv
import io
import json
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from receipt_watcher.cli.demo.stand_in import Behaviour, StandIn
from receipt_watcher.jobs.states import Event
from receipt_watcher.report.balance import balance, daily
from receipt_watcher.report.balance.daily import Audit
from receipt_watcher.report.balance.last_result import last_balance
from tests.conftest import TOKEN, FakeClock
from tests.fakes.daemons.process import RunningDaemon, wait_until
from tests.unit.report.balance.balance_office import CONTENTS, inbox_of, one_of_each, path_of
from tests.unit.spool.filing.office import Office


class Watchman:
    """The daemon's balance of an office, at a time when no file has changed for long."""

    def __init__(self, office: Office) -> None:
        self.clock = FakeClock(time.time() + 10_000_000)
        self.ready = {"office"}
        self.audit = Audit(
            office.log,
            [inbox_of(office.route.spool.folders)],
            ready=lambda: set(self.ready),
            stopping=threading.Event(),
            clock=self.clock,
            monotonic=self.clock,
        )

    def after(self, seconds: float) -> list[dict[str, Any]]:
        """Return what a round says after so many seconds."""
        self.clock.advance(seconds)
        with capture_logs() as lines:
            assert self.audit.run_once() == daily.LOOK_SECONDS
        return [dict(line) for line in lines]


def test_the_daily_balance(office: Office) -> None:
    """One line a day: at first all is hashed, then only what changed or disagreed; the result is kept."""
    jobs = one_of_each(office)
    watchman = Watchman(office)
    (first,) = watchman.after(0)
    assert (first["event"], first["log_level"], first["hashed"], first["received"]) == ("balance.checked", "info", 6, 6)
    assert watchman.after(daily.DAY_SECONDS / 2) == []
    (second,) = watchman.after(daily.DAY_SECONDS / 2)
    assert (second["event"], second["hashed"], second["ok"]) == ("balance.checked", 0, 6)
    path_of(office, jobs["d"]).write_bytes(CONTENTS[0] + b"x")
    (third,) = watchman.after(daily.DAY_SECONDS)
    assert (third["event"], third["log_level"], third["changed"]) == ("balance.disagrees", "warning", 1)
    assert f"changed: d.jpg (job {jobs['d'].job_id})" in third["names"]
    path_of(office, jobs["d"]).write_bytes(CONTENTS[3][:-1] + b"x")  # of the right size: by its size all is well
    (fourth,) = watchman.after(daily.DAY_SECONDS)
    assert fourth["changed"] == 1
    last = last_balance(office.log)
    assert last is not None
    assert (last.received, last.wrong, last.absent) == (6, 1, 0)


def test_what_changed_is_hashed(office: Office) -> None:
    """A receipt that went on since, by the log, or whose file was written since, is hashed again."""
    jobs = one_of_each(office)
    watchman = Watchman(office)
    watchman.after(0)
    office.clock.now = watchman.clock.now + 10
    office.tell(jobs["d"], Event.SUCCEED)
    office.file()
    (line,) = watchman.after(daily.DAY_SECONDS)
    assert (line["event"], line["hashed"]) == ("balance.checked", 1)
    last = last_balance(office.log)
    assert last is not None
    office.log.facts.table.put("balance", json.dumps(asdict(replace(last, hashed_at=time.time()))))
    path_of(office, jobs["a"]).write_bytes(CONTENTS[0][:-1] + b"x")
    (line,) = Watchman(office).after(0)
    assert (line["event"], line["changed"]) == ("balance.disagrees", 1)


def test_archiving_is_told_once(office: Office) -> None:
    """What somebody took out of done/ is warned of when it is noticed, and then only counted."""
    jobs = one_of_each(office)
    watchman = Watchman(office)
    watchman.after(0)
    path_of(office, jobs["a"]).unlink()
    (line,) = watchman.after(daily.DAY_SECONDS)
    assert (line["event"], line["archived"]) == ("balance.disagrees", 1)
    (line,) = watchman.after(daily.DAY_SECONDS)
    assert (line["event"], line["archived"]) == ("balance.checked", 1)


def test_an_inbox_that_is_away(office: Office) -> None:
    """Nothing is asked of an inbox that is away; when it opens it is proven without waiting for the next day."""
    path_of(office, one_of_each(office)["b"]).unlink()
    watchman = Watchman(office)
    watchman.ready = set()
    assert watchman.after(0) == []
    watchman.ready = {"office"}
    (line,) = watchman.after(60)
    assert (line["event"], line["missing"]) == ("balance.disagrees", 1)


def test_a_stop_in_the_middle(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """A balance that is stopped says nothing and keeps nothing."""
    monkeypatch.setattr(balance, "_PAGE", 1)
    one_of_each(office)
    stopping = threading.Event()
    looked = Audit(
        office.log,
        [inbox_of(office.route.spool.folders)],
        ready=lambda: {"office"},
        stopping=stopping,
        clock=office.clock,
        monotonic=office.clock,
    )
    monkeypatch.setattr(Audit, "_pause", lambda *_: stopping.set())
    with capture_logs() as lines:
        looked.run_once()
    assert (lines, last_balance(office.log)) == ([], None)


def test_with_the_real_daemon(tmp_path: Path, n8n: StandIn) -> None:
    """It makes a balance at its start; the command proves the same while it runs; status shows the last one."""
    n8n.behave = lambda delivery: Behaviour(verdict="failure" if "bad" in delivery.filename else "success")
    with RunningDaemon(tmp_path, n8n.webhook_url, TOKEN) as daemon:
        wait_until(lambda: daemon.count("balance.checked"), "the empty office is proven")
        for number, content in enumerate(CONTENTS[:3]):
            daemon.drop(f"{'bad' if number == 2 else 'good'}-{number}.jpg", content)
        daemon.wait_quiet(3)
        said = daemon.run("balance", "--csv", "-")
        assert (said.returncode, len(list(csv.DictReader(io.StringIO(said.stdout))))) == (0, 3)
        assert "3 received = 2 succeeded + 1 failed" in said.stderr
        assert daemon.terminate() == 0
        job = daemon.job("bad-2.jpg")
        (daemon.failed / job.stored_path).unlink()
        daemon.start()
        wait_until(lambda: daemon.count("balance.disagrees"), "the loss is noticed")
        (line,) = daemon.events("balance.disagrees")
        assert (line["missing"], job.job_id in line["names"]) == (1, True)
        status = json.loads(daemon.run("status", "--json").stdout)
        assert (status["balance"]["disagreements"], status["balance"]["received"]) == (1, 3)
        assert any("receipt-watcher balance" in trouble for trouble in status["troubles"])
        assert daemon.run("balance").returncode == 1
        (daemon.failed / job.stored_path).write_bytes(CONTENTS[2])
        assert daemon.run("balance", "--inbox", "office").returncode == 0
        assert "Look at this" in daemon.run("status").stdout
        agreed = daemon.run("balance")
        assert (agreed.returncode, "that is over" in agreed.stderr) == (0, True)
        status = json.loads(daemon.run("status", "--json").stdout)
        assert (status["balance"]["disagreements"], status["balance"]["received"]) == (0, 3)
        assert not any("disagree" in trouble for trouble in status["troubles"])
        assert daemon.count("stage.failed") == 0
