"""Names of files as people type them: in either case, composed or decomposed. Pure.

What it promises: a name that a Mac stored decomposed (NFD) is found when it is typed composed, and an umlaut in either
case. The log finds by LIKE all that may fit, since SQLite knows the capitals of ASCII only; the rest is decided here.
"""

from __future__ import annotations

import fnmatch
import re
import unicodedata

_SPECIAL = re.compile(r"([%_\\])")
#: A phrase between quotes, or else a word.
_WORD = re.compile(r'"([^"]*)"|(\S+)')
_SET = re.compile(r"\[!?\]?[^\]]*\]")


def composed(text: str) -> str:
    """Return a text without the differences of case and of composition."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def words_of(text: str) -> list[str]:
    """Return the words of a search; those between quotes are one phrase."""
    return [word for phrase, single in _WORD.findall(text) if (word := phrase.strip() or single.strip('"'))]


def like_of_word(word: str) -> str:
    """Return the pattern of LIKE (escape: backslash) that fits at least all that has this word or phrase."""
    return f"%{_like(unicodedata.normalize('NFC', word))}%"


def like_of_glob(glob: str) -> str:
    """Return the pattern of LIKE that fits at least all that a pattern of a shell does."""
    pieces = re.split(r"(\*|\?|\[!?\]?[^\]]*\])", unicodedata.normalize("NFC", glob))
    # One character may be stored as two: a letter and its accent.
    return "".join("%" if piece in ("*", "?") or _SET.fullmatch(piece) else _like(piece) for piece in pieces)


def _like(text: str) -> str:
    # A letter before what is not ASCII may be half of a character that is stored decomposed.
    return re.sub(r"[^\x00-\x7f]+", "%", _SPECIAL.sub(r"\\\1", text))


def fits_glob(name: str, glob: str) -> bool:
    """Return whether a name fits a pattern of a shell, such as `*.pdf`."""
    return fnmatch.fnmatchcase(composed(name), composed(glob))


def forms_of(name: str) -> list[str]:
    """Return the forms in which a name may be stored: as it is, composed and decomposed."""
    return [*dict.fromkeys((name, unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name)))]
