"""Send the notices that lie in the outbox, to each channel in order.

What it promises: a notice stays in the outbox until its channel has taken it, or until it is too old. One that fails is
tried again later, and those behind it wait for it. In quiet hours nothing is sent. Called by the thread of notices. A
crash after a channel has taken a notice sends it once more, under the same id.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import structlog

from receipt_watcher.config.secrets import without_secrets
from receipt_watcher.errors import NotToldError
from receipt_watcher.jobs.log.outbox import GIVE_UP_SECONDS, MAX_PAUSE_SECONDS, Outbox, QueuedNotice
from receipt_watcher.notify.channels import Channel
from receipt_watcher.notify.notices import Kind, Notice, Wording
from receipt_watcher.notify.settings import NotificationSettings

logger = structlog.get_logger()

#: A notice that is sent so long after it was written says so.
_LATE_SECONDS = 900.0


class NoticeSender:
    """Sends what the outbox has for these channels."""

    def __init__(
        self,
        outbox: Outbox,
        channels: Mapping[str, Channel],
        settings: NotificationSettings,
        *,
        clock: Callable[[], float],
        is_stopping: Callable[[], bool],
    ) -> None:
        self._outbox = outbox
        self._channels = channels
        self._settings = settings
        self._clock = clock
        self._is_stopping = is_stopping
        self._is_tidied = False

    def send_due(self) -> None:
        """Send what is due, to each channel in order; one that fails is tried again later."""
        if not self._is_tidied:
            self._outbox.remove_all_but(self._channels)
            self._is_tidied = True
        if self._settings.is_quiet(self._clock()):
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
            why = without_secrets(str(error), self._settings.secrets, every_part=True)
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
