"""The HTTP side, put together from the configuration and the daemon's parts.

What it promises: the one place that knows who may come in, by the options of http. It opens and starts nothing but what
`web` does; the main thread calls it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from receipt_watcher.config.options import Config
from receipt_watcher.config.roles import Role
from receipt_watcher.config.sections.http import Jwt
from receipt_watcher.delivery.destinations.http_client import Outbound
from receipt_watcher.delivery.destinations.reachability import reachability_of
from receipt_watcher.delivery.naming import names_of
from receipt_watcher.errors import ReceiptWatcherError
from receipt_watcher.examine.examiners import Examiners, bounds_of
from receipt_watcher.inbox.gate import Gate
from receipt_watcher.jobs.job import Job
from receipt_watcher.jobs.json_view import iso_time
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.log.manual_holds import hand_hold_view
from receipt_watcher.report.explain import Explainer, Explanation
from receipt_watcher.report.http_counts import HttpCounts
from receipt_watcher.service.daemon_parts import DaemonParts, HttpParts, SharedParts, StageParts
from receipt_watcher.web.access.api_tokens import ApiToken, ApiTokens
from receipt_watcher.web.access.authorization import Access, Trust
from receipt_watcher.web.access.jwt import Jwts, JwtSettings
from receipt_watcher.web.access.rates import TokenRates
from receipt_watcher.web.access.sessions import Sessions
from receipt_watcher.web.access.wrong_tokens import Slowness, WrongTokens, log_callers
from receipt_watcher.web.actions import Actions
from receipt_watcher.web.api.endpoints import Api, ApiParts
from receipt_watcher.web.api.events import Feed
from receipt_watcher.web.app import SiteOptions, application
from receipt_watcher.web.callback import CallbackEndpoint, CallbackKeeping
from receipt_watcher.web.files.downloads import Downloads
from receipt_watcher.web.files.fetching import Fetching
from receipt_watcher.web.files.linked_file import LinkedFile
from receipt_watcher.web.pages.base import ErrorPages
from receipt_watcher.web.pages.receipts.pictures import Pictures
from receipt_watcher.web.pages.receipts.receipt import ReceiptSources
from receipt_watcher.web.pages.rendering import PageSettings, Rendering
from receipt_watcher.web.pages.routes import PageParts, page_routes
from receipt_watcher.web.pages.sign_in import SignInPage
from receipt_watcher.web.probes import Probes, ProbeSources
from receipt_watcher.web.server.thread import App
from receipt_watcher.web.uploads.receive import Uploads


def http_of(shared: SharedParts, stages: StageParts, counts: HttpCounts) -> HttpParts:
    """Build what the HTTP side keeps while the daemon runs."""
    config, fetching = shared.config, Fetching(shared.log.lookups.get, stages.routes)
    examiners = Examiners(
        bounds_of(config).for_pictures(), stopping=shared.wakeups.stopping, is_logged=False, pool=stages.pool
    )
    return HttpParts(
        wrong_callback_tokens=WrongTokens(shared.monotonic, count=partial(counts.count_refused_token, "callback")),
        wrong_api_tokens=WrongTokens(shared.monotonic, log_callers, partial(counts.count_refused_token, "api")),
        pictures=Pictures(
            config.state_dir / "pictures",
            fetching,
            examiners,
            max_pixels=config.limits.max_pixels,
            clock=shared.clock,
        ),
    )


def application_of(parts: DaemonParts) -> tuple[App, Access]:
    """Build the application, and who may use it; the job log is open, since it knows the sessions that were ended.

    Raises:
        ConfigError: JWTs are configured, and cannot be read here.
    """
    shared, stages, reports = parts.shared, parts.stages, parts.reports
    http = shared.config.http
    downloads = Downloads(Fetching(shared.log.lookups.get, stages.routes))
    access = access_of(parts)
    api_parts = _api_parts(parts, access, downloads)
    api = Api(access, api_parts)
    rendering = Rendering(shared.config.notify.zone, shared.clock)
    slowness = Slowness(parts.http.wrong_callback_tokens)
    keeping = CallbackKeeping(
        keep=stages.kept_callbacks.store,
        may_know_more=lambda: shared.starts.may_know_more,
        keep_rehearsal=shared.log.facts.rehearsal.put,
    )
    callback = CallbackEndpoint(stages.callbacks, shared.tokens, slowness, keeping)
    linked_file = LinkedFile(shared.links, downloads, slowness, api.file_of_known)
    probes = Probes(
        ProbeSources(
            checks=reports.health.checks,
            degraded=reports.health.degraded,
            waiting=reports.overview.waiting,
            troubles=reports.overview.troubles_to_look_at,
            metrics=reports.metrics.page,
        ),
        access,
    )
    app = application(
        [
            *callback.routes(),
            *linked_file.routes(),
            *probes.routes(),
            *api.routes(),
            *SignInPage(access, rendering).routes(),
            *page_routes(_page_parts(parts, api_parts), access, rendering),
        ],
        SiteOptions(origins=http.cors_origins, root_path=http.root_path, hsts_seconds=http.hsts_days * 86400),
        ErrorPages(rendering),
        reports.metrics.http,
    )
    return app, access


def _page_parts(parts: DaemonParts, api_parts: ApiParts) -> PageParts:
    shared = parts.shared
    return PageParts(
        settings=page_settings(shared.config),
        receipts=ReceiptSources(
            log=shared.log,
            routes=parts.stages.routes,
            pictures=parts.http.pictures,
            explain=explainer(shared.config, shared.log),
        ),
        holds=shared.holds,
        actions=api_parts.actions,
        uploads=api_parts.uploads,
        inboxes=parts.reports.overview.inbox_states,
        troubles=parts.reports.overview.troubles,
    )


def page_settings(config: Config) -> PageSettings:
    """Return what of the configuration the status page shows."""
    return PageSettings(
        inbox_names=[inbox.name for inbox in config.inboxes],
        names=names_of(config),
        max_file_mb=config.limits.max_file_mb,
        zone=config.notify.zone,
    )


def explainer(config: Config, log: JobLog) -> Callable[[Job, float], Explanation]:
    """Return what explains a job at a time, as the running daemon knows it."""

    def explain(job: Job, now: float) -> Explanation:
        return Explainer(config, log, is_running=True, now=now, wait=lambda _seconds: None).about_job(job, log)

    return explain


def _api_parts(parts: DaemonParts, access: Access, downloads: Downloads) -> ApiParts:
    """Return what the API, and the status page, work on."""
    shared, stages = parts.shared, parts.stages
    uploads = Uploads(
        shared.config.state_dir,
        stages.gates,
        shared.log,
        access,
        examine=stages.examiners.examine_for_caller,
        clock=shared.clock,
    )
    return ApiParts(
        log=shared.log,
        holds=shared.holds,
        routes=[gate.route for gate in stages.gates],
        names=shared.names,
        actions=Actions(
            shared.log,
            shared.names,
            deadline_seconds=shared.config.callback.deadline_seconds,
            deliveries=shared.wakeups.deliveries,
            filings=shared.wakeups.filings,
            clock=shared.clock,
        ),
        downloads=downloads,
        uploads=uploads,
        feed=Feed(shared.log, shared.wakeups.stopping.is_set),
        inbox_views=lambda: [_inbox_view(gate, shared.log, shared.clock()) for gate in stages.gates],
        reachability_of=lambda url: reachability_of(url, shared.outbound),
        clock=shared.clock,
    )


def access_of(parts: DaemonParts) -> Access:
    """Return who is judged how.

    Raises:
        ConfigError: JWTs are configured, and cannot be read here.
    """
    shared = parts.shared
    http = shared.config.http
    tokens = ApiTokens(ApiToken(name, Role(token.role), token.hash) for name, token in http.tokens.items())
    sessions = Sessions(
        shared.installation.session_secret(),
        tokens,
        shared.log,
        seconds=http.session_hours * 3600,
        clock=shared.clock,
    )
    trust = Trust(
        local_role=None if http.local_role == "none" else Role(http.local_role),
        proxies=http.trusted_proxies,
        public_url=shared.public_url,
    )
    jwts = None if http.jwt is None else Jwts(_jwt_settings(http.jwt, shared.outbound), shared.monotonic)
    rates = TokenRates(http.requests_per_minute, shared.monotonic)
    return Access(tokens, sessions, Slowness(parts.http.wrong_api_tokens), trust, jwts, rates=rates)


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
    state = gate.state
    is_available = state.is_ready and state.unavailable is None
    return {
        "name": route.name,
        "path": str(gate.watch.path),
        "mode": state.mode,
        "available": is_available,
        "why": None if is_available else state.unavailable or "it is not open yet",
        "since": iso_time(state.unavailable_since),
        "waiting": len(gate.watch.settler),
        "open": log.statistics.open_in(route.name, now + 1)[0],
        "held": hand_hold_view(log.manual_holds.of_inbox(route.name)),
    }
