"""A token lets in its bearer only, and only its hash is kept."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import httpx
import pytest
import yaml
from click.testing import CliRunner, Result
from structlog.testing import capture_logs

from receipt_watcher.cli.main import commands
from receipt_watcher.config.roles import Role
from receipt_watcher.config.secrets import hash_of, is_token_name, new_secret
from receipt_watcher.config.sources.load import load
from receipt_watcher.web.access.api_tokens import ApiToken, ApiTokens
from receipt_watcher.web.access.wrong_tokens import FREE_TRIES, LIMIT_TRIES
from tests.conftest import TOKEN
from tests.fakes.api_client import SECRETS, ApiSite, bearer
from tests.unit.web.access.conftest import Make
from tests.unit.web.callback_site import LOCAL, OFFICE, ask, assert_problem


def cli(*arguments: str) -> Result:
    """Run a command."""
    return CliRunner().invoke(commands, arguments)


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


# --- the identity provider -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["this machine", "This Machine", "", "jwt:anna", "x" * 41, "a\nb"])
def test_no_token_is_named_like_somebody_else(name: str) -> None:
    """A job's history never tells a token for who came from this machine or by another issuer's token."""
    assert not is_token_name(name)
