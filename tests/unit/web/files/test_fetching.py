"""A receipt's file for who has a link to it: by the application, and from the real daemon."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import io
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from receipt_watcher.cli.demo.received_posts import ReceivedPost
from receipt_watcher.cli.demo.stand_in import Behaviour, StandIn
from receipt_watcher.jobs.job import Folder, Job
from receipt_watcher.jobs.log.columns import change_columns
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.spool.folders import Spool
from receipt_watcher.web.access.wrong_tokens import LIMIT_TRIES
from receipt_watcher.web.files import fetching
from receipt_watcher.web.files.downloads import headers_of
from receipt_watcher.web.files.fetching import OpenReceipt
from receipt_watcher.web.files.links import FileLinks
from receipt_watcher.web.server import connections, thread
from receipt_watcher.web.server.admission import Admission
from tests.benchmarks import probe
from tests.conftest import TOKEN, FakeClock, make_job
from tests.fakes.daemons.process import RunningDaemon, jpegs, wait_until
from tests.unit.web.callback_site import OFFICE, Site, assert_problem, served

CONTENT = bytes(range(256)) * 8192  # five pieces and a bit
SIOCOUTQNSD = 0x894B  # asks for the bytes that were not sent yet; linux/sockios.h
LINK_SECONDS = 60  # as `Site` has it


class Fetchable(Site):
    """The application, and receipts that lie where the log says."""

    def put(self, content: bytes = CONTENT, filename: str = "scan.jpg") -> Job:
        """Record a receipt whose file is in processing/."""
        [job] = self.record(1)
        path = self.spool.folders.processing / job.stored_path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        with self.log.database.transaction():
            change_columns(
                self.log.database,
                job.job_id,
                {"size": len(content), "sha256": hashlib.sha256(content).hexdigest(), "filename": filename},
            )
        return self.job(job)

    @property
    def spool(self) -> Spool:
        """The only inbox's."""
        return self.routes[0].spool

    def link(self, job: Job) -> str:
        """Return a link to its file."""
        return FileLinks([TOKEN], LINK_SECONDS, self.clock).path_of(job.job_id, job.sha256 or "")

    def fetch(self, job: Job, method: str = "GET", **options: Any) -> httpx.Response:
        """Ask for a receipt's file from elsewhere."""
        return self.ask(method, self.link(job), OFFICE, **options)

    def file(self, job: Job) -> Path:
        """Return where its file is by the log."""
        return self.routes[0].path_of(self.job(job))

    def move(self, job: Job, folder: Folder, name: str = "filed.jpg") -> Path:
        """Let its file be filed, in the log too."""
        target = self.spool.folders.path_of(folder) / name
        target.parent.mkdir(exist_ok=True)
        self.file(job).rename(target)
        with self.log.database.transaction():
            change_columns(
                self.log.database, job.job_id, {"folder": folder, "stored_path": Path(name), "move_due": False}
            )
        return target


@pytest.fixture
def site(log: JobLog, spool: Spool, clock: FakeClock) -> Fetchable:
    """The application, whose destination has called back before."""
    site = Fetchable(log, clock, spool)
    site.heard()
    site.routes[0].is_ready = True
    return site


@pytest.fixture
def url(site: Fetchable) -> Iterator[str]:
    """The address of the real server before the application."""
    with served(site) as address:
        yield address


# --- what a link opens ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 64 * 1024, 393_216, 393_217, len(CONTENT)])
def test_the_file_comes_byte_for_byte(site: Fetchable, size: int) -> None:
    """The bytes that were recorded come, announced with their length and kind, to be saved and never shown or kept."""
    job = site.put(CONTENT[:size])
    answer = site.fetch(job)
    assert (answer.status_code, answer.content) == (200, CONTENT[:size])
    assert answer.headers["content-length"] == str(size)
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["content-disposition"].startswith("attachment;")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "private, no-store"


def test_head_tells_what_get_would(site: Fetchable) -> None:
    """HEAD has the headers of GET, and no body."""
    job = site.put()
    head, get = site.fetch(job, "HEAD"), site.fetch(job)
    assert head.content == b""
    own = {"date", "x-request-id", "server-timing"}  # of each answer itself: even the date may turn between the two
    said, would = ({name: text for name, text in each.headers.items() if name not in own} for each in (head, get))
    assert said == would
    assert set(head.headers) == set(get.headers)


def test_a_part_is_not_served(site: Fetchable) -> None:
    """Who asks for a range gets the whole, as HTTP allows: that a part is right cannot be proven by the part."""
    answer = site.fetch(site.put(), headers={"Range": "bytes=5-9"})
    assert (answer.status_code, len(answer.content)) == (200, len(CONTENT))
    assert answer.headers["accept-ranges"] == "none"


@pytest.mark.parametrize("folder", [Folder.DONE, Folder.FAILED])
def test_a_file_that_was_filed_is_found(site: Fetchable, folder: Folder) -> None:
    """A receipt that has been filed meanwhile is served from there, under the same link."""
    job = site.put()
    site.move(job, folder)
    assert site.fetch(job).content == CONTENT


def test_a_file_that_is_just_being_moved_is_found(site: Fetchable) -> None:
    """Between the rename and its row the file is where the log says that it is being moved to."""
    job = site.put()
    target = site.spool.folders.done / "filed.jpg"
    target.parent.mkdir(exist_ok=True)
    site.file(job).rename(target)
    with site.log.database.transaction():
        change_columns(
            site.log.database, job.job_id, {"moving_to_folder": Folder.DONE, "moving_to_path": Path("filed.jpg")}
        )
    assert site.fetch(job).content == CONTENT


def test_a_move_between_question_and_opening_is_followed(site: Fetchable) -> None:
    """The file is filed just after the log said where it is: it is asked again."""
    job = site.put()
    asked: list[Job | None] = []

    def look(job_id: str) -> Job | None:
        asked.append(site.log.lookups.get(job_id))
        if len(asked) == 1:
            site.move(job, Folder.DONE)
        return asked[-1]

    found = fetching.Fetching(look, site.routes).open(job.job_id, job.sha256 or "")
    assert isinstance(found, OpenReceipt)
    found.close()
    assert len(asked) == 2


def test_a_file_that_is_moved_while_it_is_read_is_read_on(site: Fetchable) -> None:
    """A move does not disturb who is fetching."""
    job = site.put()
    found = fetching.Fetching(site.log.lookups.get, site.routes).open(job.job_id, job.sha256 or "")
    assert isinstance(found, OpenReceipt)
    first = found.next_piece() or b""
    site.move(job, Folder.DONE)
    rest = b"".join(iter(found.next_piece, None))
    assert first + rest == CONTENT
    found.close()


ODD_NAMES = [
    'a"b.jpg',
    "a\\b.jpg",
    "a\r\nSet-Cookie: x=y.jpg",
    "領収書.pdf",
    "a;filename=b.exe",
    "\udcff",
    "../../x",
    "%41.jpg",
]


@given(st.text(min_size=1, max_size=80) | st.sampled_from(ODD_NAMES))
def test_any_name_comes_through_safely(name: str) -> None:
    """Whatever a file is called, its name is one header of ASCII that reads back as the name, and nothing else."""
    text = headers_of(make_job(filename=name))["Content-Disposition"]
    said = Message()
    said["Content-Disposition"] = text
    assert text.isascii()
    assert text.isprintable()
    assert said.get_content_disposition() == "attachment"
    _, _, extended = text.partition("filename*=UTF-8''")
    assert unquote(extended, errors="strict") == name.encode("utf-8", "backslashreplace").decode()
    assert ";" not in extended


# --- what it does not open -----------------------------------------------------------------------------------------


def test_strangers_learn_nothing(site: Fetchable) -> None:
    """Without our signature the answer is the same whether there is such a job or not, and the log is not asked."""
    job = site.put()
    paths = [
        f"/api/v1/jobs/{job.job_id}/file",
        "/api/v1/jobs/nothing/file",
        site.link(job).replace("signature=", "signature=x"),
        site.link(job).replace("expires=", "expires=9"),
        site.link(job).replace(job.job_id, "nothing"),
    ]
    site.log.database.close()
    try:
        answers = [assert_problem(site.ask("GET", path), 403) for path in paths]
    finally:
        site.log.database.open()
    assert len({answer["detail"] for answer in answers}) == 1
    assert all(job.filename not in str(answer) for answer in answers)


def test_wrong_links_are_slowed_and_counted_as_wrong_tokens(log: JobLog, spool: Spool, clock: FakeClock) -> None:
    """Who guesses links is answered ever later, and at last 429; a right link is answered all the same."""
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    site = Fetchable(log, clock, spool, pause=pause)
    site.routes[0].is_ready = True
    job = site.put()
    with capture_logs() as lines:
        statuses = [
            site.ask("GET", f"/api/v1/jobs/{number}/file?signature=x", OFFICE).status_code
            for number in range(LIMIT_TRIES + 1)
        ]
    assert statuses == [403] * LIMIT_TRIES + [429]
    assert max(pauses) > min(pauses) == 0
    assert [line["event"] for line in lines if line["log_level"] == "warning"] == ["callback.unauthorised"]
    assert site.fetch(job).status_code == 200


def test_an_expired_link_says_so(site: Fetchable, clock: FakeClock) -> None:
    """By the clock a link ends, and its holder is told why; nobody is counted as a stranger for it."""
    job = site.put()
    link = site.link(job)
    clock.advance(LINK_SECONDS + 1)
    with capture_logs() as lines:
        answer = assert_problem(site.ask("GET", link, OFFICE), 410)
    assert "expired" in answer["detail"]
    assert [line for line in lines if line["log_level"] == "warning"] == []


def test_a_job_that_the_log_has_not_is_not_there(site: Fetchable) -> None:
    """A link to a job that is not in the log (which was lost) is answered 404."""
    assert_problem(site.fetch(make_job()), 404)


def _removed(site: Fetchable, job: Job) -> None:
    with site.log.database.transaction():
        change_columns(site.log.database, job.job_id, {"removed_at": site.clock.now})


def _pipe(site: Fetchable, job: Job) -> None:
    site.file(job).unlink()
    os.mkfifo(site.file(job))


def _another_in_failed(site: Fetchable, job: Job) -> None:
    site.move(job, Folder.FAILED).write_bytes(CONTENT[::-1])


LOSSES: dict[str, Callable[[Fetchable, Job], object]] = {
    "deleted": lambda site, job: site.file(job).unlink(),
    "removed by retention": _removed,
    "longer": lambda site, job: site.file(job).write_bytes(CONTENT + b"x"),
    "a pipe": _pipe,
    "another in failed": _another_in_failed,
}


@pytest.mark.parametrize("loss", LOSSES)
def test_what_is_no_longer_there_is_gone(site: Fetchable, loss: str) -> None:
    """A file that is not there as it was recorded is answered 410, at once, and without a path of the disk."""
    job = site.put()
    LOSSES[loss](site, job)
    answer = assert_problem(site.fetch(job), 410)
    assert str(site.spool.folders.inbox.parent) not in str(answer)
    assert job.stored_path.name not in str(answer)


def test_an_inbox_that_is_away_is_a_later(site: Fetchable) -> None:
    """While the share is not there nothing hangs: 503, with the time to come again."""
    job = site.put()
    site.routes[0].is_ready = False
    answer = site.fetch(job)
    assert_problem(answer, 503)
    assert answer.headers["retry-after"] == "60"


def test_a_file_with_other_bytes_never_comes_whole(site: Fetchable, url: str) -> None:
    """Bytes that changed under the same length are found while they are sent: the answer never gets its end."""
    job = site.put()
    site.file(job).write_bytes(CONTENT[:-1] + b"?")
    with capture_logs() as lines, pytest.raises(httpx.RemoteProtocolError):
        httpx.get(url + site.link(job))
    wait_until(lambda: any(line["event"] == "file.cut_off" for line in lines), "it is told")
    assert [line["log_level"] for line in lines if line["log_level"] in ("warning", "error")] == ["warning"]
    site.file(job).write_bytes(CONTENT)
    assert httpx.get(url + site.link(job)).content == CONTENT


def test_strangers_do_not_cut_off_who_fetches(site: Fetchable) -> None:
    """When there are too many connections, those that say nothing make room before one by which a file goes out."""
    job = site.put(CONTENT * 8)
    bound = thread.bind("127.0.0.1", 0)
    running = thread.Server(site.app, bound, Admission(3))
    running.start()
    port = bound.getsockname()[1]
    with contextlib.ExitStack() as stack:
        stack.callback(running.stop, 5)
        wire = stack.enter_context(ask_and_read_nothing(f"http://127.0.0.1:{port}{site.link(job)}", 2**18))
        for _ in range(10):
            stranger = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
        stranger.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert stranger.recv(12) == b"HTTP/1.1 200"
        got = bytearray()
        while not got.endswith(CONTENT) or len(got) < 8 * len(CONTENT):
            piece = wire.recv(2**20)
            assert piece, "it was cut off"
            got += piece
    assert got.endswith(CONTENT * 8)


def test_the_kernel_holds_little_of_a_file(site: Fetchable) -> None:
    """What is not sent yet waits with us: a slow line with megabytes in the kernel would look like a dead one."""
    job = site.put(CONTENT * 8)
    bound = thread.bind("127.0.0.1", 0)
    running = thread.Server(site.app, bound)
    running.start()
    with contextlib.ExitStack() as stack:
        stack.callback(running.stop, 5)
        stack.enter_context(ask_and_read_nothing(f"http://127.0.0.1:{bound.getsockname()[1]}{site.link(job)}"))
        [connection] = running._server.server_state.connections
        assert isinstance(connection, connections.Connection)
        wait_until(lambda: connection._write_limit is not None, "the kernel takes no more")
        descriptor = connection.transport.get_extra_info("socket").fileno()
        [unsent] = struct.unpack("i", fcntl.ioctl(descriptor, SIOCOUTQNSD, bytes(4)))
    assert unsent < 4 * connections._UNSENT_BYTES


class Silent(io.BytesIO):
    """A file on a share that stops answering."""

    def __init__(self) -> None:
        super().__init__(CONTENT)
        self.answers = threading.Event()

    def read(self, size: int | None = -1) -> bytes:
        """Hang."""
        self.answers.wait()
        return super().read(size)


def test_a_share_that_stops_answering_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A read that never ends is given up in its time, and letting the file go does not wait for it either."""
    monkeypatch.setattr(fetching, "_READ_SECONDS", 0.05)
    file = Silent()
    job = make_job(size=len(CONTENT), sha256=hashlib.sha256(CONTENT).hexdigest())
    receipt = OpenReceipt(job, file, Path("x"))
    with pytest.raises(TimeoutError):
        receipt.next_piece()
    receipt.close()
    assert not file.closed
    file.answers.set()


def test_an_opening_that_never_ends_is_given_up(site: Fetchable, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where even the opening hangs the answer is 503, and callbacks are heard meanwhile."""
    monkeypatch.setattr(fetching, "_OPEN_SECONDS", 0.05)
    job = site.put()
    answers = threading.Event()
    monkeypatch.setattr(fetching, "_opened", lambda *_: answers.wait())
    assert_problem(site.fetch(job), 503)
    assert site.call_back(job.job_id).status_code == 200
    answers.set()


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_no_query_string_breaks_anything(site: Fetchable, query: bytes) -> None:
    """Whatever bytes stand behind the question mark, the answer is that it is no link."""
    site.clock.advance(3600)  # strangers are forgotten
    assert asyncio.run(status_of(site, query)) == 403


async def status_of(site: Fetchable, query: bytes) -> int:
    """Ask for a file with a query that no client would send; return the status of the answer."""
    scope: dict[str, Any] = {"type": "http", "http_version": "1.1", "method": "GET", "path": "/api/v1/jobs/x/file"}
    scope |= {"query_string": query, "headers": [], "client": None, "root_path": ""}
    told: list[Any] = []

    async def send(message: Any) -> None:
        told.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    await site.app(scope, receive, send)
    return int(told[0]["status"])


# --- the real daemon -----------------------------------------------------------------------------------------------


def linked(root: Path, n8n: StandIn, **changes: Any) -> RunningDaemon:
    """Return a daemon that sends links, before an N8N that says nothing by itself."""
    n8n.behave = lambda _: Behaviour(verdict=None)
    return RunningDaemon(root, n8n.webhook_url, TOKEN, changes={"n8n": {"payload": "link"}, **changes})


def delivered(n8n: StandIn, count: int = 1) -> ReceivedPost:
    """Wait for a delivery."""
    wait_until(lambda: len(n8n.deliveries) >= count, "it is delivered")
    return n8n.deliveries[count - 1]


def test_n8n_fetches_what_was_dropped(tmp_path: Path, n8n: StandIn) -> None:
    """The thin message has a link by which the very bytes come, before and after the receipt is filed in done/."""
    [content] = jpegs(1)
    with linked(tmp_path, n8n) as daemon:
        daemon.drop("Bäckerei «Süß».jpg", content)
        delivery = delivered(n8n)
        assert (delivery.payload, delivery.size, delivery.claimed_sha256) == (
            "link",
            len(content),
            hashlib.sha256(content).hexdigest(),
        )
        assert delivery.file_url.startswith(f"{daemon.url}/api/v1/jobs/{delivery.job_id}/file?")
        assert httpx.get(delivery.file_url).content == content
        assert daemon.call(delivery.job_id, {"status": "success"}, TOKEN).status_code == 200
        daemon.wait_quiet(1)
        answer = httpx.get(delivery.file_url)
        assert answer.content == content
        assert str(tmp_path) not in str(answer.headers)
        assert httpx.get(delivery.file_url[:-1]).status_code == 403
        daemon.kill()
        daemon.start()
        link = delivery.file_url.replace(f":{urlsplit(delivery.file_url).port}/", f":{urlsplit(daemon.url).port}/")
        wait_until(lambda: httpx.get(link).status_code == 200, "the link is good after a restart")
        assert "signature=" not in daemon.log_file.read_text()


def test_many_go_by_link(tmp_path: Path, n8n: StandIn) -> None:
    """Thirty receipts go by link, several at a time, with per-job tokens: each is fetched whole, booked and filed."""
    contents = jpegs(30)
    changes = {"n8n": {"payload": "link"}, "callback": {"per_job_tokens": True}}
    with RunningDaemon(tmp_path, n8n.webhook_url, TOKEN, changes=changes) as daemon:
        for number, content in enumerate(contents):
            daemon.drop(f"scan-{number}.jpg", content)
        daemon.wait_quiet(30)
        digests = {job.job_id: job.sha256 for job in daemon.recorded()}
        assert len(daemon.files(daemon.done)) == 30
    assert dict(n8n.fetched) == digests
    assert sorted(digest or "" for digest in digests.values()) == sorted(
        hashlib.sha256(content).hexdigest() for content in contents
    )


SIZE = 200_000_000
#: A piece or two, what waits to be written, and what the parts of Python that are used for the first time take.
MORE_MEGABYTES = 30


def test_memory_stays_flat_while_a_large_file_is_fetched(tmp_path: Path, n8n: StandIn) -> None:
    """200 MB are fetched, while others who asked for them read nothing: the process takes some megabytes more."""
    whole = hashlib.sha256()
    with linked(tmp_path, n8n, limits={"max_file_mb": 300}) as daemon, (tmp_path / "large").open("wb") as large:
        assert daemon.process is not None
        daemon.drop("small.jpg", jpegs(1)[0])
        assert httpx.get(delivered(n8n).file_url).status_code == 200
        daemon.call(n8n.deliveries[0].job_id, {"status": "success"}, TOKEN)
        for piece in (jpegs(1, 1)[0], *[bytes(1_000_000)] * (SIZE // 1_000_000)):
            large.write(piece)
            whole.update(piece)
        large.close()
        (tmp_path / "large").rename(daemon.inbox / "large.jpg")
        delivery = delivered(n8n, 2)
        before = probe.resident_megabytes(daemon.process.pid)
        got = hashlib.sha256()
        most = before
        with contextlib.ExitStack() as idle:
            for _ in range(5):
                idle.enter_context(ask_and_read_nothing(delivery.file_url))
            with httpx.stream("GET", delivery.file_url) as answer:
                for piece in answer.iter_bytes(4_000_000):
                    got.update(piece)
                    most = max(most, probe.resident_megabytes(daemon.process.pid))
        daemon.call(delivery.job_id, {"status": "success"}, TOKEN)
        daemon.wait_quiet(2)
        assert daemon.terminate() == 0
    assert got.digest() == whole.digest()
    assert most - before < MORE_MEGABYTES
    assert [line for line in daemon.events() if line["level"] == "error"] == []


def ask_and_read_nothing(link: str, buffer_bytes: int = 4096) -> socket.socket:
    """Ask for a file, and leave all but the first few bytes of the answer unread."""
    parts = urlsplit(link)
    wire = socket.socket()
    wire.settimeout(30)
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)  # before it connects, or it is not obeyed
    wire.connect((parts.hostname, parts.port))
    wire.sendall(f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert wire.recv(12) == b"HTTP/1.1 200"
    return wire
