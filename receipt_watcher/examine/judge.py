"""Judges one receipt: what it is, whether it is whole and can be read.

It promises that no content whatever makes it raise: what is wrong with a receipt is a Refusal, with a reason code and
a sentence for the person who scanned it. What is wrong with the system (the file is gone, the disk fails) is no
fault of the receipt and passes through as OSError; only a PermissionError is the receipt's, for somebody else set its
permissions. What it cannot promise is that the libraries never crash, nor that memory suffices (MemoryError): in the
daemon it therefore runs in a process of its own, see `worker`.

The file is visited by seeking. It is never mapped into memory, because a late writer that truncates it would kill
the process by SIGBUS. It is never held in memory either, except a HEIC, whose library wants all of it: those are
examined one at a time. No picture is decoded, but that of a TIFF in doubt.

Any thread may call it. Nothing is written, so a crash leaves nothing behind.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pylibmagic  # isort: skip  # carries libmagic, and must come before magic, which looks for it when imported

import magic
from PIL import BmpImagePlugin, GifImagePlugin, JpegImagePlugin, PngImagePlugin, TiffImagePlugin

from receipt_watcher.examine import formats
from receipt_watcher.examine.formats import bmp, gif, heic, jpeg, pdf, png, tiff, webp
from receipt_watcher.examine.libraries import decode_tiff, with_pdfium, with_pillow, with_pillow_heif
from receipt_watcher.examine.result import (
    ACCEPTED_MIME_TYPES,
    MAX_DIGEST_BYTES,
    Examination,
    FileLimits,
    Judgement,
    Refusal,
    unreadable,
)
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.system import disk

__all__ = ["ACCEPTED_MIME_TYPES", "TELLING_BYTES", "Examination", "FileLimits", "Refusal", "examine", "judge"]

#: A file that is no larger is read once, and walked in memory.
READ_BYTES = 256 * 1024

#: Fewer bytes than this tell of no kind for certain what it is; the first piece of a slow copy may be as small.
TELLING_BYTES = 32

#: The beginnings of files of the accepted kinds; a HEIC begins with the length of its first box.
_MARKS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"%PDF-", b"GIF8", b"II*\0", b"MM\0*", b"RIFF", b"BM", b"\0\0\0")

#: libmagic needs no more; with 64 KiB it takes seven times as long.
_MAGIC_BYTES = 4096
_UNKNOWN = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class _Kind:
    """An accepted kind: how its skeleton is walked, which library then reads its header, and which decodes a doubt."""

    walk: formats.Walk
    open_header: Callable[[BinaryIO, int], Refusal | None] | None
    decode: Callable[[BinaryIO, formats.Doubt], None] | None = None


@dataclass(frozen=True, slots=True)
class _Content:
    """The size of a file, and its beginning."""

    size: int
    head: bytes


def examine(path: Path, limits: FileLimits) -> Examination:
    """Examine the file at `path` in the caller's process: for tests, and for callers that trust it.

    Raises:
        OSError: the system's own trouble, FileNotFoundError among it; never for what the file contains.
        MemoryError: there is not enough.
    """
    try:
        with disk.open_plainly(path) as file:
            sha256 = _digest_of(file)
            return Examination.of(judge(file, path.name, limits), sha256)
    except PermissionError:
        return unreadable(path)


def _digest_of(file: BinaryIO) -> str | None:
    if file.seek(0, io.SEEK_END) > MAX_DIGEST_BYTES:
        return None
    file.seek(0)
    digest = hashlib.sha256()
    while piece := file.read(READ_BYTES):
        digest.update(piece)
    return digest.hexdigest()


def judge(file: BinaryIO, name: str, limits: FileLimits) -> Judgement:
    """Judge an open file, which nobody else moves meanwhile; its name only says what it claims to be.

    Raises:
        OSError: the system's own trouble; never for what the file contains.
        MemoryError: there is not enough.
    """
    file.seek(0)
    head = file.read(READ_BYTES)
    content = _Content(file.seek(0, io.SEEK_END), head)
    if not content.size:
        return Judgement(0, None, Refusal(Reason.EMPTY, "The file has 0 bytes."))
    # That is faster, and each part of a small file is of the same moment.
    source = io.BytesIO(content.head) if content.size == len(content.head) else file
    judgement = _judge(source, content, name, limits)
    mime_type, refusal = judgement.mime_type, judgement.refusal
    if refusal is not None and content.size < TELLING_BYTES and content.head.startswith(_beginnings(content.size)):
        refusal = Refusal(Reason.INCOMPLETE, f"Its {content.size} bytes are too few to tell what it is.")
    if refusal is None and mime_type not in _ENDS_IN_MARKER and _ends_in_hole(file, content.size):
        refusal = Refusal(Reason.INCOMPLETE, "Its size was set, but its end was never written.")
    return judgement if refusal is judgement.refusal else Judgement(content.size, mime_type, refusal)


def _beginnings(size: int) -> tuple[bytes, ...]:
    """Return how files of the accepted kinds begin, cut to `size` bytes."""
    return tuple(mark[:size] for mark in _MARKS)


def _ends_in_hole(file: BinaryIO, size: int) -> bool:
    """Whether the last byte was never written (lseek(2), SEEK_DATA): a copy that had set the size first was cut.

    What comes after an end marker is nobody's concern, but formats without one would pass with half a picture.
    """
    try:
        os.lseek(file.fileno(), size - 1, os.SEEK_DATA)
    except OSError as error:
        return error.errno == errno.ENXIO
    return False


def _judge(source: BinaryIO, content: _Content, name: str, limits: FileLimits) -> Judgement:
    mime_type = _mime_type(content.head)

    def refused(reason: Reason, detail: str) -> Judgement:
        return Judgement(content.size, mime_type, Refusal(reason, detail))

    if content.size > limits.max_file_bytes:
        detail = f"It has {content.size:,} bytes; {limits.max_file_bytes:,} are allowed."
        return refused(Reason.TOO_LARGE, detail)
    if mime_type in ACCEPTED_MIME_TYPES:
        return _judge_kind(mime_type, source, content.size, limits.max_pixels)
    if mime_type in _PERHAPS_PDF and pdf.PDF_MARK.search(content.head[: pdf.PDF_MARK_WITHIN]):
        return _judge_kind(_PDF, source, content.size, limits.max_pixels)
    if not any(content.head[:TELLING_BYTES]):  # every kind begins with a mark
        return refused(Reason.INCOMPLETE, "It begins with zeros: its beginning has not been written.")
    return refused(Reason.UNSUPPORTED_TYPE, _describe(mime_type, name))


def _judge_kind(mime_type: str, source: BinaryIO, size: int, max_pixels: int) -> Judgement:
    """Judge a file of an accepted kind: by its skeleton, and by the library that reads it."""
    doubt, refusal = None, None
    try:
        doubt, refusal = _fault(_KINDS[mime_type], source, size, max_pixels)
    except formats.CutShortError as error:
        refusal = Refusal(Reason.INCOMPLETE, str(error))
    except formats.TooManyPixelsError as error:
        refusal = Refusal(Reason.TOO_MANY_PIXELS, str(error))
    return Judgement(size, mime_type, refusal, doubt.detail if doubt is not None and refusal is None else "")


def _fault(kind: _Kind, source: BinaryIO, size: int, max_pixels: int) -> tuple[formats.Doubt | None, Refusal | None]:
    doubt, refusal = None, None
    try:
        doubt = kind.walk(source, size, max_pixels)
        refusal = kind.open_header(source, max_pixels) if kind.open_header else None
        if doubt is not None and refusal is not None:  # more may come: nothing else is said of it before that
            raise formats.CutShortError(f"{doubt.detail} {refusal.detail}")
        if doubt is not None and kind.decode is not None:
            kind.decode(source, doubt)
    except formats.MalformedError as error:
        refusal = Refusal(Reason.BROKEN, str(error))
    # Some writers set the room aside first, and there are zeros where parts are to come: that is not broken yet.
    if refusal is not None and refusal.reason is Reason.BROKEN and formats.ends_in_zeros(source, size):
        raise formats.CutShortError(f"It ends in zeros, as if it had not been written to its end. {refusal.detail}")
    return doubt, refusal


# --- What it is ---


@functools.cache
def _libmagic() -> Any:
    # Loading takes milliseconds, so one is kept. It holds a lock of its own while it looks.
    return magic.Magic(mime=True, magic_file=str(pylibmagic.data / "magic.mgc"))


def _mime_type(head: bytes) -> str:
    try:
        mime_type = str(_libmagic().from_buffer(head[:_MAGIC_BYTES]))
    except magic.MagicException:  # its own rules can fail on hostile content
        return _UNKNOWN
    if mime_type == "image/heif" and _is_avif(head):
        return "image/avif"
    return _ALIASES.get(mime_type, mime_type)


def _is_avif(head: bytes) -> bool:
    """Return whether a file under the general brand mif1 holds AVIF, by the brands that it lists as well."""
    brands = head[8 : min(int.from_bytes(head[:4], "big"), 256)]
    return b"avif" in brands and b"hei" not in brands


_NAMES = {
    "text/plain": "plain text",
    "text/html": "a web page",
    "text/xml": "an XML document",
    "application/json": "a JSON document",
    "application/zip": "a ZIP archive",
    "application/gzip": "a gzip archive",
    "image/svg+xml": "an SVG drawing",
    "image/avif": "an AVIF picture",
    "message/rfc822": "an e-mail",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "a Word document",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "an Excel workbook",
}
_ACCEPTED_SUFFIXES = frozenset(
    ".jpg .jpeg .png .tif .tiff .webp .gif .bmp .heic .heif .pdf".split()  # noqa: SIM905 - reads better
)


def _describe(mime_type: str, name: str) -> str:
    suffix = Path(name).suffix.lower()
    although = f", although its name ends in {suffix}" if suffix in _ACCEPTED_SUFFIXES else ""
    if mime_type == _UNKNOWN:
        return f"Its content is of no kind that is known here ({mime_type}){although}."
    kind = _NAMES.get(mime_type)
    return f"It is {kind} ({mime_type}){although}." if kind else f"Its content is {mime_type}{although}."


# --- What is accepted ---

_PDF = "application/pdf"
_PERHAPS_PDF = frozenset({_UNKNOWN, "text/plain"})
_ALIASES = {
    "image/x-ms-bmp": "image/bmp",
    "image/x-bmp": "image/bmp",
    "image/x-png": "image/png",
    "image/apng": "image/png",
    "image/heif-sequence": "image/heic",  # brand msf1, with a still picture for those that show no sequence
    "image/heic-sequence": "image/heic",  # brand hevc
    "image/vnd.mozilla.apng": "image/png",
}


def _pillow(plugin: Any) -> Callable[[BinaryIO, int], Refusal | None]:
    return functools.partial(with_pillow, plugin.format)


_HEIC = _Kind(heic.walk_heic, with_pillow_heif)
_KINDS = {
    "image/jpeg": _Kind(jpeg.walk_jpeg, _pillow(JpegImagePlugin.JpegImageFile)),
    "image/png": _Kind(png.walk_png, _pillow(PngImagePlugin.PngImageFile)),
    "image/tiff": _Kind(tiff.walk_tiff, _pillow(TiffImagePlugin.TiffImageFile), decode_tiff),
    "image/gif": _Kind(gif.walk_gif, _pillow(GifImagePlugin.GifImageFile)),
    "image/bmp": _Kind(bmp.walk_bmp, _pillow(BmpImagePlugin.BmpImageFile)),
    # Pillow cannot read a WebP's header without all of the file and a canvas; the walk reads the same fields.
    "image/webp": _Kind(webp.walk_webp, None),
    "image/heic": _HEIC,
    "image/heif": _HEIC,
    _PDF: _Kind(pdf.walk_pdf, with_pdfium),
}

#: Bytes after the marker are nobody's concern, be it a hole; before it there is none, or the walk would not end.
_ENDS_IN_MARKER = frozenset({"image/jpeg", "image/png", "image/gif", _PDF})
