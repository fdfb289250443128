"""The check of N8N: its answer, and the way to it; nothing is posted."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from receipt_watcher.cli.check.findings import ANSWER_SECONDS, CheckFinding
from receipt_watcher.cli.check.proxies import lines_of_proxies
from receipt_watcher.config.options import Config
from receipt_watcher.delivery.destinations.http_client import Outbound
from receipt_watcher.delivery.destinations.reachability import health_answer, is_healthy
from receipt_watcher.errors import NotSentError
from receipt_watcher.service.clients import n8n_client


def check_proxies(config: Config) -> Iterator[CheckFinding]:
    """Say how each URL is reached; a proxy that cannot be used is said with the first client that needs it."""
    for line in lines_of_proxies(config):
        yield CheckFinding("warning" if line.advice else "ok", line.what, line.advice)


def check_webhooks(config: Config) -> Iterator[CheckFinding]:
    """Ask the server of each webhook how it is; the webhook itself is not tried."""
    with client_of(config) as outbound:
        for url in config.webhook_urls():
            yield from _check_webhook(url, outbound)


def client_of(config: Config) -> Outbound:
    """Return the client that checks ask with."""
    return n8n_client(config, timeout_seconds=min(ANSWER_SECONDS, config.n8n.timeout_seconds), connections=1)


def _check_webhook(url: str, outbound: Outbound) -> Iterator[CheckFinding]:
    parts = urlsplit(url)
    if "/webhook-test/" in parts.path:
        yield CheckFinding(
            "error",
            "n8n.webhook_url is a test URL (/webhook-test/): n8n answers it only while somebody is testing",
            "publish the workflow and use its Production URL (/webhook/)",
        )
    address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    try:
        answer = health_answer(url, outbound)
    except NotSentError as error:
        yield CheckFinding("error", f"N8N at {address} cannot be reached: {error}", "is it running, and the URL right?")
        return
    if is_healthy(answer):
        yield CheckFinding("ok", f"N8N at {address} answers and is healthy")
    else:
        through = f" through the proxy {answer.proxy}" if answer.proxy else ""
        yield CheckFinding(
            "warning",
            f"{address} answers{through}, but /healthz says {answer.status}: a proxy, a starting N8N, or no N8N at all",
            "the webhook itself is not tried, since that would book a receipt",
        )
