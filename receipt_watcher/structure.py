"""Walks the skeleton of a file and says whether it is whole. Pure functions over a seekable binary file.

A walk follows the lengths and offsets that the format itself writes down, from the first byte to its end marker, and
decodes nothing. It returns None where the file is whole, and raises one of three errors otherwise; their texts are
plain sentences for the person who scanned the receipt. Bytes after the end marker are nobody's concern.

A walk promises to end: no byte leads backwards for ever, and counts that the file claims are bounded by MAX_PARTS,
MAX_PAGES and MAX_TABLE_BYTES, so that a hostile file of 50 MB costs seconds at worst and little memory. What it
cannot see is a hole of zeros in the midst of compressed bytes; no reader short of a person sees that.

Any thread may call it; nothing is kept between calls. OSErrors of the file pass through.
"""

from __future__ import annotations

import itertools
import operator
import re
import struct
from collections.abc import Callable, Iterator
from typing import BinaryIO

#: Chosen by taste: far above what scanners and phones write, far below what would take long.
MAX_PARTS = 200_000
MAX_PAGES = 10_000
MAX_TABLE_BYTES = 16 * 1024 * 1024

PDF_MARK = re.compile(rb"%PDF-\d")
#: Readers look for the mark in the first 1024 bytes; whatever is before it is junk of the transport.
PDF_MARK_WITHIN = 1024

_PIECE_BYTES = 64 * 1024


class StructureError(Exception):
    """Base of the three; its text is a plain sentence."""


class CutShortError(StructureError):
    """The file ends before its format says that it should."""


class MalformedError(StructureError):
    """The file contradicts its format."""


class TooManyPixelsError(StructureError):
    """A page declares more pixels than are allowed."""


#: What every walk takes: the file, its size in bytes, and how many pixels a page may have.
Walk = Callable[[BinaryIO, int, int], None]


def check_pixels(width: int, height: int, max_pixels: int) -> None:
    """Raise where a page of this size is too large, or is none."""
    if width <= 0 or height <= 0:
        raise MalformedError(f"Its header declares a picture of {width} x {height} pixels.")
    if width * height > max_pixels:
        raise TooManyPixelsError(
            f"Its header declares a picture of {width:,} x {height:,} pixels; {max_pixels:,} pixels are allowed."
        )


def _read(source: BinaryIO, offset: int, count: int) -> bytes:
    # Offsets come from the file; one beyond 2**63 would make seek raise OverflowError.
    if offset >= 2**63:
        raise CutShortError("It points to a place far beyond its end.")
    source.seek(offset)
    found = source.read(count)
    if len(found) < count:
        raise CutShortError(f"It ends after {offset + len(found):,} bytes, in the middle of a part.")
    return found


def _within(end: int, size: int, what: str) -> None:
    if end > size:
        raise CutShortError(f"{what} reaches to byte {end:,}, but the file ends after {size:,} bytes.")


# --- JPEG ---

#: In compressed bytes FF 00 is a stuffed FF, D0 to D7 are restarts, and a second FF is padding.
_REAL_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SCAN, _END_OF_IMAGE, _START_OF_IMAGE, _TEMPORARY, _APP1 = 0xDA, 0xD9, 0xD8, 0x01, 0xE1
#: Pillow joins EXIF segments by copying all of them each time: 800 of them cost it nine seconds.
_MAX_EXIF_SEGMENTS = 64


def walk_jpeg(source: BinaryIO, size: int, max_pixels: int) -> None:
    """Follow the segments and scans of a JPEG to its first end-of-image marker.

    Segments are stepped over by their length, so the end marker of a thumbnail inside one does not count.
    """
    position = 2
    has_frame = has_scan = False
    exif_segments = 0
    for _ in range(MAX_PARTS):
        position = _next_marker(source, position)
        marker = _read(source, position, 2)[1]
        if marker == _END_OF_IMAGE:
            if not has_scan:
                raise MalformedError("It is a JPEG without a picture.")
            return
        if marker == _START_OF_IMAGE:
            raise MalformedError("A second JPEG begins inside the first.")
        if marker == _TEMPORARY:
            position += 2
            continue
        length = _segment_length(source, position, size)
        exif_segments += marker == _APP1 and _read(source, position + 4, min(4, length - 2)) == b"Exif"
        if exif_segments > _MAX_EXIF_SEGMENTS:
            break
        if marker in _FRAME_MARKERS:
            _check_jpeg_frame(source, position, max_pixels)
            has_frame = True
        if marker == _SCAN:
            if not has_frame:
                raise MalformedError("It is a JPEG whose picture begins without a header.")
            has_scan = True
        position += 2 + length
    raise MalformedError("It is a JPEG of more parts than any real one.")


def _next_marker(source: BinaryIO, position: int) -> int:
    # Every reader skips stray bytes between segments, so the search is the same there and in a scan.
    source.seek(position)
    if _REAL_MARKER.match(source.read(2)):
        return position
    source.seek(position)
    carry = b""
    while piece := source.read(_PIECE_BYTES):
        window = carry + piece
        if found := _REAL_MARKER.search(window):
            return position + found.start()
        carry = b"\xff" if window.endswith(b"\xff") else b""
        position += len(window) - len(carry)
    raise CutShortError("It is a JPEG without its end marker.")


def _segment_length(source: BinaryIO, position: int, size: int) -> int:
    length = int.from_bytes(_read(source, position + 2, 2), "big")
    if length < 2:  # noqa: PLR2004 - the length counts its own two bytes
        raise MalformedError("It is a JPEG with a part of impossible length.")
    _within(position + 2 + length, size, "A part of the JPEG")
    return length


def _check_jpeg_frame(source: BinaryIO, position: int, max_pixels: int) -> None:
    height, width = struct.unpack(">HH", _read(source, position + 5, 4))
    check_pixels(width, height, max_pixels)


# --- PNG ---


def walk_png(source: BinaryIO, size: int, max_pixels: int) -> None:
    """Follow the chunks of a PNG from IHDR over at least one IDAT to IEND."""
    position = 8
    has_picture = False
    for number in range(MAX_PARTS):
        length, kind = struct.unpack(">I4s", _read(source, position, 8))
        if (number == 0) != (kind == b"IHDR") or not kind.isalpha() or length >= 2**31:
            raise MalformedError("It is a PNG whose parts are not in order.")
        _within(position + 12 + length, size, "A part of the PNG")
        if kind == b"IHDR":
            width, height = struct.unpack(">II", _read(source, position + 8, 8))
            check_pixels(width, height, max_pixels)
        if kind == b"IEND":
            if not has_picture:
                raise MalformedError("It is a PNG without a picture.")
            return
        has_picture = has_picture or (kind == b"IDAT" and length > 0)
        position += 12 + length
    raise MalformedError("It is a PNG of more parts than any real one.")


# --- GIF ---

_GIF_IMAGE, _GIF_EXTENSION, _GIF_TRAILER, _GIF_PADDING = 0x2C, 0x21, 0x3B, 0x00


def walk_gif(source: BinaryIO, size: int, max_pixels: int) -> None:
    """Follow the blocks of a GIF over at least one frame to its trailer."""
    width, height, flags = struct.unpack("<HHB", _read(source, 6, 5))
    position = 13 + _palette_bytes(flags)
    has_frame = False
    extension_blocks = 0
    for _ in range(MAX_PARTS):
        kind = _read(source, position, 1)[0]
        if kind == _GIF_TRAILER:
            if not has_frame:
                raise MalformedError("It is a GIF without a picture.")
            return
        if kind == _GIF_IMAGE:
            position = _gif_frame(source, position, (width, height), max_pixels)
            position, _count = _skip_sub_blocks(source, position, MAX_PARTS + size // 32)  # writers fill 255 bytes
            has_frame = True
        elif kind == _GIF_EXTENSION:
            position, count = _skip_sub_blocks(source, position + 2, MAX_PARTS)
            extension_blocks += count
        elif kind == _GIF_PADDING:  # some writers leave one between blocks; readers step over it
            position += 1
        else:
            raise MalformedError("It is a GIF with an unknown part.")
        if extension_blocks > MAX_PARTS:
            break
    raise MalformedError("It is a GIF of more parts than any real one.")


def _palette_bytes(flags: int) -> int:
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _gif_frame(source: BinaryIO, position: int, screen: tuple[int, int], max_pixels: int) -> int:
    """Check a frame's header and return where its sub-blocks begin."""
    left, top, width, height, flags = struct.unpack("<HHHHB", _read(source, position + 1, 9))
    check_pixels(width, height, max_pixels)
    # Readers widen the screen to hold a frame that sticks out.
    check_pixels(max(screen[0], left + width), max(screen[1], top + height), max_pixels)
    return position + 10 + _palette_bytes(flags) + 1


def _skip_sub_blocks(source: BinaryIO, position: int, max_blocks: int) -> tuple[int, int]:
    """Return where the chain of sub-blocks ends and how many there were."""
    source.seek(position)
    count = offset = 0
    while piece := source.read(_PIECE_BYTES):
        while offset < len(piece):
            step = piece[offset] + 1
            offset += step
            if step == 1:
                return position + offset, count
            count += 1
        if count > max_blocks:
            raise MalformedError("It is a GIF of more parts than any real one.")
        position += len(piece)
        offset -= len(piece)
    raise CutShortError("It is a GIF without its end marker.")


# --- BMP ---

_BMP_UNCOMPRESSED = frozenset({0, 3, 6})
_BMP_OLD_HEADER_BYTES = 12


def walk_bmp(source: BinaryIO, size: int, max_pixels: int) -> None:
    """Check that a BMP holds all the pixels that its header declares."""
    start, header_bytes = struct.unpack("<II", _read(source, 10, 8))
    if header_bytes == _BMP_OLD_HEADER_BYTES:
        width, height, _planes, bits = struct.unpack("<HHHH", _read(source, 18, 8))
        compression = image_bytes = 0
    else:
        width, height, _planes, bits, compression, image_bytes = struct.unpack("<iiHHII", _read(source, 18, 20))
    height = abs(height)  # negative: the first row is the top one
    check_pixels(width, height, max_pixels)
    if compression in _BMP_UNCOMPRESSED:
        image_bytes = (width * bits + 31) // 32 * 4 * height
    if start < 14 + header_bytes:
        raise MalformedError("It is a BMP whose picture overlaps its header.")
    _within(start + image_bytes, size, "The picture of the BMP")


# --- WebP ---


def walk_webp(source: BinaryIO, size: int, max_pixels: int) -> None:
    """Follow the chunks of a WebP to the end that its RIFF header declares; at least one must be a picture."""
    end = 8 + int.from_bytes(_read(source, 4, 4), "little")
    _within(end, size, "The WebP")
    pictures = 0
    for kind, position, length in _webp_chunks(source, 12, end):
        if kind == b"VP8X":
            packed = _read(source, position + 4, 6)
            width, height = int.from_bytes(packed[:3], "little") + 1, int.from_bytes(packed[3:], "little") + 1
            check_pixels(width, height, max_pixels)
        elif kind == b"ANMF":
            inner = _webp_chunks(source, position + 16, position + length)
            pictures += sum(_webp_picture(source, *chunk, max_pixels) for chunk in inner)
        else:
            pictures += _webp_picture(source, kind, position, length, max_pixels)
    if not pictures:
        raise MalformedError("It is a WebP without a picture.")


def _webp_chunks(source: BinaryIO, position: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, position and length of what each chunk holds."""
    for _ in range(MAX_PARTS):
        if position >= end:
            return
        kind, length = struct.unpack("<4sI", _read(source, position, 8))
        if position + 8 + length > end:
            raise MalformedError("It is a WebP whose parts are longer than the whole.")
        yield kind, position + 8, length
        position += 8 + length + length % 2
    raise MalformedError("It is a WebP of more parts than any real one.")


def _webp_picture(source: BinaryIO, kind: bytes, position: int, length: int, max_pixels: int) -> bool:
    """Check a chunk that is a picture and return True; return False for any other."""
    if kind == b"VP8 ":
        start_code, width, height = struct.unpack("<3sHH", _read(source, position + 3, 7))
        is_sound = length > 10 and start_code == b"\x9d\x01\x2a"  # noqa: PLR2004 - the frame header
        width, height = width & 0x3FFF, height & 0x3FFF
    elif kind == b"VP8L":
        signature, bits = struct.unpack("<BI", _read(source, position, 5))
        is_sound = length > 5 and signature == 0x2F  # noqa: PLR2004 - the header and its first byte
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        return False
    if not is_sound:
        raise MalformedError("It is a WebP whose picture has no valid header.")
    check_pixels(width, height, max_pixels)
    return True


# --- TIFF ---

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

_Page = dict[int, tuple[int, int, bytes]]


def walk_tiff(source: BinaryIO, size: int, max_pixels: int) -> None:
    """Visit every page of a TIFF or BigTIFF and check that its strips or tiles are inside the file."""
    tiff = _Tiff(source, size)
    seen: set[int] = set()
    offset = tiff.first
    if offset == 0:  # libtiff writes the pointer last
        raise CutShortError("It is a TIFF whose list of pages has not been written.")
    while offset:
        if offset in seen or len(seen) >= MAX_PAGES:
            raise MalformedError("It is a TIFF whose list of pages does not end.")
        seen.add(offset)
        page, offset = tiff.read_page(offset)
        tiff.check_page(page, len(seen), max_pixels)


class _Tiff:
    """One TIFF: its byte order, its width of offsets, and what may still be read for tables."""

    def __init__(self, source: BinaryIO, size: int) -> None:
        self._source, self._size = source, size
        self._table_bytes_left = MAX_TABLE_BYTES
        self._order = "<" if _read(source, 0, 2) == b"II" else ">"
        (version,) = struct.unpack(f"{self._order}H", _read(source, 2, 2))
        if version not in {_CLASSIC, _BIG}:
            raise MalformedError("It is a TIFF of an unknown version.")
        is_big = version == _BIG
        self._offset = struct.Struct(f"{self._order}{'Q' if is_big else 'I'}")
        self._count = struct.Struct(f"{self._order}{'Q' if is_big else 'H'}")
        self._entry = struct.Struct(f"{self._order}{'HHQ8s' if is_big else 'HHI4s'}")
        (self.first,) = self._offset.unpack(_read(source, 8 if is_big else 4, self._offset.size))

    def read_page(self, offset: int) -> tuple[_Page, int]:
        """Return the entries of the page at `offset`, and where the next page is."""
        (count,) = self._count.unpack(_read(self._source, offset, self._count.size))
        if not count:
            raise MalformedError("It is a TIFF with an empty page.")
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
                self._check_strips(starts, self._integers(page, lengths_tag), number)
                return
        raise MalformedError(f"Page {number} of the TIFF has no picture.")

    def _check_value(self, kind: int, number: int, value: bytes) -> None:
        length = number * _TIFF_TYPE_BYTES.get(kind, 0)
        if length > len(value):
            _within(self._offset.unpack(value)[0] + length, self._size, "A part of the TIFF")

    def _check_strips(self, starts: tuple[int, ...], lengths: tuple[int, ...], number: int) -> None:
        if lengths and not any(lengths):
            raise CutShortError(f"The picture of page {number} of the TIFF has not been written.")
        # Without lengths readers take what is there, so at least the first byte must be.
        ends = map(
            operator.add, starts, itertools.chain(lengths, itertools.repeat(1)) if lengths else [1] * len(starts)
        )
        _within(max(ends), self._size, f"The picture of page {number} of the TIFF")

    def _integers(self, page: _Page, tag: int) -> tuple[int, ...]:
        kind, count, value = page.get(tag, (1, 0, b""))
        if kind not in _TIFF_INTEGERS:
            raise MalformedError("It is a TIFF with a number that is none.")
        length = count * _TIFF_TYPE_BYTES[kind]
        if length > len(value):
            value = self._read_table(self._offset.unpack(value)[0], length)
        return struct.unpack(f"{self._order}{count}{_TIFF_INTEGERS[kind]}", value[:length])

    def _read_table(self, offset: int, length: int) -> bytes:
        _within(offset + length, self._size, "A list in the TIFF")
        self._table_bytes_left -= length
        if self._table_bytes_left < 0:
            raise MalformedError("It is a TIFF with longer lists than any real one.")
        return _read(self._source, offset, length)


# --- HEIC ---

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
        _within(end, size, "A part of the HEIC")
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
        length, kind = struct.unpack(">I4s", _read(source, position, 8))
        header = 8
        if length == 1:
            length, header = int.from_bytes(_read(source, position + 8, 8), "big"), 16
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
    for kind, inner, inner_end in _boxes(source, start, end):
        if kind == b"iloc":
            _check_heic_items(_read(source, inner, max(0, min(inner_end, end) - inner)), size)
        elif kind == b"iprp":
            _check_heic_sizes(source, inner, min(inner_end, end), max_pixels)


def _check_heic_sizes(source: BinaryIO, start: int, end: int, max_pixels: int) -> None:
    for kind, inner, inner_end in _boxes(source, start, end):
        if kind != b"ipco":
            continue
        for property_kind, position, _ in _boxes(source, inner, min(inner_end, end)):
            if property_kind == b"ispe":
                width, height = struct.unpack(">II", _read(source, position + 4, 8))
                check_pixels(width, height, max_pixels)


def _check_heic_items(table: bytes, size: int) -> None:
    """Check that each extent of each item ends inside the file."""
    version, sizes, more_sizes = struct.unpack_from(">B3xBB", table.ljust(6, b"\0"))
    offset_bytes, length_bytes, base_bytes = sizes >> 4, sizes & 15, more_sizes >> 4
    index_bytes = more_sizes & 15 if version else 0
    id_bytes = 4 if version > 1 else 2
    cursor = _Cursor(table, 6)
    for _ in range(cursor.take(id_bytes)):
        cursor.take(id_bytes)
        method = cursor.take(2) & 15 if version else 0
        is_elsewhere = cursor.take(2) != 0
        base = cursor.take(base_bytes)
        extents = cursor.take(2)
        # Extents that take no room in the table all say the same.
        for _extent in range(extents if offset_bytes + length_bytes + index_bytes else 0):
            cursor.take(index_bytes)
            end = base + cursor.take(offset_bytes) + cursor.take(length_bytes)
            if not method and not is_elsewhere:
                _within(end, size, "The picture of the HEIC")


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


# --- PDF ---

_PDF_END = b"%%EOF"
_PDF_TRAILER_BYTES = 2048
_STARTXREF = re.compile(rb"startxref\s{0,16}(\d{1,15})")
_XREF = re.compile(rb"\s{0,16}(?:xref\b|\d{1,10}\s{1,8}\d{1,5}\s{1,8}obj\b)")
_OBJECT = re.compile(rb"\d\s{1,8}\d{1,5}\s{1,8}obj\b")
_LINEARIZED_LENGTH = re.compile(rb"/Linearized\b.{0,512}?/L\s{0,8}(\d{1,15})", re.DOTALL)


def walk_pdf(source: BinaryIO, size: int, _max_pixels: int) -> None:
    """Check that a PDF ends with its end marker, and that the marker belongs to this very file.

    1. The mark of a PDF is near the beginning; what is before it shifts every offset.
    2. A file that says its own length (linearized) has it.
    3. After the last %%EOF no further object begins: that would be an update that was cut.
    4. The startxref before it points at a cross-reference table or stream.
    """
    head = _read(source, 0, min(size, 2 * PDF_MARK_WITHIN))
    mark = PDF_MARK.search(head[:PDF_MARK_WITHIN])
    if not mark:
        raise MalformedError("It has no mark of a PDF near its beginning.")
    if linearized := _LINEARIZED_LENGTH.search(head):
        _within(int(linearized[1]), size, "The PDF")
    end = _last_pdf_end(source, size)
    if _has_object_after(source, end):
        raise CutShortError("It is a PDF with a change at its end that was cut short.")
    _check_startxref(source, end, mark.start())


def _last_pdf_end(source: BinaryIO, size: int) -> int:
    """Return the offset of the last %%EOF, searched from the end."""
    end = size
    while end > 0:
        start = max(0, end - _PIECE_BYTES)
        piece = _read(source, start, min(size, end + len(_PDF_END) - 1) - start)
        found = piece.rfind(_PDF_END)
        if found >= 0:
            return start + found
        end = start
    raise CutShortError("It is a PDF without its end marker.")


def _has_object_after(source: BinaryIO, position: int) -> bool:
    source.seek(position)
    carry = b""
    while piece := source.read(_PIECE_BYTES):
        if _OBJECT.search(carry + piece):
            return True
        carry = piece[-32:]  # longer than the longest match
    return False


def _check_startxref(source: BinaryIO, end: int, junk_bytes: int) -> None:
    start = max(0, end - _PDF_TRAILER_BYTES)
    tail = _read(source, start, end - start)
    trailer = _STARTXREF.match(tail, max(0, tail.rfind(b"startxref")))
    if not trailer:
        raise MalformedError("It is a PDF whose end does not say where its table of contents is.")
    # Most writers count from the mark; a few counted the junk as well.
    for offset in {int(trailer[1]) + junk_bytes, int(trailer[1])}:
        source.seek(offset)
        if _XREF.match(source.read(64)):
            return
    raise MalformedError("It is a PDF whose table of contents is not where its end says.")
