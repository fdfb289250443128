"""The way back: whether N8N can call us, and fetch files with payload link."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from receipt_watcher.cli.check.findings import CheckFinding
from receipt_watcher.cli.check.n8n import client_of
from receipt_watcher.config.options import Config
from receipt_watcher.config.sections.http import is_loopback
from receipt_watcher.errors import NotSentError
from receipt_watcher.system.state_dir import Installation


def check_callback_url(config: Config) -> Iterator[CheckFinding]:
    """Compare the URL that callbacks are asked for at with where N8N and we are."""
    public_url = config.public_url_for(config.http.port)
    if config.unreachable_callback_url() is not None:
        yield CheckFinding(
            "error",
            f"callbacks are asked for at {public_url}, but N8N runs elsewhere and cannot reach that",
            "set http.public_url to how N8N reaches this machine, and http.host to 0.0.0.0 or that address",
        )
        return
    if is_loopback(config.http.host) and not is_loopback(urlsplit(public_url).hostname or ""):
        yield CheckFinding(
            "warning",
            f"http.host is {config.http.host}, so {public_url} is only reached through a proxy on this machine",
            "set http.host to 0.0.0.0 where there is no such proxy",
        )
    yield CheckFinding("ok", f"callbacks are asked for at {public_url}")


def check_links(config: Config) -> Iterator[CheckFinding]:
    """With payload link N8N fetches each file from us, so we must be reachable, and for long enough."""
    if config.n8n.payload != "link":
        return
    public_url = config.public_url_for(config.http.port)
    if config.n8n.link_seconds < config.callback.deadline_seconds:
        yield CheckFinding(
            "warning",
            "n8n.link_seconds is less than callback.deadline_seconds: a workflow that is late finds its link expired",
            "make n8n.link_seconds the longer of the two",
        )
    parts = urlsplit(public_url)
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        yield CheckFinding(
            "warning",
            f"with n8n.payload link N8N fetches receipts from {public_url}, which is not encrypted",
            "put a proxy with TLS before it and its https:// into http.public_url, or keep both in one trusted network",
        )
    if Installation(config.state_dir).is_running():
        yield _reached(config, public_url)
    else:
        yield CheckFinding(
            "warning", f"whether files can be fetched from {public_url} is not known: no daemon is running"
        )


def _reached(config: Config, public_url: str) -> CheckFinding:
    advice = "set http.public_url to how N8N reaches this machine, or open the way (proxy, firewall)"
    with client_of(config) as outbound:
        try:
            answer = outbound.get(f"{public_url}/health/live")
        except NotSentError as error:
            return CheckFinding(
                "warning", f"files are to be fetched from {public_url}, which cannot be reached: {error}", advice
            )
    if answer.status == 200 and '"ok"' in answer.text:  # noqa: PLR2004 - RFC 9110
        return CheckFinding("ok", f"files can be fetched from {public_url}, at least by this machine")
    return CheckFinding("warning", f"files are to be fetched from {public_url}, which answers {answer.status}", advice)
