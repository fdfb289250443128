"""Walks the skeleton of a file and says whether it is whole. One file per format; pure functions over a binary file.

A walk follows the lengths and offsets that the format itself writes down, from the first byte to its end marker, and
decodes nothing. It returns None if the file is whole, and raises one of three errors otherwise; their texts are
plain sentences for the person who scanned the receipt. Bytes after the end marker do not matter. If a file is
not as its format wants it, but nothing is missing that it names, the walk returns a doubt instead.

A walk promises to end: no byte leads backwards for ever, and counts that the file claims are bounded by MAX_PARTS,
MAX_PAGES and MAX_TABLE_BYTES, so that a hostile file of 50 MB costs seconds at worst and little memory. What it
cannot see is a hole of zeros in the midst of compressed bytes; no reader short of a person sees that. A hole at the
end is room that was set aside and not filled; it is seen wherever the format never ends so. A lossless WebP may: one
of a blank page ended in 900 kB of zeros.

Any thread may call it; nothing is kept between calls. OSErrors of the file pass through.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

#: Chosen by taste: far above what scanners and phones write, far below what would take long.
MAX_PARTS = 200_000
MAX_PAGES = 10_000
MAX_TABLE_BYTES = 16 * 1024 * 1024

#: So much is read at a time if a walk has to look at every byte.
PIECE_BYTES = 64 * 1024

_ZEROS = bytes(64)


@dataclass(frozen=True, slots=True)
class Doubt:
    """A file that strict parsers refuse, and that has all that it names: why, and how many pages can be reached."""

    detail: str
    pages: int = 1


class StructureError(Exception):
    """Base of the three; its text is a plain sentence."""


class CutShortError(StructureError):
    """The file ends before its format says that it should."""


class MalformedError(StructureError):
    """The file contradicts its format."""


class TooManyPixelsError(StructureError):
    """A page declares more pixels than are allowed."""


#: The arguments of each walk: the file, its size in bytes, and how many pixels a page may have.
Walk = Callable[[BinaryIO, int, int], Doubt | None]


def check_pixels(width: int, height: int, max_pixels: int) -> None:
    """Raise if a page of this size is too large or empty."""
    if width <= 0 or height <= 0:
        raise MalformedError(f"Its header declares a picture of {width} x {height} pixels.")
    if width * height > max_pixels:
        raise TooManyPixelsError(
            f"Its header declares a picture of {width:,} x {height:,} pixels; {max_pixels:,} pixels are allowed."
        )


def read_at(source: BinaryIO, offset: int, count: int) -> bytes:
    """Return `count` bytes from `offset` on; raise if the file ends before them."""
    # Offsets come from the file; one beyond 2**63 would make seek raise OverflowError.
    if offset >= 2**63:
        raise CutShortError("It points to a place far beyond its end.")
    source.seek(offset)
    content = source.read(count)
    if len(content) < count:
        raise CutShortError(f"It ends after {offset + len(content):,} bytes, in the middle of a part.")
    return content


def ends_in_zeros(source: BinaryIO, end: int) -> bool:
    """Return whether 64 zeros stand before `end`: no compressed picture but a WebP ends so."""
    return end >= len(_ZEROS) and read_at(source, end - len(_ZEROS), len(_ZEROS)) == _ZEROS


def check_within(end: int, size: int, what: str) -> None:
    """Raise if a part reaches beyond the end of the file."""
    if end > size:
        raise CutShortError(f"{what} reaches to byte {end:,}, but the file ends after {size:,} bytes.")
