"""The samples: genuine, small, repeatable."""

from __future__ import annotations

import io
import time
from collections.abc import Callable

import pillow_heif
import pytest
from PIL import Image, ImageSequence

from receipt_watcher.cli.demo import samples

KINDS = ["jpeg", "png", "tiff", "pdf", "webp", "gif", "bmp", "heic"]
PICTURES = ["jpeg", "png", "tiff", "webp", "gif", "bmp"]


def maker(kind: str) -> Callable[[int], bytes]:
    """Return the function that makes samples of this kind."""
    made: Callable[[int], bytes] = getattr(samples, kind)
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_decides_every_byte(kind: str) -> None:
    """The same seed gives the same file, and another seed another one."""
    make = maker(kind)
    assert make(1) == make(1)
    assert make(1) != make(2)


@pytest.mark.parametrize("kind", KINDS)
def test_samples_are_small_and_fast(kind: str) -> None:
    """A sample is of a size that mail and folders carry easily, and takes no noticeable time."""
    make = maker(kind)
    make(3)  # the first call imports what it needs
    started = time.thread_time()
    size = len(make(4))
    assert time.thread_time() - started < 0.5
    assert 10_000 < size < 70_000


@pytest.mark.parametrize("kind", PICTURES)
def test_pictures_decode(kind: str) -> None:
    """A picture can be decoded to its last pixel, so it is genuine."""
    with Image.open(io.BytesIO(maker(kind)(5))) as picture:
        for frame in ImageSequence.Iterator(picture):
            frame.load()


def test_heic_decodes() -> None:
    """The HEIC can be decoded to its last pixel as well."""
    assert len(pillow_heif.read_heif(io.BytesIO(samples.heic(5))).to_pillow().tobytes()) > 100_000


def test_tiff_has_the_pages_asked_for() -> None:
    """A TIFF has as many pages as were asked for."""
    with Image.open(io.BytesIO(samples.tiff(6, pages=5))) as picture:
        assert getattr(picture, "n_frames", 1) == 5


@pytest.mark.parametrize("target_bytes", [1_000, 40_000, 65_000, 200_000, 1_000_003])
@pytest.mark.parametrize("more", range(6))
def test_jpeg_reaches_its_target(target_bytes: int, more: int) -> None:
    """A JPEG with a target is of exactly that size, unless the picture alone is larger, and still decodes."""
    picture = samples.jpeg(7, target_bytes + more)
    smallest = len(samples.jpeg(7))
    assert len(picture) in {target_bytes + more, max(smallest, target_bytes + more)}
    Image.open(io.BytesIO(picture)).load()


@pytest.mark.parametrize("extra", [*range(12), 65_530, 65_537, 65_538, 65_540, 65_541, 65_545])
def test_jpeg_fills_any_gap(extra: int) -> None:
    """Whatever the gap, at most the three bytes that no segment fits into stay open."""
    smallest = len(samples.jpeg(8))
    missing = smallest + extra - len(samples.jpeg(8, smallest + extra))
    assert missing == (extra if extra < 4 else 0)
