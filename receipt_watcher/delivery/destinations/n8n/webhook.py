"""N8N, by a webhook: what is sent, and what its answers mean.

What it promises: what N8N receives is byte for byte what the job log recorded. The bytes are hashed while they are
sent, and the last piece is held back until the digest is right; otherwise the request never gets its end. A signature
is over the bytes of the body: the file is read once to sign it, and once to send it, and proven each time, so that both
times it is the same. With a link nothing of the file is sent, but it is proven all the same.

What n8n really answers was measured with n8n 2.41.1: its start-up page comes with status 200; a wrong key gives
403; an unpublished workflow 404; a body over 16 MiB of JSON gives 500, so it is refused here before it is posted.
"""

from __future__ import annotations

import email.utils
import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC
from pathlib import Path
from typing import Any, Literal

import pybase64

from receipt_watcher.config.proxies import OPTION
from receipt_watcher.config.secrets import without_path
from receipt_watcher.config.sections.sending import ANSWERING_MODES, Accept
from receipt_watcher.delivery.destinations import Accepted, Concluded, Deferred, Lost, Outcome, Refused, Unreadable
from receipt_watcher.delivery.destinations.http_client import Answer, Outbound
from receipt_watcher.delivery.destinations.n8n.answers import AUTO, outcome_of_success, shown_answer
from receipt_watcher.delivery.destinations.signature import NOT_PROVEN, Signer
from receipt_watcher.delivery.destinations.verified_file import verified_pieces
from receipt_watcher.errors import AnswerLostError, CutAnswerError, NotSentError
from receipt_watcher.jobs.job import Job, subfolder_of
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.verdict import execution_id_of

_EXECUTION_HEADERS = ("x-n8n-execution-id", "n8n-execution-id")
_EXECUTION_FIELDS = ("executionId", "execution_id")

_ADVICE = {
    401: "a login is asked for, by a proxy before N8N or as basic auth: set the webhook node to header auth, and let "
    "the proxy pass n8n.webhook_url",
    403: "the header-auth credential differs: give the one of the webhook node the name X-N8N-Api-Key and the value of "
    "n8n.api_key",
    404: "no such webhook: the workflow is not published (publish or activate it in n8n), or its Production URL is not "
    "n8n.webhook_url",
    405: "the webhook node does not take POST",
    407: "a proxy asks for a login: write user and password into its URL, in n8n.proxy or in the environment",
    408: "N8N, or a proxy before it, gave up waiting",
    410: "the webhook is gone; compare n8n.webhook_url with the workflow's production URL",
    429: "N8N asks us to slow down",
    500: "look at the failed executions and the log of N8N",
    502: "the proxy cannot reach N8N; is it running?",
    503: "N8N is not available; is it starting or overloaded?",
    504: "the proxy waited too long for N8N",
}
_NEVER_THE_RECEIPT = frozenset({*range(300, 400), 401, 403, 404, 405, 407, 408, 410, 425, 429, 502, 503, 504})
#: Statuses that a proxy between us and N8N answers by itself, when it refuses a host or cannot reach it.
_OF_PROXIES = frozenset({400, 403, 407, 500, 502, 503, 504, 511})
_WRONG_CREDENTIAL = "Authorization data is wrong"
#: A gateway passed the request on and gave up waiting: 504, and 524 of Cloudflare.
_GATEWAY_TIMEOUTS = frozenset({504, 524})
_NO_CREDENTIAL = "No authentication data defined on node"
_OWN_FAILURES = {413: Reason.REFUSED_TOO_LARGE, 415: Reason.REFUSED_TYPE, 422: Reason.REFUSED}


@dataclass(frozen=True, slots=True)
class N8NSettings:
    """The settings of the N8N destination; `api_key` may be empty.

    `callback_token_of` returns the token that only this job's callback may bear, or None where all share one;
    `file_url_of` a link to a job's file, for `payload` link. `signing_secrets` are the current one and the one before.
    With `is_test` receipts are marked as such: the workflows that ship answer them without booking.
    """

    url: str
    api_key: str
    payload: Literal["json", "multipart", "auto", "link"]
    max_json_bytes: int
    callback_token_of: Callable[[str], str | None] = lambda _job_id: None
    accept: Accept = AUTO
    file_url_of: Callable[[Job], str] = lambda _job: ""
    signing_secrets: tuple[str, ...] = ()
    is_test: bool = False

    def __repr__(self) -> str:
        return f"N8NSettings(payload={self.payload!r})"  # the URL may carry a secret, the key is one


class N8N:
    """One webhook of an N8N."""

    def __init__(self, settings: N8NSettings, outbound: Outbound) -> None:
        self.url = settings.url
        self._settings = settings
        self._signer = Signer(settings.signing_secrets)
        self._outbound = outbound

    def deliver(self, job: Job, file: Path, attempt: int, callback_url: str, now: float) -> Outcome:
        """Post one receipt and say what became of it; see `Destination.deliver`."""
        fields = _fields(job, attempt, callback_url, self._settings.callback_token_of(job.job_id))
        if self._settings.is_test:
            fields["test"] = True
        body = self._body(job, fields)
        length_bytes = body.length_bytes(job.size)
        if self._settings.payload == "json" and length_bytes > self._settings.max_json_bytes:
            return Refused(
                Reason.TOO_LARGE_FOR_JSON,
                f"As JSON this receipt is {length_bytes:,} bytes; {self._settings.max_json_bytes:,} are allowed.",
            )

        def pieces() -> Iterator[bytes]:
            return body.pieces(_verified_pieces(file, job))

        headers = self._headers(job, body.content_type, now)
        if self._signer:
            headers["webhook-signature"] = self._signer.sign(job.job_id, int(now), pieces())
        try:
            answer = self._outbound.post(self.url, headers, pieces, length_bytes)
        except NotSentError as error:
            return Deferred(f"{error}; is N8N running, and n8n.webhook_url right?")
        except CutAnswerError as error:
            answer = Answer(error.status, error.headers, error.text, 0.0, error.proxy, str(error), is_broken=True)
        except AnswerLostError as error:
            return Lost(str(error))
        return _with_execution(outcome_of(answer, now, self._settings.accept), answer)

    def _body(self, job: Job, fields: dict[str, Any]) -> _Body:
        payload = self._settings.payload
        if payload == "link":
            return _link_body(fields | {"file_url": self._settings.file_url_of(job)})
        if payload == "multipart":
            return _multipart_body(fields)
        as_json = _json_body(fields)
        if payload == "auto" and as_json.length_bytes(job.size) > self._settings.max_json_bytes:
            return _multipart_body(fields)
        return as_json

    def _headers(self, job: Job, content_type: str, now: float) -> dict[str, str]:
        headers = {
            "Content-Type": content_type,
            "Idempotency-Key": job.job_id,
            "webhook-id": job.job_id,
            "webhook-timestamp": str(int(now)),
        }
        if self._settings.api_key:
            headers["X-N8N-Api-Key"] = self._settings.api_key
        return headers


def outcome_of(answer: Answer, now: float, accept: Accept = AUTO) -> Outcome:
    """Say what an answer means; where its status is 2xx, see `acceptance`."""
    if 200 <= answer.status < 300:  # noqa: PLR2004 - RFC 9110, 15.3
        return outcome_of_success(answer, accept)
    shown = shown_answer(answer)
    if answer.status in _GATEWAY_TIMEOUTS and accept.mode in ANSWERING_MODES:
        why = "the proxy gave up waiting, and the workflow may still be running"
        return Lost(f"N8N answered {shown}; {why}. Raise the proxy's time limit", answer.status)
    if is_of_proxy(answer):
        advice = f"look at the proxy's rules, or lead past it by NO_PROXY or {OPTION}: none"
        message = f"{shown} came through the proxy {answer.proxy}, not in N8N's words: most likely the proxy refuses"
        return Deferred(f"{message}; {advice}", answer.status, _retry_after(answer, now))
    if answer.status in _OWN_FAILURES:
        return Refused(_OWN_FAILURES[answer.status], f"N8N answered {shown}", answer.status)
    if 300 <= answer.status < 400:  # noqa: PLR2004 - RFC 9110, 15.4
        location = answer.headers.get("location", "elsewhere")
        where = without_path(location) if "://" in location else location  # mostly it has the path, which is a secret
        advice = f"it redirects to {where}; put that URL into n8n.webhook_url"
    elif _NO_CREDENTIAL in answer.text:
        advice = "the webhook node has header auth, but no credential is selected in it"
    elif NOT_PROVEN in answer.text:
        advice = (
            "N8N has the key of another n8n.signing_secret, or its clock is five minutes away: import there what "
            "`receipt-watcher n8n-workflow --credentials --signed` prints"
        )
    else:
        advice = _ADVICE.get(answer.status, "this answer is not expected of a webhook")
    ambiguous = answer.status not in _NEVER_THE_RECEIPT and _NO_CREDENTIAL not in answer.text
    return Deferred(f"N8N answered {shown}; {advice}", answer.status, _retry_after(answer, now), ambiguous)


def is_of_proxy(answer: Answer) -> bool:
    """Return whether an answer is most likely the proxy's own: one may have answered, and N8N does not speak like this.

    n8n refuses a credential in words of its own, and reports all other trouble as JSON.
    """
    if not answer.proxy or answer.status not in _OF_PROXIES:
        return False
    return answer.status == 407 or not (_WRONG_CREDENTIAL in answer.text or _as_json(answer.text) is not None)  # noqa: PLR2004 - RFC 9110


def _retry_after(answer: Answer, now: float) -> float | None:
    """Read Retry-After (RFC 9110, 10.2.3): seconds, or a date."""
    value = answer.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        at = email.utils.parsedate_to_datetime(value)
        return max(0.0, (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - now)
    except (ValueError, OverflowError):
        return None


def _with_execution(outcome: Outcome, answer: Answer) -> Outcome:
    """Add which execution has the receipt, where the answer says so: n8n itself does not, a workflow's answer may."""
    if not isinstance(outcome, Accepted | Concluded | Unreadable):
        return outcome
    named: list[Any] = [answer.headers.get(name) for name in _EXECUTION_HEADERS]
    parsed = _as_json(answer.text)
    item = parsed[0] if isinstance(parsed, list) and parsed else parsed
    if isinstance(item, dict):
        named += [item.get(name) for name in _EXECUTION_FIELDS]
    return replace(outcome, execution_id=next(filter(None, map(execution_id_of, named)), None))


def _as_json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _fields(job: Job, attempt: int, callback_url: str, callback_token: str | None) -> dict[str, Any]:
    optional = {
        "callback_token": callback_token,
        "revision_of": job.revision_of,
        "conflict_of": job.conflict_of,
    }
    return {
        "job_id": job.job_id,
        "filename": job.filename,
        "notion_database_id": job.notion_database_id,
        "callback_url": callback_url,
        "mime_type": job.mime_type,
        "size": job.size,
        "sha256": job.sha256,
        "inbox": job.inbox,
        "subfolder": subfolder_of(job),
        "attempt": attempt,
        **{name: value for name, value in optional.items() if value},
    }


def _verified_pieces(path: Path, job: Job) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from verified_pieces(file, path, job)


@dataclass(frozen=True, slots=True)
class _Body:
    """A message around a file: what stands before and behind it, and how its bytes are written."""

    content_type: str
    before: bytes
    behind: bytes
    encode: Callable[[bytes], bytes]
    encoded_length: Callable[[int], int]

    def length_bytes(self, size: int) -> int:
        return len(self.before) + self.encoded_length(size) + len(self.behind)

    def pieces(self, content: Iterator[bytes]) -> Iterator[bytes]:
        """Yield the message in as few pieces as there are of the file; a small one is a single write."""
        pending = self.before + self.encode(next(content))
        for piece in content:
            yield pending
            pending = self.encode(piece)
        yield pending + self.behind


def _json_body(fields: dict[str, Any]) -> _Body:
    """The contract's JSON, put together from bytes: json.dumps of the image itself would cost fifty times as much.

    So does the standard library's base64, beside pybase64's: 0.3 ms for 200 kB, in which nothing else can run.
    """
    head = json.dumps(fields).encode("ascii")[:-1]
    return _Body(
        content_type="application/json",
        before=head + b', "image_data": "',
        behind=b'"}',
        encode=pybase64.b64encode,
        encoded_length=lambda size: (size + 2) // 3 * 4,
    )


def _link_body(fields: dict[str, Any]) -> _Body:
    """The same fields and a link to the file; the message stands behind the file, which is only proven."""
    return _Body(
        content_type="application/json",
        before=b"",
        behind=json.dumps(fields).encode("ascii"),
        encode=lambda _piece: b"",
        encoded_length=lambda _size: 0,
    )


def _multipart_body(fields: dict[str, Any]) -> _Body:
    """multipart/form-data (RFC 7578): the same fields, then the file as the part `file`."""
    boundary = uuid.uuid4().hex
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    quoted = fields["filename"].replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
    parts.append(
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{quoted}"\r\n'
        f"Content-Type: {fields['mime_type']}\r\n\r\n"
    )
    return _Body(
        content_type=f"multipart/form-data; boundary={boundary}",
        before="".join(parts).encode("utf-8"),
        behind=f"\r\n--{boundary}--\r\n".encode("ascii"),
        encode=bytes,
        encoded_length=int,
    )
