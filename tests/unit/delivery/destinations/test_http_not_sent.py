"""The HTTP client tries again when a request was certainly not sent."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Iterator

import pytest

from receipt_watcher.delivery.destinations import http_client as module
from receipt_watcher.delivery.destinations.http_client import TRIES, Outbound
from receipt_watcher.errors import NotSentError
from tests.unit.delivery.destinations.far_side import BODY, PIECE, FarSide, HeldBack, Line, post, serve_all

pytestmark = pytest.mark.usefixtures("short_pauses")


def test_refused_connection_is_tried_three_times(near: Outbound) -> None:
    """Where nobody listens, three tries are made, each with a body of its own, and then it is certainly not sent."""
    made = itertools.count()

    def body() -> Iterator[bytes]:
        next(made)
        return iter(BODY)

    with socket.socket() as bound:  # bound without listening: the port is ours, and refuses
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(NotSentError, match=r"no connection: .*refused"):
            post(near, f"http://127.0.0.1:{bound.getsockname()[1]}/", body)
    assert next(made) == TRIES == 3


def test_stopping_ends_the_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the daemon stops a failed try is the last, and the pause before the next one ends at once."""
    monkeypatch.setattr(module, "_TRY_PAUSE_SECONDS", 10**6)
    monkeypatch.setattr(module, "_TRY_PAUSE_MAX_SECONDS", 10**6)
    stopping = threading.Event()
    made = 0

    def body() -> Iterator[bytes]:
        nonlocal made
        made += 1
        stopping.set()
        return iter(BODY)

    with socket.socket() as bound, Outbound(timeout_seconds=20, connections=1, stopping=stopping) as near:
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(NotSentError):
            post(near, f"http://127.0.0.1:{bound.getsockname()[1]}/", body)
    assert made == 1


def test_stopping_ends_a_pause_between_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop that comes in the pause between two tries is not kept waiting for it."""
    monkeypatch.setattr(module, "_TRY_PAUSE_SECONDS", 10**6)
    monkeypatch.setattr(module, "_TRY_PAUSE_MAX_SECONDS", 10**6)
    stopping = Interrupted()
    with socket.socket() as bound, Outbound(timeout_seconds=20, connections=1, stopping=stopping) as near:
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(NotSentError):
            post(near, f"http://127.0.0.1:{bound.getsockname()[1]}/")
    assert stopping.pauses == 1


class Interrupted(threading.Event):
    """A stop that comes in the first pause."""

    pauses = 0

    def wait(self, timeout: float | None = None) -> bool:
        """Note the pause, and end it."""
        self.pauses += 1
        self.set()
        return super().wait(timeout)


def test_reset_amid_the_body_is_tried_again(near: Outbound) -> None:
    """A connection that breaks before the body's end is certain: the receipt goes out again on a new connection."""
    body = HeldBack()

    def serve(line: Line) -> None:
        body.done_with += 1
        serve_all(line)

    with FarSide(body.before(Line.reset), serve) as far:
        assert post(near, far.url, body).status == 200
        assert [request.is_whole for request in far.arrived] == [False, True]
        assert far.connections == 2


def test_reset_amid_the_body_each_time_is_not_sent(near: Outbound) -> None:
    """Where the connection breaks amid the body each time, it is not sent after three tries."""
    body = HeldBack()
    with FarSide(body.before(Line.reset)) as far:
        with pytest.raises(NotSentError, match="the connection broke"):
            post(near, far.url, body)
        assert [request.is_whole for request in far.arrived] == [False] * TRIES


def test_stalled_sending_is_not_sent() -> None:
    """A far side that stops reading is certain, too: it never had the end."""
    stop = threading.Event()

    def serve(line: Line) -> None:
        line.read_head()
        stop.wait(30)

    with FarSide(serve) as far, Outbound(timeout_seconds=0.2, connections=1) as near:
        with pytest.raises(NotSentError, match=r"could not be sent within n8n\.timeout_seconds"):
            near.post(far.url, {}, lambda: itertools.repeat(PIECE, 1000), 1000 * len(PIECE))
        stop.set()
        assert [request.is_whole for request in far.arrived] == [False] * TRIES


def test_acceptance_before_the_end_counts_for_nothing(near: Outbound) -> None:
    """A 200 from a far side that left before the body's end is no acceptance: it cannot have the receipt."""
    body = HeldBack()

    def serve(line: Line) -> None:
        line.answer()
        line.reset()

    with FarSide(body.before(serve)) as far, pytest.raises(NotSentError):
        post(near, far.url, body)


def test_unknown_host_is_told(near: Outbound) -> None:
    """A host name that is not known is certainly not sent, and the text says that there is no connection."""
    with pytest.raises(NotSentError, match=r"no connection: .*\w"):
        post(near, "http://receipts.invalid/webhook")


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "http://127.0.0.1:x/", "/webhook"])
def test_unusable_url_is_told(near: Outbound, url: str) -> None:
    """A URL that cannot be used is certainly not sent, and the text names the webhook's URL."""
    with pytest.raises(NotSentError, match="the webhook URL cannot be used"):
        post(near, url)
