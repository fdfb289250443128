"""A dead man's switch: pings that stop when the daemon does, so that somebody else tells of it.

What it promises: `<url>/start` once at the start; `<url>` only where, since the last one, every inbox was scanned with
success, and the last balance agrees and is no older than two days; `<url>/fail` with the reasons when something is
wrong, and again for as long as it is. A daemon that hangs sends nothing: silence is the alarm. That N8N is held is no
failure of ours. So is healthchecks.io spoken to, and what copies it.

Called in a loop of its own, by its own thread. Nothing is kept; the next start begins anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

import structlog

from receipt_watcher.config.secrets import without_secrets
from receipt_watcher.delivery.destinations.http_client import Outbound
from receipt_watcher.errors import AnswerLostError, NotSentError
from receipt_watcher.notify.channels import reason_of
from receipt_watcher.report.balance.daily import DAY_SECONDS
from receipt_watcher.report.balance.last_result import LastBalance

logger = structlog.get_logger()

#: Seconds between two looks whether a ping is due, and before a failed ping is tried again.
LOOK_SECONDS = 2.0
RETRY_SECONDS = 30.0


class Heartbeat:
    """Pings one URL; `run_once` is called again and again.

    `troubles` says what is wrong now, `scans` when each inbox was last scanned (on the monotonic clock; None: not yet),
    and `balance` how the last balance ended.
    """

    def __init__(
        self,
        url: str,
        outbound: Outbound,
        *,
        every_seconds: float,
        troubles: Callable[[], list[str]],
        scans: Callable[[], Mapping[str, float | None]],
        balance: Callable[[], LastBalance | None],
        secrets: frozenset[str],
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self._url = url
        self._outbound = outbound
        self._every_seconds = every_seconds
        self._troubles = troubles
        self._scans = scans
        self._balance = balance
        self._secrets = secrets
        self._clock = clock
        self._monotonic = monotonic
        self._has_started = False
        self._is_failing: bool | None = None  # what the last ping said; None: it said nothing yet
        self._pinged_at = self._monotonic()
        self._is_silent = False  # the last ping did not go out

    def run_once(self) -> float:
        """Ping where it is due, and return how long to wait, in seconds."""
        if not self._has_started:
            self._has_started = self._ping("/start")
            return LOOK_SECONDS if self._has_started else RETRY_SECONDS
        began_at = self._monotonic()
        troubles = self._troubles() + self._disagreement()
        is_due = self._is_failing is not bool(troubles) or began_at - self._pinged_at >= self._every_seconds
        if not is_due or not (troubles or self._is_proven()):
            return LOOK_SECONDS
        if not (self._ping("/fail", "\n".join(troubles)) if troubles else self._ping("")):
            return RETRY_SECONDS
        self._pinged_at, self._is_failing = began_at, bool(troubles)
        return LOOK_SECONDS

    def _disagreement(self) -> list[str]:
        balance = self._balance()
        if balance is None or not balance.wrong:
            return []
        return [f"log and folders disagree about {balance.wrong} files; receipt-watcher balance names them"]

    def _is_proven(self) -> bool:
        """Return whether each inbox was scanned since the last ping, and a balance is not overdue."""
        balance = self._balance()
        is_balanced = balance is not None and abs(self._clock() - balance.at) < 2 * DAY_SECONDS
        return is_balanced and all(at is not None and at >= self._pinged_at for at in self._scans().values())

    def _ping(self, suffix: str, text: str = "") -> bool:
        """Ping, and return whether that went well; only a change is told."""
        parts = urlsplit(self._url)
        url = parts._replace(path=parts.path.rstrip("/") + suffix).geturl()
        body = without_secrets(text, self._secrets).encode("utf-8", "backslashreplace")
        try:
            answer = self._outbound.post(url, {"Content-Type": "text/plain"}, lambda: iter([body]), len(body))
            why = None if 200 <= answer.status < 300 else f"it was answered with {answer.status}"  # noqa: PLR2004
        except (NotSentError, AnswerLostError) as error:
            why = without_secrets(reason_of(error), self._secrets, every_part=True)
        if why is not None and not self._is_silent:
            logger.warning("heartbeat.not_sent", why=why, advice="look at notify.heartbeat_url; it is tried again")
        elif why is None and self._is_silent:
            logger.info("heartbeat.resumed")
        self._is_silent = why is not None
        return why is None
