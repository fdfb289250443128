"""The walks: what a whole file is, and that a hostile one costs little."""

from __future__ import annotations

import io
import struct
import time

import pytest

from receipt_watcher.cli.demo import samples
from receipt_watcher.examine.formats import (
    PIECE_BYTES,
    CutShortError,
    MalformedError,
    StructureError,
    TooManyPixelsError,
    Walk,
)
from receipt_watcher.examine.formats.bmp import walk_bmp
from receipt_watcher.examine.formats.gif import walk_gif
from receipt_watcher.examine.formats.heic import walk_heic
from receipt_watcher.examine.formats.jpeg import walk_jpeg
from receipt_watcher.examine.formats.pdf import walk_pdf
from receipt_watcher.examine.formats.png import walk_png
from receipt_watcher.examine.formats.tiff import walk_tiff
from receipt_watcher.examine.formats.webp import walk_webp

PIXELS = 100_000_000


def walk(walker: Walk, content: bytes) -> None:
    """Walk over these bytes."""
    walker(io.BytesIO(content), len(content), PIXELS)


# --- JPEG ---

FRAME = b"\xff\xc0\x00\x0b\x08\x00\x10\x00\x10\x01\x01\x11\x00"
SCAN = b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00"


def jpeg(*parts: bytes) -> bytes:
    """Return a JPEG of these parts."""
    return b"\xff\xd8" + b"".join(parts)


@pytest.mark.parametrize(
    "parts",
    [
        (FRAME, SCAN, b"\x12\xff\x00\xff\xd3\x34", b"\xff\xd9"),
        (FRAME, SCAN, b"\x12\xff\xff\xff\xff\xd9"),
        (b"\xff\xff\xff", FRAME, SCAN, b"\xff\xd9"),
        (b"\x00\x00", FRAME, b"\xff\x01", SCAN, b"", b"\xff\xd9"),
        (FRAME, SCAN, b"\x12", b"\xff\xfe\x00\x04\xff\xd9", SCAN, b"\x99\xff\xd9"),
    ],
)
def test_jpeg_is_whole(parts: tuple[bytes, ...]) -> None:
    """Stuffed bytes, restarts, padding, stray bytes and further scans belong to a whole JPEG."""
    walk(walk_jpeg, jpeg(*parts))
    with pytest.raises(CutShortError):
        walk(walk_jpeg, jpeg(*parts)[:-1])


@pytest.mark.parametrize("shift", range(4))
@pytest.mark.parametrize("end", [b"\xff\xd9", b"\xff\xff\xd9", b"\xff\x00\xff\xd9"])
def test_jpeg_marker_across_pieces(shift: int, end: bytes) -> None:
    """The end marker is found where it lies across two pieces of reading, and not where a stuffed byte does."""
    before = jpeg(FRAME, SCAN)
    room = b"\x01" * (PIECE_BYTES - shift)
    walk(walk_jpeg, before + room + end)
    with pytest.raises(CutShortError):
        walk(walk_jpeg, before + room + b"\xff\x00\xd9" * 3)


@pytest.mark.parametrize(
    "parts", [(b"\xff\xd9",), (FRAME, b"\xff\xd9"), (SCAN, b"\xff\xd9"), (b"\xff\xd8",), (b"\xff\xe0\x00\x01",)]
)
def test_jpeg_contradicts_itself(parts: tuple[bytes, ...]) -> None:
    """A JPEG without header or picture, or with an impossible part, is broken."""
    with pytest.raises(MalformedError):
        walk(walk_jpeg, jpeg(*parts))


# --- PNG, GIF, BMP, WebP ---


def png(*kinds: bytes) -> bytes:
    """Return a PNG of 16 x 16 of chunks of these kinds."""
    bodies = {b"IHDR": struct.pack(">II5x", 16, 16), b"IDAT": b"x"}
    chunks = (
        struct.pack(">I4s", len(bodies.get(kind, b"")), kind) + bodies.get(kind, b"") + bytes(4) for kind in kinds
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_png_order() -> None:
    """A PNG begins with IHDR, has a picture, and ends with IEND."""
    walk(walk_png, png(b"IHDR", b"tEXt", b"IDAT", b"IEND"))
    for kinds in ([b"IDAT", b"IEND"], [b"IHDR", b"IEND"], [b"IHDR", b"IHDR"], [b"IHDR", b"ID\0T"]):
        with pytest.raises(MalformedError):
            walk(walk_png, png(*kinds))
    with pytest.raises(CutShortError):
        walk(walk_png, png(b"IHDR", b"IDAT"))


GIF_HEAD = b"GIF89a\x08\x00\x08\x00\x00\x00\x00"
GIF_FRAME = b"\x2c\x00\x00\x00\x00\x08\x00\x08\x00\x00\x02\x02\x4c\x01\x00"


def test_gif_blocks() -> None:
    """A GIF has at least one frame; padding between blocks is stepped over, an unknown block is not."""
    walk(walk_gif, GIF_HEAD + b"\x21\xfe\x01a\x00" + GIF_FRAME + b"\x00" + GIF_FRAME + b";")
    for content in (GIF_HEAD + b";", GIF_HEAD + GIF_FRAME + b"\x99"):
        with pytest.raises(MalformedError):
            walk(walk_gif, content)


def test_gif_frame_that_sticks_out() -> None:
    """A frame that widens the screen counts with where it reaches."""
    frame = b"\x2c" + struct.pack("<HHHHB", 60_000, 60_000, 8, 8, 0) + b"\x02\x00"
    with pytest.raises(TooManyPixelsError):
        walk(walk_gif, GIF_HEAD + frame + b";")


def test_bmp_old_header_and_compression() -> None:
    """The oldest header is understood, and a compressed picture is as long as the header says."""
    old = b"BM" + bytes(8) + struct.pack("<IIHHHH", 26, 12, 8, 2, 1, 24)
    walk(walk_bmp, old + bytes(48))
    packed = b"BM" + bytes(8) + struct.pack("<IIiiHHII", 54, 40, 8, -2, 1, 8, 1, 30) + bytes(16)
    walk(walk_bmp, packed + bytes(30))
    for content in (old + bytes(47), packed + bytes(29)):
        with pytest.raises(CutShortError):
            walk(walk_bmp, content)
    with pytest.raises(MalformedError):
        walk(walk_bmp, old[:10] + b"\x02" + old[11:] + bytes(48))


def webp(*chunks: tuple[bytes, bytes]) -> bytes:
    """Return a WebP of these chunks."""
    body = b"".join(struct.pack("<4sI", kind, len(inner)) + inner + bytes(len(inner) % 2) for kind, inner in chunks)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def test_webp_needs_a_picture() -> None:
    """A WebP without a picture, with a damaged one, or with parts longer than itself is broken."""
    lossless = (b"VP8L", b"\x2f\x07\x40\x00\x00\x00")
    walk(walk_webp, webp((b"EXIF", b"odd"), lossless))
    animated = bytes(16) + struct.pack("<4sI", b"VP8L", 6) + lossless[1]
    walk(walk_webp, webp((b"ANMF", animated)))
    overlong = webp(lossless).replace(b"VP8L\x06", b"VP8L\x07")
    for content in (webp((b"EXIF", b"")), webp((b"VP8 ", bytes(12))), webp((b"VP8L", bytes(8))), overlong):
        with pytest.raises(MalformedError):
            walk(walk_webp, content)


# --- TIFF ---


def tiff(entries: list[tuple[int, int, int, int]], following: int = 0, order: str = "<", tail: bytes = b"") -> bytes:
    """Return a TIFF of one directory of these entries, at offset 16."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 16) + b"12345678"
    body = b""
    for tag, kind, count, value in entries:
        packed = struct.pack(f"{order}HH", value, 0) if (kind, count) == (3, 1) else struct.pack(f"{order}I", value)
        body += struct.pack(f"{order}HHI", tag, kind, count) + packed
    return head + struct.pack(f"{order}H", len(entries)) + body + struct.pack(f"{order}I", following) + tail


SIZE = [(256, 3, 1, 8), (257, 3, 1, 8)]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    "picture",
    [
        [(273, 4, 1, 8), (279, 4, 1, 8)],
        [(273, 3, 1, 8), (279, 3, 1, 8)],
        [(273, 4, 1, 8)],
        [(324, 4, 1, 8), (325, 4, 1, 8)],
        [(513, 4, 1, 8), (514, 4, 1, 8)],
    ],
)
def test_tiff_pictures(picture: list[tuple[int, int, int, int]], order: str) -> None:
    """Strips, tiles and the old JPEG, short and long numbers, either byte order, with or without lengths."""
    walk(walk_tiff, tiff(SIZE + picture, order=order))
    outside = [
        (tag, kind, count, value + 900 if tag in {273, 324, 513} else value) for tag, kind, count, value in picture
    ]
    with pytest.raises(CutShortError):
        walk(walk_tiff, tiff(SIZE + outside, order=order))


def test_tiff_out_of_line() -> None:
    """A list of strips that does not fit into its entry is read where the entry points."""
    at = 16 + 2 + 4 * 12 + 4
    picture = [(273, 4, 2, at), (279, 4, 2, at + 8)]
    walk(walk_tiff, tiff(SIZE + picture, tail=struct.pack("<IIII", 8, 9, 1, 2)))
    for tail in (struct.pack("<IIII", 8, 9, 1, 999), struct.pack("<III", 8, 9, 1)):
        with pytest.raises(CutShortError):
            walk(walk_tiff, tiff(SIZE + picture, tail=tail))


def test_tiff_still_being_written() -> None:
    """Writers set the pointers to the pages, and the pages' own length, last: a zero there is no broken file."""
    content = tiff([*SIZE, (273, 4, 1, 8), (279, 4, 1, 0)])
    for unfinished in (content, content[:4] + bytes(4) + content[8:], tiff([])):
        with pytest.raises(CutShortError):
            walk(walk_tiff, unfinished)


@pytest.mark.parametrize(
    "content",
    [
        tiff([*SIZE, (273, 4, 1, 8)], following=16),
        tiff(SIZE),
        tiff([(256, 5, 1, 0), (257, 3, 1, 8), (273, 4, 1, 8)]),
        b"II\x2c\0" + bytes(40),
    ],
)
def test_tiff_contradicts_itself(content: bytes) -> None:
    """Pages in a circle, without a picture or without entries, a broken number and an unknown version are refused."""
    with pytest.raises(MalformedError):
        walk(walk_tiff, content)


# --- HEIC ---


def box(kind: bytes, *inner: bytes) -> bytes:
    """Return a box."""
    body = b"".join(inner)
    return struct.pack(">I4s", 8 + len(body), kind) + body


FTYP = box(b"ftyp", b"heic\0\0\0\0mif1heic")


def heic_index(start: int, length: int) -> bytes:
    """Return an index of one picture of 16 x 16 at this place."""
    items = b"\0\0\0\0\x44\x00\0\x01" + struct.pack(">HHHII", 1, 0, 1, start, length)
    sizes = box(b"iprp", box(b"ipco", box(b"ispe", struct.pack(">4xII", 16, 16))))
    return box(b"meta", bytes(4), box(b"iloc", items), sizes)


def test_heic_boxes() -> None:
    """Boxes of any declared form are followed, and bytes after the last one are allowed."""
    index = heic_index(0, 20)
    walk(walk_heic, FTYP + index + box(b"mdat", b"picture"))
    walk(walk_heic, FTYP + index + b"\0\0\0\0mdatpicture")
    walk(walk_heic, FTYP + index + b"\0\0\0\x01mdat" + struct.pack(">Q", 20) + b"1234")
    walk(walk_heic, FTYP + index + b"whatever came after it")
    walk(walk_heic, FTYP + index + b"\0\0\0\x03what")
    walk(walk_heic, FTYP + box(b"mpvd") + index)


def test_heic_index_proves_it_whole() -> None:
    """A HEIC cut between two boxes, or without its index, is incomplete."""
    whole = FTYP + heic_index(0, 200) + box(b"mdat", bytes(200))
    walk(walk_heic, whole)
    for content in (FTYP, FTYP + heic_index(0, 200), whole[:-1], FTYP + box(b"mdat", bytes(9))):
        with pytest.raises(CutShortError):
            walk(walk_heic, content)


def test_heic_contradicts_itself() -> None:
    """A HEIC that does not begin as one, has an impossible box, or an index that ends too early is broken."""
    short_index = box(b"meta", bytes(4), box(b"iloc", b"\0\0\0\0\x44\x00\0\x09"))
    for content in (box(b"free") + FTYP, FTYP + b"\0\0\0\x03meta", FTYP + short_index):
        with pytest.raises(MalformedError):
            walk(walk_heic, content)


# --- PDF ---


def test_pdf_end_marker_across_pieces() -> None:
    """The last end marker is found wherever it lies, with much after it or across two pieces of reading."""
    content = samples.pdf(1).rstrip()
    for garbage in (*range(PIECE_BYTES - 6, PIECE_BYTES + 2), 300_000):
        walk(walk_pdf, content + b"\n" + bytes(garbage))


def test_pdf_object_across_pieces() -> None:
    """The beginning of an update that was cut is seen across two pieces of reading."""
    content = samples.pdf(1).rstrip()
    for gap in range(PIECE_BYTES - 20, PIECE_BYTES + 2):
        with pytest.raises(CutShortError, match="change at its end"):
            walk(walk_pdf, content + b"\n" * gap + b"12 0 obj\n<<")


def test_pdf_without_its_mark() -> None:
    """A file without the mark of a PDF in its first 1024 bytes is none."""
    with pytest.raises(MalformedError):
        walk(walk_pdf, bytes(1024) + samples.pdf(1))


# --- hostile ---

HOSTILE_BYTES = 8_000_000


@pytest.mark.parametrize(
    ("walker", "content"),
    [
        (walk_jpeg, jpeg(FRAME, SCAN, b"\xff\x00" * (HOSTILE_BYTES // 2))),
        (walk_jpeg, jpeg(b"\xff\xfe\x00\x02" * (HOSTILE_BYTES // 4))),
        (walk_jpeg, jpeg(b"\xff" * HOSTILE_BYTES)),
        (walk_jpeg, jpeg(b"\xff\xe1\x00\x08Exif\0\0" * 100_000, FRAME, SCAN, b"\xff\xd9")),
        (walk_png, png(b"IHDR") + png(b"tEXt")[8:] * (HOSTILE_BYTES // 12)),
        (walk_gif, GIF_HEAD + b"\x21\xfe" + b"\x01a" * (HOSTILE_BYTES // 2)),
        (walk_gif, GIF_HEAD + GIF_FRAME[:-3] + b"\x01a" * (HOSTILE_BYTES // 2)),
        (walk_gif, GIF_HEAD + bytes(HOSTILE_BYTES)),
        (walk_webp, webp((b"EXIF", b"")) + struct.pack("<4sI", b"EXIF", 0) * (HOSTILE_BYTES // 8)),
        (walk_tiff, tiff([(273, 4, HOSTILE_BYTES // 4, 8), *SIZE], tail=bytes(HOSTILE_BYTES))),
        (
            walk_tiff,
            tiff([(700 + tag, 1, HOSTILE_BYTES, 8) for tag in range(900)], tail=bytes(HOSTILE_BYTES)),
        ),
        (walk_heic, FTYP + box(b"free") * (HOSTILE_BYTES // 8)),
        (walk_heic, FTYP + box(b"meta", bytes(4), box(b"iloc", b"\2\0\0\0\0\0" + b"\xff" * 1_000_000))),
        (walk_pdf, b"%PDF-1.7" + b"%%EO" * (HOSTILE_BYTES // 4)),
        (walk_pdf, samples.pdf(1) + b"1" * HOSTILE_BYTES),
        (walk_pdf, samples.pdf(1) + b"1 " * (HOSTILE_BYTES // 2)),
    ],
    ids=range(16),
)
def test_a_hostile_file_costs_little(walker: Walk, content: bytes) -> None:
    """A file that is made of the smallest possible parts, or that claims the largest lists, is done in seconds."""
    if walker is walk_webp:
        content = content[:4] + struct.pack("<I", len(content) - 8) + content[8:]
    started = time.thread_time()
    try:
        walk(walker, content)
    except StructureError as error:
        assert str(error).endswith(".")  # noqa: PT017 - some of them are whole
    assert time.thread_time() - started < 4
