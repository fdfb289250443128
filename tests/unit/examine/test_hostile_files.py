"""Files that an attacker would drop: whatever is in them, the real examiner answers in words, in little memory."""

from __future__ import annotations

import functools
import hashlib
import io
import os
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from receipt_watcher.cli.demo import samples
from receipt_watcher.examine.examiners import Bounds, Examiners
from receipt_watcher.examine.result import MAX_DIGEST_BYTES, Examination, FileLimits, Refusal
from receipt_watcher.jobs.reasons import Reason
from tests.fakes import receipt_variants
from tests.unit.examine.examiner_processes import children_of
from tests.unit.examine.test_judge import bmp_header, gif_header, png_header, tiff_of_two, webp_header
from tests.unit.examine.test_kinds import jpeg_of_size

LIMITS = FileLimits(max_file_bytes=52_428_800, max_pixels=250_000_000)

#: Most memory that an examiner that comes through may have held at any time, in KiB.
PEAK_KIBIBYTES = 256 * 1024

#: The largest square picture that is allowed.
SIDE = 15_811


@pytest.fixture(scope="module")
def examiners() -> Iterator[Examiners]:
    """The real examiners, with less memory and time than by default."""
    with Examiners(Bounds(cpu_seconds=10, memory_bytes=512 * 1024 * 1024)) as found:
        yield found


@pytest.fixture(autouse=True, scope="module")
def no_thread_leaks() -> None:
    """The thread that starts examiners lives as long as these tests."""


def peak_kibibytes() -> int:
    """Return the most memory that any examiner of ours ever held."""
    peaks = [0]
    for pid in children_of(os.getpid()):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        peaks += [int(line.split()[1]) for line in lines if line.startswith("VmHWM")]
    return max(peaks)


@functools.cache
def packed(kind: bytes, count: int) -> bytes:
    """Return so many bytes of one kind, packed piece by piece so that the test needs no memory either."""
    packer, piece = zlib.compressobj(1), kind * (1 << 20)
    return b"".join([packer.compress(piece) for _ in range(count >> 20)]) + packer.flush()


# --- pictures ---


def png_of_much(side: int, unpacked_bytes: int) -> bytes:
    """Return a PNG whose picture data unpack to so many bytes, whatever its header says."""
    header = receipt_variants.png_chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    data = receipt_variants.png_chunk(b"IDAT", packed(b"\0", unpacked_bytes))
    return b"\x89PNG\r\n\x1a\n" + header + data + receipt_variants.png_chunk(b"IEND", b"")


def png_of_chunks(count: int) -> bytes:
    """Return a PNG with so many chunks of text before its picture."""
    return receipt_variants.png_with(receipt_variants.png_chunk(b"tEXt", b"a\0b") * count)


def png_of_text(kind: bytes, before: bytes) -> bytes:
    """Return a PNG with many chunks that each unpack to just less than what is looked at."""
    return receipt_variants.png_with(*[receipt_variants.png_chunk(kind, before + packed(b"x", 7 << 20))] * 40)


def tiff_of_strip(side: int, compression: int, strip: bytes) -> bytes:
    """Return a TIFF of one strip."""
    tags = {256: side, 257: side, 258: 8, 259: compression, 262: 1, 277: 1, 278: side, 279: len(strip)}
    tags[273] = 8 + 2 + 12 * 9 + 4
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, tags[tag]) for tag in sorted(tags))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + strip


def tiff_of_counts(count: int) -> bytes:
    """Return a TIFF that claims so many strips, all at one place."""
    tags = [(256, 4, 1, 9), (257, 4, 1, 9), (273, 4, count, 8), (279, 4, count, 8)]
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + b"\1" * 4_000_000


def tiff_of_itself() -> bytes:
    """Return a TIFF whose only directory is its own successor."""
    return tiff_of_strip(9, 1, b"\1" * 81).replace(bytes(4) + b"\1" * 81, struct.pack("<I", 8) + b"\1" * 81)


def gif_of_frames(count: int) -> bytes:
    """Return a GIF of so many frames."""
    frame = b"," + struct.pack("<HHHHB", 0, 0, 8, 8, 0) + b"\x02\x02\x4c\x01\x00"
    return b"GIF89a" + struct.pack("<HHBBB", 8, 8, 0x80, 0, 0) + bytes(6) + frame * count + b";"


def jpeg_of_segments(segment: bytes, count: int) -> bytes:
    """Return a JPEG with so many segments before its picture."""
    whole = receipt_variants.content_of("jpeg grey")
    return whole[:2] + segment * count + whole[2:]


def jpeg_of_scans(count: int) -> bytes:
    """Return a JPEG that begins its picture so many times, which makes decoders work for each."""
    whole = receipt_variants.content_of("jpeg grey")
    start = whole.index(b"\xff\xda")
    return whole[:start] + whole[start : start + 40] * count + whole[start:]


def webp_of_chunks(count: int) -> bytes:
    """Return a WebP with so many empty chunks."""
    body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes(10) + b"JUNK\0\0\0\0" * count
    return b"RIFF" + struct.pack("<I", len(body)) + body


# --- HEIC ---


def heic_of_grid(rows: int, columns: int, width: int, height: int) -> bytes:
    """Return an iPhone's HEIC that claims a grid of this many tiles, and this size."""
    before = struct.pack(">BBBBHH", 0, 0, 1, 1, 360, 520)
    after = struct.pack(">BBBBHH", 0, 0, rows, columns, min(width, 0xFFFF), min(height, 0xFFFF))
    sizes = struct.pack(">4xII", 360, 520), struct.pack(">4xII", width, height)
    return (
        receipt_variants.content_of("heic of tiles")
        .replace(before, after)
        .replace(b"ispe" + sizes[0], b"ispe" + sizes[1])
    )


def heic_of_its_own_tiles() -> bytes:
    """Return a HEIC whose grid consists of itself."""
    parts = struct.pack(">HH4H", 5, 4, 1, 2, 3, 4), struct.pack(">HH4H", 5, 4, 5, 5, 5, 5)
    return receipt_variants.content_of("heic of tiles").replace(*parts)


def heic_of_boxes(depth: int) -> bytes:
    """Return a HEIC with boxes in boxes."""
    whole, nested = receipt_variants.content_of("heif general brand"), b""
    for _ in range(depth):
        nested = struct.pack(">I4s", 8 + len(nested), b"meta") + nested
    return whole + nested


def heic_of_claims(kind: bytes, at: int, claim: bytes) -> bytes:
    """Return a HEIC in which a box claims something else."""
    whole = bytearray(receipt_variants.content_of("heic several"))
    start = whole.index(kind) + 4 + at
    whole[start : start + len(claim)] = claim
    return bytes(whole)


# --- PDF ---


def pdf_of_objects(objects: list[bytes], *, tail: bytes = b"", root: int = 1) -> bytes:
    """Return a PDF of these objects, numbered from 1, with a table of them."""
    written, places = io.BytesIO(), []
    written.write(b"%PDF-1.7\n")
    for number, body in enumerate(objects, 1):
        places.append(written.tell())
        written.write(b"%d 0 obj\n%s\nendobj\n" % (number, body))
    start = written.tell()
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    written.write(b"xref\n0 %d\n0000000000 65535 f \n%s" % (len(places) + 1, table))
    written.write(b"trailer\n<< /Size %d /Root %d 0 R %s >>\n" % (len(places) + 1, root, tail))
    written.write(b"startxref\n%d\n%%%%EOF\n" % start)
    return written.getvalue()


CATALOG = b"<< /Type /Catalog /Pages 2 0 R >>"
PAGES = b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>"
PAGE = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] >>"


def pdf_stream(dictionary: bytes, content: bytes) -> bytes:
    """Return a stream object."""
    return b"<< %s /Length %d >>\nstream\n%s\nendstream" % (dictionary, len(content), content)


def pdf_of_filters(times: int, unpacked_bytes: int) -> bytes:
    """Return a PDF whose page is packed so many times over."""
    content = packed(b" ", unpacked_bytes)
    for _ in range(times - 1):
        content = zlib.compress(content, 9)
    filters = b"/Filter [%s]" % (b"/FlateDecode " * times)
    page = PAGE[:-2] + b"/Contents 4 0 R >>"
    return pdf_of_objects([CATALOG, PAGES, page, pdf_stream(filters, content)])


def pdf_of_object_stream(unpacked_bytes: int) -> bytes:
    """Return a PDF whose catalogue lies in a stream that unpacks to much, reached by a packed table."""
    inner = b"1 0 2 40 3 90 " + CATALOG.ljust(40) + PAGES.ljust(50) + PAGE
    packer = zlib.compressobj(9)
    content = packer.compress(inner) + b"".join(
        [packer.compress(b" " * (1 << 20)) for _ in range(unpacked_bytes >> 20)]
    )
    content += packer.flush()
    stream = b"4 0 obj\n%s\nendobj\n" % pdf_stream(b"/Type /ObjStm /N 3 /First 14 /Filter /FlateDecode", content)
    start = 9 + len(stream)
    rows = [(0, 0, 65535), (2, 4, 0), (2, 4, 1), (2, 4, 2), (1, 9, 0), (1, start, 0)]
    table = zlib.compress(b"".join(struct.pack(">BIH", *row) for row in rows))
    cross = pdf_stream(b"/Type /XRef /Size 6 /W [1 4 2] /Root 1 0 R /Filter /FlateDecode", table)
    return b"%%PDF-1.7\n%s5 0 obj\n%s\nendobj\nstartxref\n%d\n%%%%EOF\n" % (stream, cross, start)


def pdf_of_table(unpacked_bytes: int, index: bytes) -> bytes:
    """Return a PDF whose table of objects unpacks to much."""
    cross = pdf_stream(
        b"/Type /XRef /Size 8000000 /W [1 4 2] /Root 1 0 R /Filter /FlateDecode " + index, packed(b"\1", unpacked_bytes)
    )
    return b"%%PDF-1.7\n1 0 obj\n%s\nendobj\nstartxref\n9\n%%%%EOF\n" % cross


def pdf_of_page_tree(depth: int) -> bytes:
    """Return a PDF whose only page lies under so many nodes."""
    nodes = [b"<< /Type /Pages /Kids [%d 0 R] /Count 1 >>" % (number + 3) for number in range(depth)]
    return pdf_of_objects([CATALOG, *nodes, PAGE])


def pdf_with_root(body: bytes) -> bytes:
    """Return a PDF whose catalogue is this."""
    return pdf_of_objects([body, PAGES, PAGE])


def pdf_of_updates() -> bytes:
    """Return a PDF whose table names itself as the one before it."""
    whole = pdf_of_objects([CATALOG, PAGES, PAGE])
    start = whole.rindex(b"xref\n0")
    return pdf_of_objects([CATALOG, PAGES, PAGE], tail=b"/Prev %d" % start)


MUCH = 256 << 20

#: Name: how it is made, and what is said of it. None: it passes, since nothing is decoded here and readers show it.
FILES: dict[str, tuple[Callable[[], bytes], set[Reason | None]]] = {
    "png, 250 megapixels": (lambda: png_of_much(SIDE, SIDE * (3 * SIDE + 1)), {None}),
    "png, more data than pixels": (lambda: png_of_much(9, MUCH), {None}),
    "png, too many pixels": (lambda: png_header(65_535, 65_535), {Reason.TOO_MANY_PIXELS}),
    "png, largest numbers": (lambda: png_header(2**31 - 1, 2**31 - 1), {Reason.TOO_MANY_PIXELS}),
    "png, a million chunks": (lambda: png_of_chunks(1_000_000), {Reason.BROKEN}),
    "png, much text": (lambda: png_of_text(b"zTXt", b"a\0\0"), {Reason.BROKEN, None}),
    "png, much text in utf-8": (lambda: png_of_text(b"iTXt", b"a\0\1\0\0\0"), {Reason.BROKEN, None}),
    "png, many profiles": (lambda: png_of_text(b"iCCP", b"a\0\0"), {Reason.BROKEN, None}),
    "tiff, deflate": (lambda: tiff_of_strip(SIDE, 8, packed(b"\0", MUCH)), {None}),
    "tiff, lzw": (lambda: tiff_of_strip(SIDE, 5, b"\x80\x00" + b"\x55\xaa" * 100_000), {None}),
    "tiff, fax": (lambda: tiff_of_strip(SIDE, 4, b"\xff" * 10_000 + b"\x00\x10\x01"), {None}),
    "tiff, too many pixels": (lambda: tiff_of_strip(65_535, 8, packed(b"\0", MUCH)), {Reason.TOO_MANY_PIXELS}),
    "tiff, second page": (lambda: tiff_of_two(2**32 - 1, 2**32 - 1), {Reason.TOO_MANY_PIXELS}),
    "tiff, half a million strips": (lambda: tiff_of_counts(500_000), {Reason.BROKEN, Reason.INCOMPLETE, None}),
    "tiff, four billion strips": (lambda: tiff_of_counts(2**32 - 1), {Reason.BROKEN, Reason.INCOMPLETE}),
    "tiff, its own successor": (tiff_of_itself, {Reason.BROKEN}),
    "gif": (lambda: gif_header(65_535, 65_535), {Reason.TOO_MANY_PIXELS}),
    "gif, two million frames": (lambda: gif_of_frames(2_000_000), {Reason.BROKEN, None}),
    "bmp": (lambda: bmp_header(2**31 - 1, 2**31 - 1), {Reason.TOO_MANY_PIXELS}),
    "webp": (lambda: webp_header(16_384, 16_384), {Reason.TOO_MANY_PIXELS}),
    "webp, a million chunks": (lambda: webp_of_chunks(1_000_000), {Reason.BROKEN}),
    "jpeg": (lambda: jpeg_of_size(65_500, 65_500), {Reason.TOO_MANY_PIXELS}),
    "jpeg, a million comments": (lambda: jpeg_of_segments(b"\xff\xfe\0\2", 1_000_000), {Reason.BROKEN}),
    "jpeg, comments of 50 MB": (lambda: jpeg_of_segments(b"\xff\xfe\xff\xff" + b"x" * 65_533, 790), {None}),
    "jpeg, half a million scans": (lambda: jpeg_of_scans(500_000), {Reason.BROKEN, None}),
    "heic, huge grid": (lambda: heic_of_grid(255, 255, 2**31 - 1, 2**31 - 1), {Reason.TOO_MANY_PIXELS}),
    "heic, grid of nothing": (lambda: heic_of_grid(255, 255, 360, 520), {Reason.BROKEN, None}),
    "heic, grid of itself": (heic_of_its_own_tiles, {Reason.BROKEN, None}),
    "heic, boxes in boxes": (lambda: heic_of_boxes(20_000), {Reason.BROKEN, Reason.INCOMPLETE, None}),
    "heic, many items": (lambda: heic_of_claims(b"iinf", 4, b"\xff\xff"), {Reason.BROKEN, Reason.INCOMPLETE, None}),
    "heic, many places": (lambda: heic_of_claims(b"iloc", 6, b"\xff\xff"), {Reason.BROKEN, Reason.INCOMPLETE, None}),
    "pdf, packed twice": (lambda: pdf_of_filters(2, MUCH), {None}),
    "pdf, a thousand filters": (lambda: pdf_of_filters(1000, 1 << 20), {None}),
    "pdf, packed catalogue": (lambda: pdf_of_object_stream(MUCH), {None, Reason.BROKEN, Reason.UNEXAMINABLE}),
    "pdf, packed table": (lambda: pdf_of_table(MUCH, b""), {Reason.BROKEN, Reason.UNEXAMINABLE}),
    "pdf, packed table of parts": (
        lambda: pdf_of_table(MUCH, b"/Index [%s]" % (b"0 100 " * 100_000)), {Reason.BROKEN, Reason.UNEXAMINABLE},
    ),
    "pdf, deep page tree": (lambda: pdf_of_page_tree(100_000), {None, Reason.BROKEN, Reason.UNEXAMINABLE}),
    "pdf, a million objects": (lambda: pdf_of_objects([CATALOG, PAGES, PAGE, *[b"null"] * 1_000_000]), {None}),
    "pdf, pages of itself": (
        lambda: pdf_of_objects([CATALOG, b"<< /Type /Pages /Kids [2 0 R] /Parent 2 0 R /Count 9 >>"]),
        {None, Reason.BROKEN},
    ),
    "pdf, a billion pages": (
        lambda: pdf_of_objects([CATALOG, PAGES.replace(b"/Count 1", b"/Count 2147483647"), PAGE]),
        {None, Reason.BROKEN},
    ),
    "pdf, catalogue of itself": (lambda: pdf_of_objects([b"1 0 R"]), {Reason.BROKEN}),
    "pdf, arrays in arrays": (lambda: pdf_with_root(b"[" * 1_000_000), {Reason.BROKEN, Reason.UNEXAMINABLE}),
    "pdf, dictionaries in dictionaries": (
        lambda: pdf_with_root(b"<< /Pages " * 300_000), {None, Reason.BROKEN, Reason.UNEXAMINABLE},
    ),
    "pdf, its own update": (pdf_of_updates, {None, Reason.BROKEN}),
    "pdf, huge size": (
        lambda: pdf_of_objects([CATALOG, PAGES, PAGE]).replace(b"/Size 4", b"/Size 2147483647"), {None, Reason.BROKEN},
    ),
    "pdf, table of nothing": (
        lambda: pdf_of_objects([CATALOG, PAGES, PAGE]).replace(b"xref\n0 4", b"xref\n0 999999999"),
        {None, Reason.BROKEN},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_bomb_is_answered_in_words(name: str, examiners: Examiners, tmp_path: Path) -> None:
    """Bombs of every kind pass unread or are refused with a reason, and then a good receipt passes all the same."""
    make, expected = FILES[name]
    content = make()
    (tmp_path / "scan").write_bytes(content)
    found = examiners.examine(tmp_path / "scan", LIMITS)
    assert (found.refusal and found.refusal.reason) in expected
    assert (found.size, found.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert peak_kibibytes() < PEAK_KIBIBYTES
    (tmp_path / "good.jpg").write_bytes(samples.jpeg(1))
    assert examiners.examine(tmp_path / "good.jpg", LIMITS).refusal is None


# --- large ---


def test_a_file_of_5_gb(examiners: Examiners, tmp_path: Path) -> None:
    """A file that no limit could ever allow is refused by its size, without being read: so it has no digest."""
    path = tmp_path / "scan.jpg"
    path.write_bytes(samples.jpeg(1))
    os.truncate(path, 5_000_000_000)
    assert MAX_DIGEST_BYTES < 5_000_000_000
    refusal = Refusal(Reason.TOO_LARGE, "It has 5,000,000,000 bytes; 52,428,800 are allowed.")
    assert examiners.examine(path, LIMITS) == Examination(5_000_000_000, None, "image/jpeg", refusal)


@pytest.mark.parametrize(("memory_mb", "expected"), [(1024, None), (128, Reason.UNEXAMINABLE)])
def test_a_heic_of_50_mb(memory_mb: int, expected: Reason | None, tmp_path: Path) -> None:
    """A HEIC is held in memory: by default there is enough for the largest; with too little it is said so in words."""
    filler = random.Random(1).randbytes(LIMITS.max_file_bytes - 100_000)
    path = tmp_path / "scan.heic"
    path.write_bytes(samples.heic(1) + receipt_variants.box(b"free", filler))
    with Examiners(Bounds(cpu_seconds=20, memory_bytes=memory_mb * 1024 * 1024)) as found:
        refusal = found.examine(path, LIMITS).refusal
    assert (refusal and refusal.reason) is expected
    assert refusal is None or "limits.examination_mb" in refusal.detail


# --- in disguise ---

LAUGHS = b"".join(b'<!ENTITY a%d "%s">' % (number, b"&a%d;" % (number - 1) * 10) for number in range(1, 30))
XHTML = b'<html xmlns="http://www.w3.org/1999/xhtml"><body onload="alert(1)"/></html>'
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"><image href="file:///etc/passwd"/></svg>'


@pytest.mark.parametrize("name", ["scan.jpg", "scan.pdf", "scan.svg"])
@pytest.mark.parametrize(
    "content",
    [
        SVG,
        b'<?xml version="1.0"?>' + SVG,
        b"\xef\xbb\xbf<?xml version='1.0'?>" + SVG,
        b'<?xml version="1.0"?><!DOCTYPE html SYSTEM "file:///etc/passwd">' + XHTML,
        XHTML,
        b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a0 "ha">' + LAUGHS + b"]><a>&a29;</a>",
        '<?xml version="1.0" encoding="utf-16"?><Invoice/>'.encode("utf-16"),
        b'<?xml version="1.0"?><Invoice>%PDF-1.7 image/jpeg \xff\xd8\xff</Invoice>',
        b'<?xml version="1.0"?>' + b"<a>" * 100_000,
        zlib.compress(SVG),
        b"\x1f\x8b\x08\0\0\0\0\0\0\3" + zlib.compress(SVG)[2:-4],
    ],
    ids=["svg", "xml svg", "bom", "xhtml", "bare xhtml", "laughs", "utf-16", "marks", "deep", "zlib", "svgz"],
)
def test_xml_in_disguise(name: str, content: bytes, examiners: Examiners, tmp_path: Path) -> None:
    """XML is refused for what it is, whatever its name says and whatever it would unfold to; nothing parses it."""
    (tmp_path / name).write_bytes(content)
    refusal = examiners.examine(tmp_path / name, LIMITS).refusal
    assert refusal is not None
    assert refusal.reason in {Reason.UNSUPPORTED_TYPE, Reason.BROKEN}


@pytest.mark.parametrize(
    ("before", "mime_type"),
    [
        (b"PK\x03\x04", "application/pdf"),
        (b"\x7fELF\2\1\1", "application/pdf"),
        (b"MZ\x90\0", "application/x-dosexec"),
        (b"#!/bin/sh\nexit\n", "text/x-shellscript"),
        (b"\xca\xfe\xba\xbe", "application/x-java-applet"),
    ],
)
def test_a_pdf_that_is_also_a_program(before: bytes, mime_type: str, examiners: Examiners, tmp_path: Path) -> None:
    """What begins as a program is one; where that is nothing but its mark, it is the PDF that viewers show."""
    (tmp_path / "scan.pdf").write_bytes(before + b"\n" + samples.pdf(1))
    found = examiners.examine(tmp_path / "scan.pdf", LIMITS)
    assert found.mime_type == mime_type
    assert (found.refusal is None) is (mime_type == "application/pdf")
