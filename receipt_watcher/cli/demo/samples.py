"""Draws small genuine receipts for the demo, the tests and the benchmarks.

Each function returns a whole file. The same seed gives the same bytes, another seed other bytes, so that no two of
them count as duplicates. Nothing is read, kept or written; any thread may call them.
"""

from __future__ import annotations

import datetime as dt
import io
import random
from typing import Any

from PIL import Image, ImageDraw

_SHOPS = ("Bakery at the Mill", "Office Supplies Ltd", "Hotel Seeblick", "City Taxi 24", "Hardware & Garden")
_ITEMS = (
    "Coffee",
    "Rye bread",
    "Paper A4, 500 sheets",
    "Toner",
    "Single room",
    "Ride",
    "Screws 4x40",
    "Parking",
    "Lunch",
)
_SIZE = (360, 520)
_FAX_SIZE = (500, 700)
#: A JPEG's comment holds at most this much.
_COMMENT_BYTES = 65_533


def jpeg(seed: int, target_bytes: int | None = None) -> bytes:
    """Draw a JPEG; with `target_bytes`, of exactly that size wherever the picture itself is smaller.

    The room is filled with comment segments of random bytes, as a camera fills it with previews: it costs less than
    compressing noise, and every reader steps over it.
    """
    picture = _saved(_draw(seed), "JPEG", quality=80)
    if target_bytes is None or target_bytes <= len(picture):
        return picture
    return picture[:2] + _comments(random.Random(seed), target_bytes - len(picture)) + picture[2:]  # noqa: S311


def png(seed: int) -> bytes:
    """Draw a PNG."""
    return _saved(_draw(seed, grain=4), "PNG")


def tiff(seed: int, pages: int = 3) -> bytes:
    """Draw a TIFF of several pages, as a scanner with a feeder writes it."""
    first, *rest = [_draw(seed, page, grain=4).convert("L") for page in range(1, pages + 1)]
    return _saved(first, "TIFF", save_all=True, append_images=rest, compression="tiff_adobe_deflate")


def pdf(seed: int) -> bytes:
    """Draw a PDF of one scanned page."""
    # Pillow would write the present time into it.
    when = _day(random.Random(seed)).timetuple()  # noqa: S311
    return _saved(_draw(seed), "PDF", resolution=100, creationDate=when, modDate=when)


def webp(seed: int) -> bytes:
    """Draw a WebP."""
    return _saved(_draw(seed), "WEBP", quality=85, method=0)


def gif(seed: int) -> bytes:
    """Draw a GIF."""
    return _saved(_draw(seed, grain=4).convert("L").quantize(32), "GIF")


def bmp(seed: int) -> bytes:
    """Draw a BMP in black and white, as fax software writes it."""
    return _saved(_draw(seed, size=_FAX_SIZE).convert("1"), "BMP")


def heic(seed: int) -> bytes:
    """Draw a HEIC, as a phone writes it."""
    import pillow_heif

    written = io.BytesIO()
    pillow_heif.from_pillow(_draw(seed, grain=4)).save(written, quality=50, enc_params={"preset": "ultrafast"})
    return written.getvalue()


def _draw(seed: int, page: int = 1, size: tuple[int, int] = _SIZE, grain: int = 2) -> Image.Image:
    """Draw shop, date, number, items and total on paper whose grains are `grain` pixels wide."""
    chance = random.Random(seed * 1000 + page)  # noqa: S311 - repeatable, and guards nothing
    picture = _paper(chance, size, grain)
    pen = ImageDraw.Draw(picture)
    for number, line in enumerate(_lines(chance, seed, page)):
        pen.text((24, 24 + 20 * number), line, fill=(25, 25, 35))
    return picture


def _paper(chance: random.Random, size: tuple[int, int], grain: int) -> Image.Image:
    width, height = size[0] // grain, size[1] // grain
    grains = Image.frombytes("L", (width, height), chance.randbytes(width * height))
    # Nearest: smooth edges between the grains would double the size of PNG and TIFF.
    return (
        grains.point([225 + level // 10 for level in range(256)]).resize(size, Image.Resampling.NEAREST).convert("RGB")
    )


def _lines(chance: random.Random, seed: int, page: int) -> list[str]:
    prices = [chance.randint(99, 9999) for _ in range(chance.randint(5, 12))]
    bought = [f"{chance.choice(_ITEMS):<24}{price / 100:>10.2f}" for price in prices]
    return [
        chance.choice(_SHOPS),
        f"{_day(chance):%d.%m.%Y %H:%M}",
        f"Receipt no. {seed}, page {page}",
        "",
        *bought,
        "-" * 34,
        f"{'TOTAL EUR':<24}{sum(prices) / 100:>10.2f}",
        "Thank you!",
    ]


def _day(chance: random.Random) -> dt.datetime:
    start = dt.datetime(2026, 1, 2, 8, tzinfo=dt.UTC)
    return start + dt.timedelta(minutes=chance.randrange(300 * 24 * 60))


def _comments(chance: random.Random, size: int) -> bytes:
    """Return JPEG comment segments of `size` bytes in all; fewer than four cannot be filled."""
    segments = []
    while size >= 4:  # noqa: PLR2004 - marker and length
        # What would leave a rest that no segment fits into is cut a little shorter.
        text_bytes = min(size - 4, _COMMENT_BYTES)
        if 0 < size - 4 - text_bytes < 4:  # noqa: PLR2004
            text_bytes -= 4
        segments.append(b"\xff\xfe" + (text_bytes + 2).to_bytes(2, "big") + chance.randbytes(text_bytes))
        size -= 4 + text_bytes
    return b"".join(segments)


def _saved(picture: Image.Image, plugin: str, **options: Any) -> bytes:
    written = io.BytesIO()
    picture.save(written, plugin, **options)
    return written.getvalue()
