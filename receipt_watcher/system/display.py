"""Names and texts as people see them: cut, numbered, printable."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

#: Longest name of one file on the usual file systems, in bytes (NAME_MAX).
NAME_MAX_BYTES = 255

#: The unit of options that end in _mb, in bytes.
MEBIBYTE = 1024 * 1024

#: Longest suffix: a longer text behind the last dot, as in «1. a whole sentence», is none. By taste.
_SUFFIX_MAX_BYTES = 16


def numbered_name(name: str, number: int) -> str:
    """Return `name` for 1, else `<stem> (number)<suffix>`, cut so that it is no longer than a name may be."""
    if number == 1:
        return name
    stem, dot, suffix = name.rpartition(".")
    if not stem or len(os.fsencode(suffix)) > _SUFFIX_MAX_BYTES:
        stem, dot, suffix = name, "", ""
    tail = f" ({number}){dot}{suffix}"
    return cut_name(stem, NAME_MAX_BYTES - len(os.fsencode(tail))) + tail


def display_name(path: Path | str) -> str:
    r"""Return a name as text that is safe to show and to send: bytes that are no UTF-8 become `\xNN`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def cut_name(name: str, most_bytes: int) -> str:
    """Shorten a name to so many bytes without cutting a character in two."""
    while name and len(os.fsencode(name)) > most_bytes:
        name = name[:-1]
    return name


def printable(text: str) -> str:
    """Return text with everything that could steer a terminal written out."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def printable_lines(text: str) -> str:
    """Return the same for a page, which shows line breaks as such."""
    return "\n".join(map(printable, text.expandtabs(4).splitlines()))


def as_sentence(text: str) -> str:
    """Return a sentence that may end in the words of somebody else, with a full stop unless they have an end."""
    text = text.rstrip()
    return text if text.endswith((".", "!", "?", "…")) else f"{text}."


#: Characters of N8N's words that are quoted.
_QUOTED = 300


def receipts(count: int, one: str, many: str) -> str:
    """Return a number of receipts with its verb, in the singular or the plural."""
    return f"1 receipt {one}" if count == 1 else f"{count or 'No'} receipts {many}"


def quoted(text: str) -> str:
    """Return what somebody else said, on one line and not too long."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= _QUOTED else f"{line[:_QUOTED]}…"


def lies_below(relative: Path, folder: str) -> bool:
    """Return whether a file below the inbox lies in a subfolder of it, at any depth."""
    return PurePosixPath(relative).is_relative_to(folder)
