"""Draws a small picture of a receipt's first page, for people to look at.

What it promises: JPEG of at most `WIDTH` by `HEIGHT` pixels, upright, on white, made anew from the bare pixels: nothing
of what else is in the file comes along. A file that cannot be drawn has no picture. Libraries may crash at a hostile
file, or want more memory than there is, so in the daemon this runs in a process of its own, see `examiner`.

One thread at a time. Nothing is written or kept.
"""

from __future__ import annotations

import io
import warnings
from typing import Any, BinaryIO

from PIL import Image, ImageOps

from receipt_watcher.examine.result import PreviewQuestion

#: Twice what the page shows: fine screens have two pixels for one.
WIDTH, HEIGHT = 760, 1200

_QUALITY = 80
_PDF = "application/pdf"
_HEIF = frozenset({"image/heic", "image/heif"})
_PLUGINS = {
    "image/jpeg": "JPEG",
    "image/png": "PNG",
    "image/tiff": "TIFF",
    "image/gif": "GIF",
    "image/bmp": "BMP",
    "image/webp": "WEBP",
}


def draw(file: BinaryIO, wanted: PreviewQuestion) -> bytes:
    """Return a picture of the first page of a file; nothing if none can be drawn.

    Raises:
        MemoryError: there is not enough.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged EXIF harms no picture
            page = _page(file, wanted)
            return b"" if page is None else _saved(page)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - no library promises anything about what it raises for bad content
        return b""


def _page(file: BinaryIO, wanted: PreviewQuestion) -> Image.Image | None:
    if wanted.mime_type == _PDF:
        return _pdf_page(file)
    image = _heif(file) if wanted.mime_type in _HEIF else _picture(file, wanted.mime_type)
    if image is None or image.width * image.height > wanted.max_pixels:
        return None
    image.draft("RGB", (WIDTH, HEIGHT))  # a JPEG is not even read in full
    return image


def _picture(file: BinaryIO, mime_type: str) -> Image.Image | None:
    plugin = _PLUGINS.get(mime_type)
    return Image.open(file, formats=[plugin]) if plugin else None


def _heif(file: BinaryIO) -> Image.Image:
    import pillow_heif  # noqa: PLC0415 - takes time that most receipts need not wait for

    drawn: Image.Image = pillow_heif.open_heif(file)[0].to_pillow()
    return drawn


def _pdf_page(file: BinaryIO) -> Image.Image:
    import pypdfium2  # noqa: PLC0415 - likewise

    document: Any = pypdfium2.PdfDocument(file)
    page = document[0]
    width, height = page.get_size()
    drawn: Image.Image = page.render(scale=min(WIDTH / max(width, 1), HEIGHT / max(height, 1))).to_pil()
    return drawn


def _saved(image: Image.Image) -> bytes:
    if image.mode in ("1", "P"):
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")  # else it would not be smoothed
    image.thumbnail((WIDTH, HEIGHT) if not _lies_on_its_side(image) else (HEIGHT, WIDTH))
    upright = ImageOps.exif_transpose(image)
    written = io.BytesIO()
    _on_white(upright).save(written, "JPEG", quality=_QUALITY)
    return written.getvalue()


def _lies_on_its_side(image: Image.Image) -> bool:
    """Whether a camera was held so that its picture must be turned (EXIF, orientation 5 to 8)."""
    return image.getexif().get(0x0112, 1) in (5, 6, 7, 8)


def _on_white(image: Image.Image) -> Image.Image:
    """Return the pixels alone, on paper: Pillow would save comments and profiles of the file along."""
    has_gaps = image.mode in ("RGBA", "LA", "PA")
    pixels = image.convert("RGBA" if has_gaps else "RGB")
    paper = Image.new("RGB", image.size, "white")
    paper.paste(pixels, mask=pixels if has_gaps else None)
    return paper
