"""The settings of notices, as the parts of notify are given them.

A value; any thread may read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import tzinfo

from receipt_watcher.config.schedule import Window
from receipt_watcher.config.secrets import without_secrets


@dataclass(frozen=True, slots=True)
class NotificationSettings:
    """The kinds of notices to send, and their times; `kinds` as in the configuration."""

    kinds: frozenset[str]
    after_seconds: float
    throttle_seconds: float
    stuck_after_seconds: float
    quiet: Window | None = None
    daily_summary_at: str | None = None
    zone: tzinfo | None = None
    secrets: frozenset[str] = frozenset()

    def is_quiet(self, now: float) -> bool:
        """Return whether a moment lies in the quiet hours."""
        return self.quiet is not None and self.quiet.is_open(now)

    def has_lasted(self, since: float, now: float) -> bool:
        """Return whether something has lasted for long enough to be told."""
        return not since <= now < since + self.after_seconds

    def may_tell(self, told_at: Mapping[str, float], kind: str, now: float) -> bool:
        """Return whether the last notice of a kind is long enough ago; a future time comes from a wrong clock."""
        before = told_at.get(kind)
        return before is None or not before <= now < before + self.throttle_seconds

    def cleaned(self, text: str) -> str:
        """Return a text without what is secret."""
        return without_secrets(text, self.secrets)
