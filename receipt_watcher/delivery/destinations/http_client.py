"""The one HTTP client: timeouts, tries, and whether a request that got no answer can have been read.

What it promises: every POST ends in an `Answer`, in `NotSentError` (the far side cannot have the whole request: it
may be sent again at once) or in `AnswerLostError` (it may have it: wait for the callback first). Only the former is
tried again here, on a new connection, and not counted as an attempt. Redirects are never followed.

Whatever the environment holds (proxies, certificates), a client is made, or a ConfigError names what is wrong: httpx's
own look at the environment is off, since it crashes at some entries of NO_PROXY and knows no networks there.

The delivery workers share it; httpx's client is made for that. It keeps no state on disk.
"""

from __future__ import annotations

import errno
import os
import ssl
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

import httpx
from tenacity import (
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_after_attempt,
    stop_when_event_set,
    wait_random_exponential,
)

from receipt_watcher.config.proxies import ENVIRONMENT, OPTION, Proxies, ProxyChoice, mistake_in
from receipt_watcher.config.secrets import masked
from receipt_watcher.errors import AnswerLostError, ConfigError, CutAnswerError, NotSentError, Problem

#: Tries of one attempt while the connection fails. By taste: a restart of a proxy is bridged, an outage is not.
TRIES = 3
_TRY_PAUSE_SECONDS = 0.2
_TRY_PAUSE_MAX_SECONDS = 1.0
_CONNECT_TIMEOUT_SECONDS = 10.0

#: n8n closes an idle connection after 5 s (measured), other servers later. A POST on a connection that is being
#: closed looks like a lost answer; so none is reused after a shorter while, and nothing has to be guessed.
_KEEPALIVE_SECONDS = 2.0

#: Most bytes read of an answer: as many as a callback may have, since it may be the verdict.
_ANSWER_MAX_BYTES = 1024 * 1024

#: The steps of making a connection, by httpx's names, in an admin's words.
_LEGS = {"connect_tcp": "connection", "start_tls": "TLS"}


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to a request; header names are lower-case.

    `proxy` names the proxy that may have answered itself, as those can that forward plain HTTP; "" if none can.
    `cut` says why the text has no end, if it has none: it is too long, or, with `is_broken`, the connection broke.
    """

    status: int
    headers: Mapping[str, str]
    text: str
    elapsed_seconds: float
    proxy: str = ""
    cut: str = ""
    is_broken: bool = False


class _Transports(httpx.BaseTransport):
    """Sends each request directly or through the proxy that is chosen for its URL, with connections of its own."""

    def __init__(self, proxies: Proxies, tls: ssl.SSLContext, limits: httpx.Limits) -> None:
        self._proxies = proxies
        self._tls = tls
        self._limits = limits
        self._lock = threading.Lock()
        self._made: dict[str | None, httpx.HTTPTransport] = {}

    def for_choice(self, choice: ProxyChoice) -> httpx.HTTPTransport:
        """Return the connections through a proxy.

        Raises:
            ConfigError: its URL cannot be used.
        """
        with self._lock:
            if choice.url not in self._made:
                self._made[choice.url] = self._through(choice)
            return self._made[choice.url]

    def _through(self, choice: ProxyChoice) -> httpx.HTTPTransport:
        if choice.url is None:
            return httpx.HTTPTransport(verify=self._tls, limits=self._limits, trust_env=False)
        wrong = mistake_in(choice.url)
        if wrong is not None:
            raise _proxy_error(choice, wrong, "write it as http://host:port")
        try:
            proxy = httpx.Proxy(choice.url, ssl_context=self._tls if choice.url.startswith("https:") else None)
            return httpx.HTTPTransport(verify=self._tls, limits=self._limits, proxy=proxy, trust_env=False)
        except ImportError as error:
            raise _proxy_error(choice, "needs the package socksio", "pip install 'httpx[socks]'") from error

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request."""
        try:
            transport = self.for_choice(self._proxies.choice_for(str(request.url)))
        except ConfigError as error:
            raise httpx.ProxyError(str(error), request=request) from error
        return transport.handle_request(request)

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            for transport in self._made.values():
                transport.close()


def _proxy_error(choice: ProxyChoice, wrong: str, right: str) -> ConfigError:
    return ConfigError([Problem(choice.source, choice.key, f'"{masked(choice.url or "")}" {wrong}', right)])


class BodyReader(Protocol):
    """Reads the body of a request from its beginning, once for each try."""

    def __call__(self) -> Iterator[bytes]:
        """Yield the body in pieces."""


class Outbound:
    """One keep-alive client for all destinations; `urls` are those whose proxies must be usable from the start."""

    def __init__(
        self,
        *,
        timeout_seconds: float,
        connections: int,
        proxies: Proxies | None = None,
        urls: Iterable[str] = (),
        verify_tls: bool = True,
        ca_file: str = "",
        stopping: threading.Event | None = None,
    ) -> None:
        """Make the client.

        Raises:
            ConfigError: an option or a variable of the environment keeps it from being made.
        """
        stopping = stopping or threading.Event()
        self._timeout_seconds = timeout_seconds
        self._proxies = proxies or Proxies(ENVIRONMENT, (), os.environ)
        limits = httpx.Limits(
            max_connections=None, max_keepalive_connections=connections, keepalive_expiry=_KEEPALIVE_SECONDS
        )
        timeout = httpx.Timeout(timeout_seconds, connect=min(_CONNECT_TIMEOUT_SECONDS, timeout_seconds), pool=None)
        try:
            transports = _Transports(self._proxies, _tls_context(verify_tls=verify_tls, ca_file=ca_file), limits)
            for url in urls:
                transports.for_choice(self._proxies.choice_for(url))
            self._client = httpx.Client(timeout=timeout, transport=transports, follow_redirects=False, trust_env=False)
        except ConfigError:
            raise
        except Exception as error:
            wrong = f"no HTTP client can be made with it ({type(error).__name__}: {error})"
            raise ConfigError(
                [Problem("environment", "HTTP client", wrong, "look at the variables it names")]
            ) from error
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

    def post(self, url: str, headers: Mapping[str, str], body: BodyReader, length_bytes: int) -> Answer:
        """Send a body, made anew for each try, and return the answer.

        Raises:
            NotSentError: the far side cannot have read the whole request.
            AnswerLostError: it may have, and its answer did not arrive.
            CutAnswerError: likewise, and its answer broke off.
            Exception: whatever `body` raises; then the request stays without its end.
        """
        return self._tries.copy()(self._post_once, url, headers, body, length_bytes)

    def _post_once(self, url: str, headers: Mapping[str, str], body: BodyReader, length_bytes: int) -> Answer:
        sent_whole = is_ours = False

        def trace(event: str, details: Mapping[str, Any]) -> None:
            nonlocal sent_whole, is_ours
            if event.endswith("send_request_body.started"):
                is_ours = details["request"].method == b"POST"  # a proxy is sent a CONNECT before
            sent_whole = sent_whole or (is_ours and event.endswith("send_request_body.complete"))

        started = time.monotonic()
        choice = self._proxies.choice_for(url)
        try:
            with self._client.stream(
                "POST",
                url,
                headers={**headers, "Content-Length": str(length_bytes), "Accept-Encoding": "identity"},
                content=body(),
                extensions={"trace": trace},
            ) as response:
                text, cut, is_broken = self._read(response, choice)
                if response.is_success and not sent_whole:
                    raise NotSentError("it was accepted before it was sent whole")
                received, through = _lower(response.headers), _answering(choice, url)
                if is_broken:
                    raise CutAnswerError(cut, response.status_code, received, text, through)
                return Answer(response.status_code, received, text, time.monotonic() - started, through, cut)
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:  # the last: a host name too long
            if sent_whole:
                raise AnswerLostError(_explain(error, choice)) from error
            raise NotSentError(_explain(error, choice)) from error

    def _read(self, response: httpx.Response, choice: ProxyChoice) -> tuple[str, str, bool]:
        """Read an answer within its bounds; return what came, why it was cut, and whether the connection broke.

        A far side that drips bytes for ever is cut off.
        """
        started = time.monotonic()
        content, cut, is_broken = bytearray(), "", False
        try:
            for piece in response.iter_bytes():
                content += piece
                if len(content) > _ANSWER_MAX_BYTES:
                    cut = f"it is longer than {_ANSWER_MAX_BYTES:,} bytes"
                    break
                if time.monotonic() - started > 2 * self._timeout_seconds:
                    cut, is_broken = "the answer did not end", True
                    break
        except httpx.HTTPError as error:
            cut, is_broken = f"after {len(content):,} bytes {_explain(error, choice)}", True
        read = content[:_ANSWER_MAX_BYTES]
        try:
            return read.decode(response.encoding or "utf-8", "replace"), cut, is_broken
        except (LookupError, UnicodeError):  # it names a codec that makes no text of bytes, such as hex
            return read.decode("utf-8", "replace"), cut, is_broken

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
        choice = self._proxies.choice_for(url)
        try:
            response = self._client.get(url, headers=dict(headers or {}), extensions={"trace": trace})
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:  # the last: a host name too long
            raise NotSentError(_explain(error, choice)) from error
        elapsed_seconds = time.monotonic() - started
        return Answer(
            response.status_code, _lower(response.headers), response.text, elapsed_seconds, _answering(choice, url)
        )


def _lower(headers: httpx.Headers) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _answering(choice: ProxyChoice, url: str) -> str:
    """Return the proxy that an answer may come from itself, with the setting that names it; "" if it cannot."""
    return f"{choice.proxy} ({choice.why})" if choice.may_answer_for(url) else ""


#: The variables that OpenSSL and Python read certificates and session keys by.
_TLS_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE")


def _tls_context(*, verify_tls: bool, ca_file: str) -> ssl.SSLContext:
    """Make the TLS context once: it costs 16 ms.

    Raises:
        ConfigError: the CA file, or what a variable of the environment names, cannot be used.
    """
    try:
        if ca_file and verify_tls:
            return ssl.create_default_context(cafile=ca_file)
        folders = "" if os.environ.get("SSL_CERT_FILE") or not verify_tls else os.environ.get("SSL_CERT_DIR", "")
        if folders and not any(map(os.path.isdir, folders.split(os.pathsep))):
            raise FileNotFoundError(errno.ENOENT, "there is no such folder", folders)
        return httpx.create_ssl_context(verify=verify_tls)
    except (OSError, ssl.SSLError) as error:
        raise _tls_error(error, ca_file) from error


def _tls_error(error: OSError, ca_file: str) -> Exception:
    """Return the mistake that keeps a TLS context from being made: in an option, or in a variable."""
    why = error.strerror or error
    named = next((each for each in _TLS_VARIABLES if error.filename and os.environ.get(each) == error.filename), None)
    if named is None and ca_file:
        wrong = f"{ca_file} cannot be used ({why})"
        return ConfigError([Problem("configuration", "n8n.ca_file", wrong, "a PEM file that exists")])
    name = named or next((each for each in _TLS_VARIABLES if os.environ.get(each)), None)
    if name is None:
        return error
    wrong = f"{os.environ[name]} cannot be used ({why})"
    return ConfigError([Problem(f"environment variable {name}", name, wrong, "name one that exists, or unset it")])


def _explain(error: Exception, choice: ProxyChoice) -> str:
    """Say in words what httpx says in class names, and which proxy was in between."""
    if choice.url is None:
        return _in_words(error)
    if isinstance(error, httpx.ProxyError):
        advice = f"look at {choice.key}; NO_PROXY, or {OPTION}: none, leads past it"
        return f"the proxy {choice.proxy} ({choice.why}) does not connect us: {error}; {advice}"
    return f"{_in_words(error)}, through the proxy {choice.proxy} ({choice.why})"


def _in_words(error: Exception) -> str:
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
