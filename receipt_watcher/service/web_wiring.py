"""The HTTP side, put together from the configuration and the daemon's parts.

What it promises: the one place that knows who may come in, by the options of http. It opens and starts nothing but what
`web` does; the main thread calls it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from receipt_watcher.config.options import Config
from receipt_watcher.config.roles import Role
from receipt_watcher.config.sections.http import Jwt
from receipt_watcher.delivery.destinations.http_client import Outbound
from receipt_watcher.delivery.destinations.reachability import reach
from receipt_watcher.errors import ReceiptWatcherError
from receipt_watcher.examine.result import Examination, FileLimits
from receipt_watcher.inbox.gate import Gate
from receipt_watcher.jobs.job import Job
from receipt_watcher.jobs.json_view import iso_time
from receipt_watcher.jobs.log.holds import Holds
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.log.manual_holds import hand_hold_view
from receipt_watcher.report.explain import Explainer, Explanation
from receipt_watcher.system.wakeup import Bell
from receipt_watcher.web.access.api_tokens import ApiToken, ApiTokens
from receipt_watcher.web.access.callers import Access, Trust
from receipt_watcher.web.access.jwt import Jwts, JwtSettings
from receipt_watcher.web.access.sessions import Sessions
from receipt_watcher.web.access.wrong_tokens import Slowness, WrongTokens
from receipt_watcher.web.actions import Actions
from receipt_watcher.web.api.endpoints import ApiParts
from receipt_watcher.web.api.events import Feed
from receipt_watcher.web.files.downloads import Downloads
from receipt_watcher.web.pages.rendering import PageSettings
from receipt_watcher.web.uploads.receive import Uploads


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonParts:
    """What of the daemon the API works with."""

    log: JobLog
    holds: Holds
    gates: Sequence[Gate]
    downloads: Downloads
    deliveries: Bell
    filings: Bell
    outbound: Outbound
    examine: Callable[[Path, FileLimits], Examination]
    is_stopping: Callable[[], bool]
    clock: Callable[[], float]
    monotonic: Callable[[], float]


def parts_of(config: Config, access: Access, rest: DaemonParts) -> ApiParts:
    """Return what the API, and the status page, work on."""
    uploads = Uploads(config.state_dir, rest.gates, rest.log, access, examine=rest.examine, clock=rest.clock)
    return ApiParts(
        log=rest.log,
        holds=rest.holds,
        routes=[gate.route for gate in rest.gates],
        actions=Actions(
            rest.log,
            deadline_seconds=config.callback.deadline_seconds,
            deliveries=rest.deliveries,
            filings=rest.filings,
            clock=rest.clock,
        ),
        downloads=rest.downloads,
        uploads=uploads,
        feed=Feed(rest.log, rest.is_stopping),
        inbox_views=lambda: [_inbox_view(gate, rest.log, rest.clock()) for gate in rest.gates],
        reach=lambda url: reach(url, rest.outbound),
    )


def page_settings(config: Config) -> PageSettings:
    """Return what of the configuration the status page shows."""
    return PageSettings(
        inbox_names=[inbox.name for inbox in config.inboxes],
        webhook_urls=list(config.webhook_urls()),
        max_file_mb=config.limits.max_file_mb,
        zone=config.notify.zone,
    )


def explainer(config: Config, log: JobLog) -> Callable[[Job, float], Explanation]:
    """Return what explains a job at a time, as the running daemon knows it."""

    def explain(job: Job, now: float) -> Explanation:
        return Explainer(config, log, is_running=True, now=now, wait=lambda _seconds: None).about_job(job, log)

    return explain


def access_of(
    config: Config, session_secret: str, wrong_tokens: WrongTokens, rest: DaemonParts, public_url: str
) -> Access:
    """Return who is judged how.

    Raises:
        ConfigError: JWTs are configured, and cannot be read here.
    """
    http = config.http
    tokens = ApiTokens(ApiToken(name, Role(token.role), token.hash) for name, token in http.tokens.items())
    sessions = Sessions(session_secret, tokens, rest.log, seconds=http.session_hours * 3600, clock=rest.clock)
    trust = Trust(
        local_role=None if http.local_role == "none" else Role(http.local_role),
        proxies=http.trusted_proxies,
        public_url=public_url,
    )
    jwts = None if http.jwt is None else Jwts(_jwt_settings(http.jwt, rest.outbound), rest.monotonic)
    return Access(tokens, sessions, Slowness(wrong_tokens), trust, jwts)


def _jwt_settings(jwt: Jwt, outbound: Outbound) -> JwtSettings:
    file, url = jwt.jwks_file, jwt.jwks_url or ""
    return JwtSettings(
        issuer=jwt.issuer,
        audience=jwt.audience,
        role_claim=jwt.role_claim,
        roles={word: Role(role) for word, role in jwt.roles.items()} or {role.value: role for role in Role},
        read_keys=(lambda: _fetched(url, outbound)) if file is None else (lambda: file.read_text("utf-8")),
    )


def _fetched(url: str, outbound: Outbound) -> str:
    """Fetch the keys of an identity provider.

    Raises:
        ReceiptWatcherError: there is no connection, or another answer than 200.
    """
    answer = outbound.get(url)
    if answer.status != 200:  # noqa: PLR2004 - RFC 9110
        through = f" through the proxy {answer.proxy}" if answer.proxy else ""
        raise ReceiptWatcherError(f"http.jwt.jwks_url answered {answer.status}{through}")
    return answer.text


def _inbox_view(gate: Gate, log: JobLog, now: float) -> dict[str, Any]:
    route = gate.route
    is_available = route.is_ready and gate.unavailable is None
    return {
        "name": route.name,
        "path": str(gate.watch.path),
        "mode": gate.watch.mode,
        "available": is_available,
        "why": None if is_available else gate.unavailable or "it is not open yet",
        "since": iso_time(gate.unavailable_since),
        "waiting": len(gate.watch.settler),
        "open": log.statistics.open_in(route.name, now + 1)[0],
        "held": hand_hold_view(log.manual_holds.of_inbox(route.name)),
    }
