"""WebP: a RIFF whose chunks hold a picture."""

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
    read_at,
)

_UNWRITTEN = bytes(4)


def walk_webp(source: BinaryIO, size: int, max_pixels: int) -> None:
    """Follow the chunks of a WebP to the end that its RIFF header declares; at least one must be a picture."""
    end = 8 + int.from_bytes(read_at(source, 4, 4), "little")
    check_within(end, size, "The WebP")
    pictures = 0
    for kind, position, length in _webp_chunks(source, 12, end):
        if kind == b"VP8X":
            packed = read_at(source, position + 4, 6)
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
        kind, length = struct.unpack("<4sI", read_at(source, position, 8))
        if kind == _UNWRITTEN:
            raise CutShortError("It is a WebP whose later parts have not been written.")
        if position + 8 + length > end:
            raise MalformedError("It is a WebP whose parts are longer than the whole.")
        yield kind, position + 8, length
        position += 8 + length + length % 2
    raise MalformedError("It is a WebP of more parts than any real one.")


def _webp_picture(source: BinaryIO, kind: bytes, position: int, length: int, max_pixels: int) -> bool:
    """Check a chunk that is a picture and return True; return False for any other."""
    if kind == b"VP8 ":
        start_code, width, height = struct.unpack("<3sHH", read_at(source, position + 3, 7))
        is_sound = length > 10 and start_code == b"\x9d\x01\x2a"  # noqa: PLR2004 - the frame header
        width, height = width & 0x3FFF, height & 0x3FFF
    elif kind == b"VP8L":
        signature, bits = struct.unpack("<BI", read_at(source, position, 5))
        is_sound = length > 5 and signature == 0x2F  # noqa: PLR2004 - the header and its first byte
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        return False
    if not is_sound:
        raise MalformedError("It is a WebP whose picture has no valid header.")
    check_pixels(width, height, max_pixels)
    return True
