"""The HTTP client returns what the far side answers, as it is."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import h11
import pytest

from receipt_watcher.cli.demo.stand_in import StandIn
from receipt_watcher.delivery.destinations.http_client import Outbound
from receipt_watcher.errors import NotSentError
from tests.fakes.daemons.process import wait_until
from tests.unit.delivery.destinations.far_side import (
    BODY,
    BODY_BYTES,
    PIECE,
    FarSide,
    HeldBack,
    Line,
    leave_by_reset,
    post,
    serve_all,
)

pytestmark = pytest.mark.usefixtures("short_pauses")


def test_answer_is_returned(near: Outbound) -> None:
    """An answer comes back with status, lower-case header names and text, and the request arrived whole."""

    def serve(line: Line) -> None:
        line.read()
        line.answer("503 Busy", "später".encode(), "Retry-After: 7")

    with FarSide(serve) as far:
        answer = post(near, far.url)
        assert (answer.status, answer.headers["retry-after"], answer.text) == (503, "7", "später")
        (request,) = far.arrived
        assert (request.is_whole, request.body_bytes) == (True, BODY_BYTES)
        assert request.head.startswith("POST /webhook/receipts HTTP/1.1\r\n")
        assert "transfer-encoding" not in request.head.lower()


@pytest.mark.parametrize("charset", ["hex", "no-such-thing", "utf-16", "idna", "unicode_escape"])
def test_charset_of_an_answer_breaks_nothing(near: Outbound, charset: str) -> None:
    """An answer stays an answer whatever character set it claims."""

    def serve(line: Line) -> None:
        line.read()
        line.answer("200 OK", b'{"odd": "\xff\\x"}', f"Content-Type: application/json; charset={charset}")

    with FarSide(serve) as far:
        assert post(near, far.url).status == 200


# --- what else an answer can be ------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_not_followed(near: Outbound, status: int) -> None:
    """A redirect is an answer like others: the receipt goes nowhere but where the configuration says."""

    def serve(line: Line) -> None:
        line.read()
        line.answer(f"{status} Elsewhere", b"", f"Location: {elsewhere.url}")

    with FarSide() as elsewhere, FarSide(serve) as far:
        answer = post(near, far.url)
        assert (answer.status, answer.headers["location"]) == (status, elsewhere.url)
        assert (len(far.arrived), elsewhere.connections) == (1, 0)


def test_refusal_amid_the_body_is_heard(near: Outbound) -> None:
    """A far side that answers 413 and leaves while the body is still being sent is understood, at the first try."""
    body = HeldBack()

    def serve(line: Line) -> None:
        line.answer("413 Content Too Large", b"too large", "Connection: close")
        line.wire.close()

    with FarSide(body.before(serve)) as far:
        answer = post(near, far.url, body)
        assert (answer.status, answer.text) == (413, "too large")
        assert far.connections == 1


def test_error_of_the_body_passes(near: Outbound) -> None:
    """What the body raises passes as it is, at the first try, and the far side never gets a whole body."""
    ended = threading.Event()

    class OwnError(Exception):
        pass

    def serve(line: Line) -> None:
        line.read()
        ended.set()

    def body() -> Iterator[bytes]:
        yield from BODY[:-1]
        raise OwnError

    with FarSide(serve, serve_all) as far:
        with pytest.raises(OwnError):
            post(near, far.url, body)
        assert ended.wait(10)
        (request,) = far.arrived
        assert (request.is_whole, request.body_bytes) == (False, BODY_BYTES - len(PIECE))
        assert post(near, far.url).status == 200
        assert far.connections == 2


def test_short_body_never_arrives_whole(near: Outbound) -> None:
    """A body that ends before its announced length is an error of ours, and the request stays without its end."""
    ended = threading.Event()

    def serve(line: Line) -> None:
        line.read()
        ended.set()

    with FarSide(serve) as far:
        with pytest.raises(h11.LocalProtocolError):
            post(near, far.url, lambda: iter(BODY[:-1]))
        assert ended.wait(10)
        assert [request.is_whole for request in far.arrived] == [False]


# --- get -----------------------------------------------------------------------------------------------------------


def test_get_fetches_a_page(near: Outbound, n8n: StandIn) -> None:
    """`get` returns the page, and follows no redirect."""
    answer = near.get(f"http://127.0.0.1:{n8n.port}/healthz")
    assert (answer.status, answer.text) == (200, '{"status":"ok"}')

    def serve(line: Line) -> None:
        line.read()
        line.answer("302 Found", b"", "Location: /login")

    with FarSide(serve) as far:
        assert near.get(far.url).status == 302
        assert [request.head.split()[0] for request in far.arrived] == ["GET"]


def test_get_without_an_answer_is_told(near: Outbound) -> None:
    """`get` says in words that there is no connection or no answer."""
    with FarSide(leave_by_reset) as far:
        with pytest.raises(NotSentError, match="the connection broke"):
            near.get(far.url)
        wait_until(lambda: len(far.arrived) == 1, "the request is noted")
    with pytest.raises(NotSentError, match="no connection"):
        near.get(far.url)
