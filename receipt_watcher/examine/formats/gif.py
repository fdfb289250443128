"""GIF (89a): blocks, to the trailer."""

from __future__ import annotations

import struct
from typing import BinaryIO

from receipt_watcher.examine.formats import MAX_PARTS, PIECE_BYTES, CutShortError, MalformedError, check_pixels, read_at

_GIF_IMAGE, _GIF_EXTENSION, _GIF_TRAILER, _GIF_PADDING = 0x2C, 0x21, 0x3B, 0x00


def walk_gif(source: BinaryIO, size: int, max_pixels: int) -> None:
    """Follow the blocks of a GIF over at least one frame to its trailer."""
    width, height, flags = struct.unpack("<HHB", read_at(source, 6, 5))
    position = 13 + _palette_bytes(flags)
    has_frame = False
    extension_blocks = 0
    for _ in range(MAX_PARTS):
        kind = read_at(source, position, 1)[0]
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
    left, top, width, height, flags = struct.unpack("<HHHHB", read_at(source, position + 1, 9))
    check_pixels(width, height, max_pixels)
    # Readers widen the screen to hold a frame that sticks out.
    check_pixels(max(screen[0], left + width), max(screen[1], top + height), max_pixels)
    return position + 10 + _palette_bytes(flags) + 1


def _skip_sub_blocks(source: BinaryIO, position: int, max_blocks: int) -> tuple[int, int]:
    """Return where the chain of sub-blocks ends and how many there were."""
    source.seek(position)
    count = offset = 0
    while piece := source.read(PIECE_BYTES):
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
