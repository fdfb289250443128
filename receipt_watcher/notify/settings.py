"""The settings of notices, as the parts of notify are given them.

A value; any thread may read it.
"""

from __future__ import annotations

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

    def cleaned(self, text: str) -> str:
        """Return a text without what is secret."""
        return without_secrets(text, self.secrets)
