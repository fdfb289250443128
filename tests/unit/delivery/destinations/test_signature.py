"""Signatures of what is sent, by the standard's own example and by a reckoning of our own, for whatever body."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receipt_watcher.cli.demo.stand_in import StandIn
from receipt_watcher.config.secrets import key_of
from receipt_watcher.config.sources.load import load
from receipt_watcher.delivery.destinations import Accepted
from receipt_watcher.delivery.destinations.http_client import Answer
from receipt_watcher.delivery.destinations.n8n.webhook import N8N, N8NSettings
from receipt_watcher.delivery.destinations.signature import Signer
from receipt_watcher.errors import ChangedOnDiskError, ConfigError
from tests.conftest import TOKEN
from tests.fakes.daemons.process import RunningDaemon, jpegs
from tests.unit.delivery.destinations.receipts_to_send import (
    NOW,
    PIECE,
    URL,
    FakeOutbound,
    content_of,
    deliver,
    receipt,
)

#: The example of Standard Webhooks, as its libraries test it.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PREVIOUS = "whsec_" + base64.b64encode(bytes(range(32))).decode()
PAYLOADS = ["json", "multipart", "auto", "link"]


def expected(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """Reckon a signature as the standard puts it, without the code that is tested."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = hmac.new(key, b"%s.%d.%s" % (message_id.encode(), timestamp, body), hashlib.sha256)
    return "v1," + base64.b64encode(signed.digest()).decode()


def test_the_standards_own_example() -> None:
    """The secret, id, time and body of the standard's example give the signature of that example."""
    signature = Signer([SECRET]).sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, [b'{"test": 2432232314}'])
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@given(st.lists(st.binary(max_size=300)), st.uuids(), st.integers(0, 2**40))
def test_any_body_is_signed_however_it_is_cut(pieces: list[bytes], message_id: object, timestamp: int) -> None:
    """A signature is of the whole body, in whatever pieces it comes; the current secret's stands first."""
    signatures = Signer([SECRET, PREVIOUS]).sign(str(message_id), timestamp, iter(pieces)).split(" ")
    assert signatures == [
        expected(secret, str(message_id), timestamp, b"".join(pieces)) for secret in (SECRET, PREVIOUS)
    ]


@given(st.binary(max_size=100), st.integers(0, 800))
def test_another_body_has_another_signature(body: bytes, bit: int) -> None:
    """One bit more or less in the body, and the signature is another."""
    other = bytearray(body + b"\0")
    other[bit // 8 % len(other)] ^= 1 << bit % 8
    assert Signer([SECRET]).sign("x", 1, [body + b"\0"]) != Signer([SECRET]).sign("x", 1, [bytes(other)])


@pytest.mark.parametrize(
    ("secret", "words"),
    [
        ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "does not begin with whsec_"),
        ("whsec_", "0 bytes"),
        ("whsec_not base64!", "no base64"),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS", "no base64"),
        ("whsec_" + base64.b64encode(bytes(23)).decode(), "23 bytes"),
        ("whsec_" + base64.b64encode(bytes(65)).decode(), "65 bytes"),
        ("whsec_Mf-Q9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "no base64"),
    ],
)
def test_what_is_no_secret_of_the_standard_is_refused(secret: str, words: str, tmp_path: Path) -> None:
    """A secret that N8N's side would read in another way is a mistake in the configuration; it is not shown."""
    with pytest.raises(ValueError, match=words):
        key_of(secret)
    path = tmp_path / "watcher.yaml"
    path.write_text(f"inboxes: [{{path: /x/inbox}}]\nn8n: {{webhook_url: {URL}, signing_secret: '{secret}'}}\n")
    with pytest.raises(ConfigError) as caught:
        load(path, {"HOME": "/home/admin"})
    assert [problem.key for problem in caught.value.problems] == ["n8n.signing_secret"]
    assert "openssl rand" in str(caught.value) or "cannot be a header" in str(caught.value)
    assert secret == "whsec_" or secret not in str(caught.value)


def test_both_secrets_are_not_the_same(tmp_path: Path) -> None:
    """Two signatures by one secret would change nothing: that is a mistake."""
    path = tmp_path / "watcher.yaml"
    options = f"signing_secret: {SECRET}, previous_signing_secret: {SECRET}"
    path.write_text(f"inboxes: [{{path: /x/inbox}}]\nn8n: {{webhook_url: {URL}, {options}}}\n")
    with pytest.raises(ConfigError, match=r"previous_signing_secret: is the same as n8n\.signing_secret"):
        load(path, {"HOME": "/home/admin"})


# --- what goes out -------------------------------------------------------------------------------------------------


def signed_n8n(fake: FakeOutbound, payload: Any, *secrets: str) -> N8N:
    """Return a destination that signs."""
    most = 2**20 if payload == "auto" else 2**24  # so that auto takes either way
    settings = N8NSettings(
        URL, "", payload, most, file_url_of=lambda job: f"http://x/{job.job_id}", signing_secrets=secrets
    )
    return N8N(settings, fake)


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("size", [1, PIECE, 2 * PIECE + 1])
def test_the_signature_is_of_the_bytes_that_are_sent(tmp_path: Path, payload: str, size: int) -> None:
    """Whatever travels, and however: who signs the body as it arrived finds the signature that came with it."""
    job, path = receipt(tmp_path, content_of(size))
    fake = FakeOutbound()
    assert isinstance(deliver(signed_n8n(fake, payload, SECRET, PREVIOUS), job, path), Accepted)
    ((_, headers, body, _),) = fake.sent
    assert (headers["webhook-id"], headers["webhook-timestamp"]) == (job.job_id, str(int(NOW)))
    signatures = [expected(secret, job.job_id, int(NOW), body) for secret in (SECRET, PREVIOUS)]
    assert headers["webhook-signature"] == " ".join(signatures)


def test_without_a_secret_nothing_is_signed(tmp_path: Path) -> None:
    """There is no empty signature, which a careless receiver might take for one."""
    job, path = receipt(tmp_path, b"abc")
    fake = FakeOutbound()
    deliver(signed_n8n(fake, "json"), job, path)
    assert "webhook-signature" not in fake.sent[0][1]


class Changing(FakeOutbound):
    """A client under which the file is changed, once it was signed."""

    def __init__(self, change: Callable[[], object]) -> None:
        super().__init__()
        self.change = change

    def post(
        self, url: str, headers: Mapping[str, str], body: Callable[[], Iterator[bytes]], length_bytes: int
    ) -> Answer:
        """Let somebody write to the file, then send it."""
        self.change()
        return super().post(url, headers, body, length_bytes)


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_file_that_changes_behind_the_signature_is_not_sent(tmp_path: Path, payload: str) -> None:
    """Between signing and sending somebody writes to the file: nothing whole goes out."""
    job, path = receipt(tmp_path, content_of(2 * PIECE))
    fake = Changing(lambda: path.write_bytes(content_of(2 * PIECE)[:-1] + b"?"))
    with pytest.raises(ChangedOnDiskError):
        deliver(signed_n8n(fake, payload, SECRET), job, path)
    assert fake.sent == []


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_file_that_changed_before_is_neither_signed_nor_sent(tmp_path: Path, payload: str) -> None:
    """A file that is not what was recorded is found while it is signed: no connection is made for it."""
    job, path = receipt(tmp_path, content_of(2 * PIECE))
    path.write_bytes(content_of(2 * PIECE)[:-1] + b"?")
    fake = Changing(lambda: pytest.fail("it is sent"))
    with pytest.raises(ChangedOnDiskError):
        deliver(signed_n8n(fake, payload, SECRET), job, path)


def test_settings_and_signer_show_no_secret() -> None:
    """Neither the settings nor who signs shows a secret or a key."""
    settings = N8NSettings(URL, "", "json", 1, signing_secrets=(SECRET,))
    assert "MfKQ9r8G" not in repr(settings) + str(settings) + repr(Signer([SECRET]))


def test_the_daemon_signs_with_both_secrets(tmp_path: Path, n8n: StandIn) -> None:
    """The real daemon signs with the secret of its file and the previous one of its environment; neither is logged."""
    changes = {"n8n": {"signing_secret": SECRET, "payload": "multipart"}}
    environment = {"N8N_PREVIOUS_SIGNING_SECRET": PREVIOUS}
    with RunningDaemon(tmp_path, n8n.webhook_url, TOKEN, changes=changes, environment=environment) as daemon:
        daemon.drop("scan.jpg", jpegs(1)[0])
        daemon.wait_quiet(1)
        shown = daemon.run("config", "show").stdout
    [delivery] = n8n.deliveries
    assert [part[:3] for part in delivery.headers["webhook-signature"].split(" ")] == ["v1,", "v1,"]
    told = daemon.log_file.read_text() + shown
    assert SECRET not in told
    assert PREVIOUS not in told
