"""Metrics: that they count what the log has got, say how things stand, and cost little."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from receipt_watcher.cli.demo.stand_in import UNAVAILABLE, Behaviour, StandIn
from receipt_watcher.jobs.job import Folder, Job
from receipt_watcher.jobs.log import histories
from receipt_watcher.jobs.log.holds import HoldKind
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.log.queries import statistics
from receipt_watcher.jobs.log.transitions import Attempt
from receipt_watcher.jobs.states import CLOSED_STATES, Event, State
from receipt_watcher.report import metrics
from receipt_watcher.report.metrics import BUCKETS, Counts
from receipt_watcher.service.daemon_parts import DaemonParts
from tests.conftest import TOKEN, FakeClock, make_job
from tests.fakes.daemons.process import REPOSITORY, RunningDaemon, jpegs, wait_until
from tests.fakes.daemons.unstarted import unstarted_parts

PREFIX = "receipt_watcher_"
MONITORING = REPOSITORY / "receipt_watcher" / "report" / "monitoring"


@dataclass(frozen=True)
class Page:
    """A scraped page: each sample by its name and labels."""

    samples: dict[tuple[str, frozenset[tuple[str, str]]], float]

    def __call__(self, name: str, **labels: str) -> float:
        """Return one of ours."""
        return self.samples[PREFIX + name, frozenset(labels.items())]

    def of(self, name: str, label: str) -> dict[str, float]:
        """Return all of one name of ours, by one of their labels."""
        return {dict(labels)[label]: value for (found, labels), value in self.samples.items() if found == PREFIX + name}

    def labels(self) -> dict[str, set[str]]:
        """Return the labels of each name."""
        found: dict[str, set[str]] = {}
        for name, labels in self.samples:
            found.setdefault(name, set()).update(dict(labels))
        return found


def read(text: str) -> Page:
    """Read a page as Prometheus does, each name and labels once."""
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    found = {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples}
    assert len(found) == len(samples)
    return Page(found)


def counted(counts: Counts) -> Page:
    """Let it count, and return the sums."""
    samples = [sample for family in counts.collect() for sample in family.samples]
    return Page({(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples})


def put(log: JobLog, **changes: Any) -> Job:
    """Record a job."""
    return log.jobs.insert(make_job(**changes))


# --- what is counted -----------------------------------------------------------------------------------------------


@pytest.fixture
def counts(log: JobLog) -> Counts:
    """Return the counts from now on."""
    counts = Counts(log, ["office"])
    counts.start()
    return counts


def test_counters_begin_at_zero(log: JobLog) -> None:
    """What the log had before the start is not counted, and each end has its series from the beginning."""
    log.jobs.advance(put(log).job_id, Event.SUCCEED, 1.0)
    counts = Counts(log, ["office"])
    counts.start()
    page = counted(counts)
    assert page("receipts_recorded_total", inbox="office") == 0
    assert page.of("receipts_total", "outcome") == {state.value: 0 for state in CLOSED_STATES}
    assert page("delivery_seconds_count") == 0


def test_each_end_is_counted_once(log: JobLog, counts: Counts) -> None:
    """A failure that is retried and succeeds has two ends; asking again changes nothing."""
    job = put(log)
    for event in (Event.FAIL, Event.RETRY, Event.CLAIM, Event.ACCEPT, Event.SUCCEED):
        assert log.jobs.advance(job.job_id, event, 1.0, **({"folder": Folder.FAILED} if event is Event.RETRY else {}))
    put(log, inbox="travel", state=State.DUPLICATE, duplicate_of=job.job_id)
    for _ in range(2):
        page = counted(counts)
        assert page("receipts_recorded_total", inbox="office") == 1
        assert page("receipts_total", inbox="office", outcome="failure") == 1
        assert page("receipts_total", inbox="office", outcome="success") == 1
        assert page("receipts_total", inbox="travel", outcome="duplicate") == 1


@pytest.mark.parametrize(
    ("outcome", "code", "answer"),
    [("accepted", 200, "200"), ("deferred", 503, "503"), ("deferred", None, "none"), ("refused", 799, "other")],
)
def test_deliveries_are_counted_by_their_answer(
    log: JobLog, counts: Counts, outcome: str, code: int | None, answer: str
) -> None:
    """By how they ended and N8N's status code; codes that nobody knows are one label."""
    log.jobs.add_attempt(put(log).job_id, 12.0, Attempt(10.0, outcome, counted=True, status_code=code))
    page = counted(counts)
    assert page("attempts_total", outcome=outcome, answer=answer) == 1
    assert page("delivery_seconds_sum") == 2.0
    assert page("delivery_seconds_bucket", le="1.0") == 0
    assert page("delivery_seconds_bucket", le="2.5") == page("delivery_seconds_bucket", le="+Inf") == 1


def test_buckets_hold_their_limits(log: JobLog, counts: Counts) -> None:
    """A delivery that took exactly as long as a limit is within it; one from before a jump of the clock took none."""
    job = put(log)
    for seconds in (*BUCKETS, 1000.0, -5.0):
        log.jobs.add_attempt(job.job_id, seconds, Attempt(0.0, "accepted", counted=True))
    page = counted(counts)
    assert [page("delivery_seconds_bucket", le=str(limit)) for limit in BUCKETS] == list(range(2, len(BUCKETS) + 2))
    assert page("delivery_seconds_count") == len(BUCKETS) + 2
    assert page("delivery_seconds_sum") == pytest.approx(sum(BUCKETS) + 1000)


def test_numbers_that_are_given_again_are_counted_again(log: JobLog, counts: Counts) -> None:
    """Once retention removed the newest lines, their numbers come again; what comes then is counted."""
    for _ in range(3):
        job = put(log)
        log.jobs.add_attempt(job.job_id, 2.0, Attempt(1.0, "accepted", counted=True))
    assert counted(counts)("receipts_recorded_total", inbox="office") == 3
    for table in ("history", "attempt"):
        log.database.change(f"DELETE FROM {table}")
    counted(counts)
    put(log)
    log.jobs.add_attempt(job.job_id, 2.0, Attempt(1.0, "accepted", counted=True))
    page = counted(counts)
    assert page("receipts_recorded_total", inbox="office") == 4
    assert page("delivery_seconds_count") == 4


def test_a_log_that_fails_takes_no_sums_away(log: JobLog, counts: Counts) -> None:
    """While the log cannot be asked the sums stay as they are; afterwards what came meanwhile is counted."""
    put(log)
    assert counted(counts)("receipts_recorded_total", inbox="office") == 1
    put(log)
    log.database.close()
    log.database.connection.trouble = "its disk is full"
    assert counted(counts)("receipts_recorded_total", inbox="office") == 1
    log.database.connection.trouble = None
    log.database.open()
    assert counted(counts)("receipts_recorded_total", inbox="office") == 2


STEPS = st.lists(st.sampled_from(["record", "count", "deliver"]) | st.sampled_from([*Event]), max_size=40)


@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(steps=STEPS, page_lines=st.integers(1, 5))
def test_any_history_is_counted_whole(log: JobLog, steps: list[str], page_lines: int) -> None:
    """Whatever happens to receipts, and whenever somebody scrapes, each end is counted once, in pages of any size."""
    counts, expected = Counts(log, ["office"]), Counter[str]()
    counts.start()
    job, deliveries = put(log), 0
    expected["record"] += 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "PAGE_LINES", page_lines)
        for step in steps:
            if step == "count":
                counted(counts)
            elif step == "record":
                job = put(log)
                expected["record"] += 1
            elif step == "deliver":
                log.jobs.add_attempt(job.job_id, 1.0, Attempt(0.0, "lost", counted=True))
                deliveries += 1
            else:
                after = log.jobs.advance(job.job_id, Event(step), 1.0)
                if after is not None and after.state in CLOSED_STATES:
                    expected[after.state.value] += 1
        page = counted(counts)
    found = page.of("receipts_total", "outcome") | page.of("receipts_recorded_total", "inbox")
    assert found == {state.value: expected[state.value] for state in CLOSED_STATES} | {"office": expected["record"]}
    assert page("delivery_seconds_count") == deliveries


def test_scrapes_at_the_same_time_count_once(log: JobLog, counts: Counts) -> None:
    """Several that scrape while receipts come in count each of them once."""
    done = threading.Event()

    def scrape() -> None:
        while not done.is_set():
            counted(counts)

    scrapers = [threading.Thread(target=scrape) for _ in range(4)]
    for thread in scrapers:
        thread.start()
    for _ in range(200):
        put(log)
    done.set()
    for thread in scrapers:
        thread.join()
    assert counted(counts)("receipts_recorded_total", inbox="office") == 200


# --- what a scrape costs -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "values", "plan"),
    [
        (histories.TURNS, 3, ["history USING INTEGER PRIMARY KEY", "job USING INDEX sqlite_autoindex_job_1"]),
        (histories.DELIVERED, 3, ["attempt USING INTEGER PRIMARY KEY"]),
        (statistics.WAITING[State.QUEUED], 1, ["job USING (COVERING )?INDEX job_(order|queued)"]),
        (statistics.WAITING[State.DELIVERING], 1, ["job USING (COVERING )?INDEX job_delivering"]),
        (statistics.WAITING[State.PROCESSING], 1, ["job USING (COVERING )?INDEX job_processing"]),
        (statistics.MOVES_DUE, 1, ["job USING (COVERING )?INDEX job_move_due"]),
        (
            statistics.OLDEST_OPEN.format(statistics.OF_INBOX),
            2,
            ["job USING (COVERING )?INDEX job_open", "history USING INDEX history_job"],
        ),
    ],
)
def test_a_scrape_reads_by_indexes(log: JobLog, statement: str, values: int, plan: list[str]) -> None:
    """Each question of a scrape is answered by an index of what is open or new, and nothing is sorted."""
    rows = log.database.select(f"EXPLAIN QUERY PLAN {statement}", *["x"] * values)
    steps = [row[-1] for row in rows if not row[-1].startswith("CORRELATED")]  # which names no table
    assert len(steps) == len(plan)
    for step, expected in zip(steps, plan, strict=True):
        assert re.match(f"(SEARCH|SCAN) {expected}", step), steps


# --- how things stand ----------------------------------------------------------------------------------------------


@pytest.fixture
def parts(tmp_path: Path, clock: FakeClock) -> Iterator[DaemonParts]:
    """The parts of a daemon that does nothing, its log being open."""
    url = "https://user:secret@n8n.office.lan:5678/webhook/secret"
    with unstarted_parts(RunningDaemon(tmp_path, url, TOKEN).config_file, clock) as parts:
        parts.shared.log.database.open()
        parts.reports.metrics.start()
        yield parts


def scraped(parts: DaemonParts) -> Page:
    """Scrape."""
    return read(parts.reports.metrics.page().decode())


def test_waiting_receipts_are_counted_where_they_are(parts: DaemonParts, clock: FakeClock) -> None:
    """Each receipt that waits is in one state, from the inbox to done, and those that are filed are in none."""
    put(parts.shared.log)
    put(parts.shared.log, state=State.QUEUED)
    for events in ([Event.CLAIM], [Event.CLAIM, Event.ACCEPT], [Event.SUCCEED]):
        job = put(parts.shared.log)
        for event in events:
            parts.shared.log.jobs.advance(job.job_id, event, clock.now)
    put(parts.shared.log, inbox="elsewhere")
    (parts.shared.config.inboxes[0].path / "scan.jpg").write_bytes(b"just being written")
    parts.stages.gates[0].watch.scan(clock.now)
    assert scraped(parts).of("receipts_waiting", "state") == {
        "settling": 1,
        "queued": 2,
        "delivering": 1,
        "processing": 1,
        "filing": 1,
    }


def test_the_oldest_has_its_age(parts: DaemonParts, clock: FakeClock) -> None:
    """The age is that of the oldest open receipt; where none is open it is 0."""
    assert scraped(parts)("oldest_waiting_seconds", inbox="office") == 0
    job = put(parts.shared.log, now=clock.now - 120)
    put(parts.shared.log, now=clock.now - 60)
    assert scraped(parts)("oldest_waiting_seconds", inbox="office") == 120
    parts.shared.log.jobs.advance(job.job_id, Event.FAIL, clock.now)
    assert scraped(parts)("oldest_waiting_seconds", inbox="office") == 60


def test_the_oldest_may_still_be_in_the_inbox(parts: DaemonParts, clock: FakeClock) -> None:
    """A file that is not taken yet counts, too, from when it was first seen."""
    (parts.shared.config.inboxes[0].path / "scan.jpg").write_bytes(b"just being written")
    gate = parts.stages.gates[0]
    gate.watch.scan(clock.now)
    clock.advance(300)
    gate.observer.refresh()
    put(parts.shared.log, now=clock.now - 60)
    assert scraped(parts)("oldest_waiting_seconds", inbox="office") == 300


def test_a_hold_has_no_secret(parts: DaemonParts, clock: FakeClock) -> None:
    """A webhook that is held is 1, under its host and number: neither its path nor a password is shown anywhere."""
    page = scraped(parts)
    assert page.of("destination_hold", "destination") == {"n8n.office.lan": 0}
    (url,) = parts.shared.names.by_url
    parts.shared.holds.hold(url, HoldKind.ANSWERS, "no connection", clock.now, clock.now + 60)
    assert scraped(parts).of("destination_hold", "destination") == {"n8n.office.lan": 1}
    assert b"secret" not in parts.reports.metrics.page()


def test_inboxes_and_checks(parts: DaemonParts, clock: FakeClock) -> None:
    """An inbox is available once it is open; its last scan has a time once there was one."""
    page = scraped(parts)
    assert page("inbox_available", inbox="office") == page("check_ok", check="inbox:office") == 0
    assert page("check_ok", check="job_log") == 1
    assert page.of("last_scan_timestamp_seconds", "inbox") == {}
    parts.stages.routes[0].is_ready = True
    parts.stages.gates[0].watch.scanned_at = clock.now - 7
    page = scraped(parts)
    assert page("inbox_available", inbox="office") == page("check_ok", check="inbox:office") == 1
    assert page("last_scan_timestamp_seconds", inbox="office") == clock.now - 7


def test_a_log_that_fails_leaves_the_rest(parts: DaemonParts) -> None:
    """While the log cannot be asked a check says so, and what only the log knows is missing."""
    parts.shared.log.database.close()
    parts.shared.log.database.connection.trouble = "its disk is full"
    page = scraped(parts)
    assert page("check_ok", check="job_log") == 0
    assert page("inbox_available", inbox="office") == 0
    assert page.of("receipts_waiting", "state") == {}
    assert page.of("destination_hold", "destination") == {}


def test_the_text_file_has_nothing_of_the_process(parts: DaemonParts) -> None:
    """What node_exporter has of itself is not in what it reads from us; the page has both."""
    own, page = read(parts.reports.metrics.text().decode()), scraped(parts)
    assert {name for name in own.labels() if not name.startswith(PREFIX)} == set()
    assert {"process_resident_memory_bytes", "process_cpu_seconds_total"} <= set(page.labels())
    assert {name for name in page.labels() if name.startswith(PREFIX)} == set(own.labels())


# --- the real daemon -----------------------------------------------------------------------------------------------


def test_receipts_show_up(tmp_path: Path, n8n: StandIn) -> None:
    """Receipts that go through are counted where they end; a hold is seen while it lasts; a restart begins at 0."""
    n8n.behave = lambda delivery: Behaviour(verdict="failure" if delivery.filename == "bad.jpg" else "success")
    first, second, third = jpegs(3)
    with RunningDaemon(tmp_path, n8n.webhook_url, TOKEN, changes={"n8n": {"hold_after": 1}}) as daemon:
        daemon.drop("good.jpg", first)
        daemon.drop("bad.jpg", second)
        daemon.wait_quiet(2)
        page = read(httpx.get(f"{daemon.url}/metrics").text)
        assert page("receipts_total", inbox="office", outcome="success") == 1
        assert page("receipts_total", inbox="office", outcome="failure") == 1
        assert page("attempts_total", outcome="accepted", answer="200") == 2
        assert page("inbox_available", inbox="office") == 1
        assert set(page.of("destination_hold", "destination").values()) == {0}
        n8n.behave = lambda _: UNAVAILABLE
        daemon.drop("held.jpg", third)
        wait_until(lambda: daemon.count("destination.held"), "N8N is held")
        page = read(httpx.get(f"{daemon.url}/metrics").text)
        assert set(page.of("destination_hold", "destination").values()) == {1}
        ready = httpx.get(f"{daemon.url}/health/ready")
        assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
        assert list(ready.json()["degraded"]) == ["hold:127.0.0.1"]
        daemon.kill()
        daemon.start()
        page = read(httpx.get(f"{daemon.url}/metrics").text)
        assert page("receipts_total", inbox="office", outcome="success") == 0


def test_a_text_file_is_kept_and_goes(tmp_path: Path, n8n: StandIn) -> None:
    """It is there soon after the start, readable by anybody; a kill leaves it, a stop removes it."""
    path = tmp_path / "collector" / "receipts.prom"
    path.parent.mkdir()
    with RunningDaemon(tmp_path, n8n.webhook_url, TOKEN, changes={"metrics": {"textfile": str(path)}}) as daemon:
        wait_until(path.exists, "it is written")
        assert read(path.read_text())("inbox_available", inbox="office") == 1
        assert path.stat().st_mode & 0o777 == 0o644
        daemon.kill()
        assert path.exists()
        path.unlink()
        daemon.start()
        wait_until(path.exists, "it is written again")
        assert daemon.terminate() == 0
        assert list(path.parent.iterdir()) == []


# --- dashboard and alert rules -------------------------------------------------------------------------------------


def alerts() -> list[dict[str, Any]]:
    """Return the rules that ship."""
    found: list[dict[str, Any]] = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"][0]["rules"]
    return found


def panel_expressions() -> list[str]:
    """Return what the panels of the dashboard ask for."""
    panels = json.loads((MONITORING / "dashboard.json").read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel["targets"]]


def expressions() -> list[str]:
    """Return all that dashboard and alerts ask for, and what the dashboard's variables do."""
    variables = json.loads((MONITORING / "dashboard.json").read_text())["templating"]["list"]
    queries = [each["query"]["query"] for each in variables if each["type"] == "query"]
    return [*(rule["expr"] for rule in alerts()), *panel_expressions(), *queries]


@pytest.fixture
def full_page(parts: DaemonParts, clock: FakeClock) -> Page:
    """A page with every metric there is."""
    parts.stages.gates[0].watch.scanned_at = clock.now
    parts.reports.metrics.http.count_request("/", 200)
    parts.shared.log.jobs.add_attempt(
        put(parts.shared.log).job_id, 2.0, Attempt(1.0, "accepted", counted=True, status_code=200)
    )
    result: dict[str, Any] = {"at": clock.now, "received": 1, "wrong": 0, "absent": 0, "hashed_at": None, "again": []}
    parts.shared.log.facts.table.put("balance", json.dumps(result))
    return scraped(parts)


def test_every_metric_that_is_asked_for_exists(full_page: Page) -> None:
    """Each name in dashboard and alerts is on the page, with the labels that it is asked by."""
    labels = full_page.labels()
    asked = {name for text in expressions() for name in re.findall(r"\b(?:receipt_watcher|process)_[a-z_]+", text)}
    assert asked <= set(labels)
    for text in expressions():
        for name, selector in re.findall(r"\b(receipt_watcher_[a-z_]+)\{([^}]*)\}", text):
            assert set(re.findall(r"([a-z_]+)[!=]=?~?\"", selector)) <= labels[name], text
        grouped = {label for found in re.findall(r"\bby \(([^)]*)\)", text) for label in found.split(", ")}
        known = {label for name in re.findall(r"\breceipt_watcher_[a-z_]+", text) for label in labels[name]}
        assert grouped <= known, text


def test_every_metric_is_asked_for(full_page: Page) -> None:
    """No metric of ours is in neither: whoever adds one says what it is good for."""
    asked = " ".join(expressions())
    for name in full_page.labels():
        family = re.sub("_(bucket|count|sum)$", "", name)
        assert not name.startswith(PREFIX) or family in asked, name


def test_every_metric_is_explained(full_page: Page) -> None:
    """The README has a line for each metric of ours, with its labels, and for no other."""
    text = (REPOSITORY / "README.md").read_text("utf-8")
    explained = {
        name: set(filter(None, labels.split(",")))
        for name, labels in re.findall(r"^\| `(receipt_watcher_[a-z_]+)(?:\{([a-z,]+)\})?` \|", text, re.MULTILINE)
    }
    ours = {
        re.sub("_(bucket|count|sum)$", "", name): labels - {"le"}
        for name, labels in full_page.labels().items()
        if name.startswith(PREFIX)
    }
    assert explained == ours


def test_the_dashboard_is_whole() -> None:
    """Each panel has a title, says what it is, has its own number and place, and asks the chosen Prometheus."""
    dashboard = json.loads((MONITORING / "dashboard.json").read_text())
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    assert all(panel["description"] for panel in panels)
    squares = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(squares)) == len(squares)
    assert max(x for x, _ in squares) == 23
    sources = {json.dumps(target["datasource"]) for panel in panels for target in panel["targets"]}
    assert sources == {'{"type": "prometheus", "uid": "${datasource}"}'}


def test_both_are_printed(tmp_path: Path) -> None:
    """The command line prints what is in the package, without a configuration."""
    for name, file in (("dashboard", "dashboard.json"), ("alerts", "alerts.yaml")):
        command = RunningDaemon(tmp_path, "", "").command("metrics", name)[:-2]
        ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=60)
        assert ended.stdout == (MONITORING / file).read_text()


def promtool(*arguments: str, stdin: bytes = b"", cwd: Path = REPOSITORY) -> str:
    """Let Prometheus' own tool judge, and return what it says."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed; the Debian package prometheus has it")
    ended = subprocess.run([program, *arguments], input=stdin, cwd=cwd, capture_output=True, check=False, timeout=60)
    said = (ended.stdout + ended.stderr).decode()
    assert ended.returncode == 0, said
    return said


def test_promtool_reads_the_page(parts: DaemonParts) -> None:
    """Prometheus' own tool has nothing to say against names, units and texts."""
    assert promtool("check", "metrics", stdin=parts.reports.metrics.page()) == ""


def test_promtool_reads_what_is_asked(tmp_path: Path) -> None:
    """Prometheus understands each expression of the dashboard, and the alert rules."""
    rules = [
        {
            "record": f"panel:{number}",
            "expr": expression.replace("$__rate_interval", "5m").replace("$__range", "1h").replace("$inbox", ".*"),
        }
        for number, expression in enumerate(panel_expressions())
    ]
    (tmp_path / "panels.yaml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", str(tmp_path / "panels.yaml"))
    assert f"{len(alerts())} rules found" in promtool("check", "rules", str(MONITORING / "alerts.yaml"))


#: For each alert: what makes it fire, over six hours, minute by minute; and what is fine.
FIRING = {
    "ReceiptWatcherInboxUnavailable": ('inbox_available{inbox="office"}', "0x360", "1x360"),
    "ReceiptWatcherInboxNotRead": ('last_scan_timestamp_seconds{inbox="office"}', "0x360", "0+60x360"),
    "ReceiptWatcherCheckFails": ('check_ok{check="job_log"}', "0x360", "1x360"),
    "ReceiptWatcherBalanceDisagrees": ("balance_disagreements", "2x360", "0x360"),
    "ReceiptWatcherReceiptsFail": ('receipts_total{inbox="office",outcome="failure"}', "0x350 1x10", "3x360"),
    "ReceiptWatcherDestinationHeld": ('destination_hold{destination="n8n"}', "1x360", "0x360"),
    "ReceiptWatcherReceiptsWait": ('oldest_waiting_seconds{inbox="office"}', "0+60x360", "100x360"),
    "ReceiptWatcherAway": ('build_info{version="1"}', "_x360", "1x360"),
}


def test_each_alert_fires_when_it_should(tmp_path: Path) -> None:
    """Each alert fires for its trouble after its time, and none does while all is well."""
    assert {rule["alert"] for rule in alerts()} == set(FIRING)
    tests = []
    for alert, (series, wrong, fine) in FIRING.items():
        others = [{"series": PREFIX + name, "values": good} for name, _, good in FIRING.values() if name != series]
        for values, count in ((wrong, 1), (fine, 0)):
            query = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}}) or vector(0)'
            every = 'count(ALERTS{alertstate="firing"}) or vector(0)'
            expected = [{"labels": "{}", "value": count}]
            tests.append(
                {
                    "interval": "1m",
                    "input_series": [*others, {"series": PREFIX + series, "values": values}],
                    "promql_expr_test": [
                        {"expr": expression, "eval_time": "6h", "exp_samples": expected}
                        for expression in (query, every)
                    ],
                }
            )
    suite = {"rule_files": [str(MONITORING / "alerts.yaml")], "evaluation_interval": "1m", "tests": tests}
    (tmp_path / "suite.yaml").write_text(yaml.safe_dump(suite))
    assert "SUCCESS" in promtool("test", "rules", "suite.yaml", cwd=tmp_path)
