"""Sessions of people who signed in with a token: a signed cookie, so that a restart signs nobody out.

What it promises: a session is good until its time is over, it is signed out, or its token is taken out of the
configuration, replaced or given another role; a copy of it that was stolen ends with it. Who has one can make no other,
and its form token (CSRF) can be made by us alone. Signatures are compared in constant time.

Called in uvicorn's thread, but for `end`, which writes to the job log and is called in a worker thread. What was signed
out is kept there until it would have ended anyway.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass

from receipt_watcher.config.roles import Role
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.web.access.api_tokens import ApiToken, ApiTokens
from receipt_watcher.web.access.signatures import are_equal, base64url, bytes_of, key_for, sign

#: Make each key another secret than the others.
_FOR_COOKIES = b"receipt-watcher: session"
_FOR_FORMS = b"receipt-watcher: form"

_MOST_CHARACTERS = 1024


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who is signed in; `ends_at` is in Unix seconds."""

    id: str
    name: str
    role: Role
    ends_at: int


class Sessions:
    """Makes, judges and ends sessions; each lasts for so many seconds."""

    def __init__(
        self, secret: str, tokens: ApiTokens, log: JobLog, *, seconds: float, clock: Callable[[], float]
    ) -> None:
        self._cookie_key = key_for(secret, _FOR_COOKIES)
        self._form_key = key_for(secret, _FOR_FORMS)
        self._tokens = tokens
        self._log = log
        self._clock = clock
        self.seconds = seconds
        self._lock = threading.Lock()
        self._ended: dict[str, int] = log.facts.sessions_ended.get() or {}

    def begin(self, token: ApiToken) -> str:
        """Return the cookie of a new session."""
        session = [secrets.token_hex(16), token.name, _fingerprint(token), int(self._clock() + self.seconds)]
        content = base64url(json.dumps(session).encode())
        return f"{content}.{sign(self._cookie_key, content)}"

    def judge(self, cookie: str) -> Session | None:
        """Return the session of a cookie; None where it is none of ours, or is over."""
        content, _, signature = cookie[:_MOST_CHARACTERS].partition(".")
        if not are_equal(sign(self._cookie_key, content), signature):
            return None
        session_id, name, fingerprint, ends_at = json.loads(bytes_of(content))
        token = self._tokens.named(name)
        is_good = token is not None and are_equal(_fingerprint(token), fingerprint)
        if token is None or not is_good or self._clock() >= ends_at or session_id in self._ended:
            return None
        return Session(session_id, name, token.role, ends_at)

    def end(self, session: Session) -> None:
        """Sign out: no copy of the cookie is good any more.

        Raises:
            JobLogError: it could not be written down; until the next restart it is over all the same.
        """
        now = self._clock()
        with self._lock:
            self._ended = {each: at for each, at in self._ended.items() if at > now} | {session.id: session.ends_at}
            self._log.facts.sessions_ended.put(self._ended)

    def form_token(self, session: Session) -> str:
        """Return what each form and each call of a session must bear, which no other site can know."""
        return sign(self._form_key, session.id)

    def is_form_token(self, session: Session, given: str) -> bool:
        """Return whether a form token is this session's."""
        return are_equal(self.form_token(session), given)


def _fingerprint(token: ApiToken) -> str:
    """Return what changes with a token's secret and with its role."""
    return hashlib.sha256(f"{token.hash} {token.role}".encode()).hexdigest()[:16]
