"""HEIC and HEIF (ISO/IEC 23008-12): boxes, and an index that points into them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

from receipt_watcher.examine.formats import (
    MAX_PARTS,
    CutShortError,
    MalformedError,
    check_pixels,
    check_within,
    ends_in_zeros,
    read_at,
)

_TOP_BOXES = frozenset(
    {
        b"ftyp",
        b"meta",
        b"mdat",
        b"moov",
        b"free",
        b"skip",
        b"wide",
        b"uuid",
        b"idat",
        b"udta",
        b"moof",
        b"mfra",
        b"sidx",
    }
)
_MAX_INDEX_BYTES = 1024 * 1024
_HEVC = int.from_bytes(b"hvc1", "big")

_Box = tuple[bytes, int, int]


def walk_heic(source: BinaryIO, size: int, max_pixels: int) -> None:
    """Follow the boxes of a HEIC, and check that what its index points to is inside the file.

    The format has no end marker. So after the index a box of a foreign kind is taken as bytes after the end, and it
    is the index that proves the file whole.
    """
    has_index = False
    for number, (kind, start, end) in enumerate(_boxes(source, 0, size)):
        if (number == 0) != (kind == b"ftyp") and not has_index:
            raise MalformedError("It is a HEIC whose parts are not in order.")
        if has_index and kind not in _TOP_BOXES:
            break
        check_within(end, size, "A part of the HEIC")
        if kind == b"meta" and not has_index:
            has_index = True
            _check_heic_index(source, start + 4, end, size, max_pixels)
    if not has_index:
        raise CutShortError("It is a HEIC without its index.")


def _boxes(source: BinaryIO, position: int, end: int) -> Iterator[_Box]:
    """Yield kind, start of the content, and end of each box; the last end may lie beyond `end`."""
    for _ in range(MAX_PARTS):
        if end - position < 8:  # noqa: PLR2004 - no room for a box
            return
        length, kind = struct.unpack(">I4s", read_at(source, position, 8))
        header = 8
        if length == 1:
            length, header = int.from_bytes(read_at(source, position + 8, 8), "big"), 16
        elif length == 0:
            length = end - position
        yield kind, position + header, position + length
        # Only now: who knows the kind to be foreign has left by here.
        if length < header:
            raise MalformedError("It is a HEIC with a part of impossible length.")
        position += length
    raise MalformedError("It is a HEIC of more parts than any real one.")


def _check_heic_index(source: BinaryIO, start: int, end: int, size: int, max_pixels: int) -> None:
    if end - start > _MAX_INDEX_BYTES:
        raise MalformedError("It is a HEIC with a longer index than any real one.")
    ends: dict[int, int] = {}
    pictures: set[int] = set()
    for kind, inner, inner_end in _boxes(source, start, end):
        if kind == b"iloc":
            ends = _check_heic_items(read_at(source, inner, max(0, min(inner_end, end) - inner)), size)
        elif kind == b"iinf":
            pictures = set(_heic_pictures(source, inner, min(inner_end, end)))
        elif kind == b"iprp":
            _check_heic_sizes(source, inner, min(inner_end, end), max_pixels)
    # No unit of HEVC ends in a zero byte.
    if any(ends_in_zeros(source, ends[item]) for item in pictures & ends.keys()):
        raise CutShortError("The picture of the HEIC has not been written to its end.")


def _heic_pictures(source: BinaryIO, start: int, end: int) -> Iterator[int]:
    """Yield the items that are pictures in HEVC."""
    has_long_count = read_at(source, start, 1) != b"\0"
    for kind, inner, inner_end in _boxes(source, start + (8 if has_long_count else 6), end):
        if kind != b"infe":
            continue
        entry = _Cursor(read_at(source, inner, max(0, min(inner_end, end) - inner)), 0)
        version = entry.take(1)
        entry.take(3)
        if version < 2:  # noqa: PLR2004 - older entries know no HEVC
            continue
        item = entry.take(2 if version == 2 else 4)  # noqa: PLR2004
        entry.take(2)
        if entry.take(4) == _HEVC:
            yield item


def _check_heic_sizes(source: BinaryIO, start: int, end: int, max_pixels: int) -> None:
    for kind, inner, inner_end in _boxes(source, start, end):
        if kind != b"ipco":
            continue
        for property_kind, position, _ in _boxes(source, inner, min(inner_end, end)):
            if property_kind == b"ispe":
                width, height = struct.unpack(">II", read_at(source, position + 4, 8))
                check_pixels(width, height, max_pixels)


def _check_heic_items(table: bytes, size: int) -> dict[int, int]:
    """Check that each extent of each item ends inside the file; return where the last one of each item ends."""
    ends: dict[int, int] = {}
    version, sizes, more_sizes = struct.unpack_from(">B3xBB", table.ljust(6, b"\0"))
    offset_bytes, length_bytes, base_bytes = sizes >> 4, sizes & 15, more_sizes >> 4
    index_bytes = more_sizes & 15 if version else 0
    id_bytes = 4 if version > 1 else 2
    cursor = _Cursor(table, 6)
    for _ in range(cursor.take(id_bytes)):
        item = cursor.take(id_bytes)
        method = cursor.take(2) & 15 if version else 0
        is_elsewhere = cursor.take(2) != 0
        base = cursor.take(base_bytes)
        extents = cursor.take(2)
        # Extents that take no room in the table all say the same.
        for _extent in range(extents if offset_bytes + length_bytes + index_bytes else 0):
            cursor.take(index_bytes)
            end = base + cursor.take(offset_bytes) + cursor.take(length_bytes)
            if not method and not is_elsewhere:
                check_within(end, size, "The picture of the HEIC")
                ends[item] = end
    return ends


class _Cursor:
    """Takes big-endian numbers from bytes, one after the other."""

    def __init__(self, table: bytes, position: int) -> None:
        self._table, self._position = table, position

    def take(self, count: int) -> int:
        end = self._position + count
        if end > len(self._table):
            raise MalformedError("It is a HEIC whose index is too short.")
        number = int.from_bytes(self._table[self._position : end], "big")
        self._position = end
        return number
