"""A wrong token is answered slowly, and never delays a right one."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from structlog.testing import capture_logs

from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.spool.folders import Spool
from receipt_watcher.web import callback
from receipt_watcher.web.access.wrong_tokens import (
    DELAY_MAX_SECONDS,
    FREE_TRIES,
    LIMIT_TRIES,
    MOST_ADDRESSES,
    MOST_DELAYED,
    WrongTokens,
)
from tests.conftest import FakeClock
from tests.unit.web.callback_site import AUTHENTIC, SUCCESS, Site, assert_problem
from tests.unit.web.server.hostile_site import call

WRONG = {"X-Callback-Token": "wrong"}


def test_wrong_tokens_are_answered_later_and_later(clock: FakeClock) -> None:
    """The first ones at once, then each later than the one before, up to a bound; then not for a while."""
    wrong_tokens = WrongTokens(clock)
    refusals = [wrong_tokens.refuse("192.0.2.7", "a") for _ in range(LIMIT_TRIES)]
    delays = [refusal.delay_seconds for refusal in refusals]
    assert delays[:FREE_TRIES] == [0.0] * FREE_TRIES
    assert delays == sorted(delays)
    assert 0 < delays[FREE_TRIES] < DELAY_MAX_SECONDS == delays[-1]
    assert wrong_tokens.refuse("192.0.2.7", "a").retry_after_seconds == 1
    assert wrong_tokens.refuse("192.0.2.8", "a").delay_seconds == 0.0
    for _ in range(1000):
        last = wrong_tokens.refuse("192.0.2.7", "a").retry_after_seconds
    assert last == LIMIT_TRIES
    clock.advance(LIMIT_TRIES)
    assert wrong_tokens.refuse("192.0.2.7", "a").retry_after_seconds == 1
    clock.advance(3 * LIMIT_TRIES)
    assert wrong_tokens.refuse("192.0.2.7", "a").delay_seconds == 0.0


@pytest.mark.parametrize(
    ("one", "other", "are_one"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.7", "192.0.2.7", True),
        ("192.0.2.7", "192.0.2.8", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        (None, None, True),
        ("a.socket", "another", False),
    ],
)
def test_what_is_one_address(one: str | None, other: str | None, are_one: bool, clock: FakeClock) -> None:
    """Of IPv6 a network of 64 bits counts as one, for that is what one caller has."""
    wrong_tokens = WrongTokens(clock)
    for _ in range(FREE_TRIES):
        wrong_tokens.refuse(one, "a")
    assert (wrong_tokens.refuse(other, "a").delay_seconds > 0) == are_one


def test_one_line_per_address_and_minute(clock: FakeClock) -> None:
    """The first is told at once, the others with their count when a minute has passed, once."""
    wrong_tokens = WrongTokens(clock)
    with capture_logs() as lines:
        for _ in range(500):
            wrong_tokens.refuse("192.0.2.7", "j" * 5000)
        wrong_tokens.log_due()
        clock.advance(60)
        wrong_tokens.log_due()
        wrong_tokens.log_due()
    assert [(line["event"], line["client"], line["tries"]) for line in lines] == [
        ("callback.unauthorised", "192.0.2.7", 1),
        ("callback.unauthorised", "192.0.2.7", 499),
    ]
    assert all(len(line["job_id"]) <= 40 for line in lines)


def test_a_flood_of_addresses_is_bounded(clock: FakeClock) -> None:
    """Neither memory nor the log grows with the number of addresses, and no count is washed away by them."""
    wrong_tokens = WrongTokens(clock)
    for _ in range(LIMIT_TRIES):
        wrong_tokens.refuse("192.0.2.7", "a")
    with capture_logs() as lines:
        for number in range(3 * MOST_ADDRESSES):
            wrong_tokens.refuse(f"2001:db8:{number:x}::1", "a")
    assert len(wrong_tokens) <= MOST_ADDRESSES + 1
    assert len(lines) <= MOST_ADDRESSES + 1
    assert wrong_tokens.refuse("192.0.2.7", "a").retry_after_seconds is not None
    assert wrong_tokens.refuse("198.51.100.1", "a").retry_after_seconds is not None  # one of many others
    clock.advance(60)
    wrong_tokens.log_due()
    clock.advance(3600)
    assert wrong_tokens.refuse("198.51.100.1", "a").delay_seconds == 0.0  # the oldest is forgotten for it
    assert len(wrong_tokens) <= MOST_ADDRESSES + 1


def test_a_right_token_is_never_refused(site: Site) -> None:
    """When wrong tokens get 429, the right one from the same address is answered as ever."""
    (job,) = site.accepted()
    answers = [call(site, job.job_id, WRONG) for _ in range(LIMIT_TRIES + 5)]
    assert [answer.status_code for answer in answers] == [401] * LIMIT_TRIES + [429] * 5
    assert_problem(answers[-1], 429)
    assert int(answers[-1].headers["retry-after"]) == 5
    assert call(site, job.job_id, AUTHENTIC).status_code == 200


def test_a_right_token_does_not_wait(log: JobLog, spool: Spool, clock: FakeClock) -> None:
    """While a wrong token waits for its answer, the right one from the same address gets its own; few wait."""
    waiting: list[float] = []

    async def wait_for_ever(seconds: float) -> None:
        waiting.append(seconds)
        if seconds:
            await asyncio.Event().wait()

    site = Site(log, clock, spool, pause=wait_for_ever)
    site.heard()
    (job,) = site.accepted()
    path = f"/api/v1/jobs/{job.job_id}/callback"

    async def play() -> list[int]:
        transport = httpx.ASGITransport(site.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as near:
            tries = [asyncio.create_task(near.post(path, headers=WRONG, content=b"{}")) for _ in range(50)]
            ends = iter(asyncio.as_completed(tries))
            ended = [(await next(ends)).status_code for _ in range(50 - MOST_DELAYED)]
            right = await near.post(path, headers=AUTHENTIC, content=SUCCESS)
            for task in tries:
                task.cancel()
            return [right.status_code, *sorted(ended)]

    assert asyncio.run(play()) == [200, *[401] * FREE_TRIES, *[429] * (50 - FREE_TRIES - MOST_DELAYED)]
    assert len(waiting) == FREE_TRIES + MOST_DELAYED


def test_no_body_is_kept_for_a_wrong_token(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The token is looked at before the body is read into memory."""

    async def read(*_: object) -> bytes:
        raise AssertionError("the body was read")

    monkeypatch.setattr(callback, "read_body", read)
    assert_problem(call(site, "a", WRONG), 401)
    assert_problem(call(site, "a", AUTHENTIC), 500)
