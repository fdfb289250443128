"""Scenarios for the daemon and a real n8n together. Each drops receipts and sees every one end right.

The witness is the ledger of the services behind n8n: one page for each receipt that succeeded, with the very bytes that
were dropped, and none for one that failed. All scenarios share one n8n, whose workflows are the shipped ones.
"""

from __future__ import annotations

import base64
import contextlib
import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from receipt_watcher.cli.demo import samples
from receipt_watcher.delivery.destinations.n8n.workflows import (
    WORKFLOWS,
    credentials_json,
    signing_credential_json,
    workflow_json,
)
from receipt_watcher.delivery.destinations.signature import NOT_PROVEN, Signer
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import State
from tests.fakes.daemons.process import RunningDaemon, digest, jpegs, wait_until
from tests.fakes.http_listener import Listener
from tests.real.n8n.server import RealN8N, free_port
from tests.real.n8n.services import CREDENTIALS, DATABASE, INVOICE, FakeServices

API_KEY, TOKEN = "the-key-of-the-tests", "the-token-of-the-tests"
PATIENCE_SECONDS = 120.0
#: Longest wait for a callback if n8n loses jobs on purpose: longer than any job takes here.
_DEADLINE_SECONDS = 20
#: Two workflows beside those that ship: their ids and paths.
OTHER, CUT_OFF = "somebody-else", "cut-off"
_FORM_WITHOUT_FILE = b'--b\r\nContent-Disposition: form-data; name="job_id"\r\n\r\n1\r\n--b--\r\n'
#: The shipped workflow `notion` once more, which takes no JSON without the signature; and the secrets for it.
SIGNED = "signed"
SECRET, NEXT_SECRET, FALSE_SECRET = (f"whsec_{base64.b64encode(letter * 64).decode()}" for letter in (b"a", b"b", b"c"))
_KINDS: dict[str, Callable[[int], bytes]] = {
    "jpg": samples.jpeg,
    "png": samples.png,
    "tif": samples.tiff,
    "pdf": samples.pdf,
    "webp": samples.webp,
    "gif": samples.gif,
    "bmp": samples.bmp,
    "heic": samples.heic,
}


class Pair:
    """A real n8n with the shipped workflows, the services behind it, and daemons that send to it."""

    def __init__(self, root: Path, n8n: RealN8N, services: FakeServices) -> None:
        self.root, self.n8n, self.services = root, n8n, services
        self._daemons = 0

    @contextlib.contextmanager
    def daemon(
        self, workflow: str = "notion", *, token: str = TOKEN, **changes: Mapping[str, Any]
    ) -> Iterator[RunningDaemon]:
        """A daemon that sends to a workflow; `n8n`, `callback` and `http` change those sections."""
        self._daemons += 1
        http = dict(changes.get("http", {"port": 0}))
        n8n = {"api_key": API_KEY, "workers": 8, **changes.get("n8n", {})}
        callback = {"deadline_seconds": 120, "max_resends": 5, **changes.get("callback", {})}
        with RunningDaemon(
            self.root / f"daemon-{self._daemons}",
            self.n8n.webhook_url(workflow),
            token,
            inbox={"notion_database_id": DATABASE},
            changes={"n8n": n8n, "callback": callback, "http": http},
        ) as daemon:
            yield daemon

    def post(self, workflow: str, job: Mapping[str, Any]) -> None:
        """Post a job to a workflow without a daemon; it has to be taken."""
        answer = httpx.post(self.n8n.webhook_url(workflow), json=job, headers={"X-N8N-Api-Key": API_KEY}, timeout=30)
        assert (answer.status_code, answer.json()) == (200, {"message": "Workflow was started"})

    def assert_booked_once(self, contents: Sequence[bytes]) -> None:
        """Each of these receipts has one page, with its very bytes."""
        counted = self.services.counted()
        assert {digest(content): counted[digest(content)] for content in contents} == {
            digest(content): 1 for content in contents
        }


@contextlib.contextmanager
def pair(root: Path) -> Iterator[Pair]:
    """A started n8n that has all shipped workflows, published, each at the path of its name."""
    with FakeServices() as services, RealN8N(root / "n8n") as n8n:
        workflows = [*(shipped(name, services) for name in WORKFLOWS)]
        workflows += [of_somebody_else(services), cut_off(), signed(services)]
        own = [*credentials_json(API_KEY, TOKEN), signing_credential_json(SECRET)]
        n8n.bring_in(workflows, [*own, *CREDENTIALS])
        n8n.publish(*(workflow["id"] for workflow in workflows))
        n8n.start(*WORKFLOWS, OTHER, CUT_OFF, SIGNED)
        yield Pair(root, n8n, services)


def shipped(name: str, services: FakeServices) -> dict[str, Any]:
    """Return a shipped workflow that asks the services of the tests."""
    return asking(workflow_json(name, webhook_path=name), services.url, pause_seconds=0.5)


def asking(workflow: dict[str, Any], url: str, *, pause_seconds: float) -> dict[str, Any]:
    """Return a workflow that asks one address in the place of Notion and Gemini, and soon tries again."""
    text = json.dumps(workflow)
    for service in ("https://api.notion.com", "https://generativelanguage.googleapis.com"):
        text = text.replace(service, url)
    asked: dict[str, Any] = json.loads(text)
    for node in asked["nodes"]:
        if node["type"] == "n8n-nodes-base.httpRequest" and "waitBetweenTries" in node:
            node["waitBetweenTries"] = int(pause_seconds * 1000)
        if node["name"] == "Pause":
            node["parameters"]["amount"] = pause_seconds
    return asked


def of_somebody_else(services: FakeServices) -> dict[str, Any]:
    """Return a workflow that does not say that it is one of ours."""
    made = {**shipped("echo", services), "id": OTHER, "name": OTHER}
    nodes = [node for node in made["nodes"] if node["name"] != "Who is it?"]
    for node in nodes:
        if node["name"] == "Webhook":
            node["parameters"]["path"] = OTHER
    connections = {name: to for name, to in made["connections"].items() if name != "Who is it?"}
    return {**made, "nodes": nodes, "connections": connections}


def cut_off() -> dict[str, Any]:
    """Return the shipped workflow `notion` where nobody answers in Notion's place."""
    alone = asking(workflow_json("notion", webhook_path=CUT_OFF), "http://127.0.0.1:1", pause_seconds=0.1)
    return {**alone, "id": CUT_OFF, "name": CUT_OFF}


def signed(services: FakeServices) -> dict[str, Any]:
    """Return the shipped workflow `notion` as the one that proves signatures."""
    proving = workflow_json("notion", webhook_path=SIGNED, is_signed=True)
    return {**asking(proving, services.url, pause_seconds=0.5), "id": SIGNED, "name": SIGNED}


def all_kinds(pair: Pair, count: int, payload: str, *, per_job_tokens: bool = False) -> str:
    """Receipts of all kinds, in one go."""
    makers = list(_KINDS.items())
    contents = {
        f"{payload} {number} ü.{suffix}": make(10_000 * len(payload) + number)
        for number in range(count)
        for suffix, make in [makers[number % len(makers)]]
    }
    token = "another-token-of-the-tests" if per_job_tokens else TOKEN  # then what n8n's credential has is of no use
    with pair.daemon(n8n={"payload": payload}, callback={"per_job_tokens": per_job_tokens}, token=token) as daemon:
        for name, content in contents.items():
            daemon.drop(name, content)
        daemon.wait_quiet(count, PATIENCE_SECONDS)
        _assert_all_succeeded(daemon, count)
    pair.assert_booked_once(list(contents.values()))
    return f"{count} receipts of {len(makers)} kinds by {payload}: all booked once, byte for byte"


def wrong_key(pair: Pair) -> str:
    """A wrong key costs time only: the receipt waits, and goes out when the key is right."""
    content = jpegs(1, 1)[0]
    with pair.daemon(n8n={"api_key": "wrong"}) as daemon:
        daemon.drop("scan.jpg", content)
        _wait_held(daemon, "403")
        daemon.terminate()
        text = daemon.config_file.read_text()
        daemon.config_file.write_text(text.replace("api_key: wrong", f"api_key: {API_KEY}"))
        daemon.start()
        daemon.wait_quiet(1, PATIENCE_SECONDS)
        _assert_all_succeeded(daemon, 1)
    pair.assert_booked_once([content])
    return "wrong key: the receipt waited (403), and was booked once when the key was right"


def unpublished(pair: Pair) -> str:
    """A workflow that is not published costs time only."""
    content = jpegs(1, 2)[0]
    identity = "receiptWatcher-notion"
    pair.n8n.stop()
    pair.n8n.run("unpublish:workflow", f"--id={identity}")
    pair.n8n.start("echo")
    pair.n8n.wait_unregistered("notion")
    with pair.daemon() as daemon:
        daemon.drop("scan.jpg", content)
        _wait_held(daemon, "404")
        pair.n8n.stop()
        pair.n8n.publish(identity)
        pair.n8n.start("notion")
        daemon.wait_quiet(1, PATIENCE_SECONDS)
        _assert_all_succeeded(daemon, 1)
    pair.assert_booked_once([content])
    return "unpublished workflow: the receipt waited (404), and was booked once when it was published"


def stopped_in_a_burst(pair: Pair, count: int) -> str:
    """n8n is stopped and started while receipts come: what it lost goes out again, and nothing is booked twice."""
    contents = jpegs(count, 1000)
    before = len(pair.services.pages)
    with pair.daemon(callback={"deadline_seconds": _DEADLINE_SECONDS}) as daemon:
        for number, content in enumerate(contents):
            daemon.drop(f"burst {number}.jpg", content)
        wait_until(lambda: len(pair.services.pages) > before + count // 4, "a quarter is booked", PATIENCE_SECONDS)
        pair.n8n.stop()
        pair.n8n.start("notion")
        daemon.wait_quiet(count, PATIENCE_SECONDS)
        _assert_all_succeeded(daemon, count)
        resent = daemon.count("job.resent")
    pair.assert_booked_once(contents)
    return f"n8n stopped and started in a burst of {count}: all booked once, {resent} sent again after the deadline"


def killed_after_its_200(pair: Pair, count: int) -> str:
    """n8n is killed when it has booked receipts and not called back: they go out again, and are booked once."""
    contents = jpegs(count, 2000)
    before = len(pair.services.pages)
    first, *rest = contents
    with pair.daemon(callback={"deadline_seconds": _DEADLINE_SECONDS}) as daemon:
        daemon.drop("first.jpg", first)
        daemon.wait_quiet(1, PATIENCE_SECONDS)
        pair.services.answering.clear()
        for number, content in enumerate(rest):
            daemon.drop(f"killed {number}.jpg", content)
        wait_until(
            lambda: len(pair.services.pages) == before + count, "all are booked, and none is told", PATIENCE_SECONDS
        )
        pair.n8n.kill()
        pair.services.answering.set()
        pair.n8n.start("notion")
        daemon.wait_quiet(count, PATIENCE_SECONDS)
        _assert_all_succeeded(daemon, count)
        resent = daemon.count("job.resent")
    assert resent >= len(rest)
    pair.assert_booked_once(contents)
    return f"n8n killed (-9) after its 200, {len(rest)} booked and none called back: {resent} sent again, booked once"


def looked_at(pair: Pair) -> str:
    """`check --live` goes round with the daemon running and without, and says what is wrong where it cannot."""
    before = len(pair.services.pages)
    port = free_port()
    with pair.daemon(http={"port": port}) as daemon:
        _assert_round_trip(daemon)
        daemon.terminate()
        _assert_round_trip(daemon, "--find-size")
        assert _live(daemon, RECEIPT_WATCHER_N8N__API_KEY="wrong")[-1]["what"] == "the key is refused (403)"
        other = {"N8N_WEBHOOK_URL": pair.n8n.webhook_url(OTHER)}
        assert "nothing was sent" in _live(daemon, **other)[-1]["what"]
        assert "it reached us" in _live(daemon, "--may-book", **other)[-1]["what"]
        unpublished = f"{pair.n8n.webhook_url('nobody')}"
        assert "no workflow is published" in _live(daemon, N8N_WEBHOOK_URL=unpublished)[-1]["what"]
    assert len(pair.services.pages) == before
    return "check --live: round trip with the daemon and without; wrong key, unpublished, not ours are told"


def _live(daemon: RunningDaemon, *arguments: str, **variables: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads(daemon.run("check", "--live", "--json", *arguments, **variables).stdout)
    return found


def _assert_round_trip(daemon: RunningDaemon, *arguments: str) -> None:
    found = _live(daemon, *arguments)
    assert {one["level"] for one in found} == {"ok"}, found
    said = "; ".join(one["what"] for one in found)
    legs = (
        "DNS",
        "connection",
        "clocks agree",
        "'notion' of ours",
        "accepted",
        "it reached us",
        *(["11 MB"] if arguments else []),
    )
    assert all(leg in said for leg in legs), said


def repeated(pair: Pair) -> str:
    """The same job twice calls back twice, with the same verdict, and is booked once; a failed one runs again."""
    content = jpegs(1, 3)[0]
    with Listener() as callbacks:
        job = fields_of(content, "again.jpg", callbacks.url)
        for count in (1, 2):
            pair.post("notion", job)
            wait_until(lambda count=count: len(callbacks.said) == count, "it calls back")  # type: ignore[misc]
        first, second = callbacks.said
    assert first["status"] == second["status"] == "success"
    assert first["notion_page_url"] == second["notion_page_url"]
    assert first["execution_id"] != second["execution_id"]
    pair.assert_booked_once([content])
    return "the same job twice: two callbacks with one verdict, booked once"


def nodes_that_throw(pair: Pair) -> str:
    """A failure in a node is reported at once; one that another try fixes is fixed in n8n."""
    names = ["broken.jpg", "busy.jpg", "lost.jpg"]
    contents = dict(zip(names, jpegs(3, 3000), strict=True))
    with pair.daemon() as daemon:
        for name, content in contents.items():
            daemon.drop(name, content)
        daemon.wait_quiet(3, PATIENCE_SECONDS)
        jobs = {job.filename: job for job in daemon.recorded()}
        assert daemon.count("job.resent") == 0
    assert jobs["broken.jpg"].state is State.FAILURE
    assert "broken.jpg cannot be made" in (jobs["broken.jpg"].message or "")
    assert {jobs["busy.jpg"].state, jobs["lost.jpg"].state} == {State.SUCCESS}
    pair.assert_booked_once([contents["busy.jpg"], contents["lost.jpg"]])
    assert pair.services.counted()[digest(contents["broken.jpg"])] == 0
    with Listener() as callbacks:
        pair.post(CUT_OFF, fields_of(jpegs(1, 5)[0], "scan.jpg", callbacks.url))
        wait_until(lambda: len(callbacks.said) == 1, "it calls back")
    assert callbacks.said[0]["status"] == "failure"
    assert callbacks.said[0]["message"].startswith("N8N: Look for the page: ")
    return "a node that throws, a service that is away: failure called back; 429 and a lost answer: booked once"


def by_link(pair: Pair, count: int = 10) -> str:
    """Receipts whose file n8n fetches by its link, at the workflow that proves signatures and at one that does not."""
    contents = jpegs(2 * count, 5000)
    for workflow, half in (("notion", contents[:count]), (SIGNED, contents[count:])):
        with pair.daemon(workflow, n8n={"payload": "link", "signing_secret": SECRET}) as daemon:
            for number, content in enumerate(half):
                daemon.drop(f"link {number} ü.jpg", content)
            daemon.wait_quiet(count, PATIENCE_SECONDS)
            _assert_all_succeeded(daemon, count)
    pair.assert_booked_once(contents)
    with Listener() as callbacks:  # nobody listens at the link's port: it is tried again, and then told
        job = fields_of(contents[0], "gone.jpg", callbacks.url)
        del job["image_data"]
        pair.post("notion", {**job, "file_url": f"http://127.0.0.1:{free_port()}/"})
        wait_until(lambda: len(callbacks.said) == 1, "it calls back")
    assert callbacks.said[0]["status"] == "failure"
    assert callbacks.said[0]["message"].startswith("N8N: File of link: ")
    pair.assert_booked_once(contents)
    return f"{2 * count} receipts by link: all booked once, byte for byte; a link that cannot be fetched: failure"


def signatures(pair: Pair) -> str:
    """Signed requests pass, by JSON, as a large JSON and by a form, and also while the secret is changed."""
    contents = [*jpegs(10, 6000), samples.jpeg(6, 11 * 2**20)]
    for payload, some in (("json", contents[:6]), ("multipart", contents[6:8]), ("json", contents[10:])):
        with pair.daemon(SIGNED, n8n={"payload": payload, "signing_secret": SECRET}) as daemon:
            _send_all(daemon, some)
    rotated = {"signing_secret": NEXT_SECRET, "previous_signing_secret": SECRET}
    with pair.daemon(SIGNED, n8n=rotated, http={"port": free_port()}) as daemon:
        _send_all(daemon, contents[8:10])
        live = _live(daemon)
    assert {one["level"] for one in live} == {"ok"}, live
    pair.assert_booked_once(contents)
    return f"{len(contents)} signed receipts: booked once, also by 11 MB of JSON and while the secret is changed"


def forged(pair: Pair) -> str:
    """Requests not signed by us, or not now, get 403; nothing is booked, and nobody is called back."""
    content = jpegs(1, 7000)[0]
    before = len(pair.services.pages)
    now = int(time.time())
    with Listener() as callbacks:
        body = json.dumps(fields_of(content, "forged.jpg", callbacks.url)).encode()
        good, forged_now = _signed_headers(SECRET, now, body), _signed_headers(FALSE_SECRET, now, body)
        attempts = {
            "another secret": (forged_now, body),
            "no signature": ({}, body),
            "an empty one": ({**good, "webhook-signature": ""}, body),
            "one of another version": ({**good, "webhook-signature": good["webhook-signature"][3:]}, body),
            "too old": (_signed_headers(SECRET, now - 330, body), body),
            "from the future": (_signed_headers(SECRET, now + 330, body), body),
            "another time": ({**good, "webhook-timestamp": str(now - 1)}, body),
            "no time": ({**good, "webhook-timestamp": "now"}, body),
            "another id": ({**good, "webhook-id": "another"}, body),
            "another body": (good, body.replace(b"forged.jpg", b"bribed.jpg")),
            "another kind": ({**forged_now, "Content-Type": "text/plain"}, body),
            "fields of a form": ({**forged_now, "Content-Type": "application/x-www-form-urlencoded"}, body),
            "a form without a file": ({**good, "Content-Type": "multipart/form-data; boundary=b"}, _FORM_WITHOUT_FILE),
            "nothing": ({}, b""),
        }
        answers = {name: _post_signed(pair, *attempt) for name, attempt in attempts.items()}
        assert {name: answer.status_code for name, answer in answers.items()} == dict.fromkeys(attempts, 403)
        assert {NOT_PROVEN in answer.text for answer in answers.values()} == {True}
        body = json.dumps(fields_of(content, "good.jpg", callbacks.url)).encode()
        good = _signed_headers(SECRET, now, body)
        both = f"{forged_now['webhook-signature']} {good['webhook-signature']}"
        passed = _post_signed(pair, {**good, "webhook-signature": both}, body)
        assert (passed.status_code, passed.json()) == (200, {"message": "Workflow was started"})
        wait_until(lambda: len(callbacks.said) > 0, "the good one is called back")
        assert [heard["status"] for heard in callbacks.said] == ["success"]
    assert [page.title for page in pair.services.pages[before:]] == ["good.jpg"]
    content = jpegs(1, 7001)[0]
    with pair.daemon(SIGNED, n8n={"signing_secret": FALSE_SECRET}) as daemon:
        daemon.drop("scan.jpg", content)
        _wait_held(daemon, "n8n.signing_secret")
        daemon.terminate()
        text = daemon.config_file.read_text()
        daemon.config_file.write_text(text.replace(FALSE_SECRET, SECRET))
        daemon.start()
        daemon.wait_quiet(1, PATIENCE_SECONDS)
        _assert_all_succeeded(daemon, 1)
    pair.assert_booked_once([content])
    return f"{len(attempts)} forged messages: 403, none booked or called back; a wrong secret of ours: waited, booked"


def _signed_headers(secret: str, timestamp: int, body: bytes) -> dict[str, str]:
    signature = Signer([secret]).sign("a-message", timestamp, [body])
    return {"webhook-id": "a-message", "webhook-timestamp": str(timestamp), "webhook-signature": signature}


def _post_signed(pair: Pair, headers: Mapping[str, str], body: bytes) -> httpx.Response:
    known = {"X-N8N-Api-Key": API_KEY, "Content-Type": "application/json", **headers}
    return httpx.post(pair.n8n.webhook_url(SIGNED), content=body, headers=known, timeout=30)


def _send_all(daemon: RunningDaemon, contents: Sequence[bytes]) -> None:
    for number, content in enumerate(contents):
        daemon.drop(f"signed {number} ü.jpg", content)
    daemon.wait_quiet(len(contents), PATIENCE_SECONDS)
    _assert_all_succeeded(daemon, len(contents))


def large(pair: Pair, megabytes: int = 20) -> str:
    """A receipt that is too large for JSON goes by multipart; by JSON it is refused before it is posted."""
    content = samples.jpeg(4, megabytes * 2**20)
    with pair.daemon(n8n={"payload": "multipart"}) as daemon:
        daemon.drop("large.jpg", content)
        daemon.wait_quiet(1, PATIENCE_SECONDS)
        _assert_all_succeeded(daemon, 1)
    pair.assert_booked_once([content])
    with pair.daemon(n8n={"payload": "json"}) as daemon:
        daemon.drop("large.jpg", samples.jpeg(5, megabytes * 2**20))
        daemon.wait_quiet(1, PATIENCE_SECONDS)
        assert daemon.job("large.jpg").reason is Reason.TOO_LARGE_FOR_JSON
    return f"{megabytes} MB: booked by multipart; by JSON refused before it is posted"


def extracted(pair: Pair) -> str:
    """The fields that Gemini reads come with the callback, and are on the page."""
    data: list[Any] = []
    for number, workflow in enumerate(("extract", "notion-extract")):
        content = samples.pdf(number)
        with pair.daemon(workflow) as daemon:
            daemon.drop("invoice.pdf", content)
            daemon.wait_quiet(1, PATIENCE_SECONDS)
            _assert_all_succeeded(daemon, 1)
            data.append(_called_back(daemon))
        assert digest(content) in pair.services.read
    assert data[0]["data"] == data[1]["data"] == INVOICE
    page = pair.services.pages[-1]
    assert page.title == "Hardware & Garden"
    assert data[1]["notion_page_url"] == page.url
    assert "0.97" in page.content["children"][0]["code"]["rich_text"][0]["text"]["content"]
    return "extract and notion-extract: the invoice came back with data, and is on the page"


def tests_have_no_effect(pair: Pair) -> str:
    """A receipt that is marked as a test is answered by each workflow, and nothing is asked of any service."""
    content = jpegs(1, 4)[0]
    before = (list(pair.services.pages), list(pair.services.read))
    with Listener() as callbacks:
        for workflow in WORKFLOWS:
            job = {**fields_of(content, "test.jpg", callbacks.url), "test": True}
            pair.post(workflow, job)
        wait_until(lambda: len(callbacks.said) >= len(WORKFLOWS), "each calls back")
    assert {heard["status"] for heard in callbacks.said} == {"success"}
    assert {heard["data"]["receipt_watcher_workflow"] for heard in callbacks.said} == set(WORKFLOWS)
    assert (pair.services.pages, pair.services.read) == before
    return f"test receipts: answered by all {len(WORKFLOWS)} workflows, nothing booked"


def fields_of(content: bytes, filename: str, callback_url: str) -> dict[str, Any]:
    """Return a job as the daemon posts it."""
    return {
        "job_id": str(uuid.uuid4()),
        "filename": filename,
        "notion_database_id": DATABASE,
        "callback_url": callback_url,
        "mime_type": "image/jpeg",
        "size": len(content),
        "sha256": digest(content),
        "inbox": "office",
        "attempt": 1,
        "image_data": base64.b64encode(content).decode(),
    }


def _assert_all_succeeded(daemon: RunningDaemon, count: int) -> None:
    jobs = daemon.recorded()
    unlike = [f"{job.filename}: {job.state.value}, {job.message}" for job in jobs if job.state is not State.SUCCESS]
    assert (len(jobs), unlike) == (count, []), unlike[:5]


def _wait_held(daemon: RunningDaemon, status: str) -> None:
    """Wait until n8n has answered so; its receipt waits in the queue, and no attempt was counted."""
    wait_until(lambda: any(status in str(event) for event in daemon.events("job.deferred")), f"n8n answers {status}")
    [job] = daemon.recorded()
    assert job.state in (State.QUEUED, State.DELIVERING)  # it may be out as a probe just now


def _called_back(daemon: RunningDaemon) -> dict[str, Any]:
    """Return what was called back for its only job."""
    [job] = daemon.recorded()
    with daemon.job_log() as log:
        [detail] = [row["detail"] for row in log.histories.lines(job.job_id) if row["event"] == "succeed"]
    said: dict[str, Any] = json.loads(detail)
    return said
