"""JPEGs of document feeders, whose header has no height, or one that no reader takes: refused in words, never sent."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from receipt_watcher.examine.judge import FileLimits, examine
from receipt_watcher.jobs.reasons import Reason
from tests.fakes.receipt_variants import jpeg_segment

LIMITS = FileLimits(max_file_bytes=50_000_000, max_pixels=250_000_000)
WIDTH, HEIGHT = 620, 877


def page(**options: object) -> bytes:
    """Return a scanned page as a whole JPEG."""
    gradient = Image.linear_gradient("L").resize((WIDTH, HEIGHT))
    written = io.BytesIO()
    gradient.save(written, "JPEG", quality=70, **options)
    return written.getvalue()


def fed(whole: bytes, declared: int, *true_heights: int, width: int = WIDTH) -> bytes:
    """Return a JPEG with another height in its header, and DNL segments behind its first scan."""
    frame = next(at for marker in (b"\xff\xc0", b"\xff\xc2") if (at := whole.find(marker)) > 0)
    sides = declared.to_bytes(2, "big") + width.to_bytes(2, "big")
    whole = whole[: frame + 5] + sides + whole[frame + 9 :]
    lines = b"".join(jpeg_segment(0xDC, height.to_bytes(2, "big")) for height in true_heights)
    scan = whole.index(b"\xff\xda")
    end = next(
        at for at in range(scan + 2, len(whole)) if whole[at] == 0xFF and whole[at + 1] not in (0, *range(0xD0, 0xD8))
    )
    return whole[:end] + lines + whole[end:]


def with_thumbnail(whole: bytes) -> bytes:
    """Put a thumbnail into the EXIF data, which has a frame and a height of its own."""
    return whole[:2] + jpeg_segment(0xE1, b"Exif\0\0" + fed(page(), 65_535, 7)) + whole[2:]


def is_shown(content: bytes) -> bool:
    """Return whether a reader decodes all of it."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
    except OSError:
        return False
    return True


PAGES = {
    "baseline": page(),
    "progressive": page(progressive=True),
    "with restart markers": page(restart_marker_rows=1),
    "with a thumbnail": with_thumbnail(page()),
}


@pytest.mark.parametrize("kind", PAGES)
@pytest.mark.parametrize(("declared", "true_heights"), [(65_535, (877,)), (0, (877,)), (65_501, (877, 900)), (0, (1,))])
def test_a_height_behind_the_picture_is_refused_in_words(
    kind: str, declared: int, true_heights: tuple[int, ...], tmp_path: Path
) -> None:
    """What no reader can show is refused at once, with both heights and what to do; the first DNL segment counts."""
    whole = PAGES[kind]
    content = (
        with_thumbnail(fed(page(), declared, *true_heights))
        if kind == "with a thumbnail"
        else fed(whole, declared, *true_heights)
    )
    assert not is_shown(content)
    (tmp_path / "scan.jpg").write_bytes(content)
    refusal = examine(tmp_path / "scan.jpg", LIMITS).refusal
    assert refusal is not None
    assert refusal.reason is Reason.BROKEN
    assert refusal.detail == (
        f"Its header declares a picture of 620 x {declared:,} pixels, and only behind the picture a height of "
        f"{true_heights[0]:,} (DNL), where no common program looks. Have the scanner save PDF or TIFF, scan from the "
        "glass, or update its firmware."
    )


@pytest.mark.parametrize("kind", PAGES)
@pytest.mark.parametrize("declared", [877, 1000, 65_500])
def test_a_height_that_readers_take_passes(kind: str, declared: int, tmp_path: Path) -> None:
    """A DNL segment harms nothing where the header has a height that readers show, and nothing of it is changed."""
    content = fed(PAGES[kind], declared, 877) if kind != "with a thumbnail" else PAGES[kind]
    assert is_shown(content)
    (tmp_path / "scan.jpg").write_bytes(content)
    assert examine(tmp_path / "scan.jpg", LIMITS).refusal is None


@pytest.mark.parametrize(("width", "height"), [(620, 65_535), (65_501, 100), (65_535, 65_535)])
def test_sides_that_no_reader_takes_are_refused(width: int, height: int, tmp_path: Path) -> None:
    """Without a DNL segment, too, a side above 65,500 pixels is told as that, before any limit on pixels."""
    content = fed(page(), height, width=width)
    assert not is_shown(content)
    (tmp_path / "scan.jpg").write_bytes(content)
    refusal = examine(tmp_path / "scan.jpg", LIMITS).refusal
    assert refusal is not None
    assert refusal.reason is Reason.BROKEN
    assert f"{width:,} x {height:,} pixels; no common program reads more than 65,500 a side" in refusal.detail


def test_a_wide_scan_of_a_feeder_is_not_called_too_large(tmp_path: Path) -> None:
    """The placeholder in the header is no reason to call a page of 600 dpi a picture of 325 megapixels."""
    (tmp_path / "scan.jpg").write_bytes(fed(page(), 65_535, 7016, width=4960))
    refusal = examine(tmp_path / "scan.jpg", LIMITS).refusal
    assert refusal is not None
    assert (refusal.reason, "a height of 7,016 (DNL)" in refusal.detail) == (Reason.BROKEN, True)


def test_a_feeders_page_that_still_grows_is_waited_for(tmp_path: Path) -> None:
    """Before its end is written, nothing is said about its height."""
    (tmp_path / "scan.jpg").write_bytes(fed(page(), 65_535, 877)[:-8])
    refusal = examine(tmp_path / "scan.jpg", LIMITS).refusal
    assert refusal is not None
    assert refusal.reason is Reason.INCOMPLETE


def test_figures_behind_the_picture_are_not_its_own(tmp_path: Path) -> None:
    """A frame in something that follows a picture without its end marker says nothing about the picture's size."""
    film = b"\0\0\0\x18ftypmp42" + jpeg_segment(0xCE, b"\x08" + b"\xf0\xf0" * 2 + b"\x01\x01\x11\0") + bytes(100)
    (tmp_path / "scan.jpg").write_bytes(page()[:-2] + film)
    refusal = examine(tmp_path / "scan.jpg", LIMITS).refusal
    assert refusal is not None
    assert refusal.reason is Reason.INCOMPLETE
    assert "without its end marker" in refusal.detail
