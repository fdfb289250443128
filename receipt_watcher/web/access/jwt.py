"""Tokens of the office's identity provider: JSON Web Tokens (RFC 7519), signed with one of its public keys.

What it promises: only asymmetric signatures are believed, of a key in the provider's set (JWKS, RFC 7517), for our
audience, by our issuer, within its time. The role is what the claim says, by the mapping that the admin gave; no role,
no entry. Who it is begins with `jwt:`, as no name of a token of ours can, and has the subject: the one claim that a
provider gives to nobody else. The set is read from a file, or fetched, at most once in five minutes however many
unknown keys are named, and once an hour for the known ones: a key that the provider took back is believed for no
longer, unless it cannot be asked.

Any thread may ask, and may wait for the provider. Needs the extra `jwt` (PyJWT). Nothing is kept on disk.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from receipt_watcher.config.roles import Role
from receipt_watcher.errors import ConfigError, Problem, ReceiptWatcherError

logger = structlog.get_logger()

_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
_LEAST_RSA_BITS = 2048  # RFC 7518, 3.3
_UNFIT = "it is ignored; have the identity provider make another one"
_LEEWAY_SECONDS = 60
_FRESH_SECONDS = 300.0
_BELIEVED_SECONDS = 3600.0
_PREFIX = "jwt:"  # see roles.is_token_name
_MOST_CHARACTERS = 80


@dataclass(frozen=True, slots=True)
class JwtSettings:
    """The trusted issuer and its claims; `read_keys` returns the key set's text; its errors are no fault of callers."""

    issuer: str
    audience: str
    role_claim: str
    roles: Mapping[str, Role]
    read_keys: Callable[[], str]


class Jwts:
    """Judges tokens of one provider."""

    def __init__(self, settings: JwtSettings, monotonic: Callable[[], float]) -> None:
        """Make ready.

        Raises:
            ConfigError: PyJWT is not installed.
        """
        try:
            import jwt  # noqa: PLC0415 - an extra
        except ImportError as error:
            right = "pip install 'receipt-watcher[jwt]'"
            raise ConfigError([Problem("configuration", "http.jwt", "needs PyJWT, which is missing", right)]) from error
        self._jwt: Any = jwt
        self._settings = settings
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._keys: dict[str, tuple[Any, str | None]] = {}
        self._asked_at: float | None = None
        self._read_at = 0.0  # of the keys that are known

    def judge(self, text: str) -> tuple[str, Role] | None:
        """Return whose token it is, and the role; None where it is not to be believed, or gives no role."""
        try:
            header = self._jwt.get_unverified_header(text)
            key_and_algorithm = self._key_for(header.get("kid") or "")
            if key_and_algorithm is None:
                return None
            key, algorithm = key_and_algorithm
            if algorithm not in (None, header.get("alg")):
                raise ValueError(f"the token's alg is {header.get('alg')!r}, and its key is for {algorithm}")
            claims = self._jwt.decode(
                text,
                key=key,
                algorithms=_ALGORITHMS,
                audience=self._settings.audience,
                issuer=self._settings.issuer,
                leeway=_LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except (self._jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
            logger.debug("access.token_refused", why=str(error)[:200])
            return None
        role = self._role_in(claims)
        return None if role is None else (_name_in(claims), role)

    def _role_in(self, claims: Mapping[str, Any]) -> Role | None:
        """Return the strongest role that the claim gives; a dot in its name goes into a group."""
        claimed: Any = claims
        for part in self._settings.role_claim.split("."):
            claimed = claimed.get(part) if isinstance(claimed, dict) else None
        words = [claimed] if isinstance(claimed, str) else claimed if isinstance(claimed, list) else []
        roles = {self._settings.roles[word] for word in words if isinstance(word, str) and word in self._settings.roles}
        return max(roles, key=list(Role).index, default=None)

    def _key_for(self, key_id: str) -> tuple[Any, str | None] | None:
        """Return a key of the set, and the algorithm that it is for if it says one.

        A provider changes its keys, so the set is read again now and then. PyJWT's own client would ask the provider
        for each unknown key that anybody names, and reads no file.
        """
        with self._lock:
            now = self._monotonic()
            may_ask = self._asked_at is None or now - self._asked_at >= _FRESH_SECONDS
            if may_ask and (key_id not in self._keys or now - self._read_at >= _BELIEVED_SECONDS):
                self._asked_at = now
                try:
                    self._keys, self._read_at = self._read(), now
                except (ReceiptWatcherError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                    logger.warning("access.keys_unread", why=str(error)[:200], advice="look at http.jwt")
            return self._keys.get(key_id)

    def _read(self) -> dict[str, tuple[Any, str | None]]:
        keys = {}
        for each in json.loads(self._settings.read_keys())["keys"]:
            try:
                key = self._jwt.PyJWK.from_dict(each).key
            except self._jwt.PyJWTError:
                continue  # of a kind that is not known here
            why = _why_unfit(each, key)
            if why is not None:
                logger.warning("access.keys_unread", why=f"the key {str(each.get('kid'))[:80]!r} {why}", advice=_UNFIT)
                continue
            keys[each.get("kid") or ""] = key, each.get("alg")
        return keys


def _why_unfit(described: Mapping[str, Any], key: Any) -> str | None:
    """Return why a key of the set must not prove who somebody is; None if it may (RFC 7517, 4; RFC 7518, 3)."""
    operations = described.get("key_ops")
    if described.get("use", "sig") != "sig" or (operations is not None and "verify" not in operations):
        return "is not for signatures"
    if described.get("kty") == "oct":
        return "is a shared secret"
    if described.get("kty") == "RSA" and key.key_size < _LEAST_RSA_BITS:
        return f"has {key.key_size} bits; RSA needs {_LEAST_RSA_BITS}"
    return None


def _name_in(claims: Mapping[str, Any]) -> str:
    """Return the bearer's name for the history of a job: what people use, and the provider's if that differs."""
    subject = _cleaned(claims["sub"]) or "nobody"
    called = _cleaned(claims.get("preferred_username")) or _cleaned(claims.get("email"))
    return f"{_PREFIX}{called} ({subject})" if called not in ("", subject) else _PREFIX + subject


def _cleaned(text: object) -> str:
    """Return a name on one line, without what is invisible, and bounded; "" where it is none."""
    if not isinstance(text, str):
        return ""
    shown = "".join(character if character.isprintable() else " " for character in text[:_MOST_CHARACTERS])
    return " ".join(shown.split())
