"""Connections are kept, shared and replaced without a loss."""

from __future__ import annotations

import socket
import threading

import pytest

from receipt_watcher.cli.demo.stand_in import Behaviour, StandIn
from receipt_watcher.delivery.destinations import http_client as module
from receipt_watcher.delivery.destinations.http_client import TRIES, Answer, Outbound
from receipt_watcher.errors import NotSentError
from tests.unit.delivery.destinations.far_side import FarSide, Line, post

pytestmark = pytest.mark.usefixtures("short_pauses")


def test_connection_is_kept(near: Outbound) -> None:
    """Posts that follow each other quickly share one connection."""
    with FarSide() as far:
        for _ in range(5):
            assert post(near, far.url).status == 200
        assert (far.connections, len(far.arrived)) == (1, 5)


def test_idle_connection_is_not_reused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that was idle for longer than we trust it is not used again."""
    monkeypatch.setattr(module, "_KEEPALIVE_SECONDS", 0.0)
    with FarSide() as far, Outbound(timeout_seconds=20, connections=1) as near:
        assert [post(near, far.url).status for _ in range(3)] == [200, 200, 200]
        assert far.connections == 3


def test_connection_closed_by_the_far_side_loses_nothing(near: Outbound) -> None:
    """A far side that closes idle connections costs no answer: the next post goes out on a new one."""
    left = threading.Event()

    def serve(line: Line) -> None:
        line.read()
        line.answer()
        line.wire.shutdown(socket.SHUT_WR)
        left.set()
        line.wire.recv(1)

    with FarSide(serve) as far:
        for count in range(1, 4):
            assert post(near, far.url).status == 200
            assert left.wait(10)
            left.clear()
            assert (far.connections, len(far.arrived)) == (count, count)


def test_workers_share_the_client() -> None:
    """As many workers as connections post at once, each answer finds its worker, and connections are kept."""
    # With more workers than connections httpcore 1.0.9 closes connections in use (encode/httpcore#1110).
    with FarSide() as far, Outbound(timeout_seconds=20, connections=6) as near:
        statuses: list[int] = []
        threads = [
            threading.Thread(target=lambda: statuses.extend(post(near, far.url).status for _ in range(5)))
            for _ in range(6)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert statuses == [200] * 30
        assert len(far.arrived) == 30
        assert far.connections <= 6


def test_outage_and_back(near: Outbound, n8n: StandIn) -> None:
    """After an outage the same client posts again, and nothing of the outage is left."""
    n8n.behave = lambda _: Behaviour(verdict=None)
    content = [b'{"job_id": "1", "image_data": ""}']

    def send() -> Answer:
        return near.post(n8n.webhook_url, {}, lambda: iter(content), len(content[0]))

    assert send().status == 200
    n8n.stop_listening()
    with pytest.raises(NotSentError):
        send()
    n8n.listen_again()
    assert send().status == 200
    assert len(n8n.deliveries) == 2


def test_proxy_that_breaks_off_is_not_sent_through(near: Outbound, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of the environment that breaks off before the receipt was sent leaves it certainly not sent."""

    def serve(line: Line) -> None:
        line.read()
        line.answer("200 Connection established", b"")

    with FarSide(serve) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        # httpcore 1.0.9 never gives the place of such a connection back (encode/httpcore#1049).
        with Outbound(timeout_seconds=5, connections=TRIES) as through, pytest.raises(NotSentError):
            post(through, "https://n8n.invalid/webhook/receipts")
        assert [request.head.split()[0] for request in proxy.arrived] == ["CONNECT"] * TRIES
