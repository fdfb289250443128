"""Rights of callers: tokens, sessions, this machine, other sites; by trying."""

from __future__ import annotations

import asyncio
import functools
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
import yaml
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from receipt_watcher.cli.main import commands
from receipt_watcher.config.roles import Right, Role, may
from receipt_watcher.config.secrets import hash_of, is_token_name, new_secret
from receipt_watcher.config.sources.load import load
from receipt_watcher.errors import ReceiptWatcherError
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.spool.folders import Spool
from receipt_watcher.web.access import jwt as jwts
from receipt_watcher.web.access.api_tokens import ApiToken, ApiTokens
from receipt_watcher.web.access.authorization import COOKIE, Trust
from receipt_watcher.web.access.jwt import Jwts, JwtSettings
from receipt_watcher.web.access.wrong_tokens import FREE_TRIES, LIMIT_TRIES
from receipt_watcher.web.api import events
from receipt_watcher.web.api.operations import OPERATIONS, Operation
from receipt_watcher.web.pages.sign_in import own_path
from tests.conftest import TOKEN, FakeClock
from tests.fakes.api_client import SECRETS, ApiSite, bearer, tokens
from tests.unit.web.callback_site import LOCAL, OFFICE, ask, assert_problem

PROTECTED = {name: each for name, each in OPERATIONS.items() if each.right is not None}
CHANGING = {name: each for name, each in PROTECTED.items() if each.method != "GET"}


Make = Callable[..., ApiSite]


@pytest.fixture
def make(log: JobLog, spool: Spool, clock: FakeClock) -> Make:
    """Make the application, on the same log each time, as after a restart with other options."""
    return functools.partial(ApiSite, log, clock, spool)


@pytest.fixture
def site(make: Make) -> ApiSite:
    """The application with tokens of each role."""
    return make()


def cli(*arguments: str) -> Result:
    """Run a command."""
    return CliRunner().invoke(commands, arguments)


def path_of(operation: Operation) -> str:
    """Return a path of a call, with ids that are nobody's."""
    return operation.path.format(job_id="none", destination="none", inbox="none")


def call(site: ApiSite, operation: Operation, client: tuple[str, int] = OFFICE, **options: Any) -> httpx.Response:
    """Do a call with nothing in it."""
    return ask(site.app, operation.method, path_of(operation), client, **options)


# --- roles ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PROTECTED)
def test_nobody_may_nothing(site: ApiSite, name: str) -> None:
    """Without a token each call is a 401 that says how, from the office and through a proxy on this machine."""
    for client, headers in ((OFFICE, {}), (LOCAL, {"X-Forwarded-For": "127.0.0.1"}), (LOCAL, {"Host": "evil.example"})):
        answer = call(site, PROTECTED[name], client, headers=headers)
        assert_problem(answer, 401)
        assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("name", [name for name in PROTECTED if name != "events"])
@pytest.mark.parametrize("role", Role)
def test_each_role_may_what_is_its_own(site: ApiSite, role: Role, name: str) -> None:
    """A role may what its rights say, and is told 403 for the rest, whatever there is."""
    operation = PROTECTED[name]
    assert operation.right is not None
    if name == "upload" and may(role, Right.UPLOAD):
        return  # with the real daemon
    answer = call(site, operation, headers=bearer(role))
    if may(role, operation.right):
        assert answer.status_code not in (401, 403)
    else:
        assert str(role) in assert_problem(answer, 403)["detail"]


@pytest.mark.parametrize("name", CHANGING)
def test_this_machine_may_read_only(site: ApiSite, name: str) -> None:
    """Without a token nothing is changed, from this machine either; but to sign out is no change of anything."""
    answer = call(site, CHANGING[name], LOCAL)
    if name == "sign_out":
        assert answer.status_code == 204
    else:
        assert_problem(answer, 403)


def test_this_machine_may_be_nobody_special(make: Make) -> None:
    """With local_role none a token is needed on this machine, too."""
    site = make(trust=Trust(None))
    assert_problem(site.near("GET", "/api/v1/jobs"), 401)
    assert site.near("GET", "/api/v1/jobs", headers=bearer(Role.VIEWER)).status_code == 200


@pytest.mark.parametrize("client", [LOCAL, ("127.8.9.1", 1), ("::1", 1)])
@pytest.mark.parametrize("host", [b"localhost", b"LOCALHOST:8000", b"127.0.0.1:8000", b"[::1]:8000"])
def test_this_machine_reads(site: ApiSite, client: tuple[str, int], host: bytes) -> None:
    """Whichever name this machine is asked for by, with a port or without."""
    assert ask(site.app, "GET", "/api/v1/jobs", client, headers=[(b"host", host)]).status_code == 200


@pytest.mark.parametrize("client", [OFFICE, ("10.0.0.1", 1), ("2001:db8::1", 1), ("::ffff:192.0.2.7", 1), ("", 1)])
def test_others_learn_nothing(site: ApiSite, client: tuple[str, int]) -> None:
    """Whoever asks from elsewhere sees nothing, not even whether a job is there."""
    (job,) = site.record()
    known, unknown = (
        assert_problem(ask(site.app, "GET", f"/api/v1/jobs/{each}", client), 401) for each in (job.job_id, "none")
    )
    assert known["detail"] == unknown["detail"]


@pytest.mark.parametrize(
    "header",
    [
        *("Forwarded", "X-Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port"),
        *("X-Real-IP", "Via", "Client-IP", "X-Client-IP", "X-Cluster-Client-IP", "Fastly-Client-IP", "True-Client-IP"),
        *("CF-Connecting-IP", "CF-Connecting-IPv6", "CF-Ray", "CDN-Loop", "X-Original-Forwarded-For"),
        *("X-Azure-ClientIP", "X-Envoy-External-Address", "X-Remote-Addr", "X-AppEngine-User-IP"),
    ],
)
def test_a_proxy_is_not_this_machine(site: ApiSite, header: str) -> None:
    """A request that came through a proxy on this machine is not from this machine, whatever the header says."""
    assert_problem(site.near("GET", "/api/v1/jobs", headers={header: "127.0.0.1"}), 401)


@pytest.mark.parametrize(
    "host",
    [b"evil.example", b"127.0.0.1.evil.example", b"", b"[::2]", b"127.0.0.1%2f", b"localhost.evil_example:80"],
)
def test_another_name_is_not_this_machine(site: ApiSite, host: bytes) -> None:
    """A page may point its own name at this machine; a Host that is another's, or none, sees nothing."""
    assert_problem(ask(site.app, "GET", "/api/v1/jobs", LOCAL, headers=[(b"host", host)]), 401)


@pytest.mark.parametrize(
    "host",
    [
        *(b"evil.example@127.0.0.1", b"evil.example@127.0.0.1:8000", b"127.0.0.1@evil.example", b"user:x@localhost"),
        *(
            b"[",
            b"\xff",
            b"a:b:c",
            b"localhost/x",
            b"localhost#",
            b"localhost?",
            b"local host",
            b"localhost:80x",
            b"a\\b",
        ),
    ],
)
@pytest.mark.parametrize("path", ["/api/v1/jobs", "/health/live", "/health/ready", "/nothing"])
def test_a_host_that_is_none_is_refused(site: ApiSite, host: bytes, path: str) -> None:
    """A Host with a user, a path or other nonsense is a 400, whatever is asked for."""
    problem = assert_problem(ask(site.app, "GET", path, LOCAL, headers=[(b"host", host)]), 400)
    assert "Host" in problem["detail"]


def test_metrics_are_for_who_may_read(site: ApiSite) -> None:
    """Metrics are for this machine and for a viewer's token; no callback's token, and no uploader's, opens them."""
    assert site.near("GET", "/metrics").status_code == 200
    assert site.ask("GET", "/metrics", Role.VIEWER).status_code == 200
    assert_problem(site.ask("GET", "/metrics"), 401)
    assert_problem(site.ask("GET", "/metrics", Role.UPLOADER), 403)


# --- tokens --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        f"Bearer {SECRETS[Role.ADMIN]}x",
        f"Bearer {hash_of(SECRETS[Role.ADMIN])}",
        f"Bearer {TOKEN}",
        "Bearer " + "x" * 9000,
        "Bearer a.b.c",
        "Bearer ü",
    ],
)
def test_a_wrong_token_is_none(site: ApiSite, header: str) -> None:
    """A token that is not exactly one of ours opens nothing, the hash and the callbacks' token least of all."""
    for client in (OFFICE, LOCAL):
        answer = ask(
            site.app,
            "GET",
            "/api/v1/jobs",
            client,
            headers=[(b"authorization", header.encode()), (b"host", b"localhost")],
        )
        assert_problem(answer, 401)


OTHER_SCHEMES = [f"Basic {SECRETS[Role.ADMIN]}", SECRETS[Role.ADMIN], "Negotiate oYIB", "Digest username=x", ""]


@pytest.mark.parametrize("header", OTHER_SCHEMES)
def test_another_scheme_is_none_of_ours(site: ApiSite, header: str) -> None:
    """What a proxy with a password of its own passes on opens nothing, and hinders neither session nor machine."""
    headers = {"Authorization": header}
    with capture_logs() as logs:
        for _ in range(LIMIT_TRIES + 1):
            problem = assert_problem(site.ask("GET", "/api/v1/jobs", headers=headers), 401)
        assert "Show a token" in problem["detail"]
    assert "access.refused" not in [line["event"] for line in logs]
    assert site.near("GET", "/api/v1/jobs", headers=headers).status_code == 200
    signed_in = site.sign_in(Role.OPERATOR, **headers)
    said = site.ask("GET", "/api/v1/session", headers=signed_in | headers).json()
    assert (said["name"], said["role"]) == ("the-operator", "operator")
    both = [(b"authorization", each.encode()) for each in (header, bearer(Role.ADMIN)["Authorization"])]
    assert ask(site.app, "GET", "/api/v1/jobs", OFFICE, headers=both).status_code == 200


def test_two_tokens_are_none(site: ApiSite) -> None:
    """Of two tokens nobody knows which is meant."""
    header = (b"authorization", bearer(Role.ADMIN)["Authorization"].encode())
    assert_problem(ask(site.app, "GET", "/api/v1/jobs", OFFICE, headers=[header, header]), 401)


def test_the_api_opens_no_callback(site: ApiSite) -> None:
    """No role concludes a job: callbacks have a token of their own."""
    (job,) = site.accepted()
    path = f"/api/v1/jobs/{job.job_id}/callback"
    for headers in (bearer(Role.ADMIN), {"X-Callback-Token": SECRETS[Role.ADMIN]}):
        assert_problem(site.ask("POST", path, json={"status": "success"}, headers=headers), 401)
    assert site.job(job) == job


def test_a_thousand_wrong_tokens(make: Make) -> None:
    """Who guesses is slowed, then told to come later, in one log line a minute; a right token is never refused."""
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    site = make(pause=pause)

    async def guess() -> list[int]:
        transport = httpx.ASGITransport(site.app, client=OFFICE)
        async with httpx.AsyncClient(transport=transport, base_url="http://receipts.lan") as near:
            found = []
            for number in range(1000):
                if number % 2:
                    answer = await near.post("/api/v1/session", json={"token": f"guess-{number}"})
                else:
                    answer = await near.get("/api/v1/jobs", headers={"Authorization": f"Bearer guess-{number}"})
                found.append(answer.status_code)
            right = await near.get("/api/v1/jobs", headers=bearer(Role.VIEWER))
            assert right.status_code == 200
            return found

    with capture_logs() as lines:
        statuses = asyncio.run(guess())
    assert statuses == [401] * LIMIT_TRIES + [429] * (1000 - LIMIT_TRIES)
    assert pauses[:FREE_TRIES] == [0.0] * FREE_TRIES
    assert max(pauses) > 1
    assert [line["event"] for line in lines if line["log_level"] == "warning"] == ["access.refused"]
    assert "guess-" not in str(lines)


def test_made_tokens_differ_and_only_their_hash_is_kept() -> None:
    """A token is long, random, and not in what the configuration keeps."""
    made = {new_secret() for _ in range(50)}
    assert len(made) == 50
    assert all(len(secret) > 40 and secret not in hash_of(secret) for secret in made)
    assert ApiTokens([ApiToken("a", Role.ADMIN, hash_of("x"))]).judge(hash_of("x")) is None


def test_token_create_prints_a_line_that_loads(tmp_path: Path) -> None:
    """The line that is printed, put into the configuration, lets the token in with its role."""
    printed = json.loads(cli("token", "create", "Anna B.", "--role", "operator", "--json").stdout)
    text = f"inboxes: [{{path: /x/in}}]\nn8n: {{webhook_url: http://n8n/x}}\nhttp:\n  tokens:\n    {printed['line']}\n"
    path = tmp_path / "watcher.yaml"
    path.write_text(text)
    token = load(path, {"HOME": "/x"}).http.tokens["Anna B."]
    assert (token.role, token.hash) == ("operator", hash_of(printed["token"]))
    shown = cli("token", "create", "bert", "--role", "viewer").stdout
    assert (
        yaml.safe_load(shown.partition("http:")[2].replace("  tokens:", "tokens:"))["tokens"]["bert"]["role"]
        == "viewer"
    )
    assert cli("token", "create", "a: b", "--role", "viewer").exit_code == 2


# --- sessions ------------------------------------------------------------------------------------------------------


def test_a_session_is_a_cookie_that_no_script_reads(site: ApiSite) -> None:
    """Signing in sets a cookie that is http-only and same-site, and secure where the caller came by TLS."""
    answer = site.ask("POST", "/api/v1/session", json={"token": SECRETS[Role.VIEWER]})
    said = answer.headers["set-cookie"].lower()
    assert "httponly" in said
    assert "samesite=lax" in said
    assert "secure" not in said
    assert SECRETS[Role.VIEWER] not in said
    assert (answer.json()["name"], answer.json()["role"]) == ("the-viewer", "viewer")


def test_a_session_may_what_its_token_may(site: ApiSite) -> None:
    """Who is signed in reads, and changes with the form token; the history has the name."""
    (job,) = site.record()
    signed_in = site.sign_in(Role.OPERATOR)
    cookie = {"Cookie": signed_in["Cookie"]}
    assert site.ask("GET", "/api/v1/jobs", headers=cookie).status_code == 200
    path = f"/api/v1/jobs/{job.job_id}/cancel"
    for wrong in (
        {},
        {"X-CSRF-Token": ""},
        {"X-CSRF-Token": "x"},
        {"X-CSRF-Token": site.sign_in(Role.OPERATOR)["X-CSRF-Token"]},
    ):
        assert_problem(site.ask("POST", path, headers=cookie | wrong), 403)
    assert site.job(job) == job
    assert site.ask("POST", path, headers=signed_in).status_code == 202
    assert site.log.histories.lines(job.job_id)[-1]["detail"] == "by the-operator"


def test_a_stolen_session_ends_with_the_sign_out(site: ApiSite, make: Make) -> None:
    """After signing out no copy of the cookie is good, nor after a restart; other sessions go on."""
    stolen, other = site.sign_in(Role.ADMIN), site.sign_in(Role.ADMIN)
    assert site.ask("DELETE", "/api/v1/session", headers=stolen).status_code == 204
    for each in (site, make()):
        assert_problem(each.ask("GET", "/api/v1/jobs", headers=stolen), 401)
        assert each.ask("GET", "/api/v1/jobs", headers=other).status_code == 200


@pytest.mark.parametrize("how", ["time", "taken out", "another secret", "another role"])
def test_a_session_ends_with_its_token(make: Make, clock: FakeClock, how: str) -> None:
    """A session is over after its time, and when its token is taken out, replaced, or given another role."""
    signed_in = make().sign_in(Role.OPERATOR)
    changed = {
        "time": tokens(),
        "taken out": tokens(Role.OPERATOR),
        "another secret": ApiTokens([ApiToken("the-operator", Role.OPERATOR, hash_of("new"))]),
        "another role": ApiTokens([ApiToken("the-operator", Role.VIEWER, hash_of(SECRETS[Role.OPERATOR]))]),
    }[how]
    if how == "time":
        clock.advance(3600)
    assert_problem(make(known=changed).ask("GET", "/api/v1/jobs", headers=signed_in), 401)


def test_no_cookie_can_be_made(site: ApiSite) -> None:
    """A cookie with anything changed in it, or made with another secret, is none; nothing breaks."""
    cookie = site.sign_in(Role.VIEWER)["Cookie"].partition("=")[2]
    content, _, signature = cookie.partition(".")
    tries = ["", ".", content, f"{content}.", f".{signature}", f"{content}.{content}", cookie + "x", "x" + cookie]
    tries += [
        cookie[:at] + ("A" if cookie[at] != "A" else "B") + cookie[at + 1 :] for at in range(0, len(cookie) - 1, 7)
    ]
    tries += ["ü" * 9, "x" * 5000]
    for each in tries:
        headers = [(b"cookie", f"{COOKIE}={each}".encode())]
        assert_problem(ask(site.app, "GET", "/api/v1/jobs", OFFICE, headers=headers), 401)


# --- other sites ---------------------------------------------------------------------------------------------------

FOREIGN: list[dict[str, str]] = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://localhost.evil.example"},
    {"Origin": "http://["},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Origin": "http://localhost"},
]


@pytest.mark.parametrize("headers", FOREIGN)
def test_another_sites_page_changes_nothing(make: Make, headers: dict[str, str]) -> None:
    """What a browser sends from another site's page is refused, signed in or on this machine, even with all tokens."""
    site = make(trust=Trust(Role.ADMIN))
    (job,) = site.record()
    path = f"/api/v1/jobs/{job.job_id}/cancel"
    assert_problem(site.near("POST", path, headers=headers), 403)
    assert_problem(site.near("POST", path, headers=site.sign_in(Role.ADMIN) | headers), 403)
    assert_problem(site.near("POST", "/api/v1/session", json={"token": SECRETS[Role.ADMIN]}, headers=headers), 403)
    assert site.job(job) == job
    assert (
        site.near("POST", path, headers={"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}).status_code
        == 202
    )


def test_a_link_from_elsewhere_may_be_followed(site: ApiSite) -> None:
    """A click on another site's link shows the page; a script there cannot have it fetched."""
    click = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert site.near("GET", "/api/v1/jobs", headers=click).status_code == 200
    assert_problem(
        site.near("GET", "/api/v1/jobs", headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}), 403
    )


def test_no_other_site_may_read_unless_it_is_named(make: Make) -> None:
    """There is no CORS header, but for the origins that are configured, and then for tokens only, never for cookies."""
    plain = make()
    headers = {"Origin": "https://desk.lan", **bearer(Role.VIEWER)}
    assert "access-control-allow-origin" not in plain.ask("GET", "/api/v1/jobs", headers=headers).headers
    opened = make(origins=["https://desk.lan"])
    said = opened.ask("GET", "/api/v1/jobs", headers=headers).headers
    assert said["access-control-allow-origin"] == "https://desk.lan"
    assert "access-control-allow-credentials" not in said
    other = opened.ask("GET", "/api/v1/jobs", headers=headers | {"Origin": "https://evil.example"}).headers
    assert "access-control-allow-origin" not in other
    preflight = {"Origin": "https://desk.lan", "Access-Control-Request-Method": "POST"}
    assert opened.ask("OPTIONS", "/api/v1/jobs/retry", headers=preflight).status_code == 200


# --- the form ------------------------------------------------------------------------------------------------------


def test_the_form_signs_in_and_out(site: ApiSite) -> None:
    """Who sends the form is signed in and goes on to a page of ours; to sign out takes the form token."""
    answer = site.ask("POST", "/sign-in", data={"token": SECRETS[Role.VIEWER], "next": "/receipts?q=a"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/receipts?q=a")
    cookie = {"Cookie": answer.headers["set-cookie"].partition(";")[0]}
    csrf = site.ask("GET", "/api/v1/session", headers=cookie).json()["csrf"]
    for wrong in ({}, {"csrf": "x"}):
        assert_problem(site.ask("POST", "/sign-out", data=wrong, headers=cookie), 403)
    assert site.ask("GET", "/api/v1/jobs", headers=cookie).status_code == 200
    assert site.ask("POST", "/sign-out", data={"csrf": csrf}, headers=cookie).status_code == 303
    assert_problem(site.ask("GET", "/api/v1/jobs", headers=cookie), 401)


def test_a_wrong_token_is_said_on_the_form(site: ApiSite) -> None:
    """The form comes back with what is wrong, and shows nothing of what was typed."""
    answer = site.ask("POST", "/sign-in", data={"token": "<b>wrong", "next": '"><script>'})
    assert answer.status_code == 401
    assert "none that is known" in answer.text
    assert "wrong<" not in answer.text
    assert "<script>" not in answer.text
    assert "set-cookie" not in answer.headers


def test_a_form_of_too_many_fields_is_refused(site: ApiSite) -> None:
    """Our forms have few fields; one that has more is answered with why, and costs no memory."""
    fields = {f"field{number}": "x" for number in range(21)}
    assert_problem(site.ask("POST", "/sign-in", data=fields), 422)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "//evil.example",
        "/\\evil.example",
        "https://evil.example",
        "javascript:x",
        "/\t/evil",
        "/a\r\nb",
        "\\/x",
        "/a\\b",
    ],
)
def test_nobody_is_sent_elsewhere(text: str) -> None:
    """Whatever the address says, who signed in goes on to a page of ours."""
    assert own_path(text) == "/"
    assert own_path("/a?b=c#d") == "/a?b=c#d"


# --- proxies -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("10.0.0.1", "192.0.2.7", "192.0.2.7"),
        ("10.0.0.1", "192.0.2.9, 192.0.2.7", "192.0.2.7"),
        ("10.0.0.1", "192.0.2.7, 10.0.0.2", "192.0.2.7"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("192.0.2.1", "127.0.0.1", "192.0.2.1"),
    ],
)
def test_only_a_trusted_proxy_says_who_asks(make: Make, peer: str, forwarded: str, address: str) -> None:
    """Wrong tokens are counted for the address that a trusted proxy names; nobody else can name one."""
    site = make(trust=Trust(Role.VIEWER, ["10.0.0.0/24"]))
    headers = {"Authorization": "Bearer x", **({"X-Forwarded-For": forwarded} if forwarded else {})}
    with capture_logs() as lines:
        assert_problem(ask(site.app, "GET", "/api/v1/jobs", (peer, 1), headers=headers), 401)
    assert [line["client"] for line in lines if line["event"] == "access.refused"] == [address]


@pytest.mark.parametrize("peer", ["127.0.0.1", "::ffff:127.0.0.1", "::1"])
def test_a_trusted_proxy_is_not_this_machine(make: Make, peer: str) -> None:
    """What a trusted proxy on this machine brings may be anybody's, though no header says so and the Host is ours."""
    site = make(trust=Trust(Role.VIEWER, ["127.0.0.1", "::1"]))
    assert_problem(ask(site.app, "GET", "/api/v1/jobs", (peer, 1), headers={"Host": "127.0.0.1:8000"}), 401)
    elsewhere = make(trust=Trust(Role.VIEWER, ["10.0.0.1"]))
    assert ask(elsewhere.app, "GET", "/api/v1/jobs", (peer, 1), headers={"Host": "127.0.0.1"}).status_code == 200


def test_a_trusted_proxys_tls_makes_the_cookie_secure(make: Make) -> None:
    """Behind a proxy that does TLS the cookie is secure; who is no proxy cannot say so."""
    site = make(trust=Trust(None, ["10.0.0.1"]))
    for peer, is_secure in (("10.0.0.1", True), ("192.0.2.1", False)):
        headers = {"X-Forwarded-Proto": "https"}
        answer = ask(
            site.app, "POST", "/api/v1/session", (peer, 1), json={"token": SECRETS[Role.ADMIN]}, headers=headers
        )
        assert ("secure" in answer.headers["set-cookie"].lower()) is is_secure


# --- the identity provider -----------------------------------------------------------------------------------------


class Provider:
    """An identity provider with one key."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.reads = 0
        self.is_away = False

    def keys(self) -> str:
        """Return its key set."""
        self.reads += 1
        if self.is_away:
            raise ReceiptWatcherError("it is away")
        public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(self.key.public_key()))
        return json.dumps({"keys": [public | {"kid": "one"}, {"kty": "unknown"}]})

    def token(self, key_id: str = "one", **changes: object) -> dict[str, str]:
        """Return the header with a token."""
        claims = {
            "iss": "https://id.lan",
            "aud": "receipts",
            "sub": "anna",
            "exp": 4e9,
            "roles": ["accounting"],
            **changes,
        }
        claims = {name: said for name, said in claims.items() if said is not None}
        return {"Authorization": "Bearer " + jwt.encode(claims, self.key, "ES256", headers={"kid": key_id})}


def rsa_set(bits: int, **described: object) -> tuple[rsa.RSAPrivateKey, str]:
    """Return a key, and the set of a provider that has only this one, described so."""
    key = rsa.generate_private_key(65537, bits)
    public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key()))
    return key, json.dumps({"keys": [public | {"kid": "one"} | described]})


@pytest.mark.parametrize(
    ("bits", "described", "is_welcome"),
    [
        (2048, {}, True),
        (2048, {"use": "sig", "alg": "RS256", "key_ops": ["verify"]}, True),
        (2048, {"use": "enc"}, False),
        (2048, {"key_ops": ["encrypt", "wrapKey"]}, False),
        (2048, {"alg": "RS512"}, False),
        (2048, {"alg": "PS256"}, False),
        (2048, {"alg": "RSA-OAEP"}, False),
        (1024, {}, False),
    ],
)
def test_a_key_proves_only_what_it_is_for(
    make: Make, clock: FakeClock, bits: int, described: dict[str, object], is_welcome: bool
) -> None:
    """A key for encryption, a short one, or one for another algorithm lets nobody in; the log says which key."""
    key, keys = rsa_set(bits, **described)
    claims = {"iss": "https://id.lan", "aud": "receipts", "sub": "anna", "exp": 4e9, "roles": ["viewer"]}
    settings = JwtSettings("https://id.lan", "receipts", "roles", {"viewer": Role.VIEWER}, lambda: keys)
    with warnings.catch_warnings(action="ignore"):  # PyJWT warns of short keys, too
        token = jwt.encode(claims, key, "RS256", headers={"kid": "one"})
        with capture_logs() as lines:
            answer = make(jwts=Jwts(settings, clock)).ask(
                "GET", "/api/v1/jobs", headers={"Authorization": f"Bearer {token}"}
            )
    assert answer.status_code == (200 if is_welcome else 401)
    is_told = any(line["event"] == "access.keys_unread" and "'one'" in line["why"] for line in lines)
    assert is_told is (not is_welcome and "alg" not in described)


@pytest.fixture
def provider() -> Provider:
    """An identity provider."""
    return Provider()


@pytest.fixture
def office(make: Make, clock: FakeClock, provider: Provider) -> ApiSite:
    """The application of an office with an identity provider."""
    words = {"accounting": Role.VIEWER, "boss": Role.ADMIN}
    read = JwtSettings("https://id.lan", "receipts", "roles", words, provider.keys)
    return make(jwts=Jwts(read, clock))


def test_a_providers_token_lets_in_with_its_role(office: ApiSite, provider: Provider) -> None:
    """The claim says the role, the strongest of several; the name is the provider's."""
    assert office.ask("GET", "/api/v1/session", headers=provider.token()).json()["role"] == "viewer"
    headers = provider.token(roles=["accounting", "boss", "x"], preferred_username="Anna")
    said = office.ask("GET", "/api/v1/session", headers=headers).json()
    assert (said["name"], said["role"], said["csrf"]) == ("jwt:Anna (anna)", "admin", None)
    assert provider.reads == 1


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        ({}, "jwt:anna"),
        ({"preferred_username": "anna"}, "jwt:anna"),
        ({"preferred_username": "the-operator"}, "jwt:the-operator (anna)"),
        ({"preferred_username": "this machine", "email": "a@b.lan"}, "jwt:this machine (anna)"),
        ({"preferred_username": "", "email": "a@b.lan"}, "jwt:a@b.lan (anna)"),
        ({"preferred_username": ["boss"], "email": 7}, "jwt:anna"),
        ({"preferred_username": "boss\r\n\x00by \u202eboss\ud800"}, "jwt:boss by boss (anna)"),
        ({"preferred_username": "x" * 2000, "sub": "y" * 2000}, f"jwt:{'x' * 80} ({'y' * 80})"),
        ({"preferred_username": "\u200b\n", "sub": "\n"}, "jwt:nobody"),
    ],
)
def test_a_job_tells_whose_provider_token_changed_it(
    office: ApiSite, provider: Provider, claims: dict[str, object], name: str
) -> None:
    """The history has a name that is no token's of ours, on one line and bounded, with the provider's own for him."""
    (job,) = office.record()
    headers = provider.token("one", roles=["boss"], **claims)
    assert office.ask("POST", f"/api/v1/jobs/{job.job_id}/cancel", headers=headers).status_code == 202
    assert office.log.histories.lines(job.job_id)[-1]["detail"] == f"by {name}"
    assert not is_token_name(name)


@pytest.mark.parametrize("name", ["this machine", "This Machine", "", "jwt:anna", "x" * 41, "a\nb"])
def test_no_token_is_named_like_somebody_else(name: str) -> None:
    """A job's history never tells a token for who came from this machine or by another issuer's token."""
    assert not is_token_name(name)


@given(st.text(), st.text())
def test_no_claim_becomes_a_tokens_name(called: str, subject: str) -> None:
    """Whatever a provider calls somebody, it is one line that no token of ours can be named as."""
    name = jwts._name_in({"preferred_username": called, "sub": subject})
    assert not is_token_name(name)
    assert name.isprintable()
    assert len(name) <= 170


WRONG_CLAIMS: list[dict[str, object]] = [
    {"iss": "https://evil.example"},
    {"aud": "others"},
    {"exp": 1_000_000_000},
    {"exp": None},
    {"sub": None},
    {"nbf": 4e9},
    {"roles": ["unknown"]},
    {"roles": None},
    {"roles": {"boss": True}},
]


@pytest.mark.parametrize("claims", WRONG_CLAIMS)
def test_a_providers_token_must_be_for_us(office: ApiSite, provider: Provider, claims: dict[str, object]) -> None:
    """Another issuer, another audience, another time, or no role of ours: no entry."""
    assert_problem(office.ask("GET", "/api/v1/jobs", headers=provider.token("one", **claims)), 401)


def test_no_other_signature_is_believed(office: ApiSite, provider: Provider) -> None:
    """Neither none, nor a shared secret made of the public key, nor another key under the known name."""
    claims = {"iss": "https://id.lan", "aud": "receipts", "sub": "anna", "exp": 4e9, "roles": ["boss"]}
    forged = [
        jwt.encode(claims, "", "none", headers={"kid": "one"}),
        jwt.encode(claims, "x" * 32, "HS256", headers={"kid": "one"}),
        jwt.encode(claims, ec.generate_private_key(ec.SECP256R1()), "ES256", headers={"kid": "one"}),
        jwt.encode(claims, provider.key, "ES256"),
    ]
    for text in forged:
        assert_problem(office.ask("GET", "/api/v1/jobs", headers={"Authorization": f"Bearer {text}"}), 401)


def test_keys_are_read_anew_but_not_for_everybody(office: ApiSite, provider: Provider, clock: FakeClock) -> None:
    """A key that is unknown is looked for, at most once in five minutes; a provider that is away locks nobody out."""
    for _ in range(5):
        assert_problem(office.ask("GET", "/api/v1/jobs", headers=provider.token(key_id="two")), 401)
    assert provider.reads == 1
    clock.advance(301)
    provider.is_away = True
    assert_problem(office.ask("GET", "/api/v1/jobs", headers=provider.token(key_id="two")), 401)
    assert provider.reads == 2
    assert office.ask("GET", "/api/v1/jobs", headers=provider.token()).status_code == 200


def test_a_key_that_was_taken_back_is_believed_for_an_hour(
    office: ApiSite, provider: Provider, clock: FakeClock
) -> None:
    """A provider that takes a key back need not wait for an unknown one; one that is away still locks nobody out."""
    stolen = provider.token()
    assert office.ask("GET", "/api/v1/jobs", headers=stolen).status_code == 200
    clock.advance(3600)
    provider.is_away = True
    assert office.ask("GET", "/api/v1/jobs", headers=stolen).status_code == 200
    provider.is_away, provider.key = False, ec.generate_private_key(ec.SECP256R1())
    clock.advance(301)
    assert_problem(office.ask("GET", "/api/v1/jobs", headers=stolen), 401)
    assert office.ask("GET", "/api/v1/jobs", headers=provider.token()).status_code == 200
    assert provider.reads == 3


def test_a_stream_ends_with_the_right_to_it(
    office: ApiSite, provider: Provider, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who listens with a provider's token hears no more once that is not believed any more."""
    monkeypatch.setattr(events, "_SIGN_OF_LIFE_SECONDS", 0.0)

    def take_back(heard: bytes) -> bool:
        if b"still here" in heard and provider.reads == 1:
            provider.key = ec.generate_private_key(ec.SECP256R1())
            clock.advance(3600)
        return False

    assert b"still here" in office.hear("/api/v1/events", take_back, **provider.token())
    assert provider.reads == 2
