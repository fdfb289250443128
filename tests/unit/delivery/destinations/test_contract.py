"""Each destination delivers a receipt byte for byte, and tells what became of it."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from receipt_watcher.cli.demo.stand_in import Behaviour, StandIn
from receipt_watcher.delivery.destinations import Accepted, Deferred, Destination, Lost
from receipt_watcher.delivery.destinations.http_client import Outbound
from receipt_watcher.errors import ChangedOnDiskError
from tests.fakes.unprivileged import ordinary_permissions
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
