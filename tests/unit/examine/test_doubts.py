"""Files that strict parsers refuse and every reader opens: they are in doubt, and accepted after the patience."""

from __future__ import annotations

import io
import re
import struct
import warnings
from pathlib import Path

import pikepdf
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from receipt_watcher.examine.formats.tiff_ends import ends_before_padding
from receipt_watcher.examine.result import Examination, FileLimits
from receipt_watcher.jobs.reasons import Reason
from tests.fakes.receipt_variants import (
    VARIANTS,
    content_of,
    is_version_before,
    needed_bytes,
    picture,
    saved,
    tiff_directory_first,
)
from tests.unit.examine.test_judge import judged

LIMITS = FileLimits(max_file_bytes=50_000_000, max_pixels=100_000_000)

PDFS = sorted(name for name, (mime_type, _) in VARIANTS.items() if mime_type == "application/pdf")
#: A PDF that holds another one, uncompressed, has that one's table of contents as well, whose offsets are its own.
PROVABLE = sorted({*PDFS} - {"pdf in pdf"})

#: Compressions that have an end of their own, with the mode of the picture and the number in the TIFF.
COMPRESSIONS = {
    "group4": ("1", 4),
    "tiff_lzw": ("L", 5),
    "jpeg": ("L", 7),
    "tiff_adobe_deflate": ("L", 8),
}


def waits(examination: Examination) -> bool:
    """Return whether a file is left alone until the patience with it is over."""
    refusal = examination.refusal
    return bool(examination.doubt) if refusal is None else refusal.reason is Reason.INCOMPLETE


def with_startxref(content: bytes, difference: int) -> bytes:
    """Return a PDF whose last pointer is off by so many bytes."""
    at = content.rindex(b"startxref")
    return content[:at] + re.sub(rb"\d+", lambda number: b"%d" % (int(number[0]) + difference), content[at:], count=1)


def pages_shown(content: bytes) -> int:
    """Return how many pages a reader finds that repairs what it can."""
    with pikepdf.open(io.BytesIO(content)) as document:
        return len(document.pages)


def check_doubt(content: bytes, folder: Path, words: str) -> None:
    """See that a file is accepted in doubt, with these words."""
    found = judged(content, folder, limits=LIMITS)
    assert found.refusal is None
    assert words in found.doubt


# --- PDF -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PROVABLE)
@pytest.mark.parametrize("difference", [-3, 1, 10**6])
def test_a_pointer_that_misses_is_a_doubt(name: str, difference: int, tmp_path: Path) -> None:
    """A PDF whose startxref misses by some bytes has its table all the same, and readers find it."""
    content = with_startxref(content_of(name), difference)
    assert pages_shown(content) == pages_shown(content_of(name))
    found = judged(content, tmp_path, limits=LIMITS)
    assert found.refusal is None
    assert difference in (-3, 1) or "All that its tables of contents name is there." in found.doubt


@pytest.mark.parametrize("name", PROVABLE)
@pytest.mark.parametrize("end", [b"", b"%", b"%%E", b"%%EO"])
def test_a_missing_end_marker_is_a_doubt(name: str, end: bytes, tmp_path: Path) -> None:
    """Mail archives and portals cut the last line; nothing that the file names is missing for that."""
    content = content_of(name)[: content_of(name).rindex(b"%%EOF")].rstrip() + b"\n" + end
    assert pages_shown(content) == pages_shown(content_of(name))
    check_doubt(content, tmp_path, "All that its tables of contents name is there.")


@pytest.mark.parametrize("name", ["pdf for the web", "pdf compact for the web"])
def test_a_linearized_length_that_differs_is_a_doubt(name: str, tmp_path: Path) -> None:
    """A linearized PDF of another length is an ordinary PDF (ISO 32000-1, F.3.3)."""
    content = content_of(name)
    shorter = content.rstrip(b"\r\n")
    assert len(shorter) < len(content)
    check_doubt(shorter, tmp_path, "The PDF reaches to byte")


@pytest.mark.parametrize("name", PROVABLE)
@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    database=None,
)
@given(missing=st.integers(1, 400) | st.floats(0, 1, exclude_min=True))
def test_what_lacks_a_needed_byte_is_never_accepted(name: str, missing: float, tmp_path: Path) -> None:
    """A PDF that was cut before the end of its last trailer is refused, in doubt or not, whatever its end says."""
    content = content_of(name)
    needed = needed_bytes("application/pdf", content)
    end = needed - (missing if isinstance(missing, int) else max(1, int(needed * missing)))
    for tail in (b"", b"\nstartxref\n17\n%%EOF\n"):
        found = judged(content[:end] + tail, tmp_path, limits=LIMITS)
        assert found.refusal is not None or is_version_before(name, end), found


@pytest.mark.parametrize("name", PROVABLE)
def test_an_object_that_is_not_there_is_no_doubt(name: str, tmp_path: Path) -> None:
    """A PDF without its end marker, one of whose objects was lost in the middle, is refused: repair is no proof."""
    content = content_of(name)
    objects = list(re.finditer(rb"[\r\n]\d+ 0 obj\b", content))
    lost = objects[len(objects) // 2]
    damaged = content[: lost.start() + 1] + b"x" * (lost.end() - lost.start() - 1) + content[lost.end() :]
    cut = damaged[: damaged.rindex(b"%%EOF")]
    assert judged(cut, tmp_path, limits=LIMITS).refusal is not None


def test_a_pdf_in_a_pdf_is_not_proven(tmp_path: Path) -> None:
    """If the tables cannot all be followed, a damaged end is waited for and refused, as before."""
    content = content_of("pdf in pdf")
    refusal = judged(content[: content.rindex(b"%%EOF")], tmp_path, limits=LIMITS).refusal
    assert refusal is not None
    assert refusal.reason is Reason.BROKEN or refusal.reason is Reason.INCOMPLETE


@pytest.mark.parametrize(
    "trailer",
    [
        b"trailer\n<< /Size 6 /Root 1 0 R ",
        b"trailer\n<< /Size 6 /Root 1 0 R /Note (unbalanced ( >>",
        b"trailer\n<< /Size 6 >>",
        b"",
    ],
)
def test_a_trailer_that_is_not_whole_is_no_proof(trailer: bytes, tmp_path: Path) -> None:
    """A trailer without its end, or without the root of the document, proves nothing."""
    content = content_of("pdf pages")
    body = content[: content.rindex(b"trailer")]
    refusal = judged(body + trailer, tmp_path, limits=LIMITS).refusal
    assert refusal is not None
    assert refusal.reason is Reason.INCOMPLETE


# --- TIFF ----------------------------------------------------------------------------------------------------------


#: Pillow keeps the tables of JPEG beside the strip, and our hand-made directory has no room for them.
@pytest.mark.parametrize("compression", sorted({*COMPRESSIONS} - {"jpeg"}))
@pytest.mark.parametrize("padding", [64, 2000])
def test_a_padded_strip_is_a_doubt(compression: str, padding: int, tmp_path: Path) -> None:
    """Scanners round the length of a strip up with zeros, behind the end that its compression has."""
    content = tiff_directory_first(COMPRESSIONS[compression][0], compression, padding=padding)
    with Image.open(io.BytesIO(content)) as image:
        image.load()
    check_doubt(content, tmp_path, "is padded with zeros")


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("percent", [10, 50, 90, 99])
def test_zeros_in_place_of_data_are_no_padding(compression: str, percent: int, tmp_path: Path) -> None:
    """A strip whose end was never written ends in zeros, too, and is refused."""
    whole = tiff_directory_first(COMPRESSIONS[compression][0], compression)
    content = whole[: len(whole) * percent // 100].ljust(len(whole), b"\0") + bytes(64)
    padded = tiff_directory_first(COMPRESSIONS[compression][0], compression, padding=64)
    refusal = judged(padded[:130] + content[130:], tmp_path, limits=LIMITS).refusal
    assert refusal is not None
    assert refusal.reason is Reason.INCOMPLETE


@pytest.mark.parametrize("compression", COMPRESSIONS)
@settings(max_examples=40, database=None)
@given(missing=st.integers(1, 200) | st.floats(0, 1, exclude_min=True))
def test_no_strip_ends_before_its_end(compression: str, missing: float) -> None:
    """A strip that lacks anything but zeros at its end is never taken for a padded one."""
    mode, number = COMPRESSIONS[compression]
    written = saved(picture(mode=mode), "TIFF", compression=compression)
    with Image.open(io.BytesIO(written)) as image:
        (start,), (length,) = image.tag_v2[273], image.tag_v2[279]  # type: ignore[attr-defined]
    strip = written[start : start + length]
    assert ends_before_padding(number, strip + bytes(100), is_reversed=False)
    kept = len(strip.rstrip(b"\0")) - (missing if isinstance(missing, int) else max(1, int(length * missing)))
    if compression == "tiff_adobe_deflate":
        kept -= 4  # the check sum itself may end in zeros
    assert not ends_before_padding(number, strip[: max(0, kept)] + bytes(100), is_reversed=False)


def test_a_group_3_fax_ends_in_six_ends_of_lines() -> None:
    """Only a fax that ends in the return to control of T.4 is known to be whole; Pillow writes none."""
    written = saved(picture(mode="1"), "TIFF", compression="group3")
    with Image.open(io.BytesIO(written)) as image:
        (start,), (length,) = image.tag_v2[273], image.tag_v2[279]  # type: ignore[attr-defined]
    strip = written[start : start + length]
    assert not ends_before_padding(3, strip + bytes(100), is_reversed=False)
    for end in ("000000000001" * 6, "0000000000011" * 6):
        bits = end + "0" * (-len(end) % 8)
        returned = int(bits, 2).to_bytes(len(bits) // 8, "big")
        assert ends_before_padding(3, strip + returned + bytes(100), is_reversed=False)


def test_a_fax_may_have_its_lowest_bit_first() -> None:
    """The end of a fax is found whichever bit of a byte comes first (FillOrder)."""
    written = saved(picture(mode="1"), "TIFF", compression="group4")
    with Image.open(io.BytesIO(written)) as image:
        (start,), (length,) = image.tag_v2[273], image.tag_v2[279]  # type: ignore[attr-defined]
    mirrored = bytes(int(f"{byte:08b}"[::-1], 2) for byte in written[start : start + length]) + bytes(100)
    assert ends_before_padding(4, mirrored, is_reversed=True)
    assert not ends_before_padding(4, mirrored, is_reversed=False)


def test_an_unknown_compression_has_no_end() -> None:
    """Of a compression without an end of its own zeros may be data."""
    assert not ends_before_padding(2, b"abc" + bytes(100), is_reversed=False)


@pytest.mark.parametrize("offset", [2**31 - 16, 2**30, 2**32 - 2])
def test_a_next_page_nowhere_is_a_doubt(offset: int, tmp_path: Path) -> None:
    """A pointer to a page that no receipt reaches is garbage; libtiff warns, and shows the pages that are there."""
    content = bytearray(tiff_directory_first("1", "group4"))
    struct.pack_into("<I", content, 8 + 2 + 12 * 9, offset)
    check_doubt(bytes(content), tmp_path, f"names a next page at byte {offset:,}")


@pytest.mark.parametrize("offset", [10**6, 2**30 - 1])
def test_a_next_page_beyond_the_end_is_waited_for(offset: int, tmp_path: Path) -> None:
    """A nearer pointer is that of a file of several pages that was cut."""
    content = bytearray(tiff_directory_first("1", "group4"))
    struct.pack_into("<I", content, 8 + 2 + 12 * 9, offset)
    refusal = judged(bytes(content), tmp_path, limits=LIMITS).refusal
    assert refusal is not None
    assert refusal.reason is Reason.INCOMPLETE


def test_a_doubtful_tiff_that_does_not_decode_is_refused(tmp_path: Path) -> None:
    """The end of the last strip alone proves nothing: all pages must decode."""
    content = bytearray(tiff_directory_first("L", "tiff_adobe_deflate", padding=100))
    content[200:400] = bytes(200)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        refusal = judged(bytes(content), tmp_path, limits=LIMITS).refusal
    assert refusal is not None
    assert refusal.reason is Reason.INCOMPLETE


# --- HEIC ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("brand", [b"msf1", b"hevc", b"heix"])
def test_brands_of_sequences_are_accepted(brand: bytes, tmp_path: Path) -> None:
    """A phone that names the brand of a sequence first has a still picture in the file, which readers show."""
    content = bytearray(content_of("heic several"))
    content[8:12] = brand
    found = judged(bytes(content), tmp_path, limits=LIMITS)
    assert (found.mime_type, found.refusal, found.doubt) == ("image/heic", None, "")
