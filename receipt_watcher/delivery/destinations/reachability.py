"""A check whether N8N's server is there, without a post to a webhook, since that would book a receipt.

Any thread may ask, and waits for the answer. Nothing is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from receipt_watcher.delivery.destinations.http_client import Answer, Outbound
from receipt_watcher.errors import NotSentError


@dataclass(frozen=True, slots=True)
class Reachability:
    """The result of the check; `seconds` is the time that the answer took, None if there was none."""

    is_there: bool
    words: str
    seconds: float | None = None


def reachability_of(url: str, outbound: Outbound) -> Reachability:
    """Ask the server of a webhook how it is, at the address where n8n says so."""
    parts = urlsplit(url)
    address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    try:
        answer = health_answer(url, outbound)
    except NotSentError as error:
        return Reachability(is_there=False, words=f"{address} cannot be reached: {error}")
    if is_healthy(answer):
        return Reachability(
            is_there=True, words=f"N8N at {address} answers and is healthy", seconds=answer.elapsed_seconds
        )
    through = f" through the proxy {answer.proxy}" if answer.proxy else ""
    words = f"{address} answers{through}, but /healthz says {answer.status}: a proxy, a starting N8N, or no N8N at all"
    return Reachability(is_there=False, words=words, seconds=answer.elapsed_seconds)


def health_answer(url: str, outbound: Outbound) -> Answer:
    """Return what the server of a webhook says of its health: below the webhook's path prefix, else at the root.

    Raises:
        NotSentError: the server cannot be reached.
    """
    parts = urlsplit(url)
    address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    prefix = parts.path.partition("/webhook")[0].rstrip("/") if "/webhook" in parts.path else ""
    answer = outbound.get(f"{address}{prefix}/healthz")
    if not prefix or is_healthy(answer):
        return answer
    at_root = outbound.get(f"{address}/healthz")
    return at_root if is_healthy(at_root) else answer


def is_healthy(answer: Answer) -> bool:
    """Return whether an answer is that of a healthy N8N."""
    return answer.status == 200 and '"ok"' in answer.text  # noqa: PLR2004 - RFC 9110
