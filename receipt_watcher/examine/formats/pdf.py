"""PDF (ISO 32000): from the mark to the last end marker, and the table of contents that it names."""

from __future__ import annotations

import re
from typing import BinaryIO

from receipt_watcher.examine.formats import (
    PIECE_BYTES,
    CutShortError,
    Doubt,
    MalformedError,
    StructureError,
    check_within,
    read_at,
)
from receipt_watcher.examine.formats.pdf_objects import has_all_objects, has_object_after

PDF_MARK = re.compile(rb"%PDF-\d")
#: Readers look for the mark in the first 1024 bytes; whatever is before it is junk of the transport.
PDF_MARK_WITHIN = 1024

_PDF_END = b"%%EOF"
_PDF_TRAILER_BYTES = 2048
_STARTXREF = re.compile(rb"startxref\s{0,16}(\d{1,15})")
_XREF = re.compile(rb"\s{0,16}(?:xref\b|\d{1,10}\s{1,8}\d{1,5}\s{1,8}obj\b)")
_LINEARIZED_LENGTH = re.compile(rb"/Linearized\b.{0,512}?/L\s{0,8}(\d{1,15})", re.DOTALL)


def walk_pdf(source: BinaryIO, size: int, _max_pixels: int) -> Doubt | None:
    """Check that a PDF ends with its end marker, and that the marker belongs to this file.

    One that does not is doubtful if nothing that its tables of contents name is missing: writers miscount the last
    offset, mail programs cut the end marker, and converters of line ends change the length of a linearized file.

    1. The mark of a PDF is near the beginning; what is before it shifts every offset.
    2. A file that says its own length (linearized) has it.
    3. After the last %%EOF no further object begins: that would be an update that was cut.
    4. The startxref before it points at a cross-reference table or stream.
    """
    head = read_at(source, 0, min(size, 2 * PDF_MARK_WITHIN))
    mark = PDF_MARK.search(head[:PDF_MARK_WITHIN])
    if not mark:
        raise MalformedError("It has no mark of a PDF near its beginning.")
    try:
        if linearized := _LINEARIZED_LENGTH.search(head):
            check_within(int(linearized[1]), size, "The PDF")
        end = _last_pdf_end(source, size)
        if has_object_after(source, end):
            raise CutShortError("It is a PDF with a change at its end that was cut short.")
        _check_startxref(source, end, mark.start())
    except StructureError as error:
        if not has_all_objects(source, size, mark.start()):
            raise
        return Doubt(f"{error} All that its tables of contents name is there.")
    return None


def _last_pdf_end(source: BinaryIO, size: int) -> int:
    """Return the offset of the last %%EOF, searched from the end."""
    end = size
    while end > 0:
        start = max(0, end - PIECE_BYTES)
        piece = read_at(source, start, min(size, end + len(_PDF_END) - 1) - start)
        position = piece.rfind(_PDF_END)
        if position >= 0:
            return start + position
        end = start
    raise CutShortError("It is a PDF without its end marker.")


def _check_startxref(source: BinaryIO, end: int, junk_bytes: int) -> None:
    start = max(0, end - _PDF_TRAILER_BYTES)
    tail = read_at(source, start, end - start)
    trailer = _STARTXREF.match(tail, max(0, tail.rfind(b"startxref")))
    if not trailer:
        raise MalformedError("It is a PDF whose end does not say where its table of contents is.")
    # Most writers count from the mark; a few counted the junk as well.
    for offset in {int(trailer[1]) + junk_bytes, int(trailer[1])}:
        source.seek(offset)
        if _XREF.match(source.read(64)):
            return
    raise MalformedError("It is a PDF whose table of contents is not where its end says.")
