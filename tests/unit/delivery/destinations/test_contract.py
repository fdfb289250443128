"""Promises of every destination, and N8N's requests and answers."""

from __future__ import annotations

import email.parser
import email.policy
import hashlib
import io
import json
import math
import time
import tracemalloc
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from email.message import EmailMessage
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receipt_watcher.cli.demo.stand_in import Behaviour, StandIn
from receipt_watcher.delivery.destinations import Accepted, Deferred, Destination, Lost, Outcome, Refused
from receipt_watcher.delivery.destinations.http_client import Answer, Outbound
from receipt_watcher.delivery.destinations.n8n.webhook import N8N, N8NSettings, _with_execution, outcome_of
from receipt_watcher.delivery.destinations.signature import NOT_PROVEN
from receipt_watcher.errors import AnswerLostError, ChangedOnDiskError, NotSentError
from receipt_watcher.jobs.job import Job
from receipt_watcher.jobs.reasons import Reason
from tests.conftest import make_job
from tests.fakes.unprivileged import ordinary_permissions
from tests.unit.delivery.destinations.test_http_client import FarSide

NOW = 1_700_000_000.5
CALLBACK_URL = "http://receipts.lan:8000/api/v1/jobs/x/callback"
URL = "http://127.0.0.1/webhook/receipts"
PIECE = 393_216
SIZES = [*range(11), PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 1_000_000]


class FakeOutbound(Outbound):
    """Keeps what would be sent, and answers as told."""

    def __init__(self, answer: Answer | Exception | None = None) -> None:
        self.sent: list[tuple[str, dict[str, str], bytes, int]] = []
        self.answer = answer or Answer(200, {"content-type": "application/json"}, "{}", 0.1)

    def post(
        self, url: str, headers: Mapping[str, str], body: Callable[[], Iterator[bytes]], length_bytes: int
    ) -> Answer:
        """Take a body to its end."""
        self.sent.append((url, dict(headers), b"".join(body()), length_bytes))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def content_of(size: int) -> bytes:
    """Return bytes that repeat nowhere near a piece's length."""
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def receipt(folder: Path, content: bytes, **changes: Any) -> tuple[Job, Path]:
    """Return a recorded receipt and its file."""
    path = folder / "stored"
    path.write_bytes(content)
    job = make_job(size=len(content), sha256=hashlib.sha256(content).hexdigest(), **changes)
    return job, path


def n8n_by(
    outbound: Outbound, url: str = URL, *, payload: Any = "json", api_key: str = "", max_json_bytes: int = 2**24
) -> N8N:
    """Return the destination with these settings."""
    return N8N(N8NSettings(url, api_key, payload, max_json_bytes), outbound)


def deliver(destination: Destination, job: Job, path: Path, attempt: int = 1) -> Outcome:
    """Deliver with the usual callback URL."""
    return destination.deliver(job, path, attempt, CALLBACK_URL, NOW)


# --- the contract of every destination -----------------------------------------------------------------------------

Maker = Callable[[Outbound, str], Destination]

#: A new destination adds its line here.
CONTRACT: dict[str, Maker] = {
    "n8n-json": lambda outbound, url: n8n_by(outbound, url, payload="json"),
    "n8n-multipart": lambda outbound, url: n8n_by(outbound, url, payload="multipart"),
    "n8n-auto": lambda outbound, url: n8n_by(outbound, url, payload="auto", max_json_bytes=PIECE),
}


@pytest.fixture(params=CONTRACT)
def make(request: pytest.FixtureRequest) -> Maker:
    """Each destination in turn."""
    return CONTRACT[request.param]


@pytest.fixture
def outbound() -> Iterator[Outbound]:
    """A real client."""
    with Outbound(timeout_seconds=10, connections=4) as client:
        yield client


@pytest.fixture
def silent(n8n: StandIn) -> StandIn:
    """A stand-in that accepts and calls nobody back."""
    n8n.behave = lambda _: Behaviour(verdict=None)
    return n8n


@pytest.mark.parametrize("size", SIZES)
def test_receipt_arrives_byte_for_byte(
    make: Maker, outbound: Outbound, silent: StandIn, tmp_path: Path, size: int
) -> None:
    """What arrives is byte for byte what was recorded, whatever its size, with all that the far side is to know."""
    content = content_of(size)
    job, path = receipt(tmp_path, content, filename="Bäckerei «Süß».jpg", notion_database_id="0f3c")
    assert isinstance(deliver(make(outbound, silent.webhook_url), job, path, 3), Accepted)
    (arrived,) = silent.deliveries
    assert arrived.content == content
    assert (arrived.job_id, arrived.attempt, arrived.filename) == (job.job_id, 3, "Bäckerei «Süß».jpg")
    assert (arrived.mime_type, arrived.size, arrived.claimed_sha256) == ("image/jpeg", size, job.sha256)
    assert (arrived.inbox, arrived.notion_database_id) == ("office", "0f3c")
    assert arrived.callback_url == CALLBACK_URL
    assert arrived.headers["idempotency-key"] == job.job_id


def test_url_is_where_it_delivers(make: Maker, outbound: Outbound) -> None:
    """A destination says where it delivers to, since holds are kept by that."""
    assert make(outbound, URL).url == URL


def test_no_connection_is_a_deferral(make: Maker, outbound: Outbound, silent: StandIn, tmp_path: Path) -> None:
    """Where nobody listens the receipt is deferred, and the text says what to look at."""
    silent.stop_listening()
    outcome = deliver(make(outbound, silent.webhook_url), *receipt(tmp_path, b"abc"))
    assert isinstance(outcome, Deferred)
    assert "no connection" in outcome.message
    assert outcome.status_code is None


def test_lost_answer_is_told_apart(make: Maker, outbound: Outbound, silent: StandIn, tmp_path: Path) -> None:
    """An answer that does not arrive is lost, not deferred, and the receipt went out once."""
    silent.behave = lambda _: Behaviour(reset=True, verdict=None)
    assert isinstance(deliver(make(outbound, silent.webhook_url), *receipt(tmp_path, b"abc")), Lost)
    assert len(silent.deliveries) == 1


@pytest.mark.parametrize("size", [3, 3 * PIECE])
@pytest.mark.parametrize("change", ["changed", "grown", "shrunk", "emptied"])
def test_other_bytes_never_arrive_whole(
    make: Maker, outbound: Outbound, tmp_path: Path, change: str, size: int
) -> None:
    """A file whose bytes are no longer those that were recorded raises, and nothing whole arrives."""
    content = content_of(size)
    job, path = receipt(tmp_path, content)
    path.write_bytes(
        {
            "changed": content[:-1] + b"?",
            "grown": content + b"?",
            "shrunk": content[:-1],
            "emptied": b"",
        }[change]
    )
    with FarSide() as far:
        with pytest.raises(ChangedOnDiskError, match="is not what was recorded"):
            deliver(make(outbound, far.url), job, path)
        assert far.connections <= 1
    assert [request for request in far.arrived if request.is_whole] == []


def test_missing_file_is_told_by_its_name(make: Maker, outbound: Outbound, tmp_path: Path) -> None:
    """A file that vanished raises FileNotFoundError with its name, and nothing whole arrives."""
    job, path = receipt(tmp_path, b"abc")
    path.unlink()
    with FarSide() as far, pytest.raises(FileNotFoundError) as caught:
        deliver(make(outbound, far.url), job, path)
    assert caught.value.filename == str(path)
    assert [request for request in far.arrived if request.is_whole] == []


def test_unreadable_file_passes(make: Maker, outbound: Outbound, tmp_path: Path) -> None:
    """A file that may not be read raises, and nothing whole arrives."""
    job, path = receipt(tmp_path, b"abc")
    path.chmod(0)
    with FarSide() as far, ordinary_permissions(), pytest.raises(PermissionError):
        deliver(make(outbound, far.url), job, path)
    assert [request for request in far.arrived if request.is_whole] == []


class Rewritten(type(Path())):  # type: ignore[misc]  # the class of this system's paths
    """A file that somebody writes anew while it is read: each read ends where the writer has got to."""

    reads: list[bytes]

    def open(self, *_: Any, **__: Any) -> Any:
        """Open it between two writes."""
        left = iter([*self.reads, b""])

        class File(io.BytesIO):
            def read(self, _: int | None = -1) -> bytes:
                return next(left, b"")

        return File()


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_file_that_is_being_rewritten_never_arrives_torn(make: Maker, tmp_path: Path, cut: int) -> None:
    """Bytes that come in odd portions, since somebody writes the file anew, are sent right or not at all."""
    content = content_of(7)
    job, _ = receipt(tmp_path, content)
    path = Rewritten("scan.jpg")
    path.reads = [content[:cut], content[cut:]]
    fake = FakeOutbound()
    with pytest.raises(ChangedOnDiskError):
        deliver(make(fake, URL), job, path)
    assert fake.sent == []


# --- N8N: what is sent ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_json_is_the_contract(tmp_path: Path, size: int) -> None:
    """The JSON has exactly the contract's fields and types, and its announced length is right."""
    content = content_of(size)
    job, path = receipt(tmp_path, content, filename='Süß "1"\n\U0001f9fe.jpg', notion_database_id="0f3c")
    fake = FakeOutbound()
    assert isinstance(deliver(n8n_by(fake), job, path, 2), Accepted)
    ((url, headers, body, length),) = fake.sent
    assert (url, length) == (URL, len(body))
    assert headers["Content-Type"] == "application/json"
    said = json.loads(body)
    assert b64decode(said.pop("image_data"), validate=True) == content
    assert said == {
        "job_id": job.job_id,
        "filename": 'Süß "1"\n\U0001f9fe.jpg',
        "notion_database_id": "0f3c",
        "callback_url": CALLBACK_URL,
        "mime_type": "image/jpeg",
        "size": size,
        "sha256": job.sha256,
        "inbox": "office",
        "subfolder": "",
        "attempt": 2,
    }
    assert {name for name, value in said.items() if type(value) is int} == {"size", "attempt"}


def parts_of(content_type: str, body: bytes) -> dict[str, EmailMessage]:
    """Return a form's parts by name, as Python's own parser of mails reads them."""
    whole = b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(whole)
    assert message.is_multipart()
    assert message.defects == []
    parts = [cast("EmailMessage", part) for part in message.iter_parts()]
    assert all(part.get_content_disposition() == "form-data" for part in parts)
    names = [str(part.get_param("name", header="content-disposition")) for part in parts]
    assert len(set(names)) == len(names)
    return dict(zip(names, parts, strict=True))


def payload_of(part: EmailMessage) -> bytes:
    """Return a part's bytes."""
    return cast("bytes", part.get_payload(decode=True))


@pytest.mark.parametrize("size", SIZES)
def test_multipart_is_the_contract(tmp_path: Path, size: int) -> None:
    """The form has the same fields, the file as its last part, and its announced length is right."""
    content = content_of(size)
    job, path = receipt(tmp_path, content, notion_database_id="0f3c")
    fake = FakeOutbound()
    assert isinstance(deliver(n8n_by(fake, payload="multipart"), job, path, 2), Accepted)
    ((_, headers, body, length),) = fake.sent
    assert length == len(body)
    parts = parts_of(headers["Content-Type"], body)
    assert list(parts)[-1] == "file"
    file = parts.pop("file")
    assert payload_of(file) == content
    assert (file.get_content_type(), file.get_filename()) == ("image/jpeg", "scan.jpg")
    assert {name: payload_of(part).decode() for name, part in parts.items()} == {
        "job_id": job.job_id,
        "filename": "scan.jpg",
        "notion_database_id": "0f3c",
        "callback_url": CALLBACK_URL,
        "mime_type": "image/jpeg",
        "size": str(size),
        "sha256": job.sha256,
        "inbox": "office",
        "subfolder": "",
        "attempt": "2",
    }


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ('the "best".pdf', "the %22best%22.pdf"),
        ("two\r\nlines: x.pdf", "two%0D%0Alines: x.pdf"),
        ("back\\slash;name=x.pdf", None),
        ("Bäckerei «Süß» 領収書.pdf", None),
        (" spaces ", None),
    ],
)
def test_form_is_not_broken_by_names(tmp_path: Path, name: str, shown: str | None) -> None:
    """Any file name comes through: exactly in the field, and in the file's part as browsers write it (RFC 7578)."""
    job, path = receipt(tmp_path, b"abc", filename=name)
    fake = FakeOutbound()
    deliver(n8n_by(fake, payload="multipart"), job, path)
    ((_, headers, body, length),) = fake.sent
    assert length == len(body)
    parts = parts_of(headers["Content-Type"], body)
    assert payload_of(parts["filename"]).decode() == name
    assert payload_of(parts["file"]) == b"abc"
    assert f'name="file"; filename="{shown or name}"\r\n'.encode() in body


def test_each_form_has_a_boundary_of_its_own(tmp_path: Path) -> None:
    """The boundary is new for each form, so that no receipt can contain it on purpose."""
    job, path = receipt(tmp_path, b"abc")
    fake = FakeOutbound()
    for _ in range(2):
        deliver(n8n_by(fake, payload="multipart"), job, path)
    assert len({headers["Content-Type"] for _, headers, _, _ in fake.sent}) == 2


@pytest.mark.parametrize("payload", ["json", "multipart"])
@pytest.mark.parametrize("api_key", ["", "k3y"])
def test_headers_are_the_contract(tmp_path: Path, payload: str, api_key: str) -> None:
    """The job id is the idempotency key and the webhook's id; the key is sent only where one is set."""
    job, path = receipt(tmp_path, b"abc")
    fake = FakeOutbound()
    deliver(n8n_by(fake, payload=payload, api_key=api_key), job, path)
    ((_, headers, _, _),) = fake.sent
    headers.pop("Content-Type")
    expected = {"Idempotency-Key": job.job_id, "webhook-id": job.job_id, "webhook-timestamp": "1700000000"}
    assert headers == expected | ({"X-N8N-Api-Key": api_key} if api_key else {})


def test_json_too_large_is_refused_before_it_is_posted(tmp_path: Path) -> None:
    """JSON that n8n would answer with a 500 is refused without a request; one byte less is posted."""
    job, path = receipt(tmp_path, content_of(3000))
    fake = FakeOutbound()
    deliver(n8n_by(fake), job, path)
    length = fake.sent.pop()[3]
    refusal = deliver(n8n_by(fake, max_json_bytes=length - 1), job, path)
    assert isinstance(refusal, Refused)
    assert refusal.reason is Reason.TOO_LARGE_FOR_JSON
    assert f"{length:,}" in refusal.message
    assert fake.sent == []
    assert isinstance(deliver(n8n_by(fake, max_json_bytes=length), job, path), Accepted)
    assert isinstance(deliver(n8n_by(fake, payload="multipart", max_json_bytes=1), job, path), Accepted)


def test_auto_is_json_up_to_the_limit_and_a_form_above(tmp_path: Path) -> None:
    """A receipt goes as JSON while n8n takes that; one byte more, and it goes as a form, never refused by us."""
    job, path = receipt(tmp_path, content_of(3000))
    fake = FakeOutbound()
    deliver(n8n_by(fake, payload="auto"), job, path)
    length = fake.sent[0][3]
    for most in (length, length - 1):
        assert isinstance(deliver(n8n_by(fake, payload="auto", max_json_bytes=most), job, path), Accepted)
    kinds = [headers["Content-Type"].partition(";")[0] for _, headers, _, _ in fake.sent]
    assert kinds == ["application/json", "application/json", "multipart/form-data"]
    assert payload_of(parts_of(fake.sent[2][1]["Content-Type"], fake.sent[2][2])["file"]) == content_of(3000)


@pytest.mark.parametrize("size", [0, 1, 3 * PIECE])
def test_a_link_goes_instead_of_the_file(tmp_path: Path, size: int) -> None:
    """With a link the message has all fields but the file, however large that is, and says where to fetch it."""
    job, path = receipt(tmp_path, content_of(size), notion_database_id="0f3c")
    fake = FakeOutbound()
    settings = N8NSettings(URL, "", "link", 1, file_url_of=lambda asked: f"http://receipts.lan/{asked.job_id}?x")
    assert isinstance(deliver(N8N(settings, fake), job, path, 2), Accepted)
    ((_, headers, body, length),) = fake.sent
    assert (headers["Content-Type"], length) == ("application/json", len(body))
    assert json.loads(body) == {
        "job_id": job.job_id,
        "filename": "scan.jpg",
        "notion_database_id": "0f3c",
        "callback_url": CALLBACK_URL,
        "mime_type": "image/jpeg",
        "size": size,
        "sha256": job.sha256,
        "inbox": "office",
        "subfolder": "",
        "attempt": 2,
        "file_url": f"http://receipts.lan/{job.job_id}?x",
    }


@pytest.mark.parametrize("size", [3, 3 * PIECE])
def test_a_link_to_a_file_that_changed_is_not_sent(tmp_path: Path, outbound: Outbound, size: int) -> None:
    """A link goes out only for the bytes that were recorded: they are read to their end before a byte is sent."""
    job, path = receipt(tmp_path, content_of(size))
    path.write_bytes(content_of(size)[:-1] + b"?")
    with FarSide() as far:
        with pytest.raises(ChangedOnDiskError):
            deliver(n8n_by(outbound, far.url, payload="link"), job, path)
        assert far.connections <= 1
    assert [request for request in far.arrived if request.is_whole] == []


@pytest.mark.parametrize("payload", ["json", "multipart"])
def test_large_receipt_is_streamed(tmp_path: Path, outbound: Outbound, payload: str) -> None:
    """A receipt of 20 MB is sent piece by piece: memory does not grow with it."""
    job, path = receipt(tmp_path, content_of(20_000_000))
    with FarSide() as far:
        destination = n8n_by(outbound, far.url, payload=payload, max_json_bytes=2**30)

        tracemalloc.start()
        try:
            assert isinstance(deliver(destination, job, path), Accepted)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert far.arrived[0].body_bytes > 20_000_000
    assert peak < 5_000_000


def test_settings_show_no_secret() -> None:
    """Neither the key nor the URL, which may carry one, is in the settings' text."""
    settings = N8NSettings("https://n8n.example.com/webhook/geheim", "k3y", "json", 1)
    assert "k3y" not in repr(settings) + str(settings)
    assert "geheim" not in repr(settings) + str(settings)


# --- N8N: what its answers mean ------------------------------------------------------------------------------------

JSON = "application/json; charset=utf-8"
HTML = "text/html; charset=utf-8"
FORM_TOO_LARGE = '{"message":"The submitted form data exceeds the allowed size."}'
NOT_REGISTERED = r'{"code":404,"message":"The requested webhook \"POST receipts\" is not registered.","hint":"Click"}'
NOT_PARSED = '{"code":422,"message":"Failed to parse request body","hint":""}'
PROBLEM = '{"code":0,"message":"There was a problem executing the workflow"}'


@pytest.mark.parametrize(
    ("status", "content_type", "text", "kind", "words"),
    [
        (200, JSON, '{"message":"Workflow was started"}', Accepted, "Workflow was started"),
        (200, HTML, "n8n is starting up. Please wait", Deferred, "did not take the receipt"),
        (200, "", "<html>n8n is starting up. Please wait</html>", Deferred, "did not take the receipt"),
        (200, "text/plain", "n8n is starting up. Please wait", Deferred, "did not take the receipt"),
        (200, HTML, "<!DOCTYPE html><title>Log in</title>", Deferred, "web page"),
        (200, "", "\n  <!doctype html><title>Log in</title>", Deferred, "web page"),
        (404, HTML, "<pre>Cannot POST /webhook/receipts</pre>", Deferred, "publish"),
        (404, JSON, NOT_REGISTERED, Deferred, "publish"),
        (403, "text/plain", "Authorization data is wrong!", Deferred, "n8n.api_key"),
        (403, JSON, f'{{"message":"{NOT_PROVEN}: …"}}', Deferred, "n8n.signing_secret"),
        (401, "text/plain", "Login", Deferred, "proxy"),
        (500, JSON, '{"code":0,"message":"No authentication data defined on node!"}', Deferred, "no credential"),
        (422, JSON, NOT_PARSED, Refused, "Failed to parse"),
        (500, JSON, PROBLEM, Deferred, "problem executing"),
        (413, JSON, FORM_TOO_LARGE, Refused, "exceeds"),
        (415, JSON, "{}", Refused, "415"),
        (400, JSON, '{"message":"The submitted form data could not be parsed."}', Deferred, "could not be parsed"),
        (200, JSON, '[{"json":{"any":"item"}}]', Accepted, "any"),
        (500, JSON, '{"message":"Error in workflow"}', Deferred, "Error in workflow"),
        (500, JSON, '{"code":0,"message":"No item to return was found"}', Deferred, "No item"),
        (200, "", "", Accepted, "200"),
        (201, JSON, '{"own":"answer"}', Accepted, "own"),
        (204, "", "", Accepted, "204"),
        (301, "", "", Deferred, "redirects to https://elsewhere.example/"),
        (307, "", "", Deferred, "n8n.webhook_url"),
        (405, "", "", Deferred, "POST"),
        (408, "", "", Deferred, "gave up"),
        (410, "", "", Deferred, "gone"),
        (418, "", "I am a teapot", Deferred, "not expected"),
        (425, "", "", Deferred, "425"),
        (429, "", "", Deferred, "slow down"),
        (502, HTML, "<h1>Bad Gateway</h1>", Deferred, "is it running"),
        (503, "", "", Deferred, "not available"),
        (504, "", "", Deferred, "too long"),
        (599, "", "", Deferred, "599"),
        (999, "", "", Deferred, "999"),
    ],
)
def test_answers_of_n8n(status: int, content_type: str, text: str, kind: type[Outcome], words: str) -> None:
    """Each answer that n8n or a proxy was seen to give has its meaning; no status alone is an acceptance."""
    headers = {"content-type": content_type, "location": "https://elsewhere.example/"}
    outcome = outcome_of(Answer(status, headers, text, 0.1), NOW)
    assert type(outcome) is kind
    assert words in outcome.message
    assert not isinstance(outcome, Lost)
    assert outcome.status_code == status


@pytest.mark.parametrize(
    ("headers", "text", "execution_id"),
    [
        ({}, '{"message":"Workflow was started"}', None),
        ({}, '{"message":"Workflow was started","executionId":"1042"}', "1042"),
        ({}, '{"execution_id":1042}', "1042"),
        ({}, '[{"executionId":"a-b_c:1.2"},{"executionId":"other"}]', "a-b_c:1.2"),
        ({"x-n8n-execution-id": "7"}, '{"executionId":"1042"}', "7"),
        ({"n8n-execution-id": "7"}, "", "7"),
        ({"x-n8n-execution-id": "two words"}, '{"executionId":"8"}', "8"),
        ({}, '{"executionId":true}', None),
        ({}, '{"executionId":{"a":1}}', None),
        ({}, '{"executionId":"' + "9" * 101 + '"}', None),
        ({}, '"executionId"', None),
        ({}, "[]", None),
        ({}, "[" * 60_000, None),
    ],
)
def test_the_execution_is_told(tmp_path: Path, headers: dict[str, str], text: str, execution_id: str | None) -> None:
    """Where the answer names the execution of N8N, in a header or in its JSON, it is told; anything odd is not."""
    outcome = deliver(n8n_by(FakeOutbound(Answer(200, headers, text, 0.1))), *receipt(tmp_path, b"abc"))
    assert isinstance(outcome, Accepted)
    assert outcome.execution_id == execution_id


@given(st.text(max_size=200))
def test_no_answer_breaks_the_reading_of_the_execution(text: str) -> None:
    """Whatever a workflow answers, it is read without an error, and what is kept of it is short and plain."""
    answer = Answer(200, {"x-n8n-execution-id": text}, json.dumps({"executionId": text}), 0.1)
    outcome = _with_execution(Accepted("200", 200), answer)
    assert isinstance(outcome, Accepted)
    assert outcome.execution_id in (text, None)
    assert outcome.execution_id is None or (text.isascii() and text.isprintable() and 0 < len(text) <= 100)


@pytest.mark.parametrize(
    ("status", "reason"),
    [(413, Reason.REFUSED_TOO_LARGE), (415, Reason.REFUSED_TYPE), (422, Reason.REFUSED)],
)
def test_refusals_have_their_reason(status: int, reason: Reason) -> None:
    """What is the receipt's own fault carries its reason."""
    outcome = outcome_of(Answer(status, {}, "", 0.1), NOW)
    assert isinstance(outcome, Refused)
    assert outcome.reason is reason


@pytest.mark.parametrize("status", [*range(300, 309), *range(400, 432), *range(500, 512)])
def test_only_unclear_answers_may_become_the_receipts_own(status: int) -> None:
    """What certainly says nothing of the receipt is never counted against it, whatever passes beside it."""
    certain = {*range(300, 400), 401, 403, 404, 405, 407, 408, 410, 425, 429, 502, 503, 504}
    outcome = outcome_of(Answer(status, {}, "", 0.1), NOW)
    if isinstance(outcome, Deferred):
        assert outcome.is_ambiguous == (status not in certain)
    else:
        assert status in {413, 415, 422}


def test_long_answers_are_cut() -> None:
    """An answer is shown on one line and in bounds."""
    outcome = outcome_of(Answer(500, {}, "a\n" * 5000, 0.1), NOW)
    assert "\n" not in outcome.message
    assert len(outcome.message) < 700


@pytest.mark.parametrize("error", [NotSentError("no connection: refused"), AnswerLostError("no answer")])
def test_errors_of_the_connection_are_outcomes(tmp_path: Path, error: Exception) -> None:
    """Without an answer the outcome says whether it was certainly not sent, in the words of the error."""
    outcome = deliver(n8n_by(FakeOutbound(error)), *receipt(tmp_path, b"abc"))
    assert isinstance(outcome, Deferred if isinstance(error, NotSentError) else Lost)
    assert str(error) in outcome.message


@pytest.fixture(params=["UTC", "Pacific/Auckland"])
def somewhere(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two time zones in turn."""
    with monkeypatch.context() as context:
        context.setenv("TZ", request.param)
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("somewhere")
@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("7", 7.0),
        (" 120 ", 120.0),
        ("Tue, 14 Nov 2023 22:14:20 GMT", 59.5),
        ("Tuesday, 14-Nov-23 22:14:20 GMT", 59.5),
        ("Tue Nov 14 22:14:20 2023", 59.5),
        ("Tue, 14 Nov 2000 22:14:20 GMT", 0.0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("７", None),
        ("Tue, 99 Nov 2023 22:14:20 GMT", None),
    ],
)
def test_retry_after_is_read(value: str, seconds: float | None) -> None:
    """Retry-After is read as seconds or as any of HTTP's three dates (RFC 9110, 5.6.7), wherever we are."""
    outcome = outcome_of(Answer(503, {"retry-after": value}, "", 0.1), NOW)
    assert isinstance(outcome, Deferred)
    assert outcome.retry_after_seconds == seconds


@given(st.one_of(st.text(), st.from_regex(r"\A[0-9]{1,400}\Z"), st.text("0123456789 :,-+GMTNovTue", max_size=40)))
def test_retry_after_breaks_nothing(value: str) -> None:
    """Whatever stands in Retry-After, it is a number of seconds or nothing."""
    outcome = outcome_of(Answer(429, {"retry-after": value}, "", 0.1), NOW)
    assert isinstance(outcome, Deferred)
    seconds = outcome.retry_after_seconds
    assert seconds is None or (seconds >= 0 and math.isfinite(seconds))
