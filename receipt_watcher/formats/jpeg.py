"""JPEG (ISO/IEC 10918-1): segments, then compressed bytes, to the end marker FFD9 that belongs to the picture."""

from __future__ import annotations

import re
import struct
from typing import BinaryIO

from receipt_watcher.formats import MAX_PARTS, PIECE_BYTES, CutShortError, MalformedError, check_pixels, read_at, within

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
        marker = read_at(source, position, 2)[1]
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
        exif_segments += marker == _APP1 and read_at(source, position + 4, min(4, length - 2)) == b"Exif"
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
    while piece := source.read(PIECE_BYTES):
        window = carry + piece
        if found := _REAL_MARKER.search(window):
            return position + found.start()
        carry = b"\xff" if window.endswith(b"\xff") else b""
        position += len(window) - len(carry)
    raise CutShortError("It is a JPEG without its end marker.")


def _segment_length(source: BinaryIO, position: int, size: int) -> int:
    length = int.from_bytes(read_at(source, position + 2, 2), "big")
    if length < 2:  # noqa: PLR2004 - the length counts its own two bytes
        raise MalformedError("It is a JPEG with a part of impossible length.")
    within(position + 2 + length, size, "A part of the JPEG")
    return length


def _check_jpeg_frame(source: BinaryIO, position: int, max_pixels: int) -> None:
    height, width = struct.unpack(">HH", read_at(source, position + 5, 4))
    check_pixels(width, height, max_pixels)
