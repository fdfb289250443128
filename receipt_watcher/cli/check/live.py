"""`receipt-watcher check --live`: one made-up receipt through the real webhook and back, each leg with its time.

What it promises: the receipt is marked `"test": true`, which the workflows that ship answer without booking anything.
One that is not known as such (by a GET at its address, see `workflows`) is sent nothing without `may_book`. The
callback comes in by the daemon where one runs, and else by a server on its port, which tells others to come later.

One thread calls it. What a crash leaves behind is nothing but an answered test.
"""

from __future__ import annotations

import contextlib
import email.utils
import hashlib
import json
import socket
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

from receipt_watcher.cli.check.findings import CheckFinding
from receipt_watcher.cli.check.hold import end_silence
from receipt_watcher.cli.demo import samples
from receipt_watcher.config.options import Config
from receipt_watcher.config.sections.sending import Accept
from receipt_watcher.delivery.callbacks import Reception
from receipt_watcher.delivery.destinations import Accepted, Concluded, Outcome
from receipt_watcher.delivery.destinations.http_client import Answer, Outbound
from receipt_watcher.delivery.destinations.n8n.webhook import N8N, N8NSettings, is_of_proxy
from receipt_watcher.delivery.destinations.n8n.workflows import IDENTITY_KEY
from receipt_watcher.errors import JobLogError, NotSentError, ReceiptWatcherError
from receipt_watcher.jobs.job import REHEARSAL_PREFIX, Folder, Job
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.states import State
from receipt_watcher.jobs.verdict import Verdict
from receipt_watcher.service.clients import n8n_client
from receipt_watcher.system.display import MEBIBYTE
from receipt_watcher.system.state_dir import Installation
from receipt_watcher.web.access.callback_tokens import CallbackTokens
from receipt_watcher.web.access.wrong_tokens import Slowness, WrongTokens
from receipt_watcher.web.app import application
from receipt_watcher.web.callback import CallbackEndpoint, CallbackKeeping
from receipt_watcher.web.files.downloads import Downloads
from receipt_watcher.web.files.fetching import Fetching
from receipt_watcher.web.files.linked_file import LinkedFile
from receipt_watcher.web.files.links import FileLinks
from receipt_watcher.web.probes import Probes, ProbeSources
from receipt_watcher.web.server import thread

#: A person waits. A workflow in other hands may take its time, those that ship call a test back within a second.
CALLBACK_SECONDS = 60.0
_ANSWER_SECONDS = 30.0
#: Signatures are good for five minutes either way (Standard Webhooks); a tenth of it is worth a word.
_SKEW_SECONDS = 30.0
#: Files, as base64 a third larger: below and above what n8n takes by default.
_SIZES_MB = (1, 4, 8, 11, 16, 32, 64)


class _Heard(Protocol):
    """Says what was called back for a job so far."""

    def __call__(self, job_id: str) -> Verdict | None: ...


@dataclass(frozen=True, slots=True)
class _Round:
    """The parts that a round trip uses."""

    config: Config
    outbound: Outbound
    tokens: CallbackTokens
    heard: _Heard
    clock: Callable[[], float]


def check_live(config: Config, *, may_book: bool = False, find_size: bool = False) -> Iterator[CheckFinding]:
    """Go round once for each webhook; findings come as they are made.

    Raises:
        ReceiptWatcherError: the callback's port cannot be listened on.
    """
    installation = Installation(config.state_dir)
    installation.make_folder()
    callback = config.callback
    secret = callback.secret_token.get_secret_value() if callback.secret_token else installation.callback_token()
    tokens = CallbackTokens(secret, per_job=callback.per_job_tokens)
    links = FileLinks([secret], config.n8n.link_seconds, time.time)
    with (
        n8n_client(config, timeout_seconds=min(_ANSWER_SECONDS, config.n8n.timeout_seconds), connections=1) as outbound,
        _hearing(config, installation, tokens, links) as heard,
    ):
        trip = _Round(config, outbound, tokens, heard, time.time)
        for url in config.webhook_urls():
            yield from _go_round(trip, url, may_book=may_book, find_size=find_size)


def _go_round(trip: _Round, url: str, *, may_book: bool, find_size: bool) -> Iterator[CheckFinding]:
    known = None
    for result in _ask_webhook(trip, url):
        if isinstance(result, str):
            known = result
            continue
        yield result
        if result.level == "error":
            return
    if known is None and not may_book:
        advice = (
            "publish a workflow of `receipt-watcher n8n-workflow`; or, if it may book a test receipt, add --may-book"
        )
        yield CheckFinding("error", f"{_shown(url)} is no workflow of ours: nothing was sent", advice)
        return
    yield from _send(trip, url)
    if find_size and known is not None:
        yield _find_size(trip, url)


# --- there -----------------------------------------------------------------------------------------------------


def _ask_webhook(trip: _Round, url: str) -> Iterator[CheckFinding | str]:
    """Ask the webhook what it is, without a receipt; yield its name among the findings, where it is one of ours."""
    choice = trip.config.proxies().choice_for(url)
    yield CheckFinding("ok", f"{_shown(url)} is reached {choice.in_words}")
    parts = urlsplit(choice.url or url)  # a proxy looks the name of N8N up by itself
    host = parts.hostname or ""
    began = time.monotonic()
    try:
        resolved = socket.getaddrinfo(host, parts.port, type=socket.SOCK_STREAM)
    except OSError as error:
        advice = f"look at {choice.key or 'n8n.webhook_url'} and at the DNS"
        yield CheckFinding("error", f"DNS: {host} is not found ({error.strerror})", advice)
        return
    addresses = sorted({str(one[4][0]) for one in resolved})
    yield CheckFinding("ok", f"DNS: {host} is {', '.join(addresses)} ({_ms(time.monotonic() - began)})")
    api_key = trip.config.n8n.api_key
    legs: dict[str, float] = {}
    try:
        answer = trip.outbound.get(url, {"X-N8N-Api-Key": api_key.get_secret_value()} if api_key else None, legs)
    except NotSentError as error:
        yield CheckFinding("error", f"N8N cannot be reached: {error}", "is it running, and the URL right?")
        return
    for name, seconds in legs.items():
        yield CheckFinding("ok", f"{name} ({_ms(seconds)})")
    yield from _skew(answer, trip.clock())
    yield from _identity(answer, url)


def _identity(answer: Answer, url: str) -> Iterator[CheckFinding | str]:
    with contextlib.suppress(ValueError, TypeError, KeyError):
        name = json.loads(answer.text)[IDENTITY_KEY]
        yield CheckFinding("ok", f"key and workflow: {_shown(url)} is {name!r} of ours ({_ms(answer.elapsed_seconds)})")
        yield str(name)
        return
    if is_of_proxy(answer):
        advice = "look at the proxy's rules, or lead past it by NO_PROXY or n8n.proxy: none"
        yield CheckFinding(
            "error", f"{answer.status} came through the proxy {answer.proxy}, not in N8N's words", advice
        )
    elif answer.status in (401, 403):
        advice = "compare n8n.api_key with the header-auth credential of the webhook node"
        yield CheckFinding("error", f"the key is refused ({answer.status})", advice)
    elif answer.status == 404 and "not registered for GET" not in answer.text:  # noqa: PLR2004 - RFC 9110
        advice = "publish the workflow, and compare its production URL with n8n.webhook_url"
        yield CheckFinding("error", f"no workflow is published at {_shown(url)} (404)", advice)
    else:
        yield CheckFinding("ok", f"something answers at {_shown(url)} ({answer.status}, {_ms(answer.elapsed_seconds)})")


def _skew(answer: Answer, now: float) -> Iterator[CheckFinding]:
    """Compare the clocks by the Date header (RFC 9110, 6.6.1), which is of whole seconds."""
    try:
        there = email.utils.parsedate_to_datetime(answer.headers["date"]).timestamp()
    except (KeyError, ValueError):
        return
    ahead = there - now
    if abs(ahead) > _SKEW_SECONDS:
        words = f"the clock there is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} ours"
        yield CheckFinding("warning", words, "have both machines keep time by NTP")
    else:
        yield CheckFinding("ok", "the clocks agree")


# --- and back --------------------------------------------------------------------------------------------------


def _send(trip: _Round, url: str) -> Iterator[CheckFinding]:
    began = time.monotonic()
    job_id, outcome = _post(trip, url, samples.jpeg(1))
    if isinstance(outcome, Concluded):
        level: Literal["ok", "error"] = "ok" if outcome.verdict.success else "error"
        yield CheckFinding(
            level, f"the verdict came with the answer ({_ms(time.monotonic() - began)}): {outcome.message}"
        )
        return
    if not isinstance(outcome, Accepted):
        yield CheckFinding(
            "error", f"the test was not accepted: {outcome.message}", "look at N8N's executions and its log"
        )
        return
    accepted = time.monotonic()
    yield CheckFinding("ok", f"accepted: {outcome.message} ({_ms(accepted - began)})")
    pause = threading.Event()
    verdict = None
    while verdict is None and time.monotonic() - accepted < CALLBACK_SECONDS:
        verdict = trip.heard(job_id)
        pause.wait(0 if verdict else 0.05)
    seconds = time.monotonic() - accepted
    if verdict is None:
        yield CheckFinding("error", f"no callback within {CALLBACK_SECONDS:g} s", _why_unheard(trip.config))
    elif verdict.success:
        yield CheckFinding(
            "ok", f"callback: it reached us ({_ms(seconds)}); round trip {_ms(seconds + accepted - began)}"
        )
        yield from end_silence(trip.config, url, trip.clock())
    else:
        yield CheckFinding(
            "error", f"callback: a failure ({_ms(seconds)}): {verdict.message}", "look at N8N's executions"
        )


def _why_unheard(config: Config) -> str:
    url = config.public_url_for(config.http.port)
    return (
        f"N8N's machine must reach {url} (http.public_url): try `curl {url}/health/live` there; is there a proxy or a "
        "firewall, is the X-Callback-Token credential right, and does N8N_SSRF_ALLOWED_IP_RANGES let it pass?"
    )


def _post(trip: _Round, url: str, content: bytes, max_json_bytes: int | None = None) -> tuple[str, Outcome]:
    n8n = trip.config.n8n
    job = _made_up(content, url, trip.clock())
    settings = N8NSettings(
        url=url,
        api_key=n8n.api_key.get_secret_value() if n8n.api_key else "",
        payload="json" if max_json_bytes or n8n.payload == "link" else n8n.payload,  # no job, so nothing to fetch
        max_json_bytes=max_json_bytes or n8n.max_json_bytes,
        callback_token_of=trip.tokens.for_job,
        accept=_accept_of(trip.config, url),
        signing_secrets=trip.config.signing_secrets(),
        is_test=True,
    )
    callback_url = f"{trip.config.public_url_for(trip.config.http.port)}/api/v1/jobs/{job.job_id}/callback"
    with tempfile.NamedTemporaryFile(suffix=".jpg") as file:
        file.write(content)
        file.flush()
        outcome = N8N(settings, trip.outbound).deliver(job, Path(file.name), 1, callback_url, trip.clock())
    return job.job_id, outcome


def _accept_of(config: Config, url: str) -> Accept:
    """Return what counts as an acceptance there, by the first inbox that sends to it."""
    return next(branch.accept for branch in config.all_branches() if branch.webhook_url == url)


def _made_up(content: bytes, url: str, now: float) -> Job:
    job_id = f"{REHEARSAL_PREFIX}{uuid.uuid4()}"
    name = "receipt-watcher test.jpg"
    return Job(
        job_id=job_id,
        state=State.DELIVERING,
        inbox="check",
        filename=name,
        relative_path=Path(name),
        folder=Folder.PROCESSING,
        stored_path=Path(job_id) / name,
        mime_type="image/jpeg",
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        target=url,
        notion_database_id="",
        created_at=now,
        updated_at=now,
    )


def _find_size(trip: _Round, url: str) -> CheckFinding:
    """Send larger and larger tests as JSON until one is not accepted."""
    passed = 0
    for megabytes in _SIZES_MB:
        _, outcome = _post(trip, url, samples.jpeg(1, megabytes * MEBIBYTE), 2**30)
        if not isinstance(outcome, Accepted):
            words = f"as JSON a receipt of {passed} MB is accepted, one of {megabytes} MB is not: {outcome.message}"
            return CheckFinding("ok", words, "n8n.max_json_mb is for the whole message, which is a third larger")
        passed = megabytes
    return CheckFinding("ok", f"as JSON a receipt of {passed} MB is accepted; larger ones were not tried")


# --- who hears -------------------------------------------------------------------------------------------------


class _Nobody:
    """In the place of the daemon's parts: other callbacks than the test's, and fetches, are asked to come again."""

    def conclude(self, _job_id: str, _verdict: Verdict) -> Reception:
        raise JobLogError("the daemon is not running")

    def awaits(self, _job_id: str) -> bool:
        return False

    def keep_unreadable(self, _job_id: str, _body: bytes, _why: str) -> bool:
        raise JobLogError("the daemon is not running")

    def get(self, _job_id: str) -> Job | None:
        raise JobLogError("the daemon is not running")


@contextlib.contextmanager
def _hearing(config: Config, installation: Installation, tokens: CallbackTokens, links: FileLinks) -> Iterator[_Heard]:
    """Hear the callback through the daemon where one runs, and else on its port."""
    if installation.is_running():
        log = JobLog(config.database_path)
        log.database.open()
        try:
            yield lambda job_id: _kept(log.facts.rehearsal.get(), job_id)
        finally:
            log.database.close()
        return
    if not config.http.port:
        raise ReceiptWatcherError("http.port is 0, so no callback can find us; set it to a fixed port")
    kept: list[dict[str, Any]] = []
    nobody = _Nobody()
    slowness = Slowness(WrongTokens(time.monotonic))
    callback = CallbackEndpoint(
        nobody,  # type: ignore[arg-type]  # what it does not have, a test does not come to
        tokens,
        slowness,
        CallbackKeeping(keep_rehearsal=kept.append),
    )
    linked_file = LinkedFile(links, Downloads(Fetching(nobody.get, [])), slowness)
    probes = Probes(ProbeSources(checks=lambda: {"daemon": "a test is running, not the daemon"}))
    app = application([*callback.routes(), *linked_file.routes(), *probes.routes()])
    listening = thread.Server(app, thread.bind(config.http.host, config.http.port))
    listening.start()
    try:
        yield lambda job_id: next(filter(None, (_kept(callback, job_id) for callback in list(kept))), None)
    finally:
        listening.stop(5)


def _kept(callback: dict[str, Any] | None, job_id: str) -> Verdict | None:
    """Return the verdict of a test's callback, if it is this test's."""
    if callback is None or callback.get("job_id") != job_id:
        return None
    return Verdict(success=callback["success"], message=callback["message"])


def _shown(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"
