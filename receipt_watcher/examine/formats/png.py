"""PNG (ISO/IEC 15948): chunks, to IEND."""

from __future__ import annotations

import struct
from typing import BinaryIO

from receipt_watcher.examine.formats import (
    MAX_PARTS,
    CutShortError,
    MalformedError,
    check_pixels,
    check_within,
    read_at,
)


def walk_png(source: BinaryIO, size: int, max_pixels: int) -> None:
    """Follow the chunks of a PNG from IHDR over at least one IDAT to IEND."""
    position = 8
    has_picture = False
    for number in range(MAX_PARTS):
        length, kind = struct.unpack(">I4s", read_at(source, position, 8))
        if kind == bytes(4):
            raise CutShortError("From here on the PNG is nothing but zeros: its end was never written.")
        if (number == 0) != (kind == b"IHDR") or not kind.isalpha() or length >= 2**31:
            raise MalformedError("It is a PNG whose parts are not in order.")
        check_within(position + 12 + length, size, "A part of the PNG")
        if kind == b"IHDR":
            width, height = struct.unpack(">II", read_at(source, position + 8, 8))
            check_pixels(width, height, max_pixels)
        if kind == b"IEND":
            if not has_picture:
                raise MalformedError("It is a PNG without a picture.")
            return
        has_picture = has_picture or (kind == b"IDAT" and length > 0)
        position += 12 + length
    raise MalformedError("It is a PNG of more parts than any real one.")
