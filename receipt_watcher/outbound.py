"""The one HTTP client: timeouts, tries, and whether a request that got no answer can have been read.

What it promises: every POST ends in an `Answer`, in `NotSentError` (the far side cannot have the whole request: it
may be sent again at once) or in `AnswerLostError` (it may have it: wait for the callback first). Only the former is
tried again here, on a new connection, and not counted as an attempt. Redirects are never followed.

The delivery workers share it; httpx's client is made for that. It keeps no state on disk.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx
from tenacity import (
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_after_attempt,
    stop_when_event_set,
    wait_random_exponential,
)

from receipt_watcher.errors import AnswerLostError, ConfigError, NotSentError, Problem

#: Tries of one attempt while the connection fails. By taste: a restart of a proxy is bridged, an outage is not.
TRIES = 3
_TRY_PAUSE_SECONDS = 0.2
_TRY_PAUSE_MAX_SECONDS = 1.0
_CONNECT_TIMEOUT_SECONDS = 10.0

#: n8n closes an idle connection after 5 s (measured), other servers later. A POST on a connection that is being
#: closed looks like a lost answer; so none is reused after a shorter while, and nothing has to be guessed.
_KEEPALIVE_SECONDS = 2.0

#: What is read of an answer: as much as a callback may have, since it may be the verdict.
_ANSWER_MAX_BYTES = 1024 * 1024

#: What httpx tells of making a connection, in an admin's words.
_LEGS = {"connect_tcp": "connection", "start_tls": "TLS"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. Header names are lower-case."""

    status: int
    headers: Mapping[str, str]
    text: str
    elapsed_seconds: float


class Outbound:
    """One keep-alive client for all destinations."""

    def __init__(
        self,
        *,
        timeout_seconds: float,
        connections: int,
        verify_tls: bool = True,
        ca_file: str = "",
        stopping: threading.Event | None = None,
    ) -> None:
        stopping = stopping or threading.Event()
        self._timeout_seconds = timeout_seconds
        self._client = httpx.Client(
            timeout=httpx.Timeout(timeout_seconds, connect=min(_CONNECT_TIMEOUT_SECONDS, timeout_seconds), pool=None),
            limits=httpx.Limits(
                max_connections=None, max_keepalive_connections=connections, keepalive_expiry=_KEEPALIVE_SECONDS
            ),
            verify=_tls_context(verify_tls=verify_tls, ca_file=ca_file),
            follow_redirects=False,
        )
        self._tries = Retrying(
            stop=stop_after_attempt(TRIES) | stop_when_event_set(stopping),
            sleep=sleep_using_event(stopping),
            wait=wait_random_exponential(multiplier=_TRY_PAUSE_SECONDS, max=_TRY_PAUSE_MAX_SECONDS),
            retry=retry_if_exception_type(NotSentError),
            reraise=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def post(
        self, url: str, headers: Mapping[str, str], body: Callable[[], Iterator[bytes]], length_bytes: int
    ) -> Answer:
        """Send a body, made anew for each try, and return the answer.

        Raises:
            NotSentError: the far side cannot have read the whole request.
            AnswerLostError: it may have, and its answer did not arrive.
            Exception: whatever `body` raises; then the request stays without its end.
        """
        return self._tries.copy()(self._post_once, url, headers, body, length_bytes)

    def _post_once(
        self, url: str, headers: Mapping[str, str], body: Callable[[], Iterator[bytes]], length_bytes: int
    ) -> Answer:
        sent_whole = is_ours = False

        def trace(event: str, details: Mapping[str, Any]) -> None:
            nonlocal sent_whole, is_ours
            if event.endswith("send_request_body.started"):
                is_ours = details["request"].method == b"POST"  # a proxy is sent a CONNECT before
            sent_whole = sent_whole or (is_ours and event.endswith("send_request_body.complete"))

        started = time.monotonic()
        try:
            with self._client.stream(
                "POST",
                url,
                headers={**headers, "Content-Length": str(length_bytes), "Accept-Encoding": "identity"},
                content=body(),
                extensions={"trace": trace},
            ) as response:
                text = self._read(response)
                if response.is_success and not sent_whole:
                    raise NotSentError("it was accepted before it was sent whole")
                return Answer(response.status_code, _lower(response.headers), text, time.monotonic() - started)
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:  # the last: a host name too long
            if sent_whole:
                raise AnswerLostError(_explain(error)) from error
            raise NotSentError(_explain(error)) from error

    def _read(self, response: httpx.Response) -> str:
        """Read an answer within its bounds; a far side that drips bytes for ever is cut off."""
        started = time.monotonic()
        content = bytearray()
        for piece in response.iter_bytes():
            content += piece
            if len(content) >= _ANSWER_MAX_BYTES:
                break
            if time.monotonic() - started > 2 * self._timeout_seconds:
                raise httpx.ReadTimeout("the answer did not end", request=response.request)
        try:
            return content[:_ANSWER_MAX_BYTES].decode(response.encoding or "utf-8", "replace")
        except (LookupError, UnicodeError):  # it names a codec that makes no text of bytes, such as hex
            return content[:_ANSWER_MAX_BYTES].decode("utf-8", "replace")

    def get(self, url: str, headers: Mapping[str, str] | None = None, legs: dict[str, float] | None = None) -> Answer:
        """Fetch a page; for `check`. `legs` is filled with how many seconds connecting and TLS took.

        Raises:
            NotSentError: there is no connection, or no answer.
        """
        began: dict[str, float] = {}

        def trace(event: str, _details: Mapping[str, Any]) -> None:
            for part, name in _LEGS.items():
                if event == f"connection.{part}.started":
                    began[name] = time.monotonic()
                elif event == f"connection.{part}.complete" and legs is not None:
                    legs[name] = time.monotonic() - began[name]

        started = time.monotonic()
        try:
            response = self._client.get(url, headers=dict(headers or {}), extensions={"trace": trace})
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:  # the last: a host name too long
            raise NotSentError(_explain(error)) from error
        return Answer(response.status_code, _lower(response.headers), response.text, time.monotonic() - started)


def _lower(headers: httpx.Headers) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _tls_context(*, verify_tls: bool, ca_file: str) -> ssl.SSLContext | bool:
    """Make the TLS context once: it costs 16 ms.

    Raises:
        ConfigError: the CA file cannot be used.
    """
    if not verify_tls:
        return False
    if not ca_file:
        return True
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        problem = Problem(
            "configuration", "n8n.ca_file", f"{ca_file} cannot be used ({error})", "a PEM file that exists"
        )
        raise ConfigError([problem]) from error


def _explain(error: Exception) -> str:
    """Say in words what httpx says in class names."""
    text = str(error)
    if isinstance(error, httpx.ConnectError) and ("CERTIFICATE" in text or "SSL" in text):
        return f"TLS failed: {text}; for a private authority set n8n.ca_file"
    for kind, words in _IN_WORDS.items():
        if isinstance(error, kind):
            return words.format(text)
    return f"the connection broke: {text or type(error).__name__}"


_IN_WORDS: dict[type[Exception], str] = {
    httpx.ConnectTimeout: "no connection within the time limit",
    httpx.ReadTimeout: "no answer within n8n.timeout_seconds",
    httpx.WriteTimeout: "the receipt could not be sent within n8n.timeout_seconds",
    httpx.ConnectError: "no connection: {}",
    httpx.UnsupportedProtocol: "the webhook URL cannot be used: {}",
    httpx.InvalidURL: "the webhook URL cannot be used: {}",
}
