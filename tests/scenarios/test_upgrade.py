"""A newer version goes on with what each earlier one left: its job log, its folders, a claim of a killed process."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from receipt_watcher.cli.demo.stand_in import StandIn
from receipt_watcher.jobs.states import State
from tests.conftest import TOKEN
from tests.fakes.daemons.process import RunningDaemon, wait_until
from tests.unit.jobs.log.schemas.record import HERE, WEBHOOK_URL, picture

RECORDINGS = sorted(HERE.glob("*.json"))
#: The recordings: each holds a receipt in the state that it was left in.
LEFT = {
    "good.gif": State.SUCCESS,
    "copy.gif": State.DUPLICATE,
    "broken.gif": State.FAILURE,
    "rejected.gif": State.FAILURE,
    "cancelled.gif": State.CANCELLED,
    "awaited.gif": State.PROCESSING,
    "in-flight.gif": State.DELIVERING,
    "queued-1.gif": State.QUEUED,
    "queued-2.gif": State.QUEUED,
}
#: Receipts that the newer version sends; `awaited.gif` was sent by the earlier one, and N8N calls back only now.
SENT = ("in-flight.gif", "queued-1.gif", "queued-2.gif")


@pytest.fixture
def left(request: pytest.FixtureRequest, tmp_path: Path, n8n: StandIn) -> Iterator[RunningDaemon]:
    """A daemon that has not started yet, on what an earlier version left."""
    daemon = RunningDaemon(tmp_path, n8n.webhook_url, TOKEN, changes={"callback": {"deadline_seconds": 1}})
    recorded = json.loads(request.param.read_text("utf-8"))
    put_down(daemon, recorded, n8n.webhook_url)
    yield daemon
    daemon.close()


def put_down(daemon: RunningDaemon, recorded: dict[str, Any], webhook_url: str) -> None:
    """Lay out a recording; its webhook is now that of the test."""
    for at, content in recorded["files"].items():
        path = daemon.root / at
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(content))
    daemon.state.mkdir(mode=0o700)
    (daemon.state / "installation").write_text(recorded["installation"] + "\n")
    (daemon.processing / ".owner").write_text(recorded["installation"] + "\n")
    with contextlib.closing(sqlite3.connect(daemon.state / "receipts.db", isolation_level=None)) as database:
        database.executescript("\n".join(recorded["sql"]).replace(WEBHOOK_URL, webhook_url))


def states(daemon: RunningDaemon) -> dict[str, State]:
    """Return the state of each receipt by its name."""
    return {job.filename: job.state for job in daemon.recorded()}


def go_on(daemon: RunningDaemon, n8n: StandIn) -> None:
    """Start it, let N8N call back what an earlier version sent, and wait until nothing is left to do."""
    daemon.start()
    assert daemon.call(daemon.job("awaited.gif").job_id, {"status": "success"}, TOKEN).status_code == 200
    daemon.wait_quiet(len(LEFT))
    assert n8n.refused == []


def test_each_earlier_version_is_recorded() -> None:
    """There is a recording of each version that changed the schema since the first, with a receipt in each state."""
    ever = {"0001", "0002", "0002-0004", "0004", "0005", "0006", "0007", "0008", "0009", "0010", "0011", "pages-0011"}
    assert ever <= {path.stem for path in RECORDINGS}
    for path in RECORDINGS:
        sql = "\n".join(json.loads(path.read_text("utf-8"))["sql"])
        seen = sorted(re.findall(r'INSERT INTO "schema_migration" .*?\'(\d{4})_', sql))
        assert seen[-1] == path.stem[-4:]
        assert set(LEFT.values()) == set(State)


@pytest.mark.parametrize("left", RECORDINGS, indirect=True, ids=lambda path: path.stem)
def test_what_an_earlier_version_left_is_carried_over(left: RunningDaemon, n8n: StandIn) -> None:
    """What was under way goes on under its id, what was concluded stays so; each file is where the log says, once."""
    with contextlib.closing(sqlite3.connect(left.state / "receipts.db")) as before:
        rows = dict(before.execute("SELECT filename, job_id FROM job"))
        assert {**dict(before.execute("SELECT filename, state FROM job"))} == LEFT
    go_on(left, n8n)
    assert states(left) == LEFT | dict.fromkeys(("awaited.gif", *SENT), State.SUCCESS)
    assert {job.filename: job.job_id for job in left.recorded()} == rows
    sent = [delivery.filename for delivery in n8n.deliveries]
    assert sorted(sent) == sorted(SENT)
    for delivery in n8n.deliveries:
        assert delivery.job_id == rows[delivery.filename]
    contents = [picture(name) for name in LEFT if name not in {"copy.gif", "broken.gif"}]
    assert sorted(path.read_bytes() for path in left.files(left.root) if path.suffix == ".gif") == sorted(
        [*contents, picture("good.gif"), picture("broken.gif")[:-9]]
    )
    assert left.run("balance").returncode == 0


@pytest.mark.parametrize("left", RECORDINGS[:1], indirect=True, ids=lambda path: path.stem)
def test_an_earlier_version_s_failures_can_be_retried(left: RunningDaemon, n8n: StandIn) -> None:
    """A receipt that failed under the first version is retried under this one, and its note goes."""
    go_on(left, n8n)
    assert left.run("retry", "rejected.gif").returncode == 0
    wait_until(lambda: states(left)["rejected.gif"] is State.SUCCESS, "it succeeds")
    left.wait_quiet(len(LEFT))
    assert not (left.failed / "rejected.gif.reason.txt").exists()


def test_a_downgrade_is_refused(tmp_path: Path, n8n: StandIn) -> None:
    """A job log of a newer version is refused in words; the daemon does not start, and changes and takes nothing."""
    with RunningDaemon(tmp_path, n8n.webhook_url, TOKEN) as daemon:
        assert daemon.terminate() == 0
        with contextlib.closing(sqlite3.connect(daemon.state / "receipts.db", isolation_level=None)) as database:
            database.execute("INSERT INTO schema_migration (name, applied) VALUES ('9999_future', '2030-01-01')")
            before = list(database.iterdump())
        daemon.drop("scan.gif", picture("scan.gif"))
        daemon.start(wait=False)
        assert daemon.ended() == 2  # which systemd does not start again
        said = daemon.log_file.read_text()
        assert "was written by a newer version (it has 9999_future); install that" in said
        assert "Traceback" not in said
        assert [path.name for path in daemon.files(daemon.inbox)] == ["scan.gif"]
        with contextlib.closing(sqlite3.connect(daemon.state / "receipts.db")) as database:
            assert list(database.iterdump()) == before
        assert n8n.deliveries == []
