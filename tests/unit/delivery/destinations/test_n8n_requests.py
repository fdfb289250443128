"""What N8N is sent: JSON, a form or a link, with the headers of the contract."""

from __future__ import annotations

import email.parser
import email.policy
import json
import tracemalloc
from base64 import b64decode
from email.message import EmailMessage
from pathlib import Path
from typing import cast

import pytest

from receipt_watcher.delivery.destinations import Accepted, Refused
from receipt_watcher.delivery.destinations.http_client import Outbound
from receipt_watcher.delivery.destinations.n8n.webhook import N8N, N8NSettings
from receipt_watcher.errors import ChangedOnDiskError
from receipt_watcher.jobs.reasons import Reason
from tests.unit.delivery.destinations.far_side import FarSide
from tests.unit.delivery.destinations.receipts_to_send import (
    CALLBACK_URL,
    PIECE,
    SIZES,
    URL,
    FakeOutbound,
    content_of,
    deliver,
    n8n_by,
    receipt,
)


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
