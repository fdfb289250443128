"""The gate of one inbox, which the folder's rounds and the uploads share."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest
from starlette.requests import Request

from receipt_watcher.config.roles import Role
from receipt_watcher.config.sections.inbox import Inbox
from receipt_watcher.examine.judge import Examination, FileLimits, examine
from receipt_watcher.inbox.gate import Gate
from receipt_watcher.inbox.opening import GateSettings, GateStages
from receipt_watcher.inbox.recording import TakenFile
from receipt_watcher.inbox.take_in import ParkedFile, TakeIn
from receipt_watcher.inbox.turns import MOVE_LIMIT_SECONDS, Turns
from receipt_watcher.inbox.watching.watch import InboxWatch
from receipt_watcher.jobs.job import Folder, Job
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import Event
from receipt_watcher.spool.filing import Filing
from receipt_watcher.spool.folders import Spool
from receipt_watcher.system.wakeup import Bell
from receipt_watcher.web.access.authorization import Access, Caller
from receipt_watcher.web.problem import RefusedError
from receipt_watcher.web.uploads import receive as uploads
from receipt_watcher.web.uploads.receive import TakenUpload, Uploads
from tests.conftest import INSTALLATION, FakeClock
from tests.fakes.daemons.process import jpegs, wait_until
from tests.unit.inbox.test_take_in import route_on

ANNA = Caller("anna", Role.UPLOADER)


class _NoSessions:
    def check_field(self, *_: object) -> None:
        """Let everybody pass: access has tests of its own."""


class Porch:
    """An open gate, whose duplicates are sent, and what brings uploads there."""

    def __init__(self, root: Path, log: JobLog, clock: FakeClock, spool: Spool) -> None:
        self.root, self.log, self.clock = root, log, clock
        self.route = route_on(spool, duplicates="send", is_ready=False)
        deliveries, filings = Bell(), Bell()
        take_in = TakeIn(
            log, [self.route], examine=examine, deliveries=deliveries, filings=filings, clock=clock, monotonic=clock
        )
        settings = Inbox.model_validate(
            {"path": str(spool.folders.inbox), "name": "office", "observer": "polling", "settle_seconds": 0.1}
        )
        self.stopping = threading.Event()
        self.gate = Gate(
            self.route,
            InboxWatch(settings),
            Bell(),
            GateSettings(lambda: INSTALLATION, take_over=False, accept_backlog=True, backlog_files=10),
            stages=GateStages(
                take_in,
                Filing(log, [self.route], examine=examine, deliveries=deliveries, clock=clock),
                ring=lambda: None,
            ),
            log=log,
            stopping=self.stopping,
            monotonic=clock,
            clock=clock,
        )
        self.gate.open_first()
        self.loop = asyncio.new_event_loop()
        self._serving = threading.Thread(target=self.loop.run_forever)
        self._serving.start()

    def leave(self) -> None:
        """Wait for uploads that are still under way, and close the gate."""
        asyncio.run_coroutine_threadsafe(self._ended(), self.loop).result(60)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._serving.join()
        self.loop.close()
        self.gate.close()

    async def _ended(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others, return_exceptions=True)
        await self.loop.shutdown_default_executor()

    def uploads(self) -> Uploads:
        """Return what brings uploads, as a daemon has it that was just started: it remembers no key."""
        access = cast("Access", _NoSessions())
        return Uploads(self.root, [self.gate], self.log, access, examine=examine, clock=self.clock)

    def bring(self, to: Uploads, content: bytes, key: str | None = None) -> Future[TakenUpload]:
        """Upload a receipt in the one event loop, as the server does."""
        body = (
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n' + content + b"\r\n--x--\r\n"
        )
        headers = [(b"content-type", b"multipart/form-data; boundary=x"), (b"host", b"localhost")]
        headers += [(b"idempotency-key", key.encode())] if key else []
        scope = {"type": "http", "method": "POST", "path": "/", "headers": headers, "query_string": b""}

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        return asyncio.run_coroutine_threadsafe(to.take(Request(scope, receive), ANNA), self.loop)

    def jobs(self) -> list[Job]:
        """Return what is recorded, the oldest first."""
        return self.log.lookups.listing(limit=None)[::-1]


@pytest.fixture
def porch(tmp_path: Path, log: JobLog, clock: FakeClock, spool: Spool) -> Iterator[Porch]:
    """A gate and what belongs to it."""
    porch = Porch(tmp_path, log, clock, spool)
    yield porch
    porch.leave()


def refusal_of(upload: Future[TakenUpload]) -> RefusedError:
    """Return why an upload was not taken."""
    with pytest.raises(RefusedError) as caught:
        upload.result(30)
    return caught.value


def disk_full(*_: object) -> None:
    """Fail, as the job log does on a full disk."""
    raise sqlite3.OperationalError("database or disk is full")


@pytest.fixture(params=["receive", "flush"])
def hanging(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[threading.Event, ...]]:
    """A disk whose next call hangs, before the move or after it: (one hangs now, let it go on)."""
    hangs, go_on = threading.Event(), threading.Event()
    call: Callable[..., None] = getattr(Spool, request.param)

    def hang(*arguments: Any) -> None:
        if not hangs.is_set():
            hangs.set()
            assert go_on.wait(60)
        call(*arguments)

    monkeypatch.setattr(Spool, request.param, hang)
    yield hangs, go_on
    go_on.set()


def test_a_key_waits_for_the_upload_that_hangs(
    porch: Porch, hanging: tuple[threading.Event, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever repeats a call whose move outlasts its answer is asked to come later, then told of the only job."""
    hangs, go_on = hanging
    monkeypatch.setattr(uploads, "_TAKEN_SECONDS", 0.2)
    [content] = jpegs(1)
    brought = porch.uploads()
    first = refusal_of(porch.bring(brought, content, "scan-1"))
    assert (first.status, first.headers["Retry-After"]) == (503, "10")
    assert hangs.is_set()
    second = refusal_of(porch.bring(brought, content, "scan-1"))
    assert (second.status, second.headers["Retry-After"]) == (409, "10")
    go_on.set()
    wait_until(lambda: not brought._keys._moving, "its thread has ended")
    third = porch.bring(brought, content, "scan-1").result(30)
    [job] = porch.jobs()
    assert (third.job.job_id, third.status) == (job.job_id, 202)


def test_who_waits_behind_a_call_with_the_same_key_gets_its_answer(
    porch: Porch, hanging: tuple[threading.Event, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that was let through to the gate while the first with its key hung there is told of the first's job."""
    hangs, go_on = hanging
    [content] = jpegs(1)
    first = porch.bring(porch.uploads(), content, "scan-1")
    assert hangs.wait(30)
    second = porch.bring(porch.uploads(), content, "scan-1")  # of a daemon after a reload, say
    wait_until(lambda: porch.gate._turns.waiting == 1, "it waits for the gate")
    go_on.set()
    assert first.result(30).job.job_id == second.result(30).job.job_id
    assert len(porch.jobs()) == 1


def test_a_key_whose_file_waits_for_its_row_is_under_way(porch: Porch, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that an error left in processing/ is recorded by the next round, and its key told to wait for that."""
    [content] = jpegs(1)
    brought = porch.uploads()

    with monkeypatch.context() as context:
        context.setattr("receipt_watcher.inbox.duplicates.DuplicateCheck.record", disk_full)
        with pytest.raises(sqlite3.OperationalError):
            porch.bring(brought, content, "scan-1").result(30)
    second = refusal_of(porch.bring(brought, content, "scan-1"))
    assert (second.status, second.headers["Retry-After"]) == (409, "10")
    assert porch.jobs() == []
    for _ in range(2):  # it is looked at twice, whether it still grows
        porch.gate.round()
        porch.clock.advance(60)
    third = porch.bring(brought, content, "scan-1").result(30)
    assert [job.job_id for job in porch.jobs()] == [third.job.job_id]


def test_a_key_stands_for_the_job_that_its_file_goes_on_as(porch: Porch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where recovery takes an upload's file for a failed receipt's, dropped again, its key is that receipt's."""
    [content] = jpegs(1)
    brought = porch.uploads()
    failed = porch.bring(brought, content).result(30).job
    assert porch.log.jobs.advance(failed.job_id, Event.FAIL, porch.clock.now, reason=Reason.N8N_FAILURE)
    porch.log.moves.finish_moves([(failed, Folder.FAILED, Path(failed.job_id))], porch.clock.now)
    shutil.rmtree(porch.route.spool.folders.processing / failed.job_id)  # an admin has taken it out of failed/
    with monkeypatch.context() as context:
        context.setattr("receipt_watcher.inbox.duplicates.DuplicateCheck.record", disk_full)
        with pytest.raises(sqlite3.OperationalError):
            porch.bring(brought, content, "scan-1").result(30)
    for _ in range(2):  # it is looked at twice, whether it still grows
        porch.gate.round()
        porch.clock.advance(60)
    assert [job.job_id for job in porch.jobs()] == [failed.job_id]
    for _ in range(2):
        assert porch.bring(brought, content, "scan-1").result(30).job.job_id == failed.job_id
    assert len(porch.jobs()) == 1


def test_a_key_is_free_again_where_no_thread_could_be_started(porch: Porch, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that never began to move its file holds up no later one."""

    def fail(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    [content] = jpegs(1)
    brought = porch.uploads()
    with monkeypatch.context() as context:
        context.setattr(uploads, "within", fail)
        with pytest.raises(RuntimeError):
            porch.bring(brought, content, "scan-1").result(30)
    assert porch.bring(brought, content, "scan-1").result(30).status == 202


def test_a_key_is_for_one_file_of_one_inbox(porch: Porch) -> None:
    """A key that was given away, but never taken with, serves another inbox or another file no more."""
    one, two = jpegs(2)
    brought = porch.uploads()
    porch.route.is_ready = False
    assert refusal_of(porch.bring(brought, one, "scan-1")).status == 503
    porch.route.is_ready = True
    assert "another file" in refusal_of(porch.bring(brought, two, "scan-1")).detail
    porch.route.name = "cellar"
    assert "for the inbox office" in refusal_of(porch.bring(brought, one, "scan-1")).detail
    porch.route.name = "office"
    assert porch.bring(brought, one, "scan-1").result(30).status == 202
    with closing(sqlite3.connect(porch.log.database.path)) as log:
        assert log.execute("SELECT COUNT(*) FROM fact WHERE name LIKE 'upload:%'").fetchone() == (1,)


def test_without_a_key_each_upload_is_one_of_its_own(porch: Porch) -> None:
    """The same bytes, twice without a key where duplicates are sent, are two receipts."""
    [content] = jpegs(1)
    brought = porch.uploads()
    found = {porch.bring(brought, content).result(30).job.job_id for _ in range(2)}
    assert found == {job.job_id for job in porch.jobs()}
    assert len(found) == 2


def settle(porch: Porch, name: str, content: bytes) -> None:
    """Drop a file into the inbox, and let a round see it, and the time pass after which it has settled."""
    (porch.route.spool.folders.inbox / name).write_bytes(content)
    porch.clock.advance(60)
    porch.gate.round()
    porch.clock.advance(60)


def test_the_folder_comes_through_while_uploads_never_pause(porch: Porch, hanging: tuple[threading.Event, ...]) -> None:
    """A round that came while an upload was at work has the next turn, however many uploads wait by then."""
    hangs, go_on = hanging
    content, *more = jpegs(5)
    settle(porch, "b.jpg", content)
    brought = porch.uploads()
    answers = [porch.bring(brought, more[0])]
    assert hangs.wait(30)
    answers += [porch.bring(brought, each) for each in more[1:]]
    wait_until(lambda: porch.gate._turns.waiting == 3, "the others wait for the gate")
    heard = porch.gate.bell.count
    porch.gate.round()
    assert porch.jobs() == []
    go_on.set()
    wait_until(lambda: porch.gate.bell.count > heard, "the round is called again")
    assert (len(porch.jobs()), answers[0].result(30).status) == (1, 202)  # the others keep out until it came
    porch.gate.round()
    assert "b.jpg" in [job.filename for job in porch.jobs()]
    assert [answer.result(30).status for answer in answers] == [202] * 4
    assert len(porch.jobs()) == 5


def test_an_upload_comes_through_while_rounds_never_pause(porch: Porch, monkeypatch: pytest.MonkeyPatch) -> None:
    """An upload that came while a round was at work has the next turn, although the next round is asked for at once."""
    content, dropped = jpegs(2)
    settle(porch, "b.jpg", dropped)
    brought: list[Future[TakenUpload]] = []
    take = TakeIn.take

    def bring_one(*arguments: Any) -> TakenFile | ParkedFile | None:
        brought.append(porch.bring(porch.uploads(), content))
        wait_until(lambda: porch.gate._turns.waiting == 1, "it waits for the gate")
        return take(*arguments)

    monkeypatch.setattr(TakeIn, "take", bring_one)
    porch.gate.round()
    while not brought[0].done():
        porch.gate.round()
    assert brought[0].result().status == 202
    assert sorted(job.filename for job in porch.jobs()) == ["a.jpg", "b.jpg"]


def test_no_upload_waits_for_rounds_that_come_no_more(porch: Porch) -> None:
    """When the inbox's loop has ended, the turn that was kept for it is nobody's."""
    assert porch.gate._turns.take()
    porch.gate.round()
    porch.gate._turns.give_back()
    assert not porch.gate._turns.take(0)
    porch.gate.take_leave()
    assert porch.gate._turns.take(0)
    porch.gate._turns.give_back()


def test_turns_are_one_at_a_time_and_nobody_starves() -> None:
    """However many want a turn, and however often, it is one at a time, and each of them comes through."""
    turns, ends = Turns(), threading.Event()
    working, order = [0], list[str]()
    rounds_wanted = threading.Event()

    def work(kind: str) -> None:
        working[0] += 1
        assert working[0] == 1
        order.append(kind)
        working[0] -= 1
        turns.give_back()
        rounds_wanted.set()

    def rounds() -> None:
        while not ends.is_set():
            rounds_wanted.clear()
            if turns.take_round():
                work("round")
            else:
                rounds_wanted.wait(0.05)

    def bring() -> None:
        for _ in range(200):
            assert turns.take(30)
            work("upload")

    with ThreadPoolExecutor(5) as pool:
        looping = pool.submit(rounds)
        bringing = [pool.submit(bring) for _ in range(4)]
        for each in bringing:
            each.result(60)
        ends.set()
        looping.result(60)
    assert order.count("upload") == 800
    assert order.count("round") > 0


def test_an_orphan_is_recovered_whatever_goes_well_after_it(porch: Porch, monkeypatch: pytest.MonkeyPatch) -> None:
    """An upload that was moved and not recorded gets its row by the next round, although others went well meanwhile."""
    one, two = jpegs(2)
    brought = porch.uploads()
    with monkeypatch.context() as context:
        context.setattr("receipt_watcher.inbox.duplicates.DuplicateCheck.record", disk_full)
        with pytest.raises(sqlite3.OperationalError):
            porch.bring(brought, one).result(30)
    assert porch.bring(brought, two).result(30).status == 202
    for _ in range(2):  # it is looked at twice, whether it still grows
        porch.gate.round()
        porch.clock.advance(60)
    assert len(porch.jobs()) == 2


def test_to_wait_for_an_examiner_is_not_to_wait_for_a_disk(porch: Porch, monkeypatch: pytest.MonkeyPatch) -> None:
    """An inbox whose turn for an examiner comes late stays available; another thread's wait does not count for it."""
    gate = porch.gate
    seen: list[bool] = []

    def wait_for_long(path: Path, limits: FileLimits) -> Examination:
        for _ in range(10):
            porch.clock.advance(MOVE_LIMIT_SECONDS - 1)
            gate.limit.restart_for_examiner()
        gate.supervise()
        seen.append(gate.limit.is_exceeded)
        porch.clock.advance(MOVE_LIMIT_SECONDS + 1)
        with ThreadPoolExecutor(1) as other:
            other.submit(gate.limit.restart_for_examiner).result()
        seen.append(gate.limit.is_exceeded)
        return examine(path, limits)

    monkeypatch.setattr(gate._take_in, "_examine", wait_for_long)
    (porch.route.spool.folders.inbox / "scan.jpg").write_bytes(jpegs(1)[0])
    gate.round()
    porch.clock.advance(10)
    gate.round()
    assert seen == [False, True]
    assert [job.filename for job in porch.jobs()] == ["scan.jpg"]
    gate.limit.restart_for_examiner()  # nobody is asked anything now
    assert not gate.limit.is_exceeded


def test_a_folder_that_goes_away_while_the_inbox_opens_is_not_bound(
    porch: Porch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look and the opening another processing/ may be in its place, as when its share was unmounted."""
    porch.bring(porch.uploads(), jpegs(1)[0]).result(30)
    folders, spool_open = porch.route.spool.folders, Spool.open
    aside = folders.processing.with_name("aside")

    def reopen() -> None:
        porch.gate.close()
        porch.gate.round()

    def swap_and_open(spool: Spool, installation: str, *, take_over: bool = False) -> bool:
        folders.processing.rename(aside)
        folders.processing.mkdir()
        return spool_open(spool, installation, take_over=take_over)

    reopen()
    with monkeypatch.context() as patch:
        patch.setattr(Spool, "open", swap_and_open)
        reopen()
    assert f"{folders.processing} was on" in (porch.gate.state.unavailable or "")
    shutil.rmtree(folders.processing)
    aside.rename(folders.processing)
    reopen()
    assert porch.gate.state.unavailable is None
