from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from receipt_watcher.cli.demo import stand_in as module
from receipt_watcher.cli.demo.received_posts import ReceivedPost
from receipt_watcher.cli.demo.stand_in import Behaviour, StandIn

CONTENT = bytes(range(256)) * 40 + b"\r\n--not a boundary\r\n\r\n"
DIGEST = hashlib.sha256(CONTENT).hexdigest()
STARTED = {"message": "Workflow was started"}


class Caller:
    """The near side: takes callbacks, and answers the next ones with `statuses`, then with 200."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str, dict[str, str]]] = []
        self.statuses: list[int] = []
        caller = self

        class Ear(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 5

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                caller.heard.append((self.path, self.headers["X-Callback-Token"], body))
                self.send_response(caller.statuses.pop(0) if caller.statuses else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Ear)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def caller() -> Iterator[Caller]:
    """Listen for callbacks until the test is over."""
    near = Caller()
    near.server.daemon_threads = False
    thread = threading.Thread(target=near.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield near
    near.server.shutdown()
    thread.join()
    near.server.server_close()


@pytest.fixture(autouse=True)
def no_thread_leaks() -> Iterator[None]:
    """Fail a test that leaves a thread behind."""
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def form(caller: Caller | None = None, job_id: str = "job-1", **changes: Any) -> dict[str, Any]:
    """Return the fields of a receipt."""
    callback_url = f"{caller.url if caller else 'http://127.0.0.1:9'}/api/v1/jobs/{job_id}/callback"
    return {
        "job_id": job_id,
        "filename": "Bäckerei «Süß».jpg",
        "notion_database_id": "0f3c",
        "callback_url": callback_url,
        "mime_type": "image/jpeg",
        "size": len(CONTENT),
        "sha256": DIGEST,
        "inbox": "office",
        "attempt": 2,
        **changes,
    }


def post_json(far: StandIn, fields: dict[str, Any], **headers: str) -> httpx.Response:
    """Post a receipt as JSON."""
    return httpx.post(
        far.webhook_url, json={**fields, "image_data": base64.b64encode(CONTENT).decode()}, headers=headers
    )


def arrived(far: StandIn) -> ReceivedPost:
    """Return the only delivery."""
    (delivery,) = far.deliveries
    return delivery


def assert_same(delivery: ReceivedPost, payload: str) -> None:
    """Assert that the receipt of `form()` is what arrived."""
    assert (delivery.content, delivery.sha256, delivery.size) == (CONTENT, DIGEST, len(CONTENT))
    assert (delivery.payload, delivery.attempt, delivery.claimed_sha256) == (payload, 2, DIGEST)
    for name in form().keys() - {"sha256"}:
        assert getattr(delivery, name) == form()[name]


def ended(count: int) -> Callable[[StandIn], bool]:
    """Return the question whether so many callbacks have ended."""
    return lambda far: len(far.callbacks) >= count


def test_json_is_recorded_byte_for_byte() -> None:
    """A receipt posted as JSON is recorded with the bytes, digest and fields that were sent."""
    with StandIn(behave=lambda _: Behaviour(verdict=None), keep_content=True) as far:
        assert post_json(far, form()).json() == STARTED
        assert_same(arrived(far), "json")


@pytest.mark.parametrize("chunked", [False, True])
def test_multipart_is_recorded_byte_for_byte(chunked: bool) -> None:
    """A receipt posted as a form is recorded alike, whether its length was announced or not."""
    with StandIn(behave=lambda _: Behaviour(verdict=None), keep_content=True) as far, httpx.Client() as client:
        fields = {name: str(value) for name, value in form().items()}
        request = client.build_request("POST", far.webhook_url, data=fields, files={"file": ("a.jpg", CONTENT)})
        if chunked:
            body = request.read()
            pieces = (body[start : start + 1000] for start in range(0, len(body), 1000))
            kind = {"content-type": request.headers["content-type"]}
            request = client.build_request("POST", far.webhook_url, content=pieces, headers=kind)
        assert client.send(request).json() == STARTED
        assert_same(arrived(far), "multipart")
        assert arrived(far).raw_filename == "a.jpg"
        assert arrived(far).headers.get("transfer-encoding") == ("chunked" if chunked else None)


def test_calls_back(caller: Caller) -> None:
    """After its answer it posts the verdict to the callback URL with the token."""
    page = Behaviour(message="fine", notion_page_url="https://notion.example/1", callback_times=2)
    with StandIn("s3cret", behave=lambda _: page) as far:
        post_json(far, form(caller))
        assert far.wait_for(ended(2), 5)
        body = {"status": "success", "message": "fine", "notion_page_url": "https://notion.example/1"}
        assert far.callbacks == [("job-1", body, 200)] * 2
        assert caller.heard == [("/api/v1/jobs/job-1/callback", "s3cret", body)] * 2


def test_other_bytes_are_a_failure(caller: Caller) -> None:
    """By default the verdict is a failure where the bytes are not those that the digest names."""
    with StandIn() as far:
        assert post_json(far, form(caller, sha256="0" * 64)).json() == STARTED
        assert far.wait_for(ended(1), 5)
        assert far.callbacks[0][1]["status"] == "failure"


def test_callback_may_overtake_the_answer(caller: Caller) -> None:
    """With callback_before_answer the verdict has been heard when the answer comes."""
    behaviour = Behaviour(callback_before_answer=True, callback_token="wrong")
    with StandIn("s3cret", behave=lambda _: behaviour) as far:
        assert post_json(far, form(caller)).json() == STARTED
        assert [token for _, token, _ in caller.heard] == ["wrong"]


def test_failing_callback_is_repeated_then_given_up(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """A callback is tried again after a 5xx or a refused connection; in the end its error is recorded."""
    monkeypatch.setattr(module, "CALLBACK_PAUSES_SECONDS", (0.0, 0.0))
    caller.statuses = [503]
    with StandIn() as far:
        post_json(far, form(caller))
        assert far.wait_for(ended(1), 5)
        assert [outcome for *_, outcome in far.callbacks] == [200]
        post_json(far, form(callback_url="http://127.0.0.1:1/callback"))
        assert far.wait_for(ended(2), 5)
        assert str(far.callbacks[1][2]).startswith("ConnectionRefusedError")


def test_hang_holds_the_answer(caller: Caller) -> None:
    """The answer waits for the event, and another delivery does not wait for that."""
    gate = threading.Event()
    slow, quick = Behaviour(hang=gate, verdict=None), Behaviour(verdict=None)
    with StandIn(behave=lambda delivery: slow if delivery.job_id == "slow" else quick) as far:
        answers: list[int] = []
        thread = threading.Thread(target=lambda: answers.append(post_json(far, form(job_id="slow")).status_code))
        thread.start()
        assert far.wait_for(lambda far: len(far.deliveries) == 1, 5)
        assert post_json(far, form()).status_code == 200
        assert answers == []
        gate.set()
        thread.join()
        assert answers == [200]


def test_close_ends_what_hangs() -> None:
    """close() ends a hanging delivery without an answer, and may be called twice."""
    far = StandIn(behave=lambda _: Behaviour(hang=threading.Event())).start()
    errors: list[httpx.HTTPError] = []

    def post() -> None:
        try:
            post_json(far, form())
        except httpx.HTTPError as error:
            errors.append(error)

    thread = threading.Thread(target=post)
    thread.start()
    assert far.wait_for(lambda far: len(far.deliveries) == 1, 5)
    far.close()
    far.close()
    thread.join()
    assert len(errors) == 1


def test_reset_leaves_the_outcome_open(caller: Caller) -> None:
    """With reset the connection breaks without an answer, yet the receipt was taken and is called back."""
    with StandIn(behave=lambda _: Behaviour(reset=True)) as far:
        with pytest.raises(httpx.ReadError, match="reset"):
            post_json(far, form(caller))
        assert far.wait_for(ended(1), 5)
        assert len(far.deliveries) == 1


def test_outage_and_back_on_the_same_port() -> None:
    """In an outage connections are refused and open ones closed; afterwards the same address serves again."""
    with StandIn(behave=lambda _: Behaviour(verdict=None)) as far:
        address = far.webhook_url
        with socket.create_connection(("127.0.0.1", far.port), timeout=5) as kept:
            kept.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
            assert kept.recv(4096).endswith(b'{"status":"ok"}')
            far.stop_listening()
            assert kept.recv(4096) == b""
        with pytest.raises(httpx.ConnectError):
            post_json(far, form())
        far.listen_again()
        assert far.webhook_url == address
        assert post_json(far, form()).status_code == 200


def test_refuses_like_n8n() -> None:
    """A wrong key, an unknown path, an unreadable or too large body get n8n's answers and are no deliveries."""
    with StandIn(api_key="right", behave=lambda _: Behaviour(verdict=None), max_json_bytes=20_000) as far:
        for key in ("", "wrong"):
            answer = post_json(far, form(), **{"X-N8N-Api-Key": key})
            assert (answer.status_code, answer.text) == (403, "Authorization data is wrong!")
        unknown = httpx.post(far.webhook_url.replace("/webhook/", "/webhooks/"))
        assert unknown.json()["message"] == 'The requested webhook "POST receipts" is not registered.'
        assert httpx.post(far.webhook_url, content=b"{").status_code == 422
        assert httpx.post(far.webhook_url, content=b"x" * 20_001).status_code == 500
        half = httpx.post(
            far.webhook_url, content=b"--x\r\n", headers={"Content-Type": "multipart/form-data; boundary=x"}
        )
        assert half.status_code == 400
        assert (far.deliveries, far.refused) == ([], [403, 403, 404, 422, 500, 400])
        assert post_json(far, form(), **{"X-N8N-Api-Key": "right"}).status_code == 200


def test_torn_body_is_no_delivery() -> None:
    """A body that ends before its announced length is counted as torn and not recorded."""
    with StandIn() as far:
        with socket.create_connection(("127.0.0.1", far.port)) as wire:
            wire.sendall(b"POST /webhook/receipts HTTP/1.1\r\nContent-Length: 100\r\n\r\n{")
        assert far.wait_for(lambda far: far.torn == 1, 5)
        assert far.deliveries == []


def test_idle_connection_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kept connection that idles is closed, as n8n does after five seconds; that is no torn request."""
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.05)
    with StandIn() as far, socket.create_connection(("127.0.0.1", far.port), timeout=5) as kept:
        assert kept.recv(4096) == b""
        assert far.torn == 0


def test_answers_as_told() -> None:
    """Status, body and headers of the answer are those of the behaviour."""
    with StandIn(behave=lambda _: module.UNAVAILABLE) as far:
        answer = post_json(far, form())
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        far.behave = lambda _: module.STARTING_UP
        answer = post_json(far, form())
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html")


def test_runs_as_a_program(tmp_path: Path) -> None:
    """As a program it writes its address, then a line for each delivery, without its token, and ends at SIGTERM."""
    log = tmp_path / "deliveries"
    command = [sys.executable, "-m", "receipt_watcher.cli.demo.stand_in", "--no-content-check", "--log", str(log)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONWARNINGS": "error"}) as program:
        assert program.stdout
        url = json.loads(program.stdout.readline())["webhook_url"]
        assert httpx.post(url, json=form() | {"callback_token": "geheim"}).json() == STARTED
        program.send_signal(signal.SIGTERM)
        assert program.wait(5) == 0
    told = json.loads(log.read_text())
    assert (told["job_id"], told["size"], told["sha256"]) == ("job-1", len(CONTENT), "")
    assert "geheim" not in log.read_text()
