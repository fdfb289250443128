"""The dead man's switch: it pings while everything is proven, fails with reasons, and else is silent."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from receipt_watcher.delivery.destinations.http_client import Outbound
from receipt_watcher.notify.heartbeat import LOOK_SECONDS, RETRY_SECONDS, Heartbeat
from receipt_watcher.report.balance.daily import DAY_SECONDS
from receipt_watcher.report.balance.last_result import LastBalance
from tests.conftest import FakeClock
from tests.fakes.http_listener import Listener

EVERY_SECONDS = 300.0
SECRET = "Tr0ub4dor-and-3-horses"


class Beating:
    """A heartbeat, and the daemon that it tells of."""

    def __init__(self, listener: Listener, outbound: Outbound, clock: FakeClock) -> None:
        self.listener = listener
        self.clock = clock
        self.troubles: list[str] = []
        self.scans: dict[str, float | None] = {"office": None, "travel": None}
        self.balance: LastBalance | None = None
        self.heartbeat = Heartbeat(
            f"http://{listener.address}/ping/0123?x=1",
            outbound,
            every_seconds=EVERY_SECONDS,
            troubles=lambda: list(self.troubles),
            scans=lambda: self.scans,
            balance=lambda: self.balance,
            secrets=frozenset({SECRET}),
            clock=clock,
            monotonic=clock,
        )

    def balanced(self, wrong: int = 0) -> None:
        """Let a balance be made."""
        self.balance = LastBalance(self.clock.now, 10, wrong, 0, None, [])

    def scanned(self, *names: str) -> None:
        """Let inboxes be scanned; without names all."""
        self.scans |= dict.fromkeys(names or self.scans, self.clock.now)

    def after(self, seconds: float) -> list[str]:
        """Let time pass, do a round, and return what was pinged by that."""
        before = len(self.listener.heard)
        self.clock.advance(seconds)
        self.pause = self.heartbeat.run_once()
        return [path.removeprefix("/ping/0123").removesuffix("?x=1") for path in self.listener.paths[before:]]


@pytest.fixture
def beating(clock: FakeClock) -> Iterator[Beating]:
    """A heartbeat that has started."""
    with Listener() as listener, Outbound(timeout_seconds=5, connections=1) as outbound:
        beating = Beating(listener, outbound, clock)
        assert beating.after(0) == ["/start"]
        yield beating


def test_it_beats_while_all_is_proven(beating: Beating) -> None:
    """It pings when all inboxes were scanned and the balance agrees; then once in a while, if they were again."""
    assert beating.after(2) == []
    beating.scanned()
    assert beating.after(2) == []
    beating.balanced()
    assert beating.after(2) == [""]
    beating.clock.advance(1)
    beating.scanned()
    assert beating.after(EVERY_SECONDS - 2) == []
    assert beating.after(2) == [""]
    assert beating.pause == LOOK_SECONDS


def test_an_inbox_that_is_not_scanned(beating: Beating) -> None:
    """A timer alone is no proof: while one inbox is not scanned nothing is pinged, and that is the alarm."""
    beating.balanced()
    beating.scanned()
    assert beating.after(2) == [""]
    for _ in range(10):
        beating.clock.advance(1)
        beating.scanned("travel")
        assert beating.after(EVERY_SECONDS) == []
    beating.scanned("office")
    assert beating.after(2) == [""]


def test_a_balance_that_is_overdue(beating: Beating) -> None:
    """Where no balance was made for two days, nothing is pinged."""
    beating.balanced()
    beating.scanned()
    assert beating.after(2) == [""]
    beating.clock.advance(2 * DAY_SECONDS)
    beating.scanned()
    assert beating.after(2) == []
    beating.balanced()
    assert beating.after(2) == [""]


def test_what_is_wrong_is_told(beating: Beating) -> None:
    """A trouble is told at once with its reason, and again in a while; its end is told at once, too."""
    beating.balanced()
    beating.scanned()
    assert beating.after(2) == [""]
    beating.troubles = [f"the inbox office: {SECRET} is gone"]
    assert beating.after(2) == ["/fail"]
    assert beating.listener.heard[-1].body.decode() == "the inbox office: ******** is gone"
    assert beating.after(2) == []
    assert beating.after(EVERY_SECONDS) == ["/fail"]
    beating.troubles = []
    assert beating.after(2) == []
    beating.scanned()
    assert beating.after(2) == [""]


def test_a_balance_that_disagrees(beating: Beating) -> None:
    """Files that log and folders disagree about are a failure."""
    beating.balanced(wrong=3)
    beating.scanned()
    assert beating.after(2) == ["/fail"]
    assert "disagree about 3 files" in beating.listener.heard[-1].body.decode()


def test_a_far_side_that_does_not_answer(beating: Beating, capsys: pytest.CaptureFixture[str]) -> None:
    """A ping that does not go out is told once, without the URL, and tried again."""
    beating.balanced()
    beating.scanned()
    beating.listener.answer = lambda _: 500
    for _ in range(3):
        assert beating.after(2) == [""]
        assert beating.pause == RETRY_SECONDS
    beating.listener.answer = lambda _: 200
    assert beating.after(2) == [""]
    assert beating.pause == LOOK_SECONDS
    said = capsys.readouterr().out
    assert said.count("heartbeat.not_sent") == said.count("heartbeat.resumed") == 1
    assert "0123" not in said
