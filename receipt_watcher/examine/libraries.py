"""The libraries that read the headers of receipts: Pillow, pillow-heif, PDFium. What each says of one file.

What it promises: bad content is a Refusal, trouble of the system an OSError, and no library's exception passes. What
it cannot promise is that they never crash, nor that memory suffices: see `worker`.

Any thread may call it; each library is let in by one thread at a time. Nothing is kept.

Importing this module switches off Pillow's own limit on pixels: `FileLimits.max_pixels` takes its place.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import threading
import warnings
from collections.abc import Iterator
from typing import Any, BinaryIO

from PIL import Image, PngImagePlugin, TiffImagePlugin

from receipt_watcher.examine import formats
from receipt_watcher.examine.result import Refusal
from receipt_watcher.jobs.reasons import Reason

Image.MAX_IMAGE_PIXELS = None
#: Packed text and colour profiles in a PNG; as much as libpng allows, for Pillow's own 1 MB refuses real profiles.
PngImagePlugin.MAX_TEXT_CHUNK = 8_000_000

#: catch_warnings changes the whole process; two threads inside it could leave its filter behind for good.
_pillow_lock = threading.Lock()
#: A HEIC is held in memory, so no more than one at a time.
_heif_lock = threading.Lock()
#: PDFium may be called by one thread at a time.
_pdfium_lock = threading.Lock()

_PDFIUM_ASKS_PASSWORD = frozenset({4, 5})  # FPDF_ERR_PASSWORD, FPDF_ERR_SECURITY


@contextlib.contextmanager
def _quiet_pillow() -> Iterator[None]:
    """Let one thread at a time into Pillow, and silence its warnings: damaged EXIF harms no receipt."""
    with _pillow_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def with_pillow(plugin: str, source: BinaryIO, max_pixels: int) -> Refusal | None:
    """Let Pillow read the header of the first page, by one format only."""
    source.seek(0)
    try:
        with _quiet_pillow(), Image.open(source, formats=[plugin]) as image:
            width, height = image.size
        formats.check_pixels(width, height, max_pixels)
    except formats.TooManyPixelsError as error:
        return Refusal(Reason.TOO_MANY_PIXELS, str(error))
    # Seen in over 100,000 mutations: UnidentifiedImageError, ValueError, OSError without a number. Its plugins
    # promise nothing, and what they let through from struct and zlib has varied between versions.
    except Exception as error:  # noqa: BLE001
        return _content_at_fault(error, f"It looks like {plugin}, but its header cannot be read.")
    return None


def decode_tiff(source: BinaryIO, doubt: formats.Doubt) -> None:
    """Let libtiff decode all pages of a doubtful TIFF.

    Raises:
        CutShortError: it cannot.
    """
    source.seek(0)
    try:
        with _quiet_pillow(), Image.open(source, formats=[TiffImagePlugin.TiffImageFile.format]) as image:
            for number in range(doubt.pages):
                image.seek(number)
                image.load()
    except Exception as error:
        refusal = _content_at_fault(error, "Its picture cannot be decoded.")
        raise formats.CutShortError(f"{doubt.detail} {refusal.detail}") from error


def with_pillow_heif(source: BinaryIO, max_pixels: int) -> Refusal | None:
    """Let libheif read the headers of all pictures, in memory."""
    import pillow_heif  # noqa: PLC0415 - 37 ms and 6 MB that most installations never need

    source.seek(0)
    try:
        with _heif_lock:
            sizes = [image.size for image in pillow_heif.open_heif(source)]
        if not sizes:
            return Refusal(Reason.BROKEN, "It is a HEIC without a picture.")
        for width, height in sizes:
            formats.check_pixels(width, height, max_pixels)
    except formats.TooManyPixelsError as error:
        return Refusal(Reason.TOO_MANY_PIXELS, str(error))
    # Documented: ValueError, EOFError, SyntaxError, RuntimeError, OSError. Seen: ValueError, SyntaxError, RuntimeError.
    except Exception as error:  # noqa: BLE001
        return _content_at_fault(error, "It looks like HEIC, but it cannot be read.")
    return None


def _content_at_fault(error: Exception, detail: str) -> Refusal:
    # A system's error has a number; the libraries raise OSError without one for bad content.
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno is not None):
        raise error
    return Refusal(Reason.BROKEN, detail)


def with_pdfium(source: BinaryIO, max_pixels: int) -> Refusal | None:
    """Let PDFium open the document: for a password, and for at least one page.

    The bare calls are used, because PdfDocument asks for the last error even if none was set, and then reports a
    document without pages with the error of the one before it; it also leaves that document open.
    """
    del max_pixels  # a PDF's pages have no pixels
    import pypdfium2.raw as pdfium  # noqa: PLC0415 - 54 ms and 7 MB that an inbox of pictures never needs

    faults: list[OSError] = []
    access = _pdfium_access(pdfium, source, faults)
    with _pdfium_lock:
        document = pdfium.FPDF_LoadCustomDocument(access, None)
        error = None if document else pdfium.FPDF_GetLastError()
        pages = pdfium.FPDF_GetPageCount(document) if document else 0
        if document:
            pdfium.FPDF_CloseDocument(document)
    if faults:
        raise faults[0]
    if error in _PDFIUM_ASKS_PASSWORD:
        return Refusal(Reason.ENCRYPTED, "It is a PDF that asks for a password.")
    if error is not None:
        return Refusal(Reason.BROKEN, "It is a PDF that cannot be opened.")
    return None if pages > 0 else Refusal(Reason.BROKEN, "It is a PDF without pages.")


def _pdfium_access(pdfium: Any, source: BinaryIO, faults: list[OSError]) -> Any:
    """Return what PDFium reads through. An exception in its callback would be lost, so it is kept in `faults`."""

    def read_block(_: object, position: int, target: Any, count: int) -> int:
        try:
            source.seek(position)
            block = source.read(count)
        except OSError as error:
            faults.append(error)
            return 0
        ctypes.memmove(target, block, len(block))
        return int(len(block) == count)

    access = pdfium.FPDF_FILEACCESS()
    access.m_FileLen = source.seek(0, io.SEEK_END)
    access.m_GetBlock = type(access.m_GetBlock)(read_block)
    return access
