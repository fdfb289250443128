"""The API, reading and changing, by the application alone."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
from dataclasses import fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, settings
from pydantic import TypeAdapter

from receipt_watcher.config.roles import Role
from receipt_watcher.jobs.job import Folder, Job, job_id_prefix
from receipt_watcher.jobs.json_view import full_view
from receipt_watcher.jobs.log.holds import HoldKind
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import Event, State
from receipt_watcher.spool.folders import Spool
from receipt_watcher.web.api import schemas
from receipt_watcher.web.api.operations import OPERATIONS
from tests.conftest import FakeClock, make_job
from tests.fakes.api_client import ApiSite
from tests.unit.web.callback_site import LOCAL, ask, assert_problem

OFTEN = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])


@pytest.fixture
def site(log: JobLog, spool: Spool, clock: FakeClock) -> ApiSite:
    """The application with tokens of each role."""
    site = ApiSite(log, clock, spool)
    site.routes[0].is_ready = True
    return site


def put(log: JobLog, number: int, **changes: object) -> Job:
    """Record a job without a file; numbers sort as their ids do."""
    at = 1_600_000_000.0 + number
    job_id = f"{job_id_prefix(at)}-7000-8000-{number:012}"
    return log.jobs.insert(make_job(at, **({"job_id": job_id, "stored_path": Path(job_id) / "x.jpg"} | changes)))


def ids_of(site: ApiSite, query: str) -> list[list[str]]:
    """Follow a list to its end, and return the ids of each page."""
    pages, cursor = [], ""
    while True:
        answer = site.near("GET", f"/api/v1/jobs?{query}{cursor}")
        assert answer.status_code == 200, answer.text
        page = answer.json()
        pages.append([job["job_id"] for job in page["jobs"]])
        if page["next_cursor"] is None:
            return pages
        cursor = f"&cursor={page['next_cursor']}"


# --- lists ---------------------------------------------------------------------------------------------------------


def test_pages_follow_each_other_to_the_end(site: ApiSite) -> None:
    """The newest come first, each job is on one page, and the last page says that it is the last."""
    jobs = [put(site.log, number).job_id for number in range(7)]
    assert ids_of(site, "limit=3") == [jobs[:3:-1], jobs[3:0:-1], jobs[:1]]


def test_pages_stay_while_jobs_come(site: ApiSite) -> None:
    """A job that comes between two pages moves none of the others."""
    jobs = [put(site.log, number).job_id for number in range(4)]
    first = site.near("GET", "/api/v1/jobs?limit=2").json()
    put(site.log, 9)
    second = site.near("GET", f"/api/v1/jobs?limit=2&cursor={first['next_cursor']}").json()
    assert [job["job_id"] for job in second["jobs"]] == jobs[1::-1]


def test_a_rare_word_takes_several_answers(site: ApiSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each looks at so many receipts, may be empty, and says where the next one goes on; an id is found at once."""
    monkeypatch.setattr("receipt_watcher.jobs.log.queries.search.STRETCH_ROWS", 3)
    jobs = [put(site.log, number, filename="rare" if number == 0 else "x").job_id for number in range(8)]
    assert ids_of(site, "q=RARE&limit=5") == [[], [], [jobs[0]]]
    assert ids_of(site, f"q={jobs[4]}") == [[jobs[4]]]


def test_what_is_no_query_is_said(site: ApiSite) -> None:
    """A parameter that is unknown, or cannot be, is a 422 that names it."""
    for query, name in [
        ("stauts=failure", "stauts"),
        ("status=gone", "status"),
        ("limit=0", "limit"),
        ("limit=5&limit=6", "limit"),
        ("since=yesterday", "since"),
        ("since=2026-11-01T00:00:00", "since"),
        ("cursor=../x", "cursor"),
        ("q=%00", "q"),
        ("q=" + "x" * 201, "q"),
    ]:
        assert name in assert_problem(site.near("GET", f"/api/v1/jobs?{query}"), 422)["detail"]


def test_a_query_is_gone_through_once(site: ApiSite) -> None:
    """Each parameter is found by one pass, so that many of one name, or of many names, take no longer together."""
    for number in range(3):
        put(site.log, number)
    states = "&".join(["status=queued"] * 19 + ["status=failure"])
    assert len(ids_of(site, f"{states}&limit=2&inbox=office")) == 2
    said = assert_problem(site.near("GET", "/api/v1/jobs?" + "&".join(f"{n:x}=1" for n in range(50))), 422)["detail"]
    assert "0: Extra inputs are not permitted" in said


def test_a_body_of_many_fields_is_refused_as_one(site: ApiSite) -> None:
    """A body with more fields than any call has is one mistake, not thousands; also of a caller without a token."""
    said = {f"{number:x}": 1 for number in range(5000)}
    assert "50 fields" in assert_problem(site.ask("POST", "/api/v1/session", json=said), 422)["detail"]


# --- one job -------------------------------------------------------------------------------------------------------


def test_a_job_is_shown_whole(site: ApiSite) -> None:
    """A job has the contract's fields, its deliveries, its history, and where its file is now."""
    (job,) = site.accepted()
    shown = site.near("GET", f"/api/v1/jobs/{job.job_id}").json()
    route = site.routes[0]
    assert shown == full_view(
        job, route.path_of(job), site.log.histories.attempts(job.job_id), site.log.histories.lines(job.job_id)
    )
    assert [line["event"] for line in shown["history"]] == ["record", "claim", "accept"]
    assert list(shown) == [field.name for field in fields(schemas.FullJobAnswer)]
    TypeAdapter(schemas.FullJobAnswer).validate_python(shown)


def test_attempts_and_history_have_pages(site: ApiSite) -> None:
    """What happened to a job comes in pages, the first first."""
    (job,) = site.accepted()
    for name, events in (("history", ["record", "claim", "accept"]), ("attempts", None)):
        first = site.near("GET", f"/api/v1/jobs/{job.job_id}/{name}?limit=1").json()
        assert len(first[name]) == 1
        if events:
            rest = site.near("GET", f"/api/v1/jobs/{job.job_id}/{name}?cursor={first['next_cursor']}").json()
            assert [row["event"] for row in first[name] + rest[name]] == events
            assert rest["next_cursor"] is None
        else:
            assert (first["attempts"][0]["outcome"], first["next_cursor"]) == ("accepted", None)


@pytest.mark.parametrize("path", ["", "/attempts", "/history", "/file", "/retry", "/cancel"])
@pytest.mark.parametrize(
    "job_id", ["no-such-job", "..", "%2e%2e", "..%2f..%2fetc%2fpasswd", "%00", "%ff", "a" * 5000, "<b>"]
)
def test_what_is_no_job_is_not_there(site: ApiSite, path: str, job_id: str) -> None:
    """Whatever stands in the place of a job's id: there is none, and no path on disk is made of it."""
    method = "POST" if path in ("/retry", "/cancel") else "GET"
    answer = site.ask(method, f"/api/v1/jobs/{job_id}{path}", Role.ADMIN)
    assert answer.status_code in (404, 405)
    assert answer.headers["content-type"] == "application/problem+json"
    assert "root:" not in answer.text


# --- files ---------------------------------------------------------------------------------------------------------


def with_file(site: ApiSite, content: bytes = b"0123456789", **changes: object) -> Job:
    """Record a job with a file in done/."""
    job = make_job(
        site.clock.now,
        state=State.QUEUED,
        folder=Folder.PROCESSING,
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        **changes,
    )
    path = site.routes[0].path_of(job)
    path.parent.mkdir()
    path.write_bytes(content)
    return site.log.jobs.insert(job)


@pytest.mark.parametrize(
    ("asked", "status", "content", "said"),
    [
        (None, 200, b"0123456789", None),
        ("bytes=0-3", 206, b"0123", "bytes 0-3/10"),
        ("bytes=4-", 206, b"456789", "bytes 4-9/10"),
        ("bytes=-2", 206, b"89", "bytes 8-9/10"),
        ("bytes=8-99", 206, b"89", "bytes 8-9/10"),
        ("bytes=10-", 416, None, "bytes */10"),
        ("bytes=-0", 416, None, "bytes */10"),
        ("bytes=5-2", 200, b"0123456789", None),
        ("bytes=0-1,3-4", 200, b"0123456789", None),
        ("lines=1-2", 200, b"0123456789", None),
        ("bytes=-", 200, b"0123456789", None),
    ],
)
def test_parts_of_a_file(
    site: ApiSite, asked: str | None, status: int, content: bytes | None, said: str | None
) -> None:
    """One range of bytes is served as RFC 9110 has it; what is none, or several, is answered with the whole."""
    job = with_file(site)
    answer = site.near("GET", f"/api/v1/jobs/{job.job_id}/file", headers={"Range": asked} if asked else {})
    assert (answer.status_code, answer.headers.get("content-range")) == (status, said)
    if content is not None:
        assert answer.content == content
        assert answer.headers["content-length"] == str(len(content))


def test_a_part_of_another_file_is_not_served(site: ApiSite) -> None:
    """If-Range with another digest gets the whole, and a file that changed gets no end."""
    job = with_file(site)
    path = f"/api/v1/jobs/{job.job_id}/file"
    headers = {"Range": "bytes=0-3", "If-Range": '"other"'}
    assert site.near("GET", path, headers=headers).status_code == 200
    headers["If-Range"] = f'"{job.sha256}"'
    assert site.near("GET", path, headers=headers).content == b"0123"
    site.routes[0].path_of(job).write_bytes(b"0123456780")
    assert site.near("GET", path, headers={"Range": "bytes=0-3"}).content == b""


@pytest.mark.parametrize(
    "name", ['a"b.jpg', "a\r\nSet-Cookie: x=1.jpg", "ü€.jpg", "<script>.jpg", "\udcff.jpg", "a;b\\c.jpg"]
)
def test_a_name_is_no_header_of_its_own(site: ApiSite, name: str) -> None:
    """Whatever a file is called, it is saved under that name, and adds no header and no script."""
    job = with_file(site, filename=name.encode("utf-8", "backslashreplace").decode())
    answer = site.near("GET", f"/api/v1/jobs/{job.job_id}/file")
    assert answer.status_code == 200
    assert "set-cookie" not in answer.headers
    assert answer.headers["content-disposition"].startswith("attachment; ")
    assert answer.headers["x-content-type-options"] == "nosniff"


# --- changing ------------------------------------------------------------------------------------------------------


def test_retry_and_cancel_name_who_did_it(site: ApiSite) -> None:
    """A job that is cancelled, and retried, says by whom in its history; the stages are rung for."""
    (job,) = site.record()
    rung = site.deliveries.count
    path = f"/api/v1/jobs/{job.job_id}"
    cancelled = site.ask("POST", f"{path}/cancel", Role.OPERATOR)
    assert (cancelled.status_code, cancelled.json()) == (202, {"job_id": job.job_id, "status": "cancelled"})
    site.log.moves.finish_moves([(site.job(job), Folder.FAILED, Path("scan.jpg"))], site.clock.now)
    assert site.ask("POST", f"{path}/retry", Role.ADMIN).json() == {"job_id": job.job_id, "status": "queued"}
    history = [(line["event"], line["detail"]) for line in site.log.histories.lines(job.job_id)]
    assert history[1:] == [("cancel", "by the-operator"), ("retry", "by the-admin")]
    assert site.deliveries.count > rung


def unknown(site: ApiSite) -> Job:
    """Return a job that may have been booked."""
    (job,) = site.record()
    site.log.jobs.advance(job.job_id, Event.CLAIM, site.clock.now)
    assert site.log.jobs.advance(job.job_id, Event.GIVE_UP, site.clock.now, reason=Reason.OUTCOME_UNKNOWN)
    return site.job(job)


def test_what_may_have_been_booked_is_retried_by_force_only(site: ApiSite) -> None:
    """Without force a retry says why not, alone and among others; with it the job goes again."""
    job = unknown(site)
    path = f"/api/v1/jobs/{job.job_id}/retry"
    for body in ({}, {"force": False}):
        refused = site.ask("POST", path, Role.OPERATOR, json=body)
        assert refused.status_code == 409
        assert "may have booked it" in refused.json()["detail"]
        assert '{"force": true}' in refused.json()["detail"]
    among = site.ask("POST", "/api/v1/jobs/retry", Role.OPERATOR, json={})
    assert among.json() == {"retried": 0, "refused": 1, "next_cursor": None}
    assert site.job(job) == job
    assert site.ask("POST", path, Role.OPERATOR, json={"force": True}).json()["status"] == "queued"
    assert site.ask("POST", path, Role.OPERATOR, json={"force": "perhaps"}).status_code == 422


@pytest.mark.parametrize(("role", "code"), [(Role.OPERATOR, 409), (Role.ADMIN, 202)])
def test_only_an_admin_overrules_a_refusal(site: ApiSite, role: Role, code: int) -> None:
    """A file that was refused is sent all the same only if an admin forces it; anybody may try it again."""
    (job,) = site.record()
    site.log.jobs.advance(job.job_id, Event.FAIL, site.clock.now, reason=Reason.BROKEN, folder=Folder.FAILED)
    answer = site.ask("POST", f"/api/v1/jobs/{job.job_id}/retry", role, json={"force": True})
    assert answer.status_code == code
    assert bool(site.log.facts.overruled.of(job.job_id).get()) is (code == 202)


@pytest.mark.parametrize(("delivered", "status"), [(True, "success"), (False, "failure")])
def test_a_job_is_settled_by_who_may_change_it(site: ApiSite, delivered: bool, status: str) -> None:
    """An operator says what became of a job; once, by name, and of no other job."""
    job = unknown(site)
    path = f"/api/v1/jobs/{job.job_id}/settle"
    assert site.ask("POST", path, Role.VIEWER, json={"delivered": delivered}).status_code == 403
    assert site.ask("POST", path, Role.OPERATOR, json={}).status_code == 422
    answer = site.ask("POST", path, Role.OPERATOR, json={"delivered": delivered})
    assert (answer.status_code, answer.json()) == (202, {"job_id": job.job_id, "status": status})
    line = site.log.histories.lines(job.job_id)[-1]
    assert (line["event"], line["detail"]) == (
        "settle_delivered" if delivered else "settle_not_delivered",
        "by the-operator",
    )
    again = site.ask("POST", path, Role.OPERATOR, json={"delivered": delivered})
    assert again.status_code == 409
    assert "can be settled" in again.json()["detail"]
    assert site.ask("POST", "/api/v1/jobs/no-such-job/settle", Role.ADMIN, json={"delivered": True}).status_code == 404
    if not delivered:  # nothing was booked, so a retry is like any other
        assert site.ask("POST", f"/api/v1/jobs/{job.job_id}/retry", Role.OPERATOR).status_code == 202


def test_what_cannot_be_is_a_conflict_in_words(site: ApiSite) -> None:
    """A success is not retried, nor cancelled; the answer says why, and nothing changes."""
    job = site.in_state(State.SUCCESS)
    for call in ("retry", "cancel"):
        assert (
            "success"
            in assert_problem(site.ask("POST", f"/api/v1/jobs/{job.job_id}/{call}", Role.ADMIN), 409)["detail"]
        )
    assert site.job(job) == job


def test_retry_by_filter_takes_only_what_matches(site: ApiSite) -> None:
    """Those that failed in one inbox go again, so many at a time, each with the name of who asked."""
    failed = [site.in_state(State.FAILURE) for _ in range(3)]
    other = site.in_state(State.CANCELLED)
    elsewhere = put(site.log, 5, inbox="cellar")
    site.log.jobs.advance(elsewhere.job_id, Event.FAIL, site.clock.now, reason=Reason.N8N_FAILURE)
    answer = site.ask("POST", "/api/v1/jobs/retry", Role.OPERATOR, json={"inbox": "office"})
    assert (answer.status_code, answer.json()) == (202, {"retried": 3, "refused": 0, "next_cursor": None})
    assert {site.job(job).state for job in failed} == {State.QUEUED}
    assert {site.job(job).state for job in (other, elsewhere)} == {State.CANCELLED, State.FAILURE}
    assert site.log.histories.lines(failed[0].job_id)[-1]["detail"] == "by the-operator"


def test_retry_by_filter_goes_on_by_its_cursor(site: ApiSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than one call's worth are retried by the next call, and none twice."""
    monkeypatch.setattr("receipt_watcher.web.actions.MOST_RETRIED", 2)
    failed = [site.in_state(State.FAILURE) for _ in range(3)]
    first = site.ask("POST", "/api/v1/jobs/retry", Role.OPERATOR, json={}).json()
    second = site.ask("POST", "/api/v1/jobs/retry", Role.OPERATOR, json={"cursor": first["next_cursor"]}).json()
    assert [first["retried"], second["retried"], second["next_cursor"]] == [2, 1, None]
    assert {site.job(job).state for job in failed} == {State.QUEUED}


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{", "application/json", 422),
        (b'{"status": ["success"]}', "application/json", 422),
        (b'{"stauts": []}', "application/json", 422),
        (b"[]", "application/json", 422),
        (b'{"q": "\\ud800"}', "application/json", 422),
        (b"[" * 50_000, "application/json", 422),
        (b"status=failure", "application/x-www-form-urlencoded", 415),
        (b" " * 70_000, "application/json", 413),
    ],
)
def test_a_body_that_is_none_changes_nothing(site: ApiSite, body: bytes, kind: str, status: int) -> None:
    """A body that cannot be read, or asks for what cannot be, is a problem; nothing is retried."""
    job = site.in_state(State.FAILURE)
    answer = site.ask("POST", "/api/v1/jobs/retry", Role.ADMIN, content=body, headers={"Content-Type": kind})
    assert_problem(answer, status)
    assert site.job(job) == job


# --- destinations --------------------------------------------------------------------------------------------------


def test_holds_are_shown_and_probed(site: ApiSite) -> None:
    """A held destination says since when and why; who resumes it has the next probe go out now."""
    url = site.routes[0].branches[-1].webhook_url
    [shown] = site.near("GET", "/api/v1/holds").json()["destinations"]
    assert (shown["held"], shown["inboxes"]) == (False, ["office"])
    path = f"/api/v1/holds/{shown['destination']}/resume"
    assert_problem(site.ask("POST", path, Role.OPERATOR), 409)
    site.holds.hold(url, HoldKind.ANSWERS, "503", site.clock.now, site.clock.now + 900)
    [shown] = site.near("GET", "/api/v1/holds").json()["destinations"]
    assert (shown["held"], shown["kind"], shown["message"]) == (True, "answers", "503")
    schemas.HoldAnswer.model_validate(shown)
    assert site.ask("POST", path, Role.OPERATOR).status_code == 202
    assert site.standing.probe_at == site.clock.now
    assert_problem(site.ask("POST", "/api/v1/holds/unknown/resume", Role.ADMIN), 404)


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR, Role.ADMIN])
def test_the_path_of_a_webhook_is_for_admins(site: ApiSite, role: Role) -> None:
    """Who knows the path of a webhook may post to it, so only an admin is shown it, also where N8N's words name it."""
    url = site.routes[0].branches[-1].webhook_url
    path = urlsplit(url).path
    site.holds.hold(url, HoldKind.ANSWERS, f"404 for {path}", site.clock.now, site.clock.now + 900)
    answer = site.ask("GET", "/api/v1/holds", role)
    assert (path in answer.text) is (role is Role.ADMIN)
    [shown] = answer.json()["destinations"]
    assert shown["url"].startswith(f"http://{urlsplit(url).netloc}/")
    if role is not Role.VIEWER:
        held = site.ask("POST", f"/api/v1/holds/{shown['destination']}", role, json={"why": "x"})
        assert (path in held.text) is (role is Role.ADMIN)


def test_a_destination_is_held_by_hand(site: ApiSite) -> None:
    """Who holds a destination says why; nothing is sent to it until it is resumed, and nothing else changes."""
    [shown] = site.near("GET", "/api/v1/holds").json()["destinations"]
    path = f"/api/v1/holds/{shown['destination']}"
    assert_problem(site.ask("POST", path, Role.VIEWER, json={"why": "no"}), 403)
    assert_problem(site.ask("POST", path, Role.OPERATOR, json={"whatever": 1}), 422)
    held = site.ask("POST", path, Role.OPERATOR, json={"why": "an update"})
    assert (held.status_code, held.json()["held"], held.json()["by_hand"]["why"]) == (202, False, "an update")
    schemas.HoldAnswer.model_validate(held.json())
    (job,) = site.record()
    assert not site.delivery.deliver_due()
    assert site.ask("POST", f"{path}/resume", Role.OPERATOR).json()["by_hand"] is None
    assert site.delivery.deliver_due()
    assert site.job(job).state is State.PROCESSING
    assert_problem(site.ask("POST", f"{path}/resume", Role.OPERATOR), 409)
    assert_problem(site.ask("POST", "/api/v1/holds/unknown", Role.ADMIN), 404)


def test_an_inbox_is_held_by_hand(site: ApiSite) -> None:
    """An inbox is held and let go by its name; whoever looks into the log finds the hold there."""
    held = site.ask("POST", "/api/v1/inboxes/office/hold", Role.OPERATOR, json={"why": "it is moved"})
    assert held.status_code == 202
    found = site.log.manual_holds.of_inbox("office")
    assert found is not None
    assert found.why == "it is moved"
    assert site.ask("POST", "/api/v1/inboxes/office/resume", Role.OPERATOR).status_code == 202
    assert site.log.manual_holds.of_inbox("office") is None
    assert_problem(site.ask("POST", "/api/v1/inboxes/office/resume", Role.OPERATOR), 409)
    assert_problem(site.ask("POST", "/api/v1/inboxes/nowhere/hold", Role.OPERATOR), 404)


def test_connections_are_tested(site: ApiSite) -> None:
    """Each destination's server is asked whether it is there."""
    [found] = site.ask("POST", "/api/v1/test-connection", Role.ADMIN).json()["destinations"]
    assert (found["ok"], found["milliseconds"]) == (True, 10.0)
    site.is_there = False
    [found] = site.ask("POST", "/api/v1/test-connection", Role.ADMIN).json()["destinations"]
    assert found["ok"] is False


# --- events --------------------------------------------------------------------------------------------------------


def events_in(heard: bytes) -> list[tuple[int, str, dict[str, Any]]]:
    """Read a stream of events."""
    found = []
    for block in heard.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "data" in fields:
            found.append((int(fields["id"]), fields["event"], json.loads(fields["data"])))
    return found


@pytest.mark.parametrize("how", ["header", "query"])
def test_events_go_on_where_they_were_left(site: ApiSite, how: str) -> None:
    """Who names the last event that he knows hears all that came after it, in order, each once."""
    site.accepted(2)
    [known, *rest] = site.log.histories.events_after(0, 100)
    path = "/api/v1/events" + (f"?after={known.number}" if how == "query" else "")
    headers = {"Last-Event-ID": str(known.number)} if how == "header" else {}
    heard = events_in(site.hear(path, lambda said: said.count(b"data:") >= len(rest), **headers))
    assert [number for number, *_ in heard] == [row.number for row in rest]
    assert [event for _, event, _ in heard] == [row.event for row in rest]
    assert heard[0][2]["job_id"] == rest[0].job_id


def test_events_come_as_they_happen(site: ApiSite) -> None:
    """Who just listens hears what happens from then on, also what another process writes, and nothing older."""
    (job,) = site.record()
    site.log.histories.note(job.job_id, site.clock.now, "before")

    def until(said: bytes) -> bool:
        if b"retry: " in said and b"after" not in said:
            with contextlib.closing(sqlite3.connect(site.log.database.path)) as other, other:
                other.execute("INSERT INTO history (job_id, at, event) VALUES (?, 1, 'after')", [job.job_id])
        return b"data:" in said

    heard = events_in(site.hear("/api/v1/events", until))
    assert {event for _, event, _ in heard} == {"after"}


def test_a_stop_ends_all_streams(site: ApiSite) -> None:
    """When the daemon stops nobody is kept listening."""
    site.is_stopping = True
    assert site.hear("/api/v1/events", lambda _said: False) == b"retry: 2000\n\n"


# --- around each answer --------------------------------------------------------------------------------------------


def test_each_call_is_answered(site: ApiSite) -> None:
    """The table of operations has no call without an answer."""
    known = {(next(iter(route.methods - {"HEAD"})), route.path) for route in site.api.routes() if route.methods}
    assert known == {(each.method, each.path) for name, each in OPERATIONS.items() if name != "file"}


@pytest.mark.parametrize(
    ("sent", "is_kept"),
    [
        ("scan-42", True),
        ("x" * 128, True),
        ("x" * 129, False),
        ("a b", False),
        ("", False),
        ("ü", False),
        ("a\r\nb", False),
    ],
)
def test_a_request_id_comes_back(site: ApiSite, sent: str, is_kept: bool) -> None:
    """A short printable id comes back, and is the problem's correlation id; any other is replaced, never echoed."""
    headers = [(b"x-request-id", sent.encode()), (b"host", b"localhost")]
    answer = ask(site.app, "GET", "/api/v1/jobs/none", LOCAL, headers=headers)
    assert (answer.headers["x-request-id"] == sent) is is_kept
    assert answer.json()["correlation_id"] == answer.headers["x-request-id"]
    assert float(answer.headers["server-timing"].partition("dur=")[2]) >= 0


@pytest.mark.parametrize("path", ["/api/v1/jobs", "/sign-in", "/nothing", "/health/live", "/api/v1/jobs/x/callback"])
def test_no_answer_can_be_framed(site: ApiSite, path: str) -> None:
    """Each answer, good or not, forbids frames, scripts of others and guessing of types."""
    headers = site.near("GET", path).headers
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert (headers["x-frame-options"], headers["x-content-type-options"]) == ("DENY", "nosniff")


def test_openapi_is_made_once(site: ApiSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """openapi.json takes a tenth of a second to make, and anybody may ask for it: so it is made once."""
    site.ask("GET", "/openapi.json")
    monkeypatch.setattr("receipt_watcher.web.api.endpoints.openapi", lambda *_: 1 / 0)
    assert site.ask("GET", "/openapi.json").json()["openapi"] == "3.1.0"


def test_openapi_names_each_call(site: ApiSite) -> None:
    """openapi.json is open to all, and is made from the table."""
    told = site.ask("GET", "/openapi.json").json()
    assert {name for path in told["paths"].values() for each in path.values() for name in [each["operationId"]]} >= set(
        OPERATIONS
    )
    assert "#/$defs" not in json.dumps(told)


def test_openapi_describes_each_call(site: ApiSite) -> None:
    """The document and each of its groups and calls has a description; a file is bytes for a generated client."""
    document = site.ask("GET", "/openapi.json").json()
    groups = {tag["name"]: tag["description"] for tag in document["tags"]}
    assert document["info"]["description"]
    assert all(groups.values())
    calls = [call for path in document["paths"].values() for call in path.values()]
    assert {tag for call in calls for tag in call["tags"]} == set(groups)
    for call in calls:
        assert len(call["tags"]) == 1, call
        assert len(call["summary"]) <= 80, call
        assert call["summary"] in call["description"], call
        for status, answer in call["responses"].items():
            assert status in ("200", "204") or answer["content"], call
            assert all(media["schema"] for media in answer.get("content", {}).values()), call
    content = document["paths"]["/api/v1/jobs/{job_id}/file"]["get"]["responses"]["200"]["content"]
    binary = {"schema": {"type": "string", "format": "binary"}}
    assert content == {"application/octet-stream": binary, "*/*": binary}


def test_a_time_span_that_holds_nothing_is_refused(site: ApiSite, log: JobLog) -> None:
    """A list and a retry whose since is not before until are refused, instead of being empty without a word."""
    put(log, 1, state=State.FAILURE, reason=Reason.BROKEN)
    span = {"since": "2026-11-02T00:00:00Z", "until": "2026-11-01T00:00:00Z"}
    answer = site.near("GET", f"/api/v1/jobs?since={span['since']}&until={span['until']}")
    assert "since is not before until" in assert_problem(answer, 422)["detail"]
    assert_problem(site.ask("POST", "/api/v1/jobs/retry", Role.OPERATOR, json=span), 422)
