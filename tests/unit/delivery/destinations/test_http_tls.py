"""The HTTP client sends to a server only if its certificate is trusted, or verification is off."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from receipt_watcher.delivery.destinations.http_client import Outbound
from receipt_watcher.errors import AnswerLostError, ConfigError, NotSentError
from tests.unit.delivery.destinations.far_side import FarSide, Line, leave_politely, post

pytestmark = pytest.mark.usefixtures("short_pauses")


@dataclass
class Certificate:
    """A certificate of its own authority, and the server's side of it."""

    file: Path
    context: ssl.SSLContext


def make_certificate(folder: Path, alternative_name: str) -> Certificate:
    """Make a certificate that nobody knows."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("there is no openssl command to make a certificate with")
    key, file = folder / "key.pem", folder / "certificate.pem"
    subject = ["-subj", "/CN=receipts", "-addext", f"subjectAltName={alternative_name}"]
    command = [program, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    subprocess.run([*command, "-keyout", key, "-out", file, *subject], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, key)
    return Certificate(file, context)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A certificate for 127.0.0.1."""
    return make_certificate(tmp_path_factory.mktemp("tls"), "IP:127.0.0.1")


def test_unknown_certificate_is_refused(near: Outbound, certificate: Certificate) -> None:
    """A certificate by an unknown authority is refused before anything is sent, and the text says what to do."""
    with FarSide(tls=certificate.context) as far:
        with pytest.raises(NotSentError, match=r"TLS failed: .*for a private authority set n8n\.ca_file"):
            post(near, far.url)
        assert far.arrived == []


def test_own_authority_is_accepted(certificate: Certificate) -> None:
    """With the authority in ca_file the receipt is sent."""
    with FarSide(tls=certificate.context) as far:
        with Outbound(timeout_seconds=20, connections=1, ca_file=str(certificate.file)) as near:
            assert post(near, far.url).status == 200
        assert [request.is_whole for request in far.arrived] == [True]


def test_certificate_of_another_host_is_refused(tmp_path: Path) -> None:
    """A certificate of the right authority for another host is refused."""
    other = make_certificate(tmp_path, "DNS:other.invalid")
    with FarSide(tls=other.context) as far:
        with (
            Outbound(timeout_seconds=20, connections=1, ca_file=str(other.file)) as near,
            pytest.raises(NotSentError, match="TLS failed"),
        ):
            post(near, far.url)
        assert far.arrived == []


def test_verification_can_be_switched_off(certificate: Certificate) -> None:
    """With verify_tls off, any certificate will do."""
    with (
        FarSide(tls=certificate.context) as far,
        Outbound(timeout_seconds=20, connections=1, verify_tls=False) as near,
    ):
        assert post(near, far.url).status == 200


def test_lost_answer_over_tls_is_not_sent_again(certificate: Certificate) -> None:
    """Over TLS, too, a connection that breaks after the whole body is posted on only once."""
    with (
        FarSide(leave_politely, tls=certificate.context) as far,
        Outbound(timeout_seconds=20, connections=1, verify_tls=False) as near,
    ):
        with pytest.raises(AnswerLostError):
            post(near, far.url)
        assert [request.is_whole for request in far.arrived] == [True]


def test_no_tls_where_it_is_expected_is_told(near: Outbound) -> None:
    """A far side that speaks no TLS is certainly not sent to, and the text speaks of TLS."""

    def serve(line: Line) -> None:
        line.wire.recv(65536)
        line.answer("400 Bad Request", b"")

    with FarSide(serve) as far, pytest.raises(NotSentError, match="TLS failed"):
        post(near, far.url.replace("http:", "https:"))


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_unusable_ca_file_is_an_error_of_the_configuration(tmp_path: Path, content: bytes | None) -> None:
    """A ca_file that is missing, empty or no PEM stops the start, and its text names the key and the file."""
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        Outbound(timeout_seconds=5, connections=1, ca_file=str(path))
    (problem,) = caught.value.problems
    assert problem.key == "n8n.ca_file"
    assert str(path) in problem.wrong
