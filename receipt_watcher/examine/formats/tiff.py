"""TIFF and BigTIFF: a list of pages, each with its strips or tiles."""

from __future__ import annotations

import itertools
import operator
import struct
from typing import BinaryIO

from receipt_watcher.examine.formats import (
    MAX_PAGES,
    MAX_TABLE_BYTES,
    CutShortError,
    Doubt,
    MalformedError,
    check_pixels,
    check_within,
    ends_in_zeros,
    read_at,
)
from receipt_watcher.examine.formats.tiff_ends import ends_before_padding

_TIFF_TYPE_BYTES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
_TIFF_INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_WIDTH, _HEIGHT, _OLD_JPEG, _OLD_JPEG_BYTES = 256, 257, 513, 514
_STRIPS, _STRIP_BYTES, _TILES, _TILE_BYTES = 273, 279, 324, 325
_CLASSIC, _BIG = 42, 43
_COMPRESSION, _UNCOMPRESSED = 259, 1
_FILL_ORDER = 266

#: A next page that far away is none: no receipt is so long. A nearer one may be of a file that was cut.
_NOWHERE = 2**30
#: A longer strip is not looked into.
_MAX_STRIP_BYTES = 16 * 1024 * 1024
#: Fax, LZW, JPEG and deflate end in a code, a sum or a marker, never in zeros.
_NEVER_END_IN_ZEROS = frozenset({2, 3, 4, 5, 7, 8, 32946})

_Page = dict[int, tuple[int, int, bytes]]


def walk_tiff(source: BinaryIO, size: int, max_pixels: int) -> Doubt | None:
    """Visit every page of a TIFF or BigTIFF and check that its strips or tiles are inside the file.

    One is doubtful whose strips are padded with zeros, or whose last page names a next one where no receipt ends.
    """
    tiff = _Tiff(source, size)
    seen: set[int] = set()
    offset = tiff.first
    if offset == 0:  # libtiff writes the pointer last
        raise CutShortError("It is a TIFF whose list of pages has not been written.")
    while offset:
        if seen and offset >= _NOWHERE:
            tiff.doubts.append(f"Page {len(seen)} of the TIFF names a next page at byte {offset:,} of {size:,}.")
            break
        if offset in seen or len(seen) >= MAX_PAGES:
            raise MalformedError("It is a TIFF whose list of pages does not end.")
        seen.add(offset)
        page, offset = tiff.read_page(offset)
        tiff.check_page(page, len(seen), max_pixels)
    return Doubt(" ".join(tiff.doubts), len(seen)) if tiff.doubts else None


class _Tiff:
    """One TIFF: its byte order, its width of offsets, and what may still be read for tables."""

    def __init__(self, source: BinaryIO, size: int) -> None:
        self.doubts: list[str] = []
        self._source, self._size = source, size
        self._table_bytes_left = MAX_TABLE_BYTES
        self._order = "<" if read_at(source, 0, 2) == b"II" else ">"
        (version,) = struct.unpack(f"{self._order}H", read_at(source, 2, 2))
        if version not in {_CLASSIC, _BIG}:
            raise MalformedError("It is a TIFF of an unknown version.")
        is_big = version == _BIG
        self._offset = struct.Struct(f"{self._order}{'Q' if is_big else 'I'}")
        self._count = struct.Struct(f"{self._order}{'Q' if is_big else 'H'}")
        self._entry = struct.Struct(f"{self._order}{'HHQ8s' if is_big else 'HHI4s'}")
        (self.first,) = self._offset.unpack(read_at(source, 8 if is_big else 4, self._offset.size))

    def read_page(self, offset: int) -> tuple[_Page, int]:
        """Return the entries of the page at `offset`, and where the next page is."""
        (count,) = self._count.unpack(read_at(self._source, offset, self._count.size))
        if not count:  # zeros, where a copy that had set the size first was cut
            raise CutShortError("It is a TIFF with a page that was never written.")
        body = self._read_table(offset + self._count.size, count * self._entry.size + self._offset.size)
        entries = self._entry.iter_unpack(body[: -self._offset.size])
        page = {tag: (kind, number, value) for tag, kind, number, value in entries}
        for kind, number, value in page.values():
            self._check_value(kind, number, value)
        # Readers load each value, so many entries that share one long value would cost them hours.
        if sum(number * _TIFF_TYPE_BYTES.get(kind, 1) for kind, number, _ in page.values()) > self._size + len(body):
            raise CutShortError("It is a TIFF whose page says more about itself than the file holds.")
        return page, self._offset.unpack(body[-self._offset.size :])[0]

    def check_page(self, page: _Page, number: int, max_pixels: int) -> None:
        """Raise unless the picture of a page is inside the file."""
        width, height = (sum(self._integers(page, tag)[:1]) for tag in (_WIDTH, _HEIGHT))
        check_pixels(width, height, max_pixels)
        for starts_tag, lengths_tag in ((_STRIPS, _STRIP_BYTES), (_TILES, _TILE_BYTES), (_OLD_JPEG, _OLD_JPEG_BYTES)):
            starts = self._integers(page, starts_tag)
            if starts:
                lengths = self._integers(page, lengths_tag)
                end = self._end_of_strips(starts, lengths, number)
                compression = (*self._integers(page, _COMPRESSION), _UNCOMPRESSED)[0]
                if lengths and compression in _NEVER_END_IN_ZEROS and ends_in_zeros(self._source, end):
                    self._check_padding(page, compression, dict(zip(starts, lengths, strict=False)), number)
                return
        raise MalformedError(f"Page {number} of the TIFF has no picture.")

    def _check_padding(self, page: _Page, compression: int, strips: dict[int, int], number: int) -> None:
        """Note a doubt if the last strip has its own end before the zeros; raise if it has not."""
        start = max(strips, key=lambda begin: begin + strips[begin])
        strip = read_at(self._source, start, min(strips[start], _MAX_STRIP_BYTES))
        is_reversed = self._integers(page, _FILL_ORDER)[:1] == (2,)
        if not ends_before_padding(compression, strip, is_reversed=is_reversed):
            raise CutShortError(f"The picture of page {number} of the TIFF has not been written to its end.")
        self.doubts.append(f"The picture of page {number} of the TIFF is padded with zeros.")

    def _check_value(self, kind: int, number: int, value: bytes) -> None:
        length = number * _TIFF_TYPE_BYTES.get(kind, 0)
        if length > len(value):
            check_within(self._offset.unpack(value)[0] + length, self._size, "A part of the TIFF")

    def _end_of_strips(self, starts: tuple[int, ...], lengths: tuple[int, ...], number: int) -> int:
        """Return where the last byte of a picture ends; raise if that is outside the file."""
        if lengths and not any(lengths):
            raise CutShortError(f"The picture of page {number} of the TIFF has not been written.")
        # Without lengths readers take what is there, so at least the first byte must be.
        ends = map(
            operator.add, starts, itertools.chain(lengths, itertools.repeat(1)) if lengths else [1] * len(starts)
        )
        end: int = max(ends)
        check_within(end, self._size, f"The picture of page {number} of the TIFF")
        return end

    def _integers(self, page: _Page, tag: int) -> tuple[int, ...]:
        kind, count, value = page.get(tag, (1, 0, b""))
        if kind not in _TIFF_INTEGERS:
            raise MalformedError("It is a TIFF with a number that is none.")
        length = count * _TIFF_TYPE_BYTES[kind]
        if length > len(value):
            value = self._read_table(self._offset.unpack(value)[0], length)
        return struct.unpack(f"{self._order}{count}{_TIFF_INTEGERS[kind]}", value[:length])

    def _read_table(self, offset: int, length: int) -> bytes:
        check_within(offset + length, self._size, "A list in the TIFF")
        self._table_bytes_left -= length
        if self._table_bytes_left < 0:
            raise MalformedError("It is a TIFF with longer lists than any real one.")
        return read_at(self._source, offset, length)
