"""Finding receipts: pages by name, message, state, inbox and day, the last one as cheap as the first."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from receipt_watcher.jobs.job import Folder, Job
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.log.queries import search
from receipt_watcher.jobs.log.queries.search import FAILURE_ROWS, FAILURES, Cursor, Page, Search, Wanted
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import Event, State
from tests.conftest import make_job, open_log

HOUR = 3600.0
NOON = 1_700_006_400.0  # a full hour
NAMES = ["scan.pdf", "Müller.pdf", "MÜLLER & Söhne.jpg", "100%_sicher.png", "tank\\beleg.heic", "a"]
MESSAGES = [None, "booked", "keine Summe", "Überweisung fehlt"]


def record(log: JobLog, at: float, state: State = State.QUEUED, took: float = 5.0, **fields: object) -> Job:
    """Record a receipt that came at a time and stands in a state."""
    first = state if state in (State.QUEUED, State.DUPLICATE) else State.QUEUED
    original = str(fields.pop("duplicate_of", "")) or None
    job = log.jobs.insert(make_job(at, state=first, duplicate_of=original, **fields))
    steps = {
        State.DELIVERING: [Event.CLAIM],
        State.PROCESSING: [Event.CLAIM, Event.ACCEPT],
        State.SUCCESS: [Event.SUCCEED],
        State.FAILURE: [Event.FAIL],
        State.CANCELLED: [Event.CANCEL],
    }
    for event in steps.get(state, []):
        assert log.jobs.advance(job.job_id, event, at + took, **({"message": job.message} if job.message else {}))
    found = log.lookups.get(job.job_id)
    assert found is not None
    return found


def all_pages(searched: Search, wanted: Wanted, limit: int) -> Iterator[Page]:
    """Yield page after page, from the newest on."""
    place: Cursor | None = None
    while True:
        page = searched.page(wanted, place, limit)
        yield page
        if page.older is None:
            return
        place = page.older


def names(jobs: Sequence[Job]) -> list[str]:
    """Return the names of files."""
    return [job.filename for job in jobs]


class Filled:
    """A job log and what is in it, the newest first."""

    def __init__(self, log: JobLog, jobs: list[Job]) -> None:
        self.log = log
        self.jobs = jobs


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    """A job log with receipts of all names, messages, states and inboxes, and those receipts, the newest first."""
    log = open_log(tmp_path_factory.mktemp("search") / "receipts.db")
    states = [state for state in State if state is not State.DUPLICATE]
    jobs = [
        record(
            log,
            NOON + 60.0 * number,
            states[number % len(states)],
            filename=NAMES[number % len(NAMES)],
            message=MESSAGES[number % len(MESSAGES)],
            inbox=["office", "till", "post"][number % 3],
        )
        for number in range(120)
    ]
    yield Filled(log, jobs[::-1])
    log.database.close()


def fits(job: Job, wanted: Wanted) -> bool:
    """Say by hand whether a receipt is one that is looked for."""

    def plain(text: str) -> str:
        return unicodedata.normalize("NFC", text.casefold())

    words = PHRASES.get(wanted.text) or wanted.text.split()
    texts = [plain(job.filename), plain(job.message or "")]
    return (
        all(any(plain(word) in text for text in texts) for word in words)
        and (not wanted.states or job.state in wanted.states)
        and (wanted.inbox is None or job.inbox == wanted.inbox)
        and (wanted.since is None or job.created_at >= wanted.since)
        and (wanted.until is None or job.created_at < wanted.until)
    )


#: Texts with quotes, and what they look for.
PHRASES = {'"keine Summe"': ["keine Summe"], '"Summe keine"': ["Summe keine"], 'söhne " "': ["söhne"], 'a"': ["a"]}
TEXTS = ["", "scan", "müller", "MÜLLER", "%", "_", "\\", "summe", "ÜBER", "x", "söhne", "a", "&", "söhne  müller"]
TEXTS += ["summe MÜLLER keine", "keine booked", "a e i n s u m", *PHRASES]

WANTED = st.builds(
    Wanted,
    text=st.sampled_from(TEXTS),
    states=st.lists(st.sampled_from(list(State)), unique=True, max_size=3),
    inbox=st.sampled_from([None, "office", "till", "nowhere"]),
    since=st.sampled_from([None, NOON + 1800.0]),
    until=st.sampled_from([None, NOON + 5400.0]),
)


@given(wanted=WANTED, limit=st.integers(1, 40), stretch=st.integers(1, 150))
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
def test_pages_hold_what_fits_once_and_in_order(filled: Filled, wanted: Wanted, limit: int, stretch: int) -> None:
    """All pages together are what fits, the newest first, whatever the size of pages and stretches; back again, too."""
    log = filled.log
    expected = [job.job_id for job in filled.jobs if fits(job, wanted)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "STRETCH_ROWS", stretch)
        pages = list(all_pages(log.search, wanted, limit))
        assert [job.job_id for page in pages for job in page.jobs] == expected
        back: list[str] = []
        place = pages[-1].newer if len(pages) > 1 else None
        while place is not None:
            page = log.search.page(wanted, place, limit)
            back[:0] = [job.job_id for job in page.jobs]
            place = page.newer
        last = len(pages[-1].jobs) if len(pages) > 1 else len(expected)
        assert back == expected[: len(expected) - last]


def test_a_page_goes_on_where_the_last_one_ended_whatever_comes(log: JobLog) -> None:
    """New receipts move nothing between pages: none is shown twice, none is left out."""
    for number in range(6):
        record(log, NOON + number, filename=f"{number}.pdf")
    first = log.search.page(Wanted(), limit=3)
    record(log, NOON + 100, filename="new.pdf")
    second = log.search.page(Wanted(), first.older, limit=3)
    assert names(first.jobs) + names(second.jobs) == ["5.pdf", "4.pdf", "3.pdf", "2.pdf", "1.pdf", "0.pdf"]
    assert second.newer is not None
    assert names(log.search.page(Wanted(), second.newer, limit=9).jobs) == ["new.pdf", "5.pdf", "4.pdf", "3.pdf"]


def test_letters_are_found_however_they_are_composed(log: JobLog) -> None:
    """A Mac writes ü as two characters; who types it finds the file all the same, and the other way round."""
    record(log, NOON, filename=unicodedata.normalize("NFD", "Überweisung.pdf"))
    record(log, NOON + 1, filename="Überweisung 2.pdf")
    for text in ("überweisung", unicodedata.normalize("NFD", "ÜBERWEISUNG")):
        assert len(log.search.page(Wanted(text=text)).jobs) == 2


def test_each_word_is_looked_for_in_name_and_message(log: JobLog) -> None:
    """Words are found in any order, one in the name and one in the message; between quotes they stay together."""
    record(log, NOON, State.FAILURE, filename="Rechnung Müller 2026.pdf", message="keine Summe gefunden")
    record(log, NOON + 1, filename="Rechnung 2025.pdf")
    for text, count in {
        "müller rechnung": 1,
        "summe 2026": 1,
        "rechnung": 2,
        "rechnung fehlt": 0,
        '"Rechnung Müller"': 1,
        '"Müller Rechnung"': 0,
        '"keine summe" 2026': 1,
        '"2026 keine"': 0,
    }.items():
        assert len(log.search.page(Wanted(text=text)).jobs) == len(log.search.newest(Wanted(text=text), 9)) == count, (
            text
        )


def test_a_job_is_found_by_the_beginning_of_its_id(log: JobLog) -> None:
    """An id, or its beginning, that somebody pastes finds its receipt."""
    jobs = [record(log, NOON + number * 100_000) for number in range(3)]
    for text in (jobs[1].job_id, jobs[1].job_id[:13], f" {jobs[1].job_id.upper()} "):
        assert [job.job_id for job in log.search.page(Wanted(text=text)).jobs] == [jobs[1].job_id]


def test_a_search_says_how_far_it_has_come(log: JobLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not found in one stretch is looked for in the next one, and nobody takes «not yet» for «not there»."""
    monkeypatch.setattr(search, "STRETCH_ROWS", 4)
    jobs = [record(log, NOON + number, filename="old.pdf" if number == 0 else "scan.pdf") for number in range(10)]
    first = log.search.page(Wanted(text="old"))
    assert (first.jobs, first.looked_to) == ([], jobs[6].job_id)
    second = log.search.page(Wanted(text="old"), first.older)
    third = log.search.page(Wanted(text="old"), second.older)
    assert (second.looked_to, third.looked_to) == (jobs[2].job_id, None)
    assert names(third.jobs) == ["old.pdf"]
    assert third.older is None


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (Wanted(), "sqlite_autoindex_job_1"),
        (Wanted(since=NOON, until=NOON + HOUR), "sqlite_autoindex_job_1"),
        (Wanted(states=[State.FAILURE]), "job_listing"),
        (Wanted(states=[State.SUCCESS], inbox="office", text="x"), "job_listing"),
        (Wanted(inbox="office"), "job_listing"),
        (Wanted(inbox="office", text="x", since=NOON), "job_listing"),
        (Wanted(states=[State.QUEUED, State.DELIVERING, State.PROCESSING], text="x", until=NOON), "job_listing"),
        (Wanted(text="x"), "sqlite_autoindex_job_1"),
    ],
)
@pytest.mark.parametrize("is_newer", [False, True])
def test_pages_are_read_by_an_index_and_never_sorted(
    log: JobLog, monkeypatch: pytest.MonkeyPatch, wanted: Wanted, index: str, *, is_newer: bool
) -> None:
    """Each question of a page is a search in one index, in its order, so the last page costs what the first does."""
    asked: list[tuple[str, tuple[object, ...]]] = []
    record(log, NOON)
    select = log.database.select

    def listen(statement: str, *values: object) -> list[tuple[object, ...]]:
        if "ORDER BY" in statement:  # not that of the inboxes' names, and of the rows by their ids
            asked.append((statement, values))
        return select(statement, *values)

    with monkeypatch.context() as patch:
        patch.setattr(log.database, "select", listen)
        log.search.page(wanted, Cursor("01890000-0000-7000-8000-000000000000", is_newer))
    assert asked
    for statement, values in asked:
        steps = [row[-1] for row in select(f"EXPLAIN QUERY PLAN {statement}", *values)]
        assert len(steps) == 1, steps
        assert f"INDEX {index} " in steps[0], steps
        assert steps[0].startswith("SEARCH job"), steps


@pytest.mark.parametrize(
    "statement",
    ["SELECT COUNT(*) FROM job WHERE state = 'failure'", "SELECT state, created_at FROM job WHERE job_id >= 'x'"],
)
def test_sums_are_read_by_an_index(log: JobLog, statement: str) -> None:
    """What the overview counts is found at once."""
    [step] = [row[-1] for row in log.database.select(f"EXPLAIN QUERY PLAN {statement}")]
    assert step.startswith("SEARCH job USING"), step


def test_sums_of_open_receipts_read_those_only(log: JobLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """A million concluded receipts are not looked at to count the open ones."""
    asked: list[tuple[str, tuple[object, ...]]] = []
    select = log.database.select

    def listen(statement: str, *values: object) -> list[tuple[object, ...]]:
        asked.append((statement, values))
        return select(statement, *values)

    with monkeypatch.context() as patch:
        patch.setattr(log.database, "select", listen)
        log.search.sums()
    plans = [[row[-1] for row in select(f"EXPLAIN QUERY PLAN {statement}", *values)] for statement, values in asked]
    assert plans[0][0] == "SCAN job USING INDEX job_open"  # a partial one
    assert plans[1] == ["SEARCH job USING COVERING INDEX job_state (state=?)"]
    assert plans[2][0] == "SCAN job USING INDEX job_open"


def test_sums(log: JobLog) -> None:
    """What is open is counted by its state, what stands failed too, and the oldest open one is known."""
    found = log.search.sums()
    assert (found.open, found.oldest_at, found.failed) == ({}, None, 0)
    for number, state in enumerate([State.SUCCESS, State.PROCESSING, State.QUEUED, State.QUEUED, State.FAILURE]):
        record(log, NOON + number, state)
    found = log.search.sums()
    assert (found.open, found.failed) == ({State.QUEUED: 2, State.PROCESSING: 1}, 1)
    assert found.oldest_at == NOON + 1


def test_the_last_day_hour_by_hour(log: JobLog) -> None:
    """The last 24 hours, each with what came in it, what became of that, and how long half of the successes took."""
    now = NOON + 1800.0
    record(log, NOON - 23 * HOUR - 1)  # too old
    for seconds in (10.0, 30.0, 20.0):
        record(log, NOON - 23 * HOUR, State.SUCCESS, seconds)
    record(log, NOON + 1, State.FAILURE)
    record(log, NOON + 2, State.CANCELLED)
    record(log, NOON + 3)
    found = log.search.day(now)
    assert [hour.begins_at for hour in found] == [NOON - (23 - number) * HOUR for number in range(24)]
    assert (found[0].done, found[0].median_seconds, found[0].count) == (3, 20.0, 3)
    assert (found[-1].done, found[-1].failed, found[-1].waiting, found[-1].median_seconds) == (0, 2, 1, None)
    assert [hour.count for hour in found[1:-1]] == [0] * 22


def test_a_copy_is_done_with(log: JobLog) -> None:
    """A copy of a receipt counts as done: nobody waits for it."""
    original = record(log, NOON, State.SUCCESS)
    record(log, NOON + 1, State.DUPLICATE, duplicate_of=original.job_id, folder=Folder.PROCESSING)
    assert log.search.day(NOON + 2)[-1].done == 2


def test_a_reason_is_part_of_what_is_found(log: JobLog) -> None:
    """A receipt comes back from a search as the log has it."""
    job = log.jobs.insert(make_job(NOON, state=State.FAILURE, reason=Reason.EMPTY, stored_path=Path("x/scan.jpg")))
    assert log.search.page(Wanted(states=[State.FAILURE])).jobs == [job]


def test_failures_are_counted_by_their_reason(log: JobLog) -> None:
    """Each reason of a receipt that stands failed is counted, the most frequent first, and read by an index."""
    assert log.search.failures() == {}
    for number, reason in enumerate([Reason.EMPTY, Reason.N8N_FAILURE, Reason.N8N_FAILURE]):
        job = record(log, NOON + number)
        assert log.jobs.advance(job.job_id, Event.FAIL, NOON + 5, reason=reason)
    record(log, NOON + 9, State.CANCELLED)
    assert list(log.search.failures().items()) == [(Reason.N8N_FAILURE, 2), (Reason.EMPTY, 1)]
    plan = [str(row[-1]) for row in log.database.select(f"EXPLAIN QUERY PLAN {FAILURES}", FAILURE_ROWS)]
    assert [step for step in plan if " job" in step] == ["SCAN job USING INDEX job_failed"]  # a partial one
    assert len([step for step in plan if "B-TREE" in step]) == 2  # of the groups, and not of the receipts
