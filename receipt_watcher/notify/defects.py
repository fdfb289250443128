"""News of what is wrong with ourselves: files that cannot be filed, disks, events and log lines that are missing.

What it promises: each is told once it has lasted for a while, and once more when it is over. What has a notice of its
own, such as an inbox that is away, is not among them.

The thread of notices calls it; what was told is kept in `Told`.
"""

from __future__ import annotations

from collections.abc import Iterable

from receipt_watcher.notify.notices import Defect, Kind, Notice, Wording
from receipt_watcher.notify.settings import NotificationSettings
from receipt_watcher.notify.told import DefectTold, Told
from receipt_watcher.report.health.troubles import Trouble, TroubleKind

#: The kinds of trouble that have no other notice.
_DEFECTS = frozenset({TroubleKind.FILING, TroubleKind.DISK, TroubleKind.WATCH, TroubleKind.LOG_OUTPUT})


class DefectNews:
    """Compares what is wrong with what was told."""

    def __init__(self, settings: NotificationSettings) -> None:
        self._settings = settings

    @staticmethod
    def follow(told: Told, troubles: Iterable[Trouble], now: float) -> None:
        """Take note of what is wrong, and of what no longer is."""
        present = {trouble.key: trouble for trouble in troubles if trouble.kind in _DEFECTS}
        for key, trouble in present.items():
            told.defects.setdefault(key, DefectTold(now, trouble.text)).until = None
        for key in [key for key in told.defects if key not in present]:
            seen = told.defects[key]
            if seen.is_told:
                seen.until = seen.until or now
            else:
                del told.defects[key]

    def begun(self, told: Told, words: Wording, now: float) -> Notice | None:
        """Return a notice of what has been wrong for long enough, and was not told."""
        new = [
            seen for seen in told.defects.values() if not seen.is_told and self._settings.has_lasted(seen.since, now)
        ]
        is_wanted = "inboxes" in self._settings.kinds and self._settings.may_tell(told.told_at, Kind.TROUBLE, now)
        if not new or not is_wanted:
            return None
        for seen in new:
            seen.is_told = True
        told.told_at[Kind.TROUBLE] = now
        return words.defects([Defect(seen.text, seen.since) for seen in new])

    @staticmethod
    def ended(told: Told, words: Wording) -> Notice | None:
        """Return a notice of what was told and is over."""
        ended = {key: seen for key, seen in told.defects.items() if seen.until is not None}
        for key in ended:
            del told.defects[key]
        over = [Defect(seen.text, seen.since, seen.until) for seen in ended.values()]
        return words.defects_over(over) if over else None
