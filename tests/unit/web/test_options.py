"""The HTTP side as the options say: behind a proxy, by a UNIX socket, with TLS, with listeners at a stop."""

from __future__ import annotations

import ssl
import threading
from pathlib import Path

import httpx

from receipt_watcher.cli.demo.stand_in import StandIn
from receipt_watcher.config.roles import Role
from tests.conftest import TOKEN
from tests.fakes.api_client import SECRETS, bearer
from tests.fakes.daemons.process import RunningDaemon, jpegs, merge, wait_until
from tests.unit.web.callback_site import assert_problem
from tests.unit.web.server.test_thread import certificate_for
from tests.unit.web.uploads.test_receive import TOKENS


def test_behind_a_proxy_at_a_socket(tmp_path: Path, n8n: StandIn) -> None:
    """By its UNIX socket nobody is of this machine; what we point at bears the proxy's path, the cookie too."""
    path = tmp_path / "r.sock"
    changes = merge(
        TOKENS, {"http": {"uds": str(path), "root_path": "/receipts", "public_url": "https://office.lan/receipts"}}
    )
    with (
        RunningDaemon(tmp_path, n8n.webhook_url, TOKEN, changes=changes) as daemon,
        httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://office.lan") as proxy,
    ):
        assert proxy.get("/health/live").json() == {"status": "ok"}
        assert_problem(proxy.get("/api/v1/jobs", headers={"Host": "localhost"}), 401)
        files = {"file": ("a.jpg", jpegs(1)[0])}
        uploaded = proxy.post("/api/v1/receipts/upload", files=files, headers=bearer(Role.UPLOADER))
        assert uploaded.status_code == 202, uploaded.text
        assert uploaded.headers["location"] == f"/receipts/api/v1/jobs/{uploaded.json()['job_id']}"
        signed_in = proxy.post("/api/v1/session", json={"token": SECRETS[Role.VIEWER]})
        assert "path=/receipts;" in signed_in.headers["set-cookie"].lower()
        assert proxy.get("/openapi.json").json()["servers"] == [{"url": "/receipts"}]
        assert daemon.url == "https://office.lan/receipts"
        assert daemon.terminate() == 0


def test_by_tls_the_cookie_is_secure(tmp_path: Path, n8n: StandIn) -> None:
    """With a certificate of our own everything is by TLS: callbacks are asked for so, and the cookie is secure."""
    certificate = certificate_for(tmp_path, "office")
    places = {"tls_certificate": str(certificate.chain), "tls_key": str(certificate.key), "hsts_days": 1}
    with RunningDaemon(tmp_path, n8n.webhook_url, TOKEN, changes=merge(TOKENS, {"http": places})) as daemon:
        assert daemon.url.startswith("https://127.0.0.1:")
        address = daemon.url.replace("127.0.0.1", "localhost")
        with httpx.Client(verify=ssl.create_default_context(cafile=str(certificate.chain))) as client:
            answer = client.post(f"{address}/api/v1/session", json={"token": SECRETS[Role.VIEWER]})
        assert "secure" in answer.headers["set-cookie"].lower()
        assert answer.headers["strict-transport-security"] == "max-age=86400"


def test_a_certificate_that_is_missing_is_said_at_the_start(tmp_path: Path, n8n: StandIn) -> None:
    """A daemon that cannot do TLS as it is told does not start, and says which file."""
    places = {"tls_certificate": str(tmp_path / "none.pem"), "tls_key": str(tmp_path / "none.key")}
    daemon = RunningDaemon(tmp_path, n8n.webhook_url, TOKEN, changes={"http": places})
    done = daemon.run("run")
    assert done.returncode == 1
    assert "none.pem" in done.stderr
    assert "Traceback" not in done.stderr


def test_listeners_hear_all_and_hold_up_no_stop(tmp_path: Path, n8n: StandIn) -> None:
    """Who listens hears a receipt's whole way, and is let go when the daemon stops."""
    heard: list[str] = []
    begun = threading.Event()

    def listen() -> None:
        with httpx.stream("GET", f"{daemon.url}/api/v1/events", timeout=60) as stream:
            for line in stream.iter_lines():
                begun.set()
                if line.startswith("event: "):
                    heard.append(line.removeprefix("event: "))

    with RunningDaemon(tmp_path, n8n.webhook_url, TOKEN) as daemon:
        listener = threading.Thread(target=listen, name="listener")
        listener.start()
        wait_until(begun.is_set, "it listens")
        daemon.drop("a.jpg", jpegs(1)[0])
        wait_until(lambda: "succeed" in heard, "the success is heard")
        assert daemon.terminate() == 0
        listener.join(30)
        assert not listener.is_alive()
    assert [event for event in heard if event in ("record", "claim", "succeed")] == ["record", "claim", "succeed"]
