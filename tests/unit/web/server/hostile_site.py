"""The real server before the application, for callers who mean harm or know no better."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Callable
from typing import Any

import httpx

from receipt_watcher.web.server import thread
from receipt_watcher.web.server.admission import Admission
from tests.unit.web.callback_site import AUTHENTIC, SUCCESS, Site

OLD_TOKEN = "the-token-before-that"


def call(site: Site, job_id: str, headers: dict[str, str], body: bytes = SUCCESS) -> httpx.Response:
    """Call back from the one address that a proxy makes of all."""
    return site.call_back(job_id, body, headers)


class Listening:
    """The real server before the application, on loopback."""

    def __init__(self, site: Site, admission: Admission | None = None) -> None:
        bound = thread.bind("127.0.0.1", 0)
        self.site = site
        self.port: int = bound.getsockname()[1]
        self.server = thread.Server(site.app, bound, admission)
        self.server.start()

    def connect(self) -> socket.socket:
        """Connect."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def say(self, text: bytes) -> bytes:
        """Send bytes, and return all that is answered until the connection ends."""
        with self.connect() as wire:
            wire.sendall(text)
            return read_all(wire)

    def is_heard(self) -> bool:
        """Return whether a callback concludes its job."""
        (job,) = self.site.accepted()
        url = f"http://127.0.0.1:{self.port}/api/v1/jobs/{job.job_id}/callback"
        return httpx.post(url, content=SUCCESS, headers=AUTHENTIC, timeout=30).status_code == 200


def read_all(wire: socket.socket) -> bytes:
    """Read until the connection ends, however."""
    heard = b""
    with contextlib.suppress(ConnectionError):
        while piece := wire.recv(65536):
            heard += piece
    return heard


def problem_in(heard: bytes) -> dict[str, Any]:
    """Return the problem that a raw answer is, checked."""
    head, _, body = heard.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    assert b"content-type: application/problem+json" in lines
    assert b"connection: close" in lines
    problem: dict[str, Any] = json.loads(body)
    assert head.startswith(b"HTTP/1.1 %d " % problem["status"])
    assert problem["detail"]
    assert problem["correlation_id"]
    return problem


Open = Callable[..., Listening]
