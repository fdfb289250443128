"""Mutants that change nothing that anybody could notice, each with the reason."""

from __future__ import annotations

_BY_TASTE = "the number is by taste: one beside it serves as well"
_DAY_MORE = "a day more to look at changes no answer"
_ROOM = "a bound with room to spare, or the length of something random"

EQUIVALENT: dict[tuple[str, str], str] = {
    (
        "delivery.pace",
        "wait_seconds: 0 < ahead < 2 * self._interval_seconds -> 0 <= ahead < 2 * self._interval_seconds",
    ): "the wait is 0 in both cases",
    ("inbox.turns", "__init__: False -> True (3)"): "before the first turn nobody waits, so nobody comes next",
    ("jobs.log.holds", "_standing: True -> False"): "the columns that are read are those that are named",
    ("jobs.log.holds", "hold: 0.0 -> 1.0"): "a hold has the time of its probe, and no clock shows 1970",
    ("jobs.log.holds", "pause: 0.0 -> 1.0"): "no pause ends in 1970",
    ("config.schedule", "_spans: 1 -> 2"): _DAY_MORE,
    ("config.schedule", "is_open: 1 -> 2"): _DAY_MORE,
    ("config.schedule", "is_open: 2 -> 3"): _DAY_MORE,
    ("config.schedule", "opens_at: 1 -> 2"): _DAY_MORE,
    ("config.schedule", "opens_at: 1 -> 2 (2)"): _DAY_MORE,
    ("config.schedule", "opens_at: begin > now -> begin >= now"): "at its beginning a window is open",
    ("config.schedule", "_spans: end > begin -> end >= begin"): "hours that end when they begin are refused",
    (
        "inbox.watching.settling",
        "Seen: 0 -> 1",
    ): "no growing file is parked: the first look is number one either way",
    ("inbox.watching.settling", "Seen: 0.0 -> 1.0"): "only what is parked has a time to wait for",
    ("inbox.watching.settling", "park: 30 -> 31"): "the longest pause is reached long before",
    ("inbox.watching.settling", "<module>: 15.0 -> 16.0"): _BY_TASTE,
    ("inbox.watching.settling", "<module>: 5.0 -> 6.0"): _BY_TASTE,
    ("inbox.watching.settling", "<module>: 60.0 -> 61.0"): _BY_TASTE,
    ("inbox.watching.settling", "<module>: 60.0 -> 61.0 (2)"): _BY_TASTE,
    ("inbox.watching.settling", "<module>: 60.0 -> 61.0 (3)"): _BY_TASTE,
    ("inbox.watching.settling", "<module>: 1.0 -> 2.0"): _BY_TASTE,
    ("inbox.watching.settling", "<module>: 1.0 -> 2.0 (2)"): _BY_TASTE,
    ("inbox.watching.settling", "<module>: 1.0 -> 2.0 (3)"): _BY_TASTE,
    ("inbox.watching.settling", "<module>: 300.0 -> 301.0"): _BY_TASTE,
    ("inbox.watching.ignored", "_folders: at >= 0 -> at > 0"): "no path below an inbox begins with a slash",
    ("inbox.watching.ignored", "_folders: 0 -> 1"): "no path below an inbox begins with a slash",
    ("inbox.watching.ignored", "_folders: 1 -> 2"): "no folder has an empty name",
    ("web.access.sessions", "<module>: 1024 -> 1025"): _ROOM,
    ("web.access.sessions", "_fingerprint: 16 -> 17"): _ROOM,
    ("web.access.sessions", "begin: 16 -> 17"): _ROOM,
    ("web.access.sessions", "end: at > now -> at >= now"): "a session that ends now is over by its own time",
}
