"""BMP: a header that says where the pixels are and how many."""

from __future__ import annotations

import struct
from typing import BinaryIO

from receipt_watcher.examine.formats import (
    CutShortError,
    MalformedError,
    check_pixels,
    check_within,
    ends_in_zeros,
    read_at,
)

_BMP_UNCOMPRESSED = frozenset({0, 3, 6})
_BMP_RUN_LENGTHS = frozenset({1, 2})
_BMP_OLD_HEADER_BYTES = 12


def walk_bmp(source: BinaryIO, size: int, max_pixels: int) -> None:
    """Check that a BMP holds all the pixels that its header declares."""
    start, header_bytes = struct.unpack("<II", read_at(source, 10, 8))
    if header_bytes == _BMP_OLD_HEADER_BYTES:
        width, height, _planes, bits = struct.unpack("<HHHH", read_at(source, 18, 8))
        compression = image_bytes = 0
    else:
        width, height, _planes, bits, compression, image_bytes = struct.unpack("<iiHHII", read_at(source, 18, 20))
    height = abs(height)  # negative: the first row is the top one
    check_pixels(width, height, max_pixels)
    if compression in _BMP_UNCOMPRESSED:
        image_bytes = (width * bits + 31) // 32 * 4 * height
    elif not image_bytes:  # some writers say it only of the whole file
        (file_bytes,) = struct.unpack("<I", read_at(source, 2, 4))
        image_bytes = max(0, file_bytes - start)
    if start < 14 + header_bytes:
        raise MalformedError("It is a BMP whose picture overlaps its header.")
    check_within(start + image_bytes, size, "The picture of the BMP")
    if compression in _BMP_RUN_LENGTHS and ends_in_zeros(source, start + image_bytes):
        raise CutShortError("The picture of the BMP has not been written to its end.")
