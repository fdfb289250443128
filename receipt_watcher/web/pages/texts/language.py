"""A text in the reader's language, and how numbers, sizes and times are written in it.

What it promises: a text that is missing is an error at once, in both languages alike; a test compares them. The meaning
and advice of codes are the ones that the command line says; their German stands in `german_codes`. Pure; any thread may
use it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import tzinfo
from typing import Literal

from receipt_watcher.config.schedule import local
from receipt_watcher.inbox.wait_reasons import WaitReason
from receipt_watcher.jobs.codes import Code
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.web.pages.texts.catalogue import TEXTS
from receipt_watcher.web.pages.texts.german_codes import REASONS_DE, WAITS_DE

Language = Literal["en", "de"]
LANGUAGES: tuple[Language, ...] = ("en", "de")
NAMES: dict[Language, str] = {"en": "English", "de": "Deutsch"}


_KINDS = {
    "application/pdf": "PDF",
    "image/jpeg": "JPEG",
    "image/png": "PNG",
    "image/tiff": "TIFF",
    "image/gif": "GIF",
    "image/bmp": "BMP",
    "image/webp": "WebP",
    "image/heic": "HEIC",
    "image/heif": "HEIF",
}
_MONTHS: dict[Language, tuple[str, ...]] = {
    "en": ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
    "de": ("Jan.", "Feb.", "März", "Apr.", "Mai", "Juni", "Juli", "Aug.", "Sept.", "Okt.", "Nov.", "Dez."),
}
_UNITS: tuple[tuple[float, str], ...] = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
_WISH = re.compile(r"\s*([A-Za-z]{1,8})(?:-[A-Za-z0-9-]{1,20})?\s*(?:;\s*q=([0-9.]{1,5}))?\s*")


@dataclass(frozen=True, slots=True)
class Texts:
    """The texts of one language. `zone` is the office's, for who has no script; None is the machine's own."""

    language: Language
    zone: tzinfo | None = None

    def __call__(self, key: str, count: int | None = None, **values: object) -> str:
        """Return a text; `count` chooses between one and more, and stands for {count}."""
        text = TEXTS[key][LANGUAGES.index(self.language)]
        if count is not None:
            one, _, more = text.partition("|")
            text = one if count == 1 or not more else more
            values["count"] = self.number(count)
        return text.format(**values) if values else text

    def optional(self, key: str, default: str) -> str:
        """Return a text where there is one: a word that came from elsewhere need not be in the catalogue."""
        return self(key) if key in TEXTS else default

    def meaning(self, code: Code) -> str:
        """Return what a code means."""
        return self._of_code(code)[0]

    def advice(self, code: Code) -> str:
        """Return what to do about it."""
        return self._of_code(code)[1]

    def _of_code(self, code: Code) -> tuple[str, str]:
        if self.language == "de" and isinstance(code, Reason):
            return REASONS_DE[code]
        if self.language == "de" and isinstance(code, WaitReason):
            return WAITS_DE[code]
        return code.meaning, code.advice

    # --- numbers and times -----------------------------------------------------------------------------------------

    def number(self, number: float) -> str:
        """Return a number with its thousands apart."""
        text = f"{number:,}"
        return text if self.language == "en" else text.translate(_GERMAN)

    def size(self, size: int) -> str:
        """Return a number of bytes for people."""
        if size < 1000:  # noqa: PLR2004
            return f"{size} B"
        value, unit = (size / 1000, "kB") if size < 1_000_000 else (size / 1_000_000, "MB")  # noqa: PLR2004
        return f"{self.number(round(value, 1) if value < 10 else round(value))} {unit}"  # noqa: PLR2004

    def duration(self, seconds: float) -> str:
        """Return how long, in the two largest units: 3 min 20 s."""
        if seconds < 10:  # noqa: PLR2004
            return f"{self.number(round(max(seconds, 0.0), 1))} s"
        left, parts = round(seconds), []
        for unit, name in _UNITS:
            number, left = divmod(left, int(unit))
            if number:
                parts.append(f"{number} {name}")
        return " ".join(parts[:2])

    def time(self, at: float, now: float) -> str:
        """Return a moment for people: without its day where that is today's."""
        here = local(at, self.zone)
        if here.date() == local(now, self.zone).date():
            return here.strftime("%H:%M:%S")
        return f"{self.day(at)}, {here:%H:%M}"

    def day(self, at: float) -> str:
        """Return a day for people."""
        here = local(at, self.zone)
        month = _MONTHS[self.language][here.month - 1]
        return f"{here.day}. {month} {here.year}" if self.language == "de" else f"{here.day} {month} {here.year}"

    def hour(self, at: float) -> str:
        """Return an hour of the day."""
        return f"{local(at, self.zone):%H:%M}"

    @staticmethod
    def kind(mime_type: str | None) -> str:
        """Return the name of a kind of file."""
        return _KINDS.get(mime_type or "", mime_type or "–")


_GERMAN = str.maketrans({",": ".", ".": ","})


def language_of(chosen: str | None, accepted: str) -> Language:
    """Return the reader's language: the one that was chosen, else what the header Accept-Language prefers."""
    if chosen in LANGUAGES:
        return chosen
    wishes = sorted(_wishes(accepted), key=lambda wish: -wish[1])
    return next((language for language, weight in wishes if weight > 0), "en")


def _wishes(accepted: str) -> Iterator[tuple[Language, float]]:
    for part in accepted[:500].split(","):
        match = _WISH.fullmatch(part)
        for language in LANGUAGES:
            if match and match[1].lower() == language:
                try:
                    yield language, float(match[2] or 1)
                except ValueError:
                    continue
