"""Whether a PDF has all that its tables of contents name (ISO 32000-1, 7.5.4 to 7.5.8).

What it promises: it is asked about files whose end is not as the standard wants it, and says yes only if nothing that
the file names is missing. Each cross-reference section in the file is whole, be it a table or a stream; each object
that one of them names begins where it says; and after the last of them no further object begins. So a file that was
cut before its last trailer, or in a change at its end, is never taken for a whole one.

Pure over a binary file; nothing is decoded but the sections themselves, within MAX_TABLE_BYTES and MAX_PARTS.
"""

from __future__ import annotations

import itertools
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from receipt_watcher.examine.formats import MAX_PARTS, MAX_TABLE_BYTES, PIECE_BYTES, CutShortError, read_at

#: A table, and the dictionary of a stream. In front of a table stands the end of a line.
_SECTION = re.compile(rb"(?<=[\r\n])xref[ \t]{0,16}[\r\n]|/Type\s{0,16}/XRef\b")
_SUBSECTION = re.compile(rb"\s{0,16}(\d{1,10})[ \t]{1,8}(\d{1,10})\s{1,16}")
_ENTRY = re.compile(rb"(\d{10}) (\d{5}) ([nf])[\r\n ]{1,3}")
_TRAILER = re.compile(rb"\s{0,16}trailer\s{0,16}(?=<<)")
_OBJECT = re.compile(rb"\s{0,16}(\d{1,10})\s{1,8}(\d{1,5})\s{1,8}obj\b")
_STREAM = re.compile(rb"\s{0,16}stream\r?\n")
_TOKEN = re.compile(rb"<<|>>|\(|<[0-9A-Fa-f\s]*>|%[^\r\n]*")
_STRING_END = re.compile(rb"\\.|[()]", re.DOTALL)
_ROOT = re.compile(rb"/Root\s{1,16}\d|/Root\b")
_NUMBERS = re.compile(rb"\d+")
_PREDICTORS_OF_PNG = 10

#: A dictionary of a section is short; before it stands the number of its object.
_MAX_DICTIONARY_BYTES = 64 * 1024
_BEFORE_DICTIONARY_BYTES = 1024

#: Each change at the end of a file adds one; a file with more is no receipt.
_MAX_SECTIONS = 500

_ENTRY_BYTES = 20
_IN_USE, _IN_STREAM = 1, 2


@dataclass(frozen=True, slots=True)
class _Section:
    """A cross-reference section: objects by number, and where it ends; offsets are as the file has them."""

    offsets: dict[int, int]
    holders: frozenset[int]  # object streams that must be there
    has_root: bool
    end: int


def has_all_objects(source: BinaryIO, size: int, junk_bytes: int) -> bool:
    """Return whether all that a PDF names is in it; `junk_bytes` stand before its mark."""
    try:
        places = itertools.islice(_places(source), _MAX_SECTIONS)
        sections = [_section_at(source, size, position, is_table=is_table) for position, is_table in places]
    except (CutShortError, ValueError, zlib.error):
        return False
    if len(sections) == _MAX_SECTIONS or not any(section.has_root for section in sections):
        return False
    end = max(section.end for section in sections)
    if has_object_after(source, end):
        return False
    known = {number for section in sections for number in section.offsets}
    if any(section.holders - known for section in sections):
        return False
    named = {(number, offset) for section in sections for number, offset in section.offsets.items()}
    # Most writers count from the mark; a few counted the junk as well.
    return any(all(_is_object(source, base + offset, number) for number, offset in named) for base in {junk_bytes, 0})


def _places(source: BinaryIO) -> Iterator[tuple[int, bool]]:
    """Yield where a section seems to be, and whether it is a table."""
    source.seek(0)
    start, carry = 0, b""
    last = -1
    while piece := source.read(PIECE_BYTES):
        window = carry + piece
        for match in _SECTION.finditer(window):
            position = start - len(carry) + match.start()
            if position > last:
                last = position
                yield position, match[0].startswith(b"xref")
                source.seek(start + len(piece))
        start += len(piece)
        carry = window[-64:]  # longer than the longest match


def has_object_after(source: BinaryIO, position: int) -> bool:
    """Return whether an object begins behind a position."""
    source.seek(position)
    carry = b""
    while piece := source.read(PIECE_BYTES):
        if _OBJECT.search(carry + piece):
            return True
        carry = piece[-64:]
    return False


def _is_object(source: BinaryIO, offset: int, number: int) -> bool:
    source.seek(offset)
    match = _OBJECT.match(source.read(64))
    return match is not None and int(match[1]) == number


def _section_at(source: BinaryIO, size: int, position: int, *, is_table: bool) -> _Section:
    """Read a section.

    Raises:
        CutShortError: it is not whole.
        ValueError: it is none.
        zlib.error: its bytes are damaged.
    """
    return _table_at(source, size, position) if is_table else _stream_at(source, size, position)


def _table_at(source: BinaryIO, size: int, position: int) -> _Section:
    position += len(b"xref")
    offsets: dict[int, int] = {}
    parts = 0
    while subsection := _SUBSECTION.match(_piece(source, size, position, 64)):
        position += subsection.end()
        first, count = int(subsection[1]), int(subsection[2])
        parts += count
        if parts > MAX_PARTS:
            raise ValueError("it is longer than any real one")
        entries = _piece(source, size, position, count * _ENTRY_BYTES + 2)
        at = 0
        for number in range(first, first + count):
            entry = _ENTRY.match(entries, at)
            if entry is None:
                raise CutShortError("It is a PDF whose table of contents is not whole.")
            at = entry.end()
            if entry[3] == b"n":
                offsets[number] = int(entry[1])
        position += at
    trailer = _TRAILER.match(_piece(source, size, position, 64))
    if trailer is None:
        raise CutShortError("It is a PDF without the trailer of its table of contents.")
    dictionary = _dictionary(_piece(source, size, position + trailer.end(), _MAX_DICTIONARY_BYTES))
    end = position + trailer.end() + len(dictionary)
    return _Section(offsets, frozenset(), _ROOT.search(dictionary) is not None, end)


def _stream_at(source: BinaryIO, size: int, position: int) -> _Section:
    begin = max(0, position - _BEFORE_DICTIONARY_BYTES)
    before = read_at(source, begin, position - begin)
    headers = list(_OBJECT.finditer(before))
    if not headers:
        raise ValueError("no object is there")
    start = begin + headers[-1].end()
    text = _piece(source, size, start, _MAX_DICTIONARY_BYTES)
    dictionary = _dictionary(text)
    stream = _STREAM.match(text, text.index(dictionary) + len(dictionary))
    if stream is None:
        raise CutShortError("It is a PDF whose table of contents is not whole.")
    body_at = start + stream.end()
    body = _piece(source, size, body_at, MAX_TABLE_BYTES)
    length = body.find(b"endstream")
    if length < 0:
        raise CutShortError("It is a PDF whose table of contents is not whole.")
    widths = _numbers(dictionary, b"/W")
    if len(widths) != 3 or sum(widths) > 32:  # noqa: PLR2004 - three columns, as the standard has them
        raise ValueError("its columns are none")
    row_bytes = sum(widths)
    rows = _decoded(dictionary, body[:length], row_bytes)
    runs = _numbers(dictionary, b"/Index") or [0, *_numbers(dictionary, b"/Size")[:1]]
    numbers = [
        number for first, count in zip(runs[::2], runs[1::2], strict=True) for number in range(first, first + count)
    ]
    if len(numbers) > MAX_PARTS or len(rows) < len(numbers) * row_bytes:
        raise CutShortError("It is a PDF whose table of contents is not whole.")
    offsets: dict[int, int] = {}
    holders: set[int] = set()
    for index, number in enumerate(numbers):
        row = rows[index * row_bytes :][:row_bytes]
        kind, second = _columns(row, widths)
        if kind == _IN_USE:
            offsets[number] = second
        elif kind == _IN_STREAM:
            holders.add(second)
    end = body_at + length + len(b"endstream")
    return _Section(offsets, frozenset(holders), _ROOT.search(dictionary) is not None, end)


def _columns(row: bytes, widths: list[int]) -> tuple[int, int]:
    kind = int.from_bytes(row[: widths[0]], "big") if widths[0] else _IN_USE
    return kind, int.from_bytes(row[widths[0] : widths[0] + widths[1]], "big")


def _decoded(dictionary: bytes, body: bytes, row_bytes: int) -> bytes:
    """Return the rows of a stream without its compression and its differences between rows."""
    if b"/FlateDecode" in dictionary:
        unpacker = zlib.decompressobj()
        body = unpacker.decompress(body, MAX_TABLE_BYTES)
        if not unpacker.eof:
            raise CutShortError("It is a PDF whose table of contents is not whole.")
    elif b"/Filter" in dictionary:
        raise ValueError("its compression is not known here")
    predictors = _numbers(dictionary, b"/Predictor")
    if not predictors or predictors[0] < _PREDICTORS_OF_PNG:
        return body
    rows, above = bytearray(), bytes(row_bytes)
    for at in range(0, len(body), row_bytes + 1):
        kind, row = body[at], body[at + 1 :][:row_bytes]
        if kind not in (0, 2) or len(row) < row_bytes:  # all writers use the row above, or none
            raise ValueError("its rows are none")
        above = bytes((one + other) & 255 for one, other in zip(row, above, strict=True)) if kind else row
        rows += above
    return bytes(rows)


def _numbers(dictionary: bytes, key: bytes) -> list[int]:
    """Return the number, or the list of numbers, behind a key."""
    match = re.search(re.escape(key) + rb"\s{0,16}(\[[\d\s]{0,65536}\]|\d{1,10})", dictionary)
    return [int(number) for number in _NUMBERS.findall(match[1])] if match else []


def _dictionary(text: bytes) -> bytes:
    """Return the dictionary at the beginning of a text.

    Raises:
        CutShortError: it has no end there.
    """
    depth, position = 0, text.find(b"<<")
    begin = position
    while position >= 0 and (token := _TOKEN.search(text, position)):
        position = token.end()
        if token[0] == b"<<":
            depth += 1
        elif token[0] == b">>":
            depth -= 1
            if depth == 0:
                return text[begin:position]
        elif token[0] == b"(":
            position = _end_of_string(text, position)
    raise CutShortError("It is a PDF whose trailer is not whole.")


def _end_of_string(text: bytes, position: int) -> int:
    depth = 1
    while depth and (token := _STRING_END.search(text, position)):
        position = token.end()
        depth += {b"(": 1, b")": -1}.get(token[0], 0)
    if depth:
        raise CutShortError("It is a PDF whose trailer is not whole.")
    return position


def _piece(source: BinaryIO, size: int, position: int, count: int) -> bytes:
    """Return up to `count` bytes at a position; at the end of the file there are fewer."""
    return read_at(source, position, max(0, min(count, size - position)))
