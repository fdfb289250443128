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

from collections.abc import Callable, Mapping, Sequence

import structlog

from receipt_watcher.config.schedule import latest_day, time_of
from receipt_watcher.delivery.naming import DestinationNames, branch_keys_of
from receipt_watcher.inbox.state import InboxState
from receipt_watcher.jobs.log.holds import DestinationState, Holds
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.states import State
from receipt_watcher.notify.channels import Channel
from receipt_watcher.notify.defects import DefectNews
from receipt_watcher.notify.notices import Away, Day, Hold, Kind, Notice, Wording
from receipt_watcher.notify.sender import NoticeSender
from receipt_watcher.notify.settings import NotificationSettings
from receipt_watcher.notify.told import AwayTold, HoldTold, Told
from receipt_watcher.notify.waits import WaitNews
from receipt_watcher.report.balance.last_result import last_balance
from receipt_watcher.report.health.stuck import StuckReceipts
from receipt_watcher.report.health.troubles import Trouble
from receipt_watcher.spool.route import InboxRoute

logger = structlog.get_logger()

#: Seconds between two looks for news.
LOOK_SECONDS = 2.0

#: So many receipts are looked at, the oldest.
_LOOKED_AT = 1000


def forget(log: JobLog) -> None:
    """Forget what was told: nobody listens any more. Whoever is named later is not told of what was before."""
    if log.facts.told.get():
        with log.database.transaction():
            log.outbox.remove_all_but([])
            log.facts.told.put("")


class NoticeWatcher:
    """Finds out what there is to tell, and tells it; `run_once` is called again and again."""

    def __init__(
        self,
        log: JobLog,
        holds: Holds,
        routes: Sequence[InboxRoute],
        channels: Sequence[Channel],
        settings: NotificationSettings,
        *,
        names: DestinationNames,
        inboxes: Callable[[], Sequence[InboxState]],
        troubles: Callable[[], Sequence[Trouble]],
        clock: Callable[[], float],
        is_stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._log = log
        self._holds = holds
        self._routes = routes
        self._channels = {channel.name: channel for channel in channels}
        self._settings = settings
        self._names = names
        self._inboxes = inboxes
        self._troubles = troubles
        self._defects = DefectNews(settings)
        self._clock = clock
        self._outbox = log.outbox
        self._sender = NoticeSender(self._outbox, self._channels, settings, clock=clock, is_stopping=is_stopping)
        stuck = StuckReceipts(
            log,
            holds,
            {route.name: route.branches for route in routes},
            after_seconds=settings.stuck_after_seconds,
            started_at=clock(),
        )
        self._waits = WaitNews(stuck, settings)

    def run_once(self) -> float:
        """Look, send what is due, and return how long to wait, in seconds."""
        self.queue_news()
        self._sender.send_due()
        return LOOK_SECONDS

    # --- looking ---------------------------------------------------------------------------------------------------

    def queue_news(self) -> list[Notice]:
        """Put what there is to tell into the outbox, and return it."""
        now = self._clock()
        before = self._log.facts.told.get()
        told = Told.read(before) if before else Told(event=self._log.histories.last_event())
        notices = [
            Notice(notice.kind, self._settings.cleaned(notice.title), self._settings.cleaned(notice.text))
            for notice in self._news(told, now)
        ]
        after = told.written()
        if notices or after != before:
            with self._log.database.transaction():
                texts = [(notice.kind.value, notice.title, notice.text) for notice in notices]
                self._outbox.put(texts, self._channels, now)
                self._log.facts.told.put(after)
        return notices

    def _news(self, told: Told, now: float) -> list[Notice]:
        """Bring `told` up to date, and return what is new; in quiet hours that is nothing, and is new later."""
        inboxes = self._inboxes()
        held = self._follow_holds(told, now)
        self._follow_inboxes(told, inboxes, now)
        self._defects.follow(told, self._troubles(), now)
        self._waits.follow(told, inboxes, now)
        if self._settings.is_quiet(now):
            return []
        words = Wording(now, self._settings.zone)
        notices = [
            self._of_holds(told, words, now),
            self._of_resumed(told, words),
            self._of_inboxes(told, inboxes, words, now),
            self._of_inboxes_back(told, inboxes, words),
            self._defects.begun(told, words, now),
            self._defects.ended(told, words),
            self._of_failures(told, inboxes, words, now),
            self._waits.blocked(told, inboxes, words, now),
            self._waits.stuck(told, held, inboxes, words, now),
            self._of_balance(told, words, now),
            self._of_the_day(told, held, inboxes, words, now),
        ]
        return [notice for notice in notices if notice is not None]

    # --- holds -----------------------------------------------------------------------------------------------------

    def _follow_holds(self, told: Told, now: float) -> dict[str, DestinationState]:
        """Take note of which destinations are held and how much waits for them; return those."""
        urls = dict.fromkeys(branch.webhook_url for route in self._routes for branch in route.branches)
        held = {standing.url: standing for standing in self._holds.all() if standing.is_held and standing.url in urls}
        for url, standing in held.items():
            seen = told.holds.setdefault(url, HoldTold(standing.held_since or now, ""))
            if not seen.is_told:
                seen.since = standing.held_since or now
            seen.until = None  # it was back for so short a time that nobody was told
            seen.message = standing.hold_message or ""
            seen.waiting = self._log.statistics.count(branch_keys_of(self._routes, url), State.QUEUED, State.DELIVERING)
        for url in [url for url in told.holds if url not in held]:
            seen = told.holds[url]
            if seen.until is None:
                seen.until = self._holds.of(url).resumed_at or now
            if url not in urls or not seen.is_told:
                del told.holds[url]
        return held

    def _hold(self, url: str, seen: HoldTold) -> Hold:
        inboxes = [route.name for route in self._routes if any(each.webhook_url == url for each in route.branches)]
        return Hold(self._names.name_of(url), tuple(inboxes), seen.since, seen.message, seen.waiting, seen.until)

    def _of_holds(self, told: Told, words: Wording, now: float) -> Notice | None:
        new = {
            url: seen
            for url, seen in told.holds.items()
            if not seen.is_told and self._settings.has_lasted(seen.since, now)
        }
        if not new or not self._settings.may_tell(told.told_at, Kind.HELD, now) or "holds" not in self._settings.kinds:
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
            if self._settings.has_lasted(since := inbox.unavailable_since or now, now)
        ]
        if (
            not new
            or not self._settings.may_tell(told.told_at, Kind.INBOX_AWAY, now)
            or "inboxes" not in self._settings.kinds
        ):
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
        if (
            not new
            or not self._settings.has_lasted(new[0][1], now)
            or not self._settings.may_tell(told.told_at, Kind.FAILED, now)
        ):
            return None
        told.event = new[-1][0]
        changed = [self._log.lookups.get(job_id) for job_id in dict.fromkeys(job_id for _, _, job_id in new)]
        jobs = [job for job in changed if job is not None and job.state is State.FAILURE]
        if not jobs or "failures" not in self._settings.kinds:
            return None
        told.told_at[Kind.FAILED] = now
        return words.failed(jobs, {inbox.name: inbox.failed_dir for inbox in inboxes})

    # --- the balance -----------------------------------------------------------------------------------------------

    def _of_balance(self, told: Told, words: Wording, now: float) -> Notice | None:
        """Return a notice of disagreements between log and folders: once, then only of more or other ones."""
        balance = last_balance(self._log)
        wrong, names = (balance.wrong, balance.names) if balance is not None else (0, [])
        is_new = wrong > told.wrong or (wrong > 0 and not set(names) <= set(told.names))
        if is_new and (
            not self._settings.may_tell(told.told_at, Kind.DISAGREES, now) or "balance" not in self._settings.kinds
        ):
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
