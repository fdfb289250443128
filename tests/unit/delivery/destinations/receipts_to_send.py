"""Receipts of any size, and an HTTP client that keeps what it would send."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from receipt_watcher.delivery.destinations import Destination, Outcome
from receipt_watcher.delivery.destinations.http_client import Answer, Outbound
from receipt_watcher.delivery.destinations.n8n.webhook import N8N, N8NSettings
from receipt_watcher.jobs.job import Job
from tests.conftest import make_job

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
