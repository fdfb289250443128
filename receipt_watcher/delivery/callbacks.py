"""Conclude: N8N's later word on a job.

What it promises: a verdict is committed before its callback is answered; the same verdict again changes nothing; a
success is never taken back, and wins over a failure or a cancel whenever it comes.

The HTTP server calls it. A crash before the commit leaves the job waiting: N8N, which had no 200, may post again, and
after the deadline (`deadlines`) the receipt goes out again under its id.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from enum import StrEnum

import structlog

from receipt_watcher.config.secrets import without_secrets
from receipt_watcher.delivery.naming import branch_keys_of
from receipt_watcher.jobs.job import Job, may_be_booked
from receipt_watcher.jobs.log.holds import REFUSED_EVENT, REFUSED_WORDS, Holds
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import Event, State
from receipt_watcher.jobs.verdict import KEPT_CHARACTERS, Verdict, in_words
from receipt_watcher.spool.route import InboxRoute, log_concluded, route_of
from receipt_watcher.system.display import printable
from receipt_watcher.system.wakeup import Bell

logger = structlog.get_logger()

#: Characters of an unreadable callback in a job's message; its history has more.
_SHOWN_CHARACTERS = 500

#: Characters of a callback that bore a wrong token, in its job's history.
_REFUSED_CHARACTERS = 200


class Reception(StrEnum):
    """The outcome of a callback."""

    #: The verdict is durable, now or since an earlier callback.
    RECEIVED = "received"
    #: No such job.
    UNKNOWN = "unknown"
    #: A failure after a success.
    CONTRARY = "contrary"
    #: The job is a copy that was never sent.
    NEVER_SENT = "never_sent"


class Callbacks:
    """The third stage."""

    def __init__(
        self,
        log: JobLog,
        holds: Holds,
        routes: Sequence[InboxRoute],
        *,
        probe_seconds: float,
        deliveries: Bell,
        filings: Bell,
        clock: Callable[[], float],
        secrets: frozenset[str] = frozenset(),
    ) -> None:
        """Begin with no callback heard; `secrets` are what no history may hold."""
        self._log = log
        self._holds = holds
        self._routes = routes
        self._probe_seconds = probe_seconds
        self._deliveries = deliveries
        self._filings = filings
        self._clock = clock
        self._secrets = secrets
        self._heard_at: dict[str, float] = {}  # when each destination last called back; a restart forgets it

    def conclude(self, job_id: str, verdict: Verdict) -> Reception:
        """Write a verdict down; when this returns RECEIVED it is durable."""
        now = self._clock()
        with self._log.database.transaction():
            before = self._log.lookups.get(job_id)
            if before is None:
                return Reception.UNKNOWN
            if before.state is State.DUPLICATE:
                return Reception.NEVER_SENT
            after = self._advance(before, verdict, now) or self._settled(before, verdict, now)
            is_news = self._note_called_back(before, now)
            if after is None:
                return self._repeated(before, verdict, now)
        log_concluded(after, now)
        self._filings.ring()
        if is_news:  # one receipt at a time until the first callback: the next may go now
            self._deliveries.ring()
        return Reception.RECEIVED

    def _advance(self, job: Job, verdict: Verdict, now: float) -> Job | None:
        detail = in_words(verdict)
        named = {} if verdict.execution_id is None else {"execution_id": verdict.execution_id}
        if verdict.success:
            return self._log.jobs.advance(
                job,
                Event.SUCCEED,
                now,
                detail=detail,
                message=verdict.message,
                notion_page_url=verdict.notion_page_url,
                **named,
            )
        return self._log.jobs.advance(
            job, Event.FAIL, now, detail=detail, reason=Reason.N8N_FAILURE, message=verdict.message, **named
        )

    def _settled(self, job: Job, verdict: Verdict, now: float) -> Job | None:
        """Let N8N's late failure say that a receipt that may have been booked was not booked."""
        if verdict.success or not may_be_booked(job):
            return None
        reason, detail = Reason.N8N_FAILURE, in_words(verdict)
        return self._log.jobs.advance(
            job, Event.SETTLE_NOT_DELIVERED, now, detail=detail, reason=reason, message=verdict.message
        )

    def _repeated(self, job: Job, verdict: Verdict, now: float) -> Reception:
        """The verdict changes nothing: it was given before, or it came too late to fail what had succeeded."""
        if verdict.success or job.state is not State.SUCCESS:
            if not verdict.success and job.reason is not Reason.N8N_FAILURE:
                self._log.histories.note(job.job_id, now, "callback.late", detail=in_words(verdict))
            logger.debug("callback.repeated", job_id=job.job_id, status=job.state.value)
            return Reception.RECEIVED
        self._log.histories.note(job.job_id, now, "callback.contrary", detail=in_words(verdict))
        logger.warning("callback.contrary", job_id=job.job_id, status=job.state.value, message=verdict.message)
        return Reception.CONTRARY

    def _note_called_back(self, job: Job, now: float) -> bool:
        """Note that a destination has called back; return whether that is news, by which the next receipt may go."""
        url = self._url_of(job)
        if url is None:
            return False
        is_first, self._heard_at[url] = url not in self._heard_at, now
        ends_hold = self._holds.called_back(url, now)
        if ends_hold:
            self._log.jobs.forget_resends(branch_keys_of(self._routes, url))
            logger.info("destination.resumed", inbox=job.inbox, why="callbacks arrive again")
        return is_first or ends_hold

    def heard_at(self, url: str) -> float:
        """Return when a destination last called back, in Unix seconds; 0 if it has not since the start."""
        return self._heard_at.get(url, 0.0)

    def _url_of(self, job: Job) -> str | None:
        """Return where a job goes; None if its inbox is not configured any more."""
        route = route_of(self._routes, job)
        return None if route is None else route.branch_of(job).webhook_url

    def awaits(self, job_id: str) -> bool:
        """Return whether a callback for a job is awaited, and none with a wrong token has come yet."""
        job = self._log.lookups.get(job_id)
        is_under_way = job is not None and job.state in (State.DELIVERING, State.PROCESSING)
        return is_under_way and not self._log.histories.has(job_id, REFUSED_EVENT)

    def note_wrong_token(self, job_id: str, body: bytes, why: str) -> None:
        """Keep that a callback which was awaited bore a wrong token: it changes nothing, but tells why none arrives.

        Once for each job, with the digest of the body and its beginning. Several jobs hold the destination, as several
        that stay silent do; `why` says what was wrong with the token.
        """
        now = self._clock()
        with self._log.database.transaction():
            job = self._log.lookups.get(job_id)
            if job is None or not self.awaits(job_id):
                return
            text = without_secrets(body.decode("utf-8", "backslashreplace"), self._secrets)
            shown = printable(text[:_REFUSED_CHARACTERS])
            detail = f"{why}; {len(body)} bytes, SHA-256 {hashlib.sha256(body).hexdigest()}: {shown}"
            self._log.histories.note(job_id, now, "callback.refused", detail=detail)
            url = self._url_of(job)
            if url is None:
                return
            message = f"N8N's {REFUSED_WORDS}"
            if self._holds.unreadable(url, job_id, message, now, now + self._probe_seconds):
                logger.warning("destination.held", inbox=job.inbox, message=message)

    def keep_unreadable(self, job_id: str, body: bytes, why: str) -> bool:
        """Keep an authenticated callback that cannot be read: N8N posts it only once. Return whether the job exists.

        It proves that the workflow ran, so an open job that was sent is concluded and never sent again by itself. A
        verdict that stands is not touched, and a readable success that comes later wins.
        """
        now = self._clock()
        with self._log.database.transaction():
            job = self._log.lookups.get(job_id)
            if job is None:
                return False
            shown = body[:KEPT_CHARACTERS].decode("utf-8", "backslashreplace")
            after = self._give_up_unreadable(job, why, shown[:_SHOWN_CHARACTERS], now)
            self._log.histories.note(job_id, now, "callback.unreadable", detail=f"{why}: {shown}")
        logger.warning("callback.unreadable", job_id=job_id, why=why)
        if after is not None:
            log_concluded(after, now)
            self._filings.ring()
        return True

    def _give_up_unreadable(self, job: Job, why: str, shown: str, now: float) -> Job | None:
        if job.state is State.QUEUED and not self._was_sent(job):
            return None
        event = Event.FAIL if job.state is State.QUEUED else Event.GIVE_UP
        message = f"{why} It came as: {shown}" if shown else why
        after = self._log.jobs.advance(job, event, now, reason=Reason.UNREADABLE_VERDICT, message=message)
        url = self._url_of(job)
        if after is not None and url is not None:
            message = f"N8N's verdicts cannot be read: {why}"
            if self._holds.unreadable(url, job.job_id, message, now, now + self._probe_seconds):
                logger.warning("destination.held", inbox=job.inbox, message=message)
        return after

    def _was_sent(self, job: Job) -> bool:
        """Return whether a job that waits was sent before, so that a callback may be about that."""
        return job.deadline_at is not None or bool(self._log.histories.attempts(job.job_id))
