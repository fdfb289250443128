"""JPEG (ISO/IEC 10918-1): segments, then compressed bytes, to the end marker FFD9 that belongs to the picture.

Document feeders begin to write before they know how long a page is. Some put 0 or 65,535 into the header, and the true
height behind the picture (a DNL segment), where libjpeg, and so nearly every reader, never looks. Such a file is
refused in words: to correct the header would send N8N other bytes than the scanner wrote, under another digest.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import BinaryIO

from receipt_watcher.examine.formats import (
    MAX_PARTS,
    PIECE_BYTES,
    CutShortError,
    MalformedError,
    check_pixels,
    check_within,
    read_at,
)

#: In compressed bytes FF 00 is a stuffed FF, D0 to D7 are restarts, and a second FF is padding.
_REAL_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SCAN, _END_OF_IMAGE, _START_OF_IMAGE, _TEMPORARY, _APP1 = 0xDA, 0xD9, 0xD8, 0x01, 0xE1
_NUMBER_OF_LINES = 0xDC
#: libjpeg reads no side that is longer (JPEG_MAX_DIMENSION).
_LONGEST_SIDE = 65_500
_ADVICE = "Have the scanner save PDF or TIFF, scan from the glass, or update its firmware."
#: Pillow joins EXIF segments by copying all of them each time: 800 of them cost it nine seconds.
_MAX_EXIF_SEGMENTS = 64


def walk_jpeg(source: BinaryIO, size: int, max_pixels: int) -> None:
    """Follow the segments and scans of a JPEG to its first end-of-image marker.

    Segments are stepped over by their length, so the end marker of a thumbnail inside one does not count.
    """
    position = 2
    picture = _Picture()
    exif_segments = 0
    for _ in range(MAX_PARTS):
        position = _next_marker(source, position)
        marker = read_at(source, position, 2)[1]
        if marker == _END_OF_IMAGE:
            picture.check_whole()
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
        picture.note(source, position, marker, max_pixels)
        position += 2 + length
    raise MalformedError("It is a JPEG of more parts than any real one.")


@dataclass(slots=True)
class _Picture:
    """The picture as the segments have described it so far; the sides in pixels."""

    has_frame: bool = False
    has_scan: bool = False
    width: int = 0
    height: int = 0
    true_height: int | None = None

    def note(self, source: BinaryIO, position: int, marker: int, max_pixels: int) -> None:
        """Note what the segment at a position says."""
        if marker in _FRAME_MARKERS:
            if self.has_scan:  # it is of bytes of something else, whose figures are none of this picture's
                raise CutShortError("It is a JPEG without its end marker: something else follows the picture.")
            self.has_frame = True
            self.height, self.width = struct.unpack(">HH", read_at(source, position + 5, 4))
            if self.is_shown:
                check_pixels(self.width, self.height, max_pixels)
        elif marker == _SCAN:
            if not self.has_frame:
                raise MalformedError("It is a JPEG whose picture begins without a header.")
            self.has_scan = True
        elif marker == _NUMBER_OF_LINES and self.has_scan and self.true_height is None:
            self.true_height = int.from_bytes(read_at(source, position + 4, 2), "big")

    @property
    def is_shown(self) -> bool:
        """Whether common readers show a picture of these sides."""
        return self.height > 0 and max(self.width, self.height) <= _LONGEST_SIDE

    def check_whole(self) -> None:
        """Raise if there is no picture, or none that readers show; nothing is said before the end is written."""
        if not self.has_scan:
            raise MalformedError("It is a JPEG without a picture.")
        if self.is_shown:
            return
        sentence = f"Its header declares a picture of {self.width:,} x {self.height:,} pixels"
        if self.true_height is not None and self.true_height != self.height:
            sentence += (
                f", and only behind the picture a height of {self.true_height:,} (DNL), where no common program looks"
            )
        elif self.height:
            sentence += f"; no common program reads more than {_LONGEST_SIDE:,} a side"
        raise MalformedError(f"{sentence}. {_ADVICE}")


def _next_marker(source: BinaryIO, position: int) -> int:
    # Every reader skips stray bytes between segments, so the search is the same there and in a scan.
    source.seek(position)
    if _REAL_MARKER.match(source.read(2)):
        return position
    source.seek(position)
    carry = b""
    while piece := source.read(PIECE_BYTES):
        window = carry + piece
        if marker := _REAL_MARKER.search(window):
            return position + marker.start()
        carry = b"\xff" if window.endswith(b"\xff") else b""
        position += len(window) - len(carry)
    raise CutShortError("It is a JPEG without its end marker.")


def _segment_length(source: BinaryIO, position: int, size: int) -> int:
    length = int.from_bytes(read_at(source, position + 2, 2), "big")
    if length < 2:  # noqa: PLR2004 - the length counts its own two bytes
        raise MalformedError("It is a JPEG with a part of impossible length.")
    check_within(position + 2 + length, size, "A part of the JPEG")
    return length
