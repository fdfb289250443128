"""A file of any name goes its way under it: the folders, the job log, what N8N is sent, what is shown, the note."""

from __future__ import annotations

import base64
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import structlog
from hypothesis import example, given, settings
from hypothesis import strategies as st

from receipt_watcher.delivery.destinations import Accepted
from receipt_watcher.delivery.destinations.http_client import Answer, Outbound
from receipt_watcher.delivery.destinations.n8n.webhook import N8N, N8NSettings
from receipt_watcher.jobs.job import Folder, Job
from receipt_watcher.jobs.json_view import full_view
from receipt_watcher.jobs.states import Event
from receipt_watcher.spool.folders import Spool
from receipt_watcher.spool.paths import SpoolFolders
from receipt_watcher.spool.reason_file import note_path
from receipt_watcher.system.display import NAME_MAX_BYTES, display_name, numbered_name
from tests.conftest import INSTALLATION, FakeClock, open_log
from tests.properties.interleavings import be_quiet
from tests.properties.turns import picture
from tests.unit.inbox.test_take_in import route_on
from tests.unit.spool.filing.office import MONTH, Office

CONTENT, OTHER = picture(1), picture(2)
NOT_A_NAME = {b"", b".", b".."}

NAMES = st.one_of(
    st.binary(min_size=1, max_size=NAME_MAX_BYTES),
    st.text(min_size=1, max_size=60).map(lambda text: text.encode("utf-8", "replace")),
    st.lists(st.sampled_from([b".", b" ", b"-", b"(2)", b"\n", b"\\", b'"', b"\xff", b"\xc3\xa9", b"pdf"])).map(
        b"".join
    ),
    st.binary(min_size=1, max_size=1).map(lambda byte: (byte * NAME_MAX_BYTES)[:NAME_MAX_BYTES]),
)


def _is_name(name: bytes) -> bool:
    return name not in NOT_A_NAME and len(name) <= NAME_MAX_BYTES and not {0, ord("/")} & {*name}


A_NAME = NAMES.map(lambda name: name.translate(None, b"\0/")).filter(_is_name)
OFTEN = settings(max_examples=40)


@pytest.fixture(autouse=True)
def no_log_lines() -> Iterator[None]:
    """Say nothing."""
    be_quiet()
    yield
    structlog.reset_defaults()


@contextmanager
def an_office() -> Iterator[Office]:
    """An office of its own for each example."""
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (root / "inbox").mkdir()
        log = open_log(root / "receipts.db")
        stack.callback(log.database.close)
        spool = Spool("office", SpoolFolders(*(root / name for name in ("inbox", "processing", "done", "failed"))))
        spool.open(INSTALLATION)
        stack.callback(spool.close)
        yield Office(log, route_on(spool), FakeClock())


def path_of(folder: bytes | None, name: bytes) -> Path:
    """Return a path below the inbox."""
    return Path(os.fsdecode(name)) if folder is None else Path(os.fsdecode(folder), os.fsdecode(name))


def take(office: Office, path: Path, content: bytes = CONTENT) -> Job:
    """Drop a file and take it in; the log must know it by each of its bytes."""
    (job,) = office.take(office.drop(os.fspath(path), content))
    found = office.now(job)
    assert os.fsencode(found.relative_path) == os.fsencode(path)
    assert os.fsencode(found.stored_path) == f"{job.job_id}/".encode() + os.fsencode(path)
    assert office.route.path_of(found).read_bytes() == content
    return found


# --- where it lies -------------------------------------------------------------------------------------------------


@OFTEN
@given(folder=st.none() | A_NAME, name=A_NAME)
@example(folder=b"a\\b", name=b"\xff" * 255)
@example(folder=None, name=b"scan (2).pdf.reason.txt")
@example(folder=b"%Y", name=b"%d {} $HOME `x`.pdf")
def test_any_name_arrives_in_done(folder: bytes | None, name: bytes) -> None:
    """A receipt that succeeds lies in done/ under the very bytes of its name; a second one gets a number."""
    path = path_of(folder, name)
    with an_office() as office:
        office.tell(take(office, path), Event.SUCCEED)
        assert office.file() == 1
        office.tell(take(office, path, OTHER), Event.SUCCEED)
        assert office.file() == 1
        place = office.route.spool.folders.done / MONTH / path
        assert place.read_bytes() == CONTENT
        assert place.with_name(numbered_name(place.name, 2)).read_bytes() == OTHER
        assert len([each for each in office.all_files() if each.startswith("done/")]) == 2


@OFTEN
@given(folder=st.none() | A_NAME, name=A_NAME)
@example(folder=None, name=b"\xe2\x82\xac" * 85)
@example(folder=None, name=b"\xff" * 255)
@example(folder=None, name=b"x" * 244 + b".reason.txt")
def test_any_name_arrives_in_failed_and_comes_back(folder: bytes | None, name: bytes) -> None:
    """A failed receipt lies in failed/ with a note that names it, and goes on under its name when it is retried."""
    path = path_of(folder, name)
    with an_office() as office:
        job = office.fail(take(office, path))
        assert office.file() == 1
        place = office.route.spool.folders.failed / path
        assert place.read_bytes() == CONTENT
        note = note_path(place)
        if note == place:  # so long, and so named, that there is no room beside it
            assert office.now(job).note_path is None
        else:
            text = note.read_bytes().decode("utf-8")
            assert f"\n\n{job.filename}\n\nWhat happened" in text
            assert text.endswith(f"\nJob: {job.job_id}\n")
        office.tell(job, Event.RETRY, next_attempt_at=office.clock.now)
        assert office.file() == 1
        assert list(office.route.spool.folders.failed.rglob("*.reason.txt")) == []
        office.tell(job, Event.SUCCEED)
        assert office.file() == 1
        assert (office.route.spool.folders.done / MONTH / path).read_bytes() == CONTENT
        assert office.now(job).folder is Folder.DONE


# --- what is told --------------------------------------------------------------------------------------------------


class Posted:
    """Stands in for the HTTP client: keeps what is posted."""

    def __init__(self) -> None:
        self.headers: Mapping[str, str] = {}
        self.body = b""

    def post(
        self, url: str, headers: Mapping[str, str], body: Callable[[], Iterator[bytes]], length_bytes: int
    ) -> Answer:
        """Read the whole body, whose length was announced."""
        self.headers, self.body = headers, b"".join(body())
        assert len(self.body) == length_bytes
        return Answer(200, {}, '{"message":"Workflow was started"}', 0.0)


def sent(office: Office, job: Job, payload: Any) -> Posted:
    """Deliver a receipt to N8N."""
    posted = Posted()
    n8n = N8N(N8NSettings("http://n8n/hook", "key", payload, 10**6), cast("Outbound", posted))
    outcome = n8n.deliver(job, office.route.path_of(job), 1, f"http://us/{job.job_id}", office.clock.now)
    assert isinstance(outcome, Accepted)
    return posted


@OFTEN
@given(folder=st.none() | A_NAME, name=A_NAME)
@example(folder=None, name=b'"; filename="other\r\n\r\n--boundary')
@example(folder=b"\xff", name=b"\\\xff\xc3\xa9")
def test_any_name_is_told_in_words(folder: bytes | None, name: bytes) -> None:
    """What N8N is sent, and what is shown, is whole, and has the name as text: bytes that are none become an escape."""
    path = path_of(folder, name)
    with an_office() as office:
        job = take(office, path)
        said = json.loads(sent(office, job, "json").body.decode("ascii"))
        assert base64.b64decode(said["image_data"], validate=True) == CONTENT
        form = _form(sent(office, job, "multipart"))
        shown = json.loads(json.dumps(full_view(job, office.route.path_of(job), [], []), ensure_ascii=False).encode())
    text = name.decode("utf-8", "backslashreplace")
    assert display_name(path.name) == text
    assert (job.filename, said["filename"], shown["filename"]) == (text, text, text)
    assert form == {
        **{field: str(value).encode() for field, value in said.items() if field != "image_data"},
        "file": CONTENT,
    }
    assert said["subfolder"] == ("" if folder is None else folder.decode("utf-8", "backslashreplace"))


def _form(posted: Posted) -> dict[str, bytes]:
    """Read multipart/form-data by its boundary alone, as RFC 2046 has it."""
    boundary = b"\r\n--" + posted.headers["Content-Type"].partition("boundary=")[2].encode()
    *parts, end = (b"\r\n" + posted.body).split(boundary)[1:]
    assert end == b"--\r\n"
    fields = {}
    for part in parts:
        head, _, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        assert head.count(b"\r\n") <= 1
        fields[head.partition(b'name="')[2].partition(b'"')[0].decode()] = content
    assert len(fields) == len(parts)
    return fields
