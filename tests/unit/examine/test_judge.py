"""The examination: what is accepted, what is refused and with which reason."""

from __future__ import annotations

import errno
import functools
import hashlib
import io
import os
import random
import struct
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pikepdf
import pillow_heif
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from receipt_watcher.cli.demo import samples
from receipt_watcher.examine import judge, libraries
from receipt_watcher.examine.judge import ACCEPTED_MIME_TYPES, Examination, FileLimits, Refusal, examine
from receipt_watcher.jobs.reasons import EXAMINATION_REASONS, Reason
from receipt_watcher.system import disk
from tests.fakes.receipt_variants import needed_bytes

LIMITS = FileLimits(max_file_bytes=5_000_000, max_pixels=100_000_000)

MIME_TYPES = {
    "jpeg": "image/jpeg",
    "png": "image/png",
    "tiff": "image/tiff",
    "pdf": "application/pdf",
    "webp": "image/webp",
    "gif": "image/gif",
    "bmp": "image/bmp",
    "heic": "image/heic",
}
KINDS = list(MIME_TYPES)


@functools.cache
def sample(kind: str) -> bytes:
    """Return the one sample of this kind that all tests share."""
    made: bytes = getattr(samples, kind)(1)
    return made


def saved(picture: Image.Image, plugin: str, **options: Any) -> bytes:
    """Return what Pillow writes."""
    written = io.BytesIO()
    picture.save(written, plugin, **options)
    return written.getvalue()


def small(mode: str = "RGB") -> Image.Image:
    """Return a small picture with some noise, so that no format compresses it to nothing."""
    return Image.effect_noise((64, 48), 90).convert(mode)


def pdf_of(document: pikepdf.Pdf, **options: Any) -> bytes:
    """Return what pikepdf writes."""
    written = io.BytesIO()
    document.save(written, **options)
    document.close()
    return written.getvalue()


def judged(content: bytes, folder: Path, name: str = "scan", limits: FileLimits = LIMITS) -> Examination:
    """Examine `content` under this name."""
    path = folder / name
    path.write_bytes(content)
    return examine(path, limits)


def reason_of(content: bytes, folder: Path, name: str = "scan", limits: FileLimits = LIMITS) -> Reason | None:
    """Return the reason code of the refusal, or None where the content is accepted."""
    refusal = judged(content, folder, name, limits).refusal
    return refusal.reason if refusal else None


# --- accepted ---


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_accepted(kind: str, tmp_path: Path) -> None:
    """A genuine receipt of each accepted kind passes, with its type, its size and its digest."""
    content = sample(kind)
    digest = hashlib.sha256(content).hexdigest()
    assert judged(content, tmp_path) == Examination(len(content), digest, MIME_TYPES[kind], None)
    assert MIME_TYPES[kind] in ACCEPTED_MIME_TYPES


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_after_the_end_are_allowed(kind: str, tmp_path: Path) -> None:
    """What a scanner or a transport appends after the end marker does no harm."""
    for garbage in (b"\0" * 700, b"\r\n", b"appended by a gateway", random.Random(1).randbytes(5000)):
        assert reason_of(sample(kind) + garbage, tmp_path) is None


@pytest.mark.parametrize(
    ("picture", "plugin", "options"),
    [
        (small(), "JPEG", {"progressive": True}),
        (small("CMYK"), "JPEG", {}),
        (small("L"), "JPEG", {"restart_marker_blocks": 1}),
        (small("I;16"), "PNG", {}),
        (small("P"), "PNG", {}),
        (small(), "PNG", {"save_all": True, "append_images": [small(), small()]}),
        (small(), "GIF", {"save_all": True, "append_images": [small(), small()], "comment": b"Till 4"}),
        (small(), "WEBP", {"save_all": True, "append_images": [small(), small()]}),
        (small(), "WEBP", {"lossless": True}),
        (small("RGBA"), "WEBP", {"exif": Image.Exif().tobytes()}),
        (small("1"), "TIFF", {"compression": "group4"}),
        (small(), "TIFF", {"compression": "jpeg"}),
        (small(), "TIFF", {"compression": "tiff_lzw"}),
        (small(), "TIFF", {"big_tiff": True, "save_all": True, "append_images": [small(), small()]}),
        (small("I;16B"), "TIFF", {}),
        (small("1"), "BMP", {}),
        (small("P"), "BMP", {}),
        (small("RGBA"), "BMP", {}),
    ],
)
def test_unusual_variants_are_accepted(
    picture: Image.Image, plugin: str, options: dict[str, Any], tmp_path: Path
) -> None:
    """What scanners, phones and fax software really write passes, not only the plain variants."""
    content = saved(picture, plugin, **options)
    assert judged(content, tmp_path).refusal is None
    assert reason_of(content[:-12], tmp_path) in {Reason.INCOMPLETE, Reason.BROKEN}


def test_several_pictures_in_one_heic(tmp_path: Path) -> None:
    """A HEIC with several pictures and a thumbnail passes, and half of it does not."""
    heif = pillow_heif.from_pillow(small())
    heif.add_from_pillow(small("L"))
    written = io.BytesIO()
    heif.save(written, quality=50)
    assert reason_of(written.getvalue(), tmp_path) is None
    assert reason_of(written.getvalue()[:-1], tmp_path) is Reason.INCOMPLETE


def test_larger_than_one_piece(tmp_path: Path) -> None:
    """A file that is read in many pieces has the same digest and verdict as a small one."""
    content = samples.jpeg(2, 3_000_000)
    found = judged(content, tmp_path)
    assert found == Examination(3_000_000, hashlib.sha256(content).hexdigest(), "image/jpeg", None)
    assert reason_of(content[:-1], tmp_path) is Reason.INCOMPLETE
    for kind in ("pdf", "tiff", "heic", "png", "bmp", "gif", "webp"):
        assert reason_of(sample(kind) + bytes(600_000), tmp_path) is None


def test_exif_that_costs_pillow_much(tmp_path: Path) -> None:
    """EXIF in a few segments passes; in hundreds, which no camera writes, it would stall the inbox and is refused."""
    segment = b"\xff\xe1\x40\x00Exif\0\0" + bytes(0x3FF8)
    content = sample("jpeg")
    assert reason_of(content[:2] + segment * 3 + content[2:], tmp_path) is None
    assert reason_of(content[:2] + segment * 200 + content[2:], tmp_path) is Reason.BROKEN


def test_what_libmagic_cannot_say(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where libmagic itself fails on the content, the kind is unknown and the receipt refused."""

    def fail(_content: bytes) -> str:
        raise vars(judge)["magic"].MagicException("regex error")

    monkeypatch.setattr(judge._libmagic(), "from_buffer", fail)
    assert reason_of(sample("jpeg"), tmp_path) is Reason.UNSUPPORTED_TYPE
    assert reason_of(sample("pdf"), tmp_path) is None


def test_header_that_libraries_warn_about(tmp_path: Path) -> None:
    """Damaged EXIF makes Pillow warn; the receipt is accepted and nothing is heard of it."""
    content = saved(small(), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x1a\x01\x05\0\x01\0\0\0\xff\xff\xff\x7f")
    assert reason_of(content, tmp_path) is None


# --- cut short ---


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("percent", [10, 50, 90, 99])
def test_a_truncated_file_is_refused(kind: str, percent: int, tmp_path: Path) -> None:
    """A receipt of which only a part arrived is never accepted."""
    content = sample(kind)
    assert reason_of(content[: len(content) * percent // 100], tmp_path) in {Reason.INCOMPLETE, Reason.BROKEN}


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_byte_counts(kind: str, tmp_path: Path) -> None:
    """Even the very last byte of the format is missed."""
    content = sample(kind)
    if kind == "pdf":
        content = content.rstrip()
        assert judged(content[:-1], tmp_path).doubt.startswith("It is a PDF without its end marker.")
    content = content[: needed_bytes(MIME_TYPES[kind], content)]
    assert reason_of(content[:-1], tmp_path) is Reason.INCOMPLETE


@pytest.mark.parametrize("kind", KINDS)
def test_zeros_in_place_of_the_end_are_refused(kind: str, tmp_path: Path) -> None:
    """A file of full length whose second half was never written is refused, where the end marker shows it."""
    content = sample(kind)
    half = content[: len(content) // 2].ljust(len(content), b"\0")
    if kind in {"jpeg", "png", "gif", "pdf", "tiff"}:
        assert reason_of(half, tmp_path) in {Reason.INCOMPLETE, Reason.BROKEN}


def test_jpeg_cut_after_its_thumbnail(tmp_path: Path) -> None:
    """The end marker of the preview inside the EXIF part is not taken for the end of the picture."""
    thumbnail = saved(small(), "JPEG")
    exif = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 8) + b"Exif\0\0" + thumbnail
    content = sample("jpeg")[:2] + exif + sample("jpeg")[2:]
    assert reason_of(content, tmp_path) is None
    for end in (2 + len(exif), len(exif) + 400, len(content) // 2):
        assert reason_of(content[:end], tmp_path) is Reason.INCOMPLETE


def test_tiff_cut_in_its_last_page(tmp_path: Path) -> None:
    """A TIFF whose last page alone is cut is refused, though the pages before it are whole."""
    content = samples.tiff(3, pages=4)
    assert reason_of(content[:-200], tmp_path) is Reason.INCOMPLETE


def test_gif_without_its_trailer(tmp_path: Path) -> None:
    """A GIF whose frames are whole but whose last byte is missing is incomplete."""
    assert reason_of(sample("gif")[:-1], tmp_path) is Reason.INCOMPLETE


# --- refused for what they are ---


@pytest.mark.parametrize(
    ("content", "name", "detail"),
    [
        (b"Dear Sir or Madam,\n", "scan.jpg", "It is plain text (text/plain), although its name ends in .jpg."),
        (b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>", "a.svg", "svg"),
        (b"<?xml version='1.0'?><Invoice/>", "invoice.xml", "It is an XML document (text/xml)."),
        (b"PK\x03\x04\x14\0\0\0\0\0" + bytes(40), "scan.pdf", "It is a ZIP archive (application/zip), although"),
        (b"\x01\x02\x03\x04\x05" * 40, "x.bin", "Its content is of no kind that is known here"),
    ],
)
def test_other_kinds_are_refused_by_name(content: bytes, name: str, detail: str, tmp_path: Path) -> None:
    """What is not a receipt is refused for its content, whatever its name says, and the sentence says what it is."""
    refusal = judged(content, tmp_path, name).refusal
    assert refusal is not None
    assert refusal.reason is Reason.UNSUPPORTED_TYPE
    assert detail in refusal.detail


def test_avif_is_refused(tmp_path: Path) -> None:
    """AVIF is not accepted, not even under the general brand that it shares with HEIC."""
    content = saved(small(), "AVIF")
    for brand in (b"avif", b"mif1"):
        disguised = content.replace(b"ftypavif", b"ftyp" + brand, 1)
        assert judged(disguised, tmp_path).mime_type == "image/avif"
        assert reason_of(disguised, tmp_path) is Reason.UNSUPPORTED_TYPE


def test_empty(tmp_path: Path) -> None:
    """A file of 0 bytes is refused as such."""
    found = judged(b"", tmp_path)
    assert (found.size, found.mime_type) == (0, None)
    assert found.sha256 == hashlib.sha256(b"").hexdigest()
    assert found.refusal is not None
    assert found.refusal.reason is Reason.EMPTY


def test_too_large(tmp_path: Path) -> None:
    """A file over the limit is refused, with its digest all the same; one at the limit passes."""
    content = samples.jpeg(4, 400_000)
    found = judged(content, tmp_path, limits=FileLimits(399_999, 10**8))
    assert found.sha256 == hashlib.sha256(content).hexdigest()
    assert found.mime_type == "image/jpeg"
    assert found.refusal == Refusal(Reason.TOO_LARGE, "It has 400,000 bytes; 399,999 are allowed.")
    assert reason_of(content, tmp_path, limits=FileLimits(400_000, 10**8)) is None


# --- too many pixels, none at all ---


def png_header(width: int, height: int) -> bytes:
    """Return a PNG that declares this size and holds next to nothing."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def tiff_page(width: int, height: int, following: int) -> bytes:
    """Return a directory that declares this size, and one strip at the file's beginning."""
    entries = [(256, 4, 1, width), (257, 4, 1, height), (273, 4, 1, 8), (279, 4, 1, 8)]
    body = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return struct.pack("<H", len(entries)) + body + struct.pack("<I", following)


def tiff_of_two(width: int, height: int) -> bytes:
    """Return a TIFF whose second page declares this size."""
    first = tiff_page(8, 8, 70)
    return b"II*\0" + struct.pack("<I", 16) + bytes(8) + first + tiff_page(width, height, 0)


def bmp_header(width: int, height: int) -> bytes:
    """Return a BMP that declares this size and holds nothing."""
    body = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 2835, 2835, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + body


def gif_header(width: int, height: int) -> bytes:
    """Return a GIF of one frame that declares this size."""
    frame = b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x4c\x01\x00"
    return b"GIF89a" + struct.pack("<HHBBB", 8, 8, 0x80, 0, 0) + bytes(6) + frame + b";"


def webp_header(width: int, height: int) -> bytes:
    """Return a WebP whose canvas declares this size."""
    canvas = bytes(4) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + canvas + b"VP8L" + struct.pack("<I", 6) + b"\x2f" + bytes(5)
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize("make", [png_header, tiff_of_two, bmp_header, gif_header, webp_header])
def test_pixel_bombs(make: Any, tmp_path: Path) -> None:
    """A picture that declares 60,000 x 60,000 pixels is refused by its header, whatever page declares it."""
    refusal = judged(make(60_000, 60_000), tmp_path).refusal
    assert refusal is not None
    assert refusal.reason is Reason.TOO_MANY_PIXELS
    assert "60,000 x 60,000" in refusal.detail


def test_a_jpeg_or_heic_over_the_limit(tmp_path: Path) -> None:
    """The limit holds for JPEG and HEIC as well, and the limit itself passes."""
    for content in (saved(small(), "JPEG"), sample("heic")):
        assert reason_of(content, tmp_path, limits=FileLimits(10**6, 64 * 48 - 1)) is Reason.TOO_MANY_PIXELS
    assert reason_of(saved(small(), "JPEG"), tmp_path, limits=FileLimits(10**6, 64 * 48)) is None


@pytest.mark.parametrize("make", [png_header, tiff_of_two, bmp_header, gif_header])
def test_no_pixels(make: Any, tmp_path: Path) -> None:
    """A picture without pixels is broken."""
    assert reason_of(make(0, 7), tmp_path) is Reason.BROKEN


# --- PDF ---


def plain_pdf() -> pikepdf.Pdf:
    """Return a document of one page."""
    document = pikepdf.new()
    document.add_blank_page()
    return document


def encrypted(user: str) -> bytes:
    """Return a document with an owner's password and this user's password."""
    return pdf_of(plain_pdf(), encryption=pikepdf.Encryption(owner="owner", user=user))


def test_pdf_that_asks_for_a_password(tmp_path: Path) -> None:
    """A PDF that nobody can open without a password is refused; one that is only protected from changes passes."""
    assert reason_of(encrypted("secret"), tmp_path) is Reason.ENCRYPTED
    assert reason_of(encrypted(""), tmp_path) is None


def test_pdf_without_pages(tmp_path: Path) -> None:
    """A PDF without pages is broken, and what was wrong with the document before it does not rub off."""
    assert reason_of(encrypted("secret"), tmp_path) is Reason.ENCRYPTED
    assert reason_of(pdf_of(pikepdf.new()), tmp_path) is Reason.BROKEN


@pytest.mark.parametrize("junk", [b"\n", b"HTTP/1.1 200 OK\r\n\r\n", b"\0\xff" * 100, b"\xef\xbb\xbf", b"x" * 1000])
def test_pdf_after_junk(junk: bytes, tmp_path: Path) -> None:
    """A PDF with junk before its beginning passes, as readers take it, up to 1024 bytes of it."""
    found = judged(junk + sample("pdf"), tmp_path)
    assert (found.mime_type, found.refusal) == ("application/pdf", None)


@pytest.mark.parametrize("options", [{"object_stream_mode": pikepdf.ObjectStreamMode.generate}, {"linearize": True}])
def test_pdf_variants(options: dict[str, Any], tmp_path: Path) -> None:
    """A PDF with a compressed table of contents passes, and so does one made for the web."""
    assert reason_of(pdf_of(plain_pdf(), **options), tmp_path) is None


def test_linearized_pdf_cut(tmp_path: Path) -> None:
    """A PDF for the web has an end marker near its beginning; cut after that, it is still incomplete."""
    whole = pikepdf.open(io.BytesIO(sample("pdf")))
    content = pdf_of(whole, linearize=True)
    early_end = content.index(b"%%EOF") + 6
    assert early_end < len(content) // 2
    for end in (early_end, len(content) // 2, len(content) - 30):
        assert reason_of(content[:end], tmp_path) is Reason.INCOMPLETE


def test_pdf_with_an_update_that_was_cut(tmp_path: Path) -> None:
    """A PDF that was saved again by appending, and then cut, is incomplete though its first version is whole."""
    content = sample("pdf")
    assert reason_of(content + b"\n7 0 obj\n<< /Type /Page >>\nendobj\nxref\n", tmp_path) is Reason.INCOMPLETE


def test_pdf_without_its_table(tmp_path: Path) -> None:
    """A PDF whose end points to a place where no table of contents is, and that has none, is broken."""
    content = sample("pdf")
    table, end = content.rindex(b"xref\n0"), content.rindex(b"startxref")
    assert reason_of(content[:table] + content[end:], tmp_path) is Reason.BROKEN
    assert reason_of(content[:table] + b"\n%%EOF\n", tmp_path) is Reason.BROKEN


def test_a_failing_disk_under_a_pdf_is_not_the_receipts_fault() -> None:
    """A read error in the midst of PDFium comes out as the system's, not as a broken PDF."""

    class Failing(io.BytesIO):
        def read(self, _size: int | None = -1) -> bytes:
            """Fail as a dying disk does."""
            raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        libraries.with_pdfium(Failing(sample("pdf")), 1)


# --- the system's trouble ---


class Opened(io.BytesIO):
    """A file that fails at the second piece."""

    def __init__(self, error: OSError) -> None:
        super().__init__(samples.jpeg(1, 600_000))
        self.error = error

    def read(self, size: int | None = -1) -> bytes:
        """Return the first piece, then fail."""
        if self.tell():
            raise self.error
        return super().read(size)


def test_permission_denied_at_open(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file that may be moved but not opened is refused as unreadable, with its size and without a digest."""
    path = tmp_path / "scan.jpg"
    path.write_bytes(b"12345")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(disk, "open_plainly", refuse)
    found = examine(path, LIMITS)
    assert (found.size, found.sha256, found.mime_type) == (5, None, None)
    assert found.refusal is not None
    assert found.refusal.reason is Reason.UNREADABLE
    monkeypatch.setattr(Path, "stat", refuse)
    assert examine(path, LIMITS).size == 0


def test_permission_denied_at_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Some shares let a file be opened and refuse to read it: that is unreadable as well."""
    path = tmp_path / "scan.jpg"
    path.write_bytes(b"12345")
    monkeypatch.setattr(disk, "open_plainly", lambda *_, **__: Opened(PermissionError(errno.EPERM, "no")))
    refusal = examine(path, LIMITS).refusal
    assert refusal is not None
    assert refusal.reason is Reason.UNREADABLE


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ENOSPC])
def test_the_systems_trouble_passes_through(number: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A failing disk or share is no property of the receipt."""
    monkeypatch.setattr(disk, "open_plainly", lambda *_, **__: Opened(OSError(number, os.strerror(number))))
    with pytest.raises(OSError, match=os.strerror(number)):
        examine(tmp_path / "scan.jpg", LIMITS)


def test_a_vanished_file_passes_through(tmp_path: Path) -> None:
    """A file that is gone is the caller's to know."""
    with pytest.raises(FileNotFoundError):
        examine(tmp_path / "gone.jpg", LIMITS)


def test_the_systems_trouble_in_a_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """A read error with a number that comes out of Pillow or pillow_heif is the system's as well."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Image, "open", fail)
    monkeypatch.setattr(pillow_heif, "open_heif", fail)
    with pytest.raises(OSError, match="Input/output"):
        libraries.with_pillow("JPEG", io.BytesIO(), 1)
    with pytest.raises(OSError, match="Input/output"):
        libraries.with_pillow_heif(io.BytesIO(), 1)


# --- anything at all ---


def test_many_threads(tmp_path: Path) -> None:
    """Several inboxes may examine at once and get the same answers as one."""
    for number in range(40):
        (tmp_path / str(number)).write_bytes(sample(KINDS[number % len(KINDS)])[: -1 if number % 3 == 0 else None])
    paths = [tmp_path / str(number) for number in range(40)]
    alone = [examine(path, LIMITS) for path in paths]
    barrier = threading.Barrier(8)

    def start(_: int) -> list[Examination]:
        barrier.wait()
        return [examine(path, LIMITS) for path in paths]

    with ThreadPoolExecutor(8) as pool:
        assert all(found == alone for found in pool.map(start, range(8)))


EAGER = settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    database=None,
)


def check(content: bytes, folder: Path) -> None:
    """Examine any bytes: no exception, the right digest, a reason that the log knows, and 2 s of work at the most."""
    began_at = time.thread_time()  # not by the clock on the wall: others may have the processor meanwhile
    found = judged(content, folder)
    assert time.thread_time() - began_at < 2
    assert found.sha256 == hashlib.sha256(content).hexdigest()
    assert found.size == len(content)
    assert found.refusal is None or found.refusal.reason in EXAMINATION_REASONS
    assert (found.refusal is None) <= (found.mime_type in ACCEPTED_MIME_TYPES)


MARKS = [
    b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"II*\0", b"MM\0*", b"II+\0\x08\0\0\0",
    b"GIF89a", b"BM", b"RIFF\xff\0\0\0WEBP", b"\0\0\0\x18ftypheic", b"%PDF-1.7\n",
]  # fmt: skip


@EAGER
@given(mark=st.sampled_from(MARKS), rest=st.binary(max_size=400))
@example(mark=b"\0\0\0\x18ftypheic", rest=b"\0\0\0\0mif1heic\0\0\0\0meta")
@example(mark=b"II*\0", rest=b"\x08\0\0\0\x01\0\x00\x01\x10\0\xff\xff\xff\xff\0\0\0\0\0\0\0\0")
def test_any_bytes(mark: bytes, rest: bytes, tmp_path: Path) -> None:
    """No bytes whatever make the examination raise."""
    check(mark + rest, tmp_path)


@pytest.mark.parametrize("kind", KINDS)
@EAGER
@given(chance=st.randoms(use_true_random=False))
def test_any_mutation(kind: str, chance: random.Random, tmp_path: Path) -> None:
    """No mutation of a genuine receipt makes the examination raise, or take long."""
    content = bytearray(sample(kind))
    reach = chance.choice([64, 512, len(content)])
    for _ in range(chance.randint(1, 8)):
        content[chance.randrange(reach)] = chance.choice([0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)])
    if chance.random() < 0.5:
        del content[chance.randrange(len(content)) :]
    check(bytes(content), tmp_path)


@pytest.mark.parametrize("kind", KINDS)
@EAGER
@given(share=st.floats(0, 1, exclude_max=True))
def test_any_truncation(kind: str, share: float, tmp_path: Path) -> None:
    """However much of what is needed of a receipt is missing, it is refused."""
    content = sample(kind)[: needed_bytes(MIME_TYPES[kind], sample(kind))]
    assert judged(content[: int(len(content) * share)], tmp_path).refusal is not None


def test_nothing_is_left_open(tmp_path: Path) -> None:
    """However the examination ends, no descriptor stays open."""
    folder = Path("/proc/self/fd")
    if not folder.exists():
        folder = Path("/dev/fd")
    for kind in KINDS:
        reason_of(sample(kind), tmp_path)
    before = len(list(folder.iterdir()))
    for kind in KINDS:
        for content in (sample(kind), sample(kind)[:-9]):
            reason_of(content, tmp_path)
    assert len(list(folder.iterdir())) == before
