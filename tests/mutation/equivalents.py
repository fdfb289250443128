"""Mutants that change nothing that anybody could notice, each with the reason."""

from __future__ import annotations

EQUIVALENT: dict[tuple[str, str], str] = {
    (
        "delivery.pace",
        "wait_seconds: 0 < ahead < 2 * self._interval_seconds -> 0 <= ahead < 2 * self._interval_seconds",
    ): "the wait is 0 in both cases",
}
