"""The HTTP client never sends again when an answer was lost."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from receipt_watcher.delivery.destinations import http_client as module
from receipt_watcher.delivery.destinations.http_client import Outbound
from receipt_watcher.errors import AnswerLostError
from tests.unit.delivery.destinations.far_side import (
    BODY,
    PIECE,
    FarSide,
    Line,
    Serve,
    leave_by_reset,
    leave_politely,
    post,
)

pytestmark = pytest.mark.usefixtures("short_pauses")


def leave_amid_the_head(line: Line) -> None:
    """Answer half a head."""
    line.read()
    line.wire.sendall(b"HTTP/1.1 200 OK\r\nConte")


def leave_amid_the_answer(line: Line) -> None:
    """Answer a tenth of what was announced."""
    line.read()
    line.wire.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789")


def answer_nonsense(line: Line) -> None:
    """Answer what is no HTTP."""
    line.read()
    line.wire.sendall(b"220 mail.example.com ESMTP\r\n")


@pytest.mark.parametrize(
    "script", [leave_by_reset, leave_politely, leave_amid_the_head, leave_amid_the_answer, answer_nonsense]
)
def test_lost_answer_is_not_sent_again(near: Outbound, script: Serve) -> None:
    """A connection that breaks after the whole body leaves it open whether it was read: it is posted only once."""
    with FarSide(script) as far:
        with pytest.raises(AnswerLostError):
            post(near, far.url)
        assert [request.is_whole for request in far.arrived] == [True]
        assert far.connections == 1


def test_timeout_is_a_lost_answer() -> None:
    """No answer in time is a lost answer, posted only once, and the text names the option."""
    stop = threading.Event()

    def serve(line: Line) -> None:
        line.read()
        stop.wait(30)

    with FarSide(serve) as far, Outbound(timeout_seconds=0.3, connections=1) as near:
        with pytest.raises(AnswerLostError, match=r"no answer within n8n\.timeout_seconds"):
            post(near, far.url)
        stop.set()
        assert [request.is_whole for request in far.arrived] == [True]


def chunked(pieces: Iterator[bytes], sent: list[int] | None = None) -> Serve:
    """Return the script that answers with these pieces, as long as somebody reads them."""

    def serve(line: Line) -> None:
        line.read()
        line.wire.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in pieces:
            line.wire.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
            if sent is not None:
                sent.append(len(piece))
        line.wire.sendall(b"0\r\n\r\n")

    return serve


class Hours:
    """Time that passes an hour whenever somebody looks."""

    def __init__(self) -> None:
        self.monotonic = itertools.count(0.0, 3600.0).__next__


def test_endless_answer_is_cut(near: Outbound, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that comes drop by drop for ever is cut off and counts as lost."""
    monkeypatch.setattr(module, "time", Hours())
    with FarSide(chunked(itertools.repeat(b"."))) as far:
        with pytest.raises(AnswerLostError):
            post(near, far.url)
        assert len(far.arrived) == 1


def test_slow_sending_costs_the_answer_no_time(near: Outbound, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the sending took, an answer that then comes at once is an answer."""
    time = SimpleNamespace(now=0.0)
    time.monotonic = lambda: time.now
    monkeypatch.setattr(module, "time", time)

    def body() -> Iterator[bytes]:
        for piece in BODY:
            time.now += 3600
            yield piece

    with FarSide() as far:
        assert post(near, far.url, body).elapsed_seconds == 3600 * len(BODY)


def test_large_answer_is_bounded(near: Outbound) -> None:
    """Of an answer no more than 1 MiB is kept, as of a callback, and the rest is not even fetched."""
    sent: list[int] = []
    with FarSide(chunked(itertools.repeat(PIECE, 2000), sent)) as far:
        answer = post(near, far.url)
        assert len(answer.text) == 1024 * 1024
        assert post(near, far.url).status == 200  # on a new connection: the old one is not usable
        assert far.connections == 2
    assert sum(sent) < 2 * 2000 * len(PIECE)
