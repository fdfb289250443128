"""Links to a file: what they open, for how long, and that nobody else can make one."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from receipt_watcher.web.files.links import FileLinks, JudgedLink, LinkWorth
from tests.conftest import FakeClock

SECRETS = ["the-secret-token-of-today", "the-secret-token-of-yesterday"]
JOB = "018f0000-0000-7000-8000-000000000000"
DIGEST = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
SECONDS = 60.0
WRONG = JudgedLink(LinkWorth.WRONG, "")


def link_of(clock: FakeClock, *secrets: str, seconds: float = SECONDS) -> tuple[str, list[tuple[str, str]]]:
    """Return the path and the query of a fresh link."""
    parts = urlsplit(FileLinks(secrets or SECRETS, seconds, clock).path_of(JOB, DIGEST))
    return parts.path, parse_qsl(parts.query)


def judged(clock: FakeClock, query: list[tuple[str, str]], *secrets: str, job_id: str = JOB) -> JudgedLink:
    """Judge a link."""
    return FileLinks(secrets or SECRETS, SECONDS, clock).judge(job_id, query)


def test_our_link_opens_its_file(clock: FakeClock) -> None:
    """A link names the job in its path and carries what it needs; ours is right, for the digest that it names."""
    path, query = link_of(clock)
    assert path == f"/api/v1/jobs/{JOB}/file"
    assert [name for name, _ in query] == ["expires", "sha256", "signature"]
    assert judged(clock, query) == JudgedLink(LinkWorth.RIGHT, DIGEST)
    assert judged(clock, [*query[::-1], ("utm_source", "x")]) == JudgedLink(LinkWorth.RIGHT, DIGEST)


@pytest.mark.parametrize("seconds", [60.0, 0.1, 1.5])
def test_a_link_is_good_for_its_time(seconds: float) -> None:
    """A link is good for at least its time and at most a second more; then it is expired, which its holder is told."""
    clock = FakeClock(1_700_000_000.25)
    _, query = link_of(clock, seconds=seconds)
    clock.advance(seconds - 0.01)
    assert judged(clock, query).worth is LinkWorth.RIGHT
    clock.advance(1.02)
    assert judged(clock, query).worth is LinkWorth.EXPIRED


def test_a_link_ends_at_its_second() -> None:
    """A link is expired from the very second that it names."""
    clock = FakeClock(1_700_000_000.0)
    _, query = link_of(clock)
    clock.advance(SECONDS)
    assert judged(clock, query).worth is LinkWorth.EXPIRED


def test_links_outlive_a_change_of_the_token(clock: FakeClock) -> None:
    """A link that was made with the token before is good until that is taken out; then it is none."""
    _, query = link_of(clock, SECRETS[1])
    assert judged(clock, query).worth is LinkWorth.RIGHT
    assert judged(clock, query, SECRETS[0]) == WRONG


def test_a_link_is_no_token(clock: FakeClock) -> None:
    """The key of links is another secret than the token: none of it can be seen in a link, or in what is printed."""
    _, query = link_of(clock)
    links = FileLinks(SECRETS, SECONDS, clock)
    assert not any(secret in repr(links) + str(query) for secret in SECRETS)


@pytest.mark.parametrize("part", ["expires", "sha256", "signature"])
def test_a_part_that_is_missing_empty_or_twice_opens_nothing(clock: FakeClock, part: str) -> None:
    """Each part is there once: of two, some would look at the first and some at the last."""
    _, query = link_of(clock)
    [own] = [pair for pair in query if pair[0] == part]
    rest = [pair for pair in query if pair[0] != part]
    for other in ([], [(part, "")], [own, own], [own, (part, "")], [(part.upper(), own[1])]):
        assert judged(clock, rest + other) == WRONG


def test_one_jobs_link_is_not_anothers(clock: FakeClock) -> None:
    """A link opens the file of the job that it was made for; parts cannot be shifted across their borders."""
    _, query = link_of(clock)
    told = dict(query)
    assert judged(clock, query, job_id=JOB[:-1] + "1") == WRONG
    shifted = [("expires", DIGEST), ("sha256", ""), ("signature", told["signature"])]
    assert judged(clock, shifted, job_id=f"{JOB}\n{told['expires']}") == WRONG
    longer = [("expires", f"{told['expires']}\n{DIGEST}"), ("sha256", ""), ("signature", told["signature"])]
    assert judged(clock, longer) == WRONG


TEXT = st.text(max_size=80) | st.sampled_from([JOB, DIGEST, "0", "99999999999", "1700000060"])
NAME = st.sampled_from(["expires", "sha256", "signature", "Expires", "", "x"])


@given(TEXT, st.lists(st.tuples(NAME, TEXT), max_size=6))
def test_no_query_of_a_stranger_opens_anything(job_id: str, query: list[tuple[str, str]]) -> None:
    """Whatever is asked without our key, lone surrogates and numbers of all kinds included, is wrong, and no error."""
    assert FileLinks(SECRETS, SECONDS, FakeClock()).judge(job_id, query) == WRONG


@given(st.integers(0, 2), st.integers(0, 100), st.characters())
def test_no_link_that_was_changed_opens_anything(part: int, place: int, character: str) -> None:
    """One character of one part changed, and the link is none."""
    clock = FakeClock()
    _, query = link_of(clock)
    name, text = query[part]
    place %= len(text)
    assume(text[place] != character)
    query[part] = (name, text[:place] + character + text[place + 1 :])
    assert judged(clock, query) == WRONG
