"""Requests, callbacks, uploads and wrong tokens are counted, each once and by bounded labels."""

from __future__ import annotations

from functools import partial

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from receipt_watcher.report.http_counts import CALLBACK_OUTCOMES, UPLOAD_OUTCOMES, HttpCounts
from receipt_watcher.web.access.wrong_tokens import WrongTokens
from receipt_watcher.web.app import application
from receipt_watcher.web.server.counting import CALLBACK_PATH
from tests.conftest import FakeClock
from tests.unit.web.callback_site import LOCAL, ask


@pytest.fixture
def counts() -> HttpCounts:
    """Return counts of nothing yet."""
    return HttpCounts()


@pytest.fixture
def app(counts: HttpCounts) -> Starlette:
    """An application that answers with the status that it is asked for, or as a defect of ours does."""

    async def answer(request: Request) -> Response:
        return Response(status_code=int(request.headers["X-Status"]))

    async def upload(request: Request) -> Response:
        return await answer(request)

    async def show(_request: Request) -> Response:
        return Response()

    async def fail(_request: Request) -> Response:
        raise RuntimeError("a defect")

    routes = [
        Route(CALLBACK_PATH, answer, methods=["POST"]),
        Route("/upload", show, methods=["GET"]),
        Route("/upload", upload, methods=["POST"]),
        Route("/defect", fail),
    ]
    return application(routes, counts=counts)


def sums(counts: HttpCounts, name: str) -> dict[tuple[str, ...], float]:
    """Return what was counted under a name, by the labels' values; without what is 0."""
    return {
        tuple(sample.labels.values()): sample.value
        for family in counts.collect()
        for sample in family.samples
        if sample.name == f"receipt_watcher_{name}_total" and sample.value
    }


def test_a_request_is_counted_by_its_route(app: Starlette, counts: HttpCounts) -> None:
    """Ids in addresses make no series of their own; what is no route, a wrong method and a defect are counted too."""
    for number in range(3):
        ask(app, "POST", f"/api/v1/jobs/{number}/callback", LOCAL, headers={"X-Status": "200"})
    ask(app, "GET", "/api/v1/jobs/1/callback", LOCAL)
    ask(app, "GET", "/upload", LOCAL)
    ask(app, "GET", "/defect", LOCAL)
    ask(app, "GET", "/nowhere", LOCAL)
    ask(app, "GET", "/upload", LOCAL, headers={"Host": "a b"})
    assert sums(counts, "http_requests") == {
        (CALLBACK_PATH, "2xx"): 3,
        (CALLBACK_PATH, "4xx"): 1,
        ("/upload", "2xx"): 1,
        ("/defect", "5xx"): 1,
        ("none", "4xx"): 2,
    }
    assert sums(counts, "callbacks") == {("received",): 3}
    assert sums(counts, "uploads") == {}


@pytest.mark.parametrize(
    ("status", "callback", "upload"),
    [
        (200, "received", "known"),
        (202, "failed", "taken"),
        (401, "wrong_token", "not_allowed"),
        (403, "failed", "not_allowed"),
        (404, "unknown_job", "failed"),
        (409, "contrary", "failed"),
        (413, "unreadable", "refused"),
        (422, "unreadable", "refused"),
        (429, "wrong_token", "failed"),
        (503, "failed", "failed"),
    ],
)
def test_outcomes_are_counted(app: Starlette, counts: HttpCounts, status: int, callback: str, upload: str) -> None:
    """A callback and an upload are counted by what became of them."""
    ask(app, "POST", "/api/v1/jobs/1/callback", LOCAL, headers={"X-Status": str(status)})
    ask(app, "POST", "/upload", LOCAL, headers={"X-Status": str(status)})
    assert sums(counts, "callbacks") == {(callback,): 1}
    assert sums(counts, "uploads") == {(upload,): 1}
    assert callback in CALLBACK_OUTCOMES
    assert upload in UPLOAD_OUTCOMES


def test_wrong_tokens_are_counted(counts: HttpCounts, clock: FakeClock) -> None:
    """Each wrong token is counted, those that are answered late or not at all too."""
    wrong = WrongTokens(clock, count=partial(counts.count_refused_token, "api"))
    for _ in range(100):
        wrong.refuse("192.0.2.1", "/")
    assert sums(counts, "tokens_refused") == {("api",): 100}


def test_outcomes_begin_at_zero(counts: HttpCounts) -> None:
    """Prometheus sees no increase in a series that begins with 1, so that each is there from the beginning."""
    samples = [sample.value for family in counts.collect() for sample in family.samples if "total" in sample.name]
    assert samples == [0] * (len(CALLBACK_OUTCOMES) + len(UPLOAD_OUTCOMES) + 2)
