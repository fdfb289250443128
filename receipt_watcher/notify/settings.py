"""What people are told and when, as parts of notify are given it.

A value; any thread may read it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import tzinfo

from receipt_watcher.config.schedule import Window
from receipt_watcher.config.secrets import without_secrets


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
    secrets: frozenset[str] = frozenset()

    def is_quiet(self, now: float) -> bool:
        """Return whether nobody is to be disturbed now."""
        return self.quiet is not None and self.quiet.is_open(now)

    def cleaned(self, text: str) -> str:
        """Return a text without what is secret."""
        return without_secrets(text, self.secrets)
