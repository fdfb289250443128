"""Notify: look at what is so, compare it with what was told, and send the difference.

What it promises: somebody is told once when something begins and once when it ends. What there is to tell is read
from the job log and from the inboxes' gates, again and again; nothing calls it, so nothing waits for it, and a stage
cannot forget it. What was told is kept in the log, in the transaction that puts the notice into the outbox: a restart
tells nothing twice and forgets nothing. A trouble is told once it has lasted for a while, of each kind at most one
notice in a while, and none in quiet hours: at their end what is still so is told, the failures of the night in one.

Called in a loop of its own, by its own thread: a channel that hangs delays notices only. While the job log cannot be
written nobody is told by this; that is what the heartbeat is for.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Any
from urllib.parse import urlsplit

import structlog

from receipt_watcher.config.schedule import Window, latest_day, time_of
from receipt_watcher.config.secrets import without_secrets
from receipt_watcher.delivery.naming import branches_of
from receipt_watcher.errors import NotToldError
from receipt_watcher.inbox.state import InboxState
from receipt_watcher.inbox.wait_reasons import WaitReason
from receipt_watcher.jobs.job import Job
from receipt_watcher.jobs.log.holds import DestinationState, Holds
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.log.outbox import GIVE_UP_SECONDS, MAX_PAUSE_SECONDS, QueuedNotice
from receipt_watcher.jobs.states import State
from receipt_watcher.notify.channels import Channel
from receipt_watcher.notify.notices import Away, Day, Hold, Kind, Notice, Stuck, Wording
from receipt_watcher.report.balance.last_result import last_balance
from receipt_watcher.spool.route import InboxRoute

logger = structlog.get_logger()

#: How often it is looked at what is so.
LOOK_SECONDS = 2.0

#: A notice that is sent so long after it was written says so.
_LATE_SECONDS = 900.0

#: After a start so long: by then each inbox has said what waits in it.
_SETTLED_SECONDS = 120.0

#: So many receipts are looked at, the oldest.
_LOOKED_AT = 1000

_FACT = "told"

_WHY: dict[State, tuple[str, str]] = {
    State.QUEUED: ("It waits for its turn to be sent to N8N.", "receipt-watcher status says what is before it."),
    State.DELIVERING: ("It is being sent to N8N.", "Nothing; if it stays so, look at the network."),
    State.PROCESSING: (
        "N8N has it, but has not reported back.",
        "Look at the executions in N8N, and whether it can reach the callback URL.",
    ),
}


@dataclass(frozen=True, slots=True)
class NotificationSettings:
    """What is told, and when; `kinds` as in the configuration."""

    kinds: frozenset[str]
    after_seconds: float
    throttle_seconds: float
    stuck_after_seconds: float
    quiet: Window | None = None
    daily_summary_at: str | None = None
    zone: tzinfo | None = None
    secrets: Callable[[], Iterable[str]] = frozenset


@dataclass(slots=True)
class HoldTold:
    """A hold that was seen: since when, why, how many receipts wait, whether it was told, and when it ended."""

    since: float
    message: str
    waiting: int = 0
    is_told: bool = False
    until: float | None = None


@dataclass(slots=True)
class AwayTold:
    """An inbox that was told to be away."""

    since: float
    why: str
    until: float | None = None


@dataclass(slots=True)
class Told:
    """What was told, and what it takes to see what is new. `event` is the last line of the histories that was seen."""

    event: int
    holds: dict[str, HoldTold] = field(default_factory=dict)
    inboxes: dict[str, AwayTold] = field(default_factory=dict)
    stuck: list[str] = field(default_factory=list)
    told_at: dict[str, float] = field(default_factory=dict)
    wrong: int = 0
    names: list[str] = field(default_factory=list)
    summary_day: str = ""
    summary_at: float = 0.0

    @staticmethod
    def read(text: str) -> Told:
        """Return what was kept."""
        fields: dict[str, Any] = json.loads(text)
        holds = {url: HoldTold(**each) for url, each in fields.pop("holds").items()}
        inboxes = {name: AwayTold(**each) for name, each in fields.pop("inboxes").items()}
        return Told(**fields, holds=holds, inboxes=inboxes)

    def written(self) -> str:
        """Return it as it is kept."""
        return json.dumps(dataclasses.asdict(self))


def forget(log: JobLog) -> None:
    """Forget what was told: nobody listens any more. Whoever is named later is not told of what was before."""
    if log.facts.get(_FACT):
        with log.database.transaction():
            log.outbox.remove_all_but([])
            log.facts.keep(_FACT, "")


class NoticeWatcher:
    """Finds out what there is to tell, and tells it; `round` is called again and again."""

    def __init__(
        self,
        log: JobLog,
        holds: Holds,
        routes: Sequence[InboxRoute],
        channels: Sequence[Channel],
        settings: NotificationSettings,
        *,
        inboxes: Callable[[], Sequence[InboxState]],
        clock: Callable[[], float],
        is_stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._log = log
        self._holds = holds
        self._hand_holds = log.manual_holds
        self._routes = routes
        self._channels = {channel.name: channel for channel in channels}
        self._settings = settings
        self._inboxes = inboxes
        self._clock = clock
        self._is_stopping = is_stopping
        self._outbox = log.outbox
        self._started_at = clock()
        self._is_tidied = False

    def round(self) -> float:
        """Look, send what is due, and return how long to wait, in seconds."""
        self.look()
        self.send_due()
        return LOOK_SECONDS

    # --- looking ---------------------------------------------------------------------------------------------------

    def look(self) -> list[Notice]:
        """Put what there is to tell into the outbox, and return it."""
        now = self._clock()
        before = self._log.facts.get(_FACT)
        told = Told.read(before) if before else Told(event=self._log.histories.last_event())
        notices = [
            Notice(notice.kind, self._clean(notice.title), self._clean(notice.text)) for notice in self._news(told, now)
        ]
        after = told.written()
        if notices or after != before:
            with self._log.database.transaction():
                texts = [(notice.kind.value, notice.title, notice.text) for notice in notices]
                self._outbox.put(texts, self._channels, now)
                self._log.facts.keep(_FACT, after)
        return notices

    def _clean(self, text: str) -> str:
        return without_secrets(text, self._settings.secrets())

    def _news(self, told: Told, now: float) -> list[Notice]:
        """Bring `told` up to date, and return what is new; in quiet hours that is nothing, and is new later."""
        inboxes = self._inboxes()
        held = self._follow_holds(told, now)
        self._follow_inboxes(told, inboxes, now)
        self._forget_what_goes_on(told, inboxes, now)
        if self._is_quiet(now):
            return []
        words = Wording(now, self._settings.zone)
        found = [
            self._of_holds(told, words, now),
            self._of_resumed(told, words),
            self._of_inboxes(told, inboxes, words, now),
            self._of_inboxes_back(told, inboxes, words),
            self._of_failures(told, inboxes, words, now),
            self._of_stuck(told, held, inboxes, words, now),
            self._of_balance(told, words, now),
            self._of_the_day(told, held, inboxes, words, now),
        ]
        return [notice for notice in found if notice is not None]

    def _is_quiet(self, now: float) -> bool:
        quiet = self._settings.quiet
        return quiet is not None and quiet.is_open(now)

    def _may_tell(self, told: Told, kind: Kind, now: float) -> bool:
        """Whether the last notice of a kind is long enough ago; a time to come is one of a clock that was wrong."""
        before = told.told_at.get(kind)
        return before is None or not before <= now < before + self._settings.throttle_seconds

    def _has_lasted(self, since: float, now: float) -> bool:
        return not since <= now < since + self._settings.after_seconds

    # --- holds -----------------------------------------------------------------------------------------------------

    def _follow_holds(self, told: Told, now: float) -> dict[str, DestinationState]:
        """Take note of which destinations are held and how much waits for them; return those."""
        urls = dict.fromkeys(branch.url for route in self._routes for branch in route.branches)
        held = {standing.url: standing for standing in self._holds.all() if standing.is_held and standing.url in urls}
        for url, standing in held.items():
            seen = told.holds.setdefault(url, HoldTold(standing.held_since or now, ""))
            if not seen.is_told:
                seen.since = standing.held_since or now
            seen.until = None  # it was back for so short a time that nobody was told
            seen.message = standing.hold_message or ""
            seen.waiting = self._log.statistics.count(branches_of(self._routes, url), State.QUEUED, State.DELIVERING)
        for url in [url for url in told.holds if url not in held]:
            seen = told.holds[url]
            if seen.until is None:
                seen.until = self._holds.of(url).resumed_at or now
            if url not in urls or not seen.is_told:
                del told.holds[url]
        return held

    def _hold(self, url: str, seen: HoldTold) -> Hold:
        inboxes = [route.name for route in self._routes if any(each.url == url for each in route.branches)]
        host = urlsplit(url).hostname or "its address"
        return Hold(host, tuple(inboxes), seen.since, seen.message, seen.waiting, seen.until)

    def _of_holds(self, told: Told, words: Wording, now: float) -> Notice | None:
        new = {url: seen for url, seen in told.holds.items() if not seen.is_told and self._has_lasted(seen.since, now)}
        if not new or not self._may_tell(told, Kind.HELD, now) or "holds" not in self._settings.kinds:
            return None
        for seen in new.values():
            seen.is_told = True
        told.told_at[Kind.HELD] = now
        return words.held([self._hold(url, seen) for url, seen in new.items()])

    def _of_resumed(self, told: Told, words: Wording) -> Notice | None:
        ended = {url: seen for url, seen in told.holds.items() if seen.until is not None}
        for url in ended:
            del told.holds[url]
        return words.resumed([self._hold(url, seen) for url, seen in ended.items()]) if ended else None

    # --- inboxes ---------------------------------------------------------------------------------------------------

    def _follow_inboxes(self, told: Told, inboxes: Sequence[InboxState], now: float) -> None:
        """Take note of which of the inboxes that were told to be away are so no more."""
        known = {inbox.name: inbox for inbox in inboxes}
        for name in list(told.inboxes):
            if name not in known:
                del told.inboxes[name]
            elif known[name].unavailable is not None:
                told.inboxes[name].until = None
            elif known[name].is_ready and told.inboxes[name].until is None:
                told.inboxes[name].until = now

    def _of_inboxes(self, told: Told, inboxes: Sequence[InboxState], words: Wording, now: float) -> Notice | None:
        new = [
            Away(inbox.name, inbox.path, since, inbox.unavailable)
            for inbox in inboxes
            if inbox.unavailable is not None and inbox.name not in told.inboxes
            if self._has_lasted(since := inbox.unavailable_since or now, now)
        ]
        if not new or not self._may_tell(told, Kind.INBOX_AWAY, now) or "inboxes" not in self._settings.kinds:
            return None
        told.inboxes |= {away.name: AwayTold(away.since, away.why) for away in new}
        told.told_at[Kind.INBOX_AWAY] = now
        return words.inboxes_away(new)

    @staticmethod
    def _of_inboxes_back(told: Told, inboxes: Sequence[InboxState], words: Wording) -> Notice | None:
        back = [
            Away(inbox.name, inbox.path, seen.since, seen.why, seen.until)
            for inbox in inboxes
            if (seen := told.inboxes.get(inbox.name)) is not None and seen.until is not None
        ]
        for away in back:
            del told.inboxes[away.name]
        return words.inboxes_back(back) if back else None

    # --- failures --------------------------------------------------------------------------------------------------

    def _of_failures(self, told: Told, inboxes: Sequence[InboxState], words: Wording, now: float) -> Notice | None:
        """One notice for all that failed since the last one, and that nobody has mended meanwhile."""
        last = self._log.histories.last_event()
        told.event = min(told.event, last)  # old histories may have been removed, and their numbers come again
        new = self._log.histories.failures_after(told.event)
        if not new and last - told.event > _LOOKED_AT:
            told.event = last
        if not new or not self._has_lasted(new[0][1], now) or not self._may_tell(told, Kind.FAILED, now):
            return None
        told.event = new[-1][0]
        found = [self._log.lookups.get(job_id) for job_id in dict.fromkeys(job_id for _, _, job_id in new)]
        jobs = [job for job in found if job is not None and job.state is State.FAILURE]
        if not jobs or "failures" not in self._settings.kinds:
            return None
        told.told_at[Kind.FAILED] = now
        return words.failed(jobs, {inbox.name: inbox.failed_dir for inbox in inboxes})

    # --- what waits for too long -----------------------------------------------------------------------------------

    def _forget_what_goes_on(self, told: Told, inboxes: Sequence[InboxState], now: float) -> None:
        """Forget those that were told to wait and do so no more, so that they are told when they do again."""
        in_inboxes = {_key(inbox.name, each.path) for inbox in inboxes for each in inbox.waiting}
        silent = {inbox.name for inbox in inboxes if not inbox.is_ready or inbox.unavailable is not None}
        is_early = now < self._started_at + _SETTLED_SECONDS

        is_open = self._log.lookups.open_among([key for key in told.stuck if "/" not in key])
        told.stuck = [
            key
            for key in told.stuck
            if key in is_open or key in in_inboxes or ("/" in key and (key.partition("/")[0] in silent or is_early))
        ]

    def _of_stuck(
        self, told: Told, held: Collection[str], inboxes: Sequence[InboxState], words: Wording, now: float
    ) -> Notice | None:
        if "stuck" not in self._settings.kinds or not self._may_tell(told, Kind.STUCK, now):
            return None
        known = set(told.stuck)
        found = dict(self._stuck_jobs(held, known, now))
        found |= {key: each for key, each in self._stuck_files(inboxes, now) if key not in known}
        if not found:
            return None
        told.stuck += found
        told.told_at[Kind.STUCK] = now
        oldest_first = sorted(found.values(), key=lambda each: each.since)
        return words.stuck(oldest_first, self._settings.stuck_after_seconds / 60)

    def _stuck_jobs(self, held: Collection[str], known: Collection[str], now: float) -> Iterator[tuple[str, Stuck]]:
        """Yield the receipts that are open for too long, but for those of a hold, which was told, or a closed window.

        What waited through a hold, or for its window, has its time from the end of that on.
        """
        oldest = now - self._settings.stuck_after_seconds
        branches = {branch.key: branch for route in self._routes for branch in route.branches}
        resumed_at = {standing.url: standing.resumed_at or 0.0 for standing in self._holds.all()}
        names = {route.name for route in self._routes}
        held = {*held, *(hold.name for hold in self._hand_holds.all())}
        on_hold = [key for key, branch in branches.items() if branch.url in held]  # may be a whole backlog
        for job in self._log.lookups.oldest_open(oldest, _LOOKED_AT, on_hold):
            branch = branches.get(job.branch)
            url = branch.url if branch is not None else ""
            if job.job_id in known or oldest < resumed_at.get(url, 0.0) <= now:
                continue
            if (
                branch is not None
                and job.state is State.QUEUED
                and any(branch.opens_at(at) > at for at in (oldest, now))
            ):
                continue
            since = max(job.created_at, self._log.histories.last_retry(job.job_id) or 0.0)
            if since <= oldest:
                yield job.job_id, _stuck_job(job, since, is_known=job.inbox in names)

    def _stuck_files(self, inboxes: Iterable[InboxState], now: float) -> Iterator[tuple[str, Stuck]]:
        """Yield the files that lie in an open inbox for too long, and that nobody holds there."""
        oldest = now - self._settings.stuck_after_seconds
        for inbox in inboxes:
            for each in inbox.waiting if inbox.unavailable is None else ():
                if each.first_seen_at <= oldest and each.why is not WaitReason.HELD:
                    why = each.detail or each.why.meaning
                    found = Stuck(each.path, inbox.name, each.first_seen_at, why, each.why.advice)
                    yield _key(inbox.name, each.path), found

    # --- the balance -----------------------------------------------------------------------------------------------

    def _of_balance(self, told: Told, words: Wording, now: float) -> Notice | None:
        """What the log and the folders disagree about, once; and again when there is more, or something else."""
        found = last_balance(self._log)
        wrong, names = (found.wrong, found.names) if found is not None else (0, [])
        is_new = wrong > told.wrong or (wrong > 0 and not set(names) <= set(told.names))
        if is_new and (not self._may_tell(told, Kind.DISAGREES, now) or "balance" not in self._settings.kinds):
            return None
        told.wrong, told.names = wrong, names
        if not is_new:
            return None
        told.told_at[Kind.DISAGREES] = now
        return words.disagrees(wrong, names)

    # --- the day ---------------------------------------------------------------------------------------------------

    def _of_the_day(
        self,
        told: Told,
        held: Mapping[str, DestinationState],
        inboxes: Sequence[InboxState],
        words: Wording,
        now: float,
    ) -> Notice | None:
        at = self._settings.daily_summary_at
        if at is None:
            told.summary_day = ""
            return None
        today = latest_day(now, time_of(at), self._settings.zone).isoformat()
        if told.summary_day and told.summary_day >= today:
            return None
        is_first, since = not told.summary_day, told.summary_at
        told.summary_day, told.summary_at = today, now
        if is_first:
            return None
        away = [
            Away(inbox.name, inbox.path, inbox.unavailable_since or now, inbox.unavailable)
            for inbox in inboxes
            if inbox.unavailable is not None
        ]
        day = Day(
            since=since,
            until=now,
            counts=self._log.statistics.counts_between(since, now),
            failed=self._log.lookups.failed_between(since, now),
            open_now=self._log.statistics.open_jobs(),
            holds=[self._hold(url, seen) for url, seen in told.holds.items() if url in held],
            away=away,
        )
        return words.summary(day)

    # --- sending ---------------------------------------------------------------------------------------------------

    def send_due(self) -> None:
        """Send what is due, to each channel in order; one that fails is tried again later."""
        if not self._is_tidied:
            self._outbox.remove_all_but(self._channels)
            self._is_tidied = True
        if self._is_quiet(self._clock()):
            return
        put_off: set[str] = set()
        for queued in self._outbox.queued():
            if self._is_stopping():
                return
            now = self._clock()
            is_due = not now < queued.due_at <= now + MAX_PAUSE_SECONDS  # one far ahead is of a clock that was wrong
            if queued.channel in put_off or not is_due or not self._send(queued, now):
                put_off.add(queued.channel)  # what came later waits for it

    def _send(self, queued: QueuedNotice, now: float) -> bool:
        """Send a notice; return whether its channel may have the next one."""
        notice = Notice(Kind(queued.kind), queued.title, queued.text)
        if now - queued.created_at >= _LATE_SECONDS:
            text = Wording(now, self._settings.zone).late(notice.text, queued.created_at)
            notice = Notice(notice.kind, notice.title, text)
        told = {"kind": notice.kind.value, "channel": queued.channel, "title": notice.title}
        try:
            self._channels[queued.channel].send(notice, queued.notice_id)
        except NotToldError as error:
            why = without_secrets(str(error), self._settings.secrets(), every_part=True)
            if now - queued.created_at >= GIVE_UP_SECONDS:
                self._outbox.remove(queued)
                logger.error("notice.given_up", **told, why=why)  # noqa: TRY400 - the reason says it
                return True
            pause = self._outbox.put_off(queued, now)
            logger.warning("notice.not_sent", **told, why=why, again_in_seconds=pause)
            return False
        self._outbox.remove(queued)
        logger.info("notice.sent", **told)
        return True


def _key(inbox: str, path: str) -> str:
    """Return what tells a file in an inbox from another one, and from a job."""
    return f"{inbox}/{path}"


def _stuck_job(job: Job, since: float, *, is_known: bool) -> Stuck:
    why, advice = _WHY[job.state]
    if not is_known:
        why, advice = "Its inbox is no longer configured.", "Configure the inbox again, and it goes on."
    return Stuck(job.filename, job.inbox, since, why, advice)
