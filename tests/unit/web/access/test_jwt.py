"""A token of the identity provider lets in with its role, if it is meant for us and properly signed."""

from __future__ import annotations

import json
import warnings

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from receipt_watcher.config.roles import Role
from receipt_watcher.config.secrets import is_token_name
from receipt_watcher.errors import ReceiptWatcherError
from receipt_watcher.web.access import jwt as jwts
from receipt_watcher.web.access.jwt import Jwts, JwtSettings
from receipt_watcher.web.api import events
from tests.conftest import FakeClock
from tests.fakes.api_client import ApiSite
from tests.unit.web.access.conftest import Make
from tests.unit.web.callback_site import assert_problem


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
