"""Queries of the job log: each finds its rows by an index, and none sorts rows that grow with the log.

The statements are those that the database is really given, with their values, while every method that asks it runs;
the code is read to see that no place in it that asks was forgotten. SQLite plans as for a million rows in each table
as long as it has no statistics, and it has none: nobody runs ANALYZE, and a test looks.
"""

from __future__ import annotations

import ast
import re
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from receipt_watcher.jobs.job import Folder, Job
from receipt_watcher.jobs.log.engine.connection import LogConnection
from receipt_watcher.jobs.log.holds import HoldKind
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.log.manual_holds import HoldTarget
from receipt_watcher.jobs.log.queries.lookups import Selection
from receipt_watcher.jobs.log.queries.search import Cursor, Wanted
from receipt_watcher.jobs.log.tables import stored
from receipt_watcher.jobs.log.transitions import Attempt
from receipt_watcher.jobs.states import OPEN_STATES, Event, State
from tests.conftest import make_job
from tests.fakes.daemons.process import REPOSITORY

_CODE = REPOSITORY / "receipt_watcher"
_BELOW_CODE = f"{_CODE}/"
NOW = 1_700_000_000.0
OFFICE = ["office"]
INBOXES = ["office", "cellar"]
URL = "https://n8n.example.com/webhook/receipts"

#: The tables that grow with each receipt. Of the others each has a handful of rows.
_GROWING = ("job", "attempt", "history")

#: Methods by which the code gives something to the database.
_ASKING = {
    "select",
    "select_as",
    "change",
    "_where",
    "dicts",
    "execute",
    "execute_sql",
    "get_or_none",
}
_NOT_THE_LOG = {"select.select", "play.jobs"}
_BEGINS_A_QUERY = ("Row.select", "table.select")  # Peewee's: it is run by what is called on it
_WAYS_TO_IT = {"engine": "where all of it goes through", "migrations": "run once, over all there is"}

#: These hold only what is open, or under way; however much was concluded.
_OF_WHAT_WAITS = {"job_open", "job_move_due"}

#: Statements that may look at more rows, or sort, and why.
_REASONS = {
    "ORDER BY COALESCE(destination_failed_at, 0), job_id LIMIT 1": "a probe: one in a while, of what waits",
    "AND deadline_at <= ? AND (? < 0 OR resends < ?) ORDER BY deadline_at LIMIT 100": "sorts what is overdue now",
    "WHERE inbox = ? AND folder = ? AND stored_path = ?": "sorts the receipts that had one name in one folder",
    "AND removed_at IS NULL ORDER BY completed_at, job_id LIMIT ?": "sorts those of the same moment",
    "AND completed_at >= ? AND completed_at < ?": "sorts those of the same moment",
    "GROUP BY +state": "groups what is open, or what came in a day",
    "OR state IN (?, ?, ?) ORDER BY job_id": "run --once, when it ends",
    "SELECT state, COUNT(*) FROM job GROUP BY state": "the command status, and run --once; no row is read",
    "SELECT COUNT(*) FROM job WHERE removed_at IS NOT NULL": "the command status counts what was removed",
    "SELECT MAX(updated_at) FROM job": "once, when files are first to be removed",
    "UNION SELECT * FROM (SELECT job_id FROM job WHERE job_id > '' AND filename": "a command sorts twenty ids at most",
    "FROM job WHERE 1 ORDER BY job_id DESC LIMIT": "reads from the end, as far as a page or a stretch goes",
    "ORDER BY history.id DESC LIMIT ?": "reads from the end, as many as are wanted",
}


@dataclass
class Asked:
    """The statements given to the database, each with its values and the lines of code that gave it."""

    statements: dict[str, Sequence[object]] = field(default_factory=dict)
    lines: set[tuple[str, int]] = field(default_factory=set)

    def note(self, statement: str, values: Sequence[object]) -> None:
        """Keep a statement, and who asks it."""
        self.statements.setdefault(statement, values)
        frame = sys._getframe(1)
        while frame is not None:
            file = frame.f_code.co_filename
            if file.startswith(_BELOW_CODE):
                self.lines.add((file.removeprefix(_BELOW_CODE), frame.f_lineno))
            frame = frame.f_back  # type: ignore[assignment]


def is_growing(statement: str) -> bool:
    """Return whether a statement is about a table that grows."""
    return bool(re.match("SELECT|WITH|UPDATE|DELETE|INSERT", statement)) and bool(
        re.search(rf'\b(FROM|UPDATE|INTO|JOIN) "?({"|".join(_GROWING)})\b', statement)
    )


@pytest.fixture
def asked(log: JobLog, monkeypatch: pytest.MonkeyPatch) -> Asked:
    """Everything that is asked of a log by all who ask it."""
    asked = Asked()
    execute = LogConnection.execute

    def listen(connection: LogConnection, statement: str, values: Sequence[object]) -> Any:
        asked.note(statement, values)
        return execute(connection, statement, values)

    with monkeypatch.context() as patch:
        patch.setattr(LogConnection, "execute", listen)
        patch.setattr(
            "receipt_watcher.jobs.log.queries.search.STRETCH_ROWS", 1
        )  # as if there were more than one stretch
        read(log, write(log))
        ask_the_others(log)
    return asked


def write(log: JobLog) -> Job:
    """Let receipts go all the ways that the log knows; return one that was concluded and filed."""
    with log.database.transaction():
        job = log.jobs.insert(make_job(NOW))
        log.jobs.link_conflicts(job)
        log.jobs.complete(job.job_id, job.sha256, job.mime_type, job.size)
    log.jobs.claim(INBOXES, NOW, least_failed_first=True)
    log.jobs.claim(INBOXES, NOW, least_failed_first=True)  # none is left that never failed
    log.jobs.advance(job.job_id, Event.ACCEPT, NOW, deadline_at=NOW + 9)
    log.jobs.add_attempt(job.job_id, NOW, Attempt(NOW, "accepted", counted=True))
    log.jobs.keep_execution(job.job_id, "7")
    log.jobs.extend_deadlines(INBOXES, NOW + 10)
    log.jobs.advance(job.job_id, Event.SUCCEED, NOW)
    moves = log.moves.intend_moves([(log.files.due_moves(INBOXES, 9)[0], Folder.DONE, Path("scan.jpg"))])
    log.moves.finish_moves(moves, NOW)
    log.moves.keep_note_path(job.job_id, None)
    other = log.jobs.insert(make_job(NOW + 1))
    log.jobs.claim(INBOXES, NOW + 1)
    log.jobs.lose_claims(NOW, NOW + 9, "", but=set())
    log.jobs.forget_resends(INBOXES)
    log.jobs.postpone_deadlines(NOW - 5, NOW + 2)
    log.jobs.shift_times(1.0, NOW)
    log.jobs.bring_forward(NOW)
    log.jobs.assign_branches("office", lambda _: "office")
    log.jobs.advance(other.job_id, Event.FAIL, NOW + 2)
    log.moves.abandon_move(other.job_id, NOW, "")
    with log.database.transaction():
        log.moves.relocate(other, NOW, "", {})
    filed = log.lookups.get(job.job_id)
    assert filed is not None
    intended = log.moves.intend_removals("office", [filed], INBOXES, NOW + 3)
    log.files.begun_removals("office")
    log.moves.finish_removals("office", [], {each.job_id: "" for each in intended}, NOW + 3)
    log.jobs.trim([job.job_id], NOW + 9)
    log.facts.table.put("a", "b")
    log.facts.table.replace("upload:", "old", "new")
    log.facts.table.forget("a", "c")
    return filed


def read(log: JobLog, job: Job) -> None:
    """Ask all that the log can be asked."""
    for inboxes in (OFFICE, INBOXES):
        log.lookups.next_due(inboxes)
        log.statistics.count(inboxes, State.QUEUED)
        log.statistics.count(inboxes, State.DELIVERING, State.PROCESSING)
        log.statistics.open_jobs_of(inboxes)
        log.lookups.overdue(inboxes, NOW)
        log.lookups.overdue(inboxes, NOW, 1)
        log.files.due_moves(inboxes, 64)
        log.files.is_named_by_another(job, inboxes)
        log.lookups.oldest_open(NOW, 9, inboxes)
    log.lookups.has_jobs_of("office")
    log.lookups.queued_of("office")
    log.lookups.same_receipts("x", "y", OPEN_STATES | {State.SUCCESS})
    log.lookups.earlier_versions("office", Path("a"), 9)
    log.lookups.latest_of("office", Path("a"))
    log.lookups.with_bytes("x", 9)
    log.lookups.next_deadline()
    log.files.unrecorded_in_processing("office", ["a"])
    log.files.stored_at("office", Folder.DONE, Path("a"))
    log.files.newest("office", Folder.PROCESSING, NOW, 50)
    log.files.newest("office", Folder.DONE, NOW, 50)
    log.files.has_filed("office", Folder.FAILED)
    log.files.claims_to([Path("a"), Path("b")])
    for folder in (Folder.DONE, Folder.FAILED):
        log.files.old("office", folder, NOW, NOW, 9)
        log.files.sum_of_old("office", folder, NOW, NOW)
    log.files.old_histories(NOW, NOW)
    log.histories.failures_after(log.histories.last_event())
    log.lookups.failed_between(NOW, NOW)
    log.lookups.failed_between(NOW, NOW, "office")
    log.lookups.last_failures(9)
    log.statistics.counts_between(NOW, NOW)
    log.statistics.open_in("office", NOW)
    log.lookups.oldest_open(NOW, 9)
    log.lookups.open_among(["a", "b"])
    log.statistics.open_jobs()
    log.statistics.failed_since(NOW)
    log.histories.has("a", "callback.refused")
    log.holds.silent(URL, "a")
    log.holds.was_refused(URL)
    log.histories.last_retry("a")
    log.histories.last_attempt()
    log.histories.beginnings_and_ends(0, 9, 9)
    log.histories.deliveries(0, 9, 9)
    log.statistics.waiting_on("office")
    log.statistics.moves_due("office")
    log.statistics.oldest_open_in("office")
    log.statistics.removed_files()
    log.statistics.latest_change(NOW)
    read_for_people(log)


def read_for_people(log: JobLog) -> None:
    """Ask what people want to see."""
    log.statistics.open_jobs_except(INBOXES)
    log.files.is_being_left("office", Folder.FAILED, Path("a"))
    log.histories.attempts_after("a", 0, 9)
    log.histories.lines_after("a", 0, 9)
    log.lookups.changed_since(NOW)
    log.lookups.find("a")
    log.histories.events_after(0, 9)
    log.histories.last_events(9)
    log.statistics.counts()
    log.histories.attempts("a")
    log.histories.lines("a")
    log.lookups.inboxes()
    for states, inbox, since, name, older in product(
        [(), [State.FAILURE], [State.FAILURE, State.QUEUED]], [None, "office"], [None, NOW], [None, "*"], [None, "f"]
    ):
        log.lookups.listing(states=states, inbox=inbox, since=since, name=name, older_than=older)
    for since, until, inbox, but in product([None, NOW], [None, NOW], [None, "office"], [(), ("cellar",)]):
        log.lookups.page(Selection(since, until, inbox, frozenset(but)), "", 9)


def ask_the_others(log: JobLog) -> None:
    """Ask all that asks the log by itself."""
    search = log.search
    search.sums()
    search.failures()
    search.beat()
    search.day(NOW)
    for text, states, inbox, since, until, place in product(
        ["", "x", "01890000-0000"],
        [(), [State.FAILURE], [State.FAILURE, State.QUEUED]],
        [None, "office"],
        [None, NOW],
        [None, NOW],
        [None, Cursor("f"), Cursor("0", is_newer=True)],
    ):
        search.page(Wanted(text, states, inbox, since, until), place)
    holds = log.holds
    holds.hold(URL, HoldKind.ANSWERS, "", NOW, NOW)
    holds.all()
    holds.shift_times(1.0)
    outbox = log.outbox
    outbox.put([("held", "", "")], ["mail"], NOW)
    [queued] = outbox.queued()
    outbox.put_off(queued, NOW)
    outbox.remove(queued)
    outbox.remove_all_but(["mail"])
    by_hand = log.manual_holds
    by_hand.hold(HoldTarget.INBOX, "office", "", NOW)
    by_hand.all()
    by_hand.resume(HoldTarget.INBOX, "office")


# --- what is found -------------------------------------------------------------------------------------------------


def plan_of(log: JobLog, statement: str, values: Sequence[object]) -> list[str]:
    """Return the steps by which SQLite finds its answer."""
    with closing(sqlite3.connect(log.database.path)) as other:  # one that has not planned it before
        return [row[-1] for row in other.execute(f"EXPLAIN QUERY PLAN {statement}", [*map(stored, values)])]


def grows(step: str) -> bool:
    """Return whether a step takes longer the longer the log is: it looks at all rows, or sorts what it has found."""
    if "TEMP B-TREE" in step or "AUTOMATIC" in step:
        return True
    index = re.search(r"INDEX (\w+)", step)
    if re.match(r"SCAN (job|attempt|history|t\d+)\b", step):
        return index is None or index[1] not in _OF_WHAT_WAITS
    return step.startswith("SEARCH job") and " USING " not in step  # the least or greatest of all rows


def test_nothing_takes_longer_the_longer_the_log_is(log: JobLog, asked: Asked) -> None:
    """Each step is a search in an index, or looks only at what waits; the others are named above, with a reason."""
    found: dict[str, list[str]] = {}
    used: set[str] = set()
    for statement, values in asked.statements.items():
        if is_growing(statement) and (steps := [step for step in plan_of(log, statement, values) if grows(step)]):
            reasons = {beginning for beginning in _REASONS if beginning in statement}
            used |= reasons
            if not reasons:
                found[statement] = steps
    assert found == {}
    assert used == _REASONS.keys()


def test_each_index_is_used(log: JobLog, asked: Asked) -> None:
    """Each index serves something that is asked: each costs room and time for every receipt."""
    indexes = {
        name
        for (name,) in log.database.select(
            "SELECT name FROM sqlite_master WHERE name LIKE 'job~_%' ESCAPE '~' OR name LIKE '%~_job' ESCAPE '~'"
        )
    }
    plans = [step for each in asked.statements.items() if is_growing(each[0]) for step in plan_of(log, *each)]
    used = {name for step in plans for name in re.findall(r"INDEX (\w+)", step)}
    assert indexes - used == set()


def test_no_place_that_asks_is_forgotten(asked: Asked) -> None:
    """Every line of the code that gives something to the database has run here."""
    places = list(places_that_ask())
    assert len(places) > 80
    forgotten = [(name, lines) for name, lines in places if not any((name, line) in asked.lines for line in lines)]
    assert forgotten == []


def places_that_ask() -> Iterator[tuple[str, range]]:
    """Yield the lines of each call that gives something to the database."""
    for path in sorted(_CODE.rglob("*.py")):
        name = path.relative_to(_CODE)
        if name.parent.name in _WAYS_TO_IT:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _ASKING:
                whom = ast.unparse(node.func)
                if whom not in _NOT_THE_LOG and not whom.endswith(_BEGINS_A_QUERY):
                    yield str(name), range(node.lineno, (node.end_lineno or node.lineno) + 1)


def test_the_log_has_no_statistics(log: JobLog, asked: Asked) -> None:
    """Whatever was asked, nothing was counted by which SQLite would plan otherwise for a log of another length."""
    assert asked.statements
    assert log.database.select("SELECT name FROM sqlite_master WHERE name LIKE 'sqlite_stat%'") == []


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        ("SELECT created_at FROM job WHERE message = 'x'", None),
        ("SELECT job_id FROM job ORDER BY updated_at LIMIT 1", None),
        ("SELECT MAX(size) FROM job", None),
        ("SELECT state FROM job WHERE created_at > 1.0", "job_created"),
        ("SELECT id FROM history WHERE job_id = 'x'", "history_job"),
    ],
)
def test_what_would_grow_is_seen(log: JobLog, statement: str, index: str | None) -> None:
    """A question without an index is noticed, as is one whose index is gone."""
    if index is not None:
        assert not any(map(grows, plan_of(log, statement, ())))
        log.database.change(f"DROP INDEX {index}")
    assert any(map(grows, plan_of(log, statement, ())))
