"""The accepted kinds as the world writes them: whole in every variant, cut, padded, hollow, hostile, and in disguise.

What is said of a file that is not whole decides whether it is waited for: `incomplete` waits in the inbox until the
patience with it is over, `broken` and `unsupported_type` fail at once. So a file that somebody may still be writing
has to be `incomplete`. What a format cannot tell is written down here as well, each time with what a reader says of it.
"""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pikepdf
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from receipt_watcher.cli.demo import samples
from receipt_watcher.examine.judge import TELLING_BYTES, FileLimits, examine
from receipt_watcher.jobs.reasons import Reason
from tests.fakes import receipt_variants
from tests.fakes.receipt_variants import (
    UPDATED,
    VARIANTS,
    content_of,
    decodes,
    is_version_before,
    needed_bytes,
    opens,
)
from tests.unit.examine.test_doubts import waits
from tests.unit.examine.test_judge import (
    KINDS,
    MIME_TYPES,
    bmp_header,
    gif_header,
    judged,
    png_header,
    reason_of,
    sample,
    tiff_of_two,
    webp_header,
)

LIMITS = FileLimits(max_file_bytes=50_000_000, max_pixels=100_000_000)

NAMES = sorted(VARIANTS)


def reason(content: bytes, folder: Path, name: str = "scan") -> Reason | None:
    """Return the reason code of the refusal, or None where the content is accepted."""
    return reason_of(content, folder, name, LIMITS)


# --- whole ---


@pytest.mark.parametrize("name", NAMES)
def test_a_variant_of_real_life_is_accepted(name: str, tmp_path: Path) -> None:
    """What scanners, phones, fax servers and offices write passes under its own type, and a reader shows all of it."""
    mime_type, content = VARIANTS[name][0], content_of(name)
    assert decodes(mime_type, content)
    found = judged(content, tmp_path, limits=LIMITS)
    assert (found.mime_type, found.refusal) == (mime_type, None)


@pytest.mark.parametrize("kind", KINDS)
def test_the_suffix_says_nothing(kind: str, tmp_path: Path) -> None:
    """A receipt under the suffix of another kind, of none, or of something else entirely is what its content is."""
    for suffix in (".jpg", ".JPEG", ".png", ".tif", ".pdf", ".webp", ".gif", ".bmp", ".heic", ".docx", ".exe", ""):
        found = judged(sample(kind), tmp_path, f"scan{suffix}")
        assert (found.mime_type, found.refusal) == (MIME_TYPES[kind], None)


TIFFCP = shutil.which("tiffcp")
needs_tiffcp = pytest.mark.skipif(TIFFCP is None, reason="tiffcp (libtiff-tools) is not installed")


def tiffcp(folder: Path, *arguments: str, sources: int = 2) -> bytes:
    """Return what libtiff's own tool makes of two TIFFs of several pages."""
    paths = [folder / f"{number}.tif" for number in range(1, sources + 1)]
    for number, path in enumerate(paths, 1):
        path.write_bytes(samples.tiff(number, pages=2))
    command = [str(TIFFCP), *arguments, *map(str, paths), str(folder / "made.tif")]
    subprocess.run(command, check=True, capture_output=True)
    return (folder / "made.tif").read_bytes()


@needs_tiffcp
@pytest.mark.parametrize(
    "arguments",
    [
        ("-t", "-w", "64", "-l", "64", "-c", "lzw"),
        ("-t", "-w", "64", "-l", "64", "-c", "zip", "-8"),
        ("-B", "-r", "16", "-c", "none"),
        ("-8", "-L", "-r", "5", "-c", "packbits"),
        ("-p", "separate", "-c", "lzw:2"),
        ("-f", "lsb2msb", "-c", "zip"),
    ],
    ids=" ".join,
)
def test_tiff_of_libtiff(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """Tiles, strips, planes and either byte order of libtiff pass, and every torso of them is incomplete."""
    content = tiffcp(tmp_path, *arguments)
    assert decodes("image/tiff", content)
    assert reason(content, tmp_path) is None
    for end in (*range(TELLING_BYTES, len(content), len(content) // 40), len(content) - 1):
        assert reason(content[:end], tmp_path) is Reason.INCOMPLETE, end


@needs_tiffcp
def test_tiff_to_which_a_page_is_appended(tmp_path: Path) -> None:
    """`tiffcp -a` writes the page first and the pointer to it last: until then it is the old file, and then the new."""
    before = tiffcp(tmp_path, "-c", "lzw", sources=1)
    after = tiffcp(tmp_path, "-a", "-c", "lzw")
    pointer = next(at for at, (old, new) in enumerate(zip(before, after, strict=False)) if old != new)
    assert before[pointer : pointer + 4] == bytes(4)
    assert decodes("image/tiff", after)
    assert reason(after, tmp_path) is None
    for end in range(len(before), len(after), (len(after) - len(before)) // 25):
        unlinked = before + after[len(before) : end]
        assert decodes("image/tiff", unlinked)
        assert reason(unlinked, tmp_path) is None, end
        assert reason(after[:end], tmp_path) is Reason.INCOMPLETE, end


CONVERT = shutil.which("convert")


@pytest.mark.skipif(CONVERT is None, reason="convert (imagemagick) is not installed")
@pytest.mark.parametrize(
    ("options", "target", "mime_type"),
    [
        ("-depth 16", "TIFF:-", "image/tiff"),
        ("-colorspace CMYK -depth 16", "TIFF:-", "image/tiff"),
        ("-colorspace Lab", "TIFF:-", "image/tiff"),
        ("-colorspace Gray -depth 4", "TIFF:-", "image/tiff"),
        ("-alpha on -interlace Plane", "TIFF64:-", "image/tiff"),
        ("-endian MSB -define tiff:tile-geometry=64x64 -compress JPEG", "TIFF:-", "image/tiff"),
        ("-monochrome -define quantum:polarity=min-is-white -compress Fax", "TIFF:-", "image/tiff"),
        ("-interlace PNG -depth 16", "PNG:-", "image/png"),
        ("-interlace GIF", "GIF:-", "image/gif"),
        ("", "BMP2:-", "image/bmp"),
        ("-colors 200 -type Palette -compress RLE", "BMP3:-", "image/bmp"),
        ("-define bmp:subtype=RGB565", "BMP:-", "image/bmp"),
        ("-define webp:lossless=true", "WEBP:-", "image/webp"),
    ],
)
def test_variant_of_imagemagick(options: str, target: str, mime_type: str, tmp_path: Path) -> None:
    """What ImageMagick writes passes, and every torso of it is incomplete."""
    command = [str(CONVERT), "PNG:-", *options.split(), target]
    made = subprocess.run(
        command, input=receipt_variants.saved(receipt_variants.picture(), "PNG"), capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip(f"this ImageMagick does not write it: {made.stderr.decode(errors='replace')}")
    content = made.stdout
    assert decodes(mime_type, content)
    found = judged(content, tmp_path, limits=LIMITS)
    assert (found.mime_type, found.refusal) == (mime_type, None)
    for end in (*range(TELLING_BYTES, len(content), len(content) // 25), len(content) - 1):
        assert reason(content[:end], tmp_path) is Reason.INCOMPLETE, end


# --- cut short ---


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(UPDATED)))
def test_a_torso_is_incomplete(name: str, tmp_path: Path) -> None:
    """A file that was cut anywhere, up to its last byte but one, is waited for; nothing else is said of it.

    If the patience with it is over, a PDF is accepted whose last trailer is whole; nothing that is shorter ever is.

    The format of every accepted kind tells this. Only of the very first bytes nothing can be said; and a PDF that
    holds another one, uncompressed, looks for some bytes as if the inner end marker were its own, with a table that is
    elsewhere.
    """
    content = content_of(name)
    ends = {
        *range(TELLING_BYTES, 64),
        *range(64, len(content), len(content) // 60),
        *range(len(content) - 40, len(content)),
    }
    ends |= {len(content) * percent // 100 for percent in (10, 50, 99)}
    if name == "pdf in pdf":
        inner = content.index(b"%%EOF")
        ends -= set(range(inner, inner + 40))
        assert reason(content[: inner + 5], tmp_path) is Reason.BROKEN
    assert all(reason(content[:end], tmp_path) for end in range(1, TELLING_BYTES))
    needed = needed_bytes(VARIANTS[name][0], content)
    for end in sorted(ends):
        found = judged(content[:end], tmp_path, limits=LIMITS)
        assert waits(found), (end, found)
        assert end >= needed or found.refusal is not None, end


@pytest.mark.parametrize("name", sorted(UPDATED))
def test_an_update_that_was_cut(name: str, tmp_path: Path) -> None:
    """Of a PDF that was saved again by appending, the version before is whole; each torso after it is incomplete.

    Only while nothing but a part of the first number of the update is there, no reader could see that more is to come.
    """
    content, base = content_of(name), len(content_of(UPDATED[name]))
    assert content.startswith(content_of(UPDATED[name]))
    step = max(1, (len(content) - base) // 80)
    accepted = {end for end in range(base, len(content), step) if not waits(judged(content[:end], tmp_path))}
    assert base in accepted
    assert accepted <= set(range(base, base + len("\n12 0 obj")))
    for end in sorted(accepted):
        assert decodes("application/pdf", content[:end])
    needed = needed_bytes("application/pdf", content)
    for end in range(base + len("\n12 0 obj"), len(content), step):
        found = judged(content[:end], tmp_path, limits=LIMITS)
        assert waits(found), end
        assert end >= needed or found.refusal is not None, end


def test_a_picture_behind_the_picture_that_was_cut(tmp_path: Path) -> None:
    """Of a phone's JPEG with a gain map behind it, the picture decides: readers show it without the map."""
    content = receipt_variants.jpeg_with_gain_map()
    assert reason(content, tmp_path) is None
    end = content.index(b"\xff\xd9\xff\xd8") + 2
    for length in (end, end + 100, len(content) - 1):
        assert reason(content[:length], tmp_path) is None
        with Image.open(io.BytesIO(content[:length])) as image:
            assert image.convert("L").tobytes()
    for length in (end - 1, end // 2, end // 10):
        assert reason(content[:length], tmp_path) is Reason.INCOMPLETE


@pytest.mark.parametrize("name", NAMES)
@settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    database=None,
)
@given(missing=st.one_of(st.integers(1, 400), st.floats(0, 1, exclude_min=True)))
def test_any_torso(name: str, missing: float, tmp_path: Path) -> None:
    """Whatever is missing at the end, a file is accepted only where a reader finds the rest whole; nothing raises."""
    mime_type, content = VARIANTS[name][0], content_of(name)
    end = len(content) - (missing if isinstance(missing, int) else max(1, int(len(content) * missing)))
    found = judged(content[:end], tmp_path, limits=LIMITS)
    if found.refusal is None and found.doubt:
        assert needed_bytes(mime_type, content) <= end or is_version_before(name, end)
    elif found.refusal is None:
        assert name in UPDATED
        assert decodes(mime_type, content[:end])
    elif end >= TELLING_BYTES and name != "pdf in pdf":
        assert found.refusal.reason is Reason.INCOMPLETE


# --- room that was set aside and not filled ---

SHARES = (10, 50, 90, 98)

#: Kinds in which zeros at the end say nothing: no marker ends the format, and a whole file may end in them.
HOLLOW_UNSEEN = {
    "bmp old": SHARES,
    "bmp top-down": SHARES,
    "bmp with masks": SHARES,
    "tiff plain pages, big-endian": (90, 98),  # in the last page
    "webp lossy": SHARES,
    "webp lossless": SHARES,
    "webp animated": (90, 98),  # in the last frame
    "webp with everything": (98,),  # in what is said about the picture
}


def hollow(content: bytes, percent: int) -> bytes:
    """Return a file of full size whose end is zeros, as Explorer and aborted uploads leave it."""
    return content[: len(content) * percent // 100].ljust(len(content), b"\0")


@pytest.mark.parametrize("name", NAMES)
def test_a_hollow_file_is_incomplete(name: str, tmp_path: Path) -> None:
    """A file of full size that ends in zeros, where its format ends in something else, is waited for."""
    told = {percent: reason(hollow(content_of(name), percent), tmp_path) for percent in SHARES}
    unseen = HOLLOW_UNSEEN.get(name, ())
    assert told == {percent: None if percent in unseen else Reason.INCOMPLETE for percent in SHARES}


def test_a_hollow_file_that_readers_show() -> None:
    """What passes although it is hollow is shown by readers without complaint.

    A lossless WebP is not: they find that when they decode it, which the examination does not.
    """
    for name in sorted(HOLLOW_UNSEEN.keys() - {"webp lossless"}):
        for percent in HOLLOW_UNSEEN[name]:
            assert decodes(VARIANTS[name][0], hollow(content_of(name), percent)), (name, percent)


def test_zeros_that_belong_to_the_picture(tmp_path: Path) -> None:
    """A lossless WebP of a page that is blank below ends in many kB of zeros, and is whole."""
    content = receipt_variants.webp_blank_below()
    assert content.endswith(bytes(100_000))
    assert decodes("image/webp", content)
    assert reason(content, tmp_path) is None


def test_nothing_but_zeros(tmp_path: Path) -> None:
    """A file whose beginning is zeros has none of it yet, whatever its end is: it is no file of an unknown kind."""
    for content in (bytes(TELLING_BYTES), bytes(300_000), bytes(8192) + sample("jpeg")[8192:]):
        assert reason(content, tmp_path) is Reason.INCOMPLETE


@pytest.mark.parametrize("name", ["gif animated", "png animated", "tiff lzw pages, four colours", "heic of tiles"])
def test_a_large_hollow_file(name: str, tmp_path: Path) -> None:
    """Megabytes of zeros are the same as a few."""
    content = content_of(name)
    assert reason(content[: len(content) // 2] + bytes(4_000_000), tmp_path) is Reason.INCOMPLETE


def with_hole(content: bytes, size: int, path: Path) -> Path:
    """Write a file of this size whose end was never written, where the file system tells that."""
    path.write_bytes(content)
    os.truncate(path, size)
    with path.open("rb") as file:
        if os.lseek(file.fileno(), 0, os.SEEK_HOLE) == size:
            pytest.skip("this file system keeps no holes")
    return path


@pytest.mark.parametrize("name", [name for name, shares in HOLLOW_UNSEEN.items() if shares == SHARES])
def test_a_hole_where_zeros_say_nothing(name: str, tmp_path: Path) -> None:
    """Where the format cannot tell, the file system may: a picture whose end was never written is waited for."""
    content = content_of(name)
    refusal = examine(with_hole(content[:900], len(content), tmp_path / "scan"), LIMITS).refusal
    assert refusal is not None
    assert refusal.reason is Reason.INCOMPLETE


@pytest.mark.parametrize("kind", ["jpeg", "png", "gif", "pdf"])
def test_a_hole_behind_the_end_marker(kind: str, tmp_path: Path) -> None:
    """Zeros behind the end marker do no harm, and neither do they where the file system or Syncthing made them a hole.

    A scanner pads its files to a full cluster, and compressing file systems keep no zeros.
    """
    path = with_hole(sample(kind), 1_000_000, tmp_path / "scan")
    assert opens(MIME_TYPES[kind], path.read_bytes())
    assert examine(path, LIMITS).refusal is None


# --- more than the format needs ---


@pytest.mark.parametrize("name", NAMES)
def test_garbage_at_the_end_is_accepted_as_readers_do(name: str, tmp_path: Path) -> None:
    """A byte, a kilobyte or 100 kB behind the end does no harm, and readers open it as well."""
    for count in (1, 1_000, 100_000):
        content = content_of(name) + random.Random(count).randbytes(count)
        assert reason(content, tmp_path) is None
        assert opens(VARIANTS[name][0], content)


PJL = b"\x1b%-12345X@PJL JOB\r\n@PJL SET RESOLUTION=600\r\n@PJL ENTER LANGUAGE=PDF\r\n"
MULTIPART = b"--b\r\nContent-Disposition: form-data; name=f; filename=a.pdf\r\nContent-Type: application/pdf\r\n\r\n"


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("pdf")])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (PJL, b"\x1b%-12345X@PJL EOJ\r\n\x1b%-12345X"),
        (MULTIPART, b"\r\n--b--\r\n"),
        (b"<br />\n<b>Notice</b>: Undefined index in /srv/invoice.php<br />\n", b""),
        (b"", b"\n<html><body>Served by a proxy</body></html>"),
        (b"", b"\r\n" * 600),
    ],
    ids=["printer", "form", "php", "proxy", "lines"],
)
def test_pdf_in_wrapping(name: str, before: bytes, after: bytes, tmp_path: Path) -> None:
    """A PDF with what printers, forms and web servers put around it is a PDF, as it is for viewers."""
    found = judged(before + content_of(name) + after, tmp_path, limits=LIMITS)
    assert (found.mime_type, found.refusal) == ("application/pdf", None)
    assert opens("application/pdf", before + content_of(name) + after)


# --- PDFs that nobody can read ---


@pytest.mark.parametrize(("revision", "aes"), [(2, False), (3, False), (4, False), (4, True), (6, True)])
@pytest.mark.parametrize("linearize", [False, True])
def test_every_encryption_of_pdf(revision: Any, aes: bool, linearize: bool, tmp_path: Path) -> None:
    """Whatever the cipher, a password to open refuses the PDF and one to change it does not; a torso is a torso."""

    def locked(user: str) -> bytes:
        encryption = pikepdf.Encryption(owner="o", user=user, R=revision, aes=aes, metadata=aes)
        return receipt_variants.pdf_of(encryption=encryption, linearize=linearize)

    assert reason(locked("secret"), tmp_path) is Reason.ENCRYPTED
    assert reason(locked("secret")[:-1], tmp_path) is Reason.INCOMPLETE
    assert decodes("application/pdf", locked(""))
    assert reason(locked(""), tmp_path) is None


@pytest.mark.parametrize("compact", [False, True])
def test_pdf_whose_pages_were_all_removed(compact: bool, tmp_path: Path) -> None:
    """A PDF that had pages and has none any more is broken, and no viewer shows it."""

    def remove(document: pikepdf.Pdf) -> None:
        del document.pages[:]

    mode = pikepdf.ObjectStreamMode.generate if compact else pikepdf.ObjectStreamMode.disable
    content = receipt_variants.pdf_of(remove, object_stream_mode=mode)
    assert not opens("application/pdf", content)
    assert reason(content, tmp_path) is Reason.BROKEN


# --- hostile ---

BOMB = 60_000


def jpeg_of_size(width: int, height: int, name: str = "jpeg grey") -> bytes:
    """Return a JPEG whose header declares this size."""
    content = bytearray(content_of(name))
    frame = min(at for marker in (b"\xff\xc0", b"\xff\xc2") if (at := content.find(marker)) > 0)
    content[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(content)


def heic_of_size(width: int, height: int) -> bytes:
    """Return a HEIC whose index declares this size."""
    declared = struct.pack(">4xII", *receipt_variants.picture().size)
    return content_of("heif general brand").replace(b"ispe" + declared, b"ispe" + struct.pack(">4xII", width, height))


def webp_of_size(width: int, height: int) -> bytes:
    """Return a lossy WebP whose frame declares this size, of at most 16,383 each way."""
    content = bytearray(content_of("webp lossy"))
    at = content.index(b"\x9d\x01\x2a") + 3
    content[at : at + 4] = struct.pack("<HH", min(width, 0x3FFF), min(height, 0x3FFF))
    return bytes(content)


def big_tiff_of_size(width: int, height: int) -> bytes:
    """Return a big-endian BigTIFF of one tile that declares this size."""
    tags = [(256, width), (257, height), (259, 8), (322, width), (323, height), (324, 8), (325, 8)]
    entries = b"".join(struct.pack(">HHQQ", tag, 16, 1, value) for tag, value in tags)
    return b"MM\0\x2b\0\x08\0\0" + struct.pack(">QQ", 16, len(tags)) + entries + bytes(8)


def old_bmp_of_size(width: int, height: int) -> bytes:
    """Return a BMP of the oldest header, of one bit, that declares this size."""
    return receipt_variants.bmp_of(struct.pack("<HHHH", width, height, 1, 1), b"", bytes(6))


BOMBS: dict[str, Callable[[int, int], bytes]] = {
    "jpeg": jpeg_of_size,
    "jpeg of a print shop": lambda width, height: jpeg_of_size(width, height, "jpeg of a print shop"),
    "png": png_header,
    "gif": gif_header,
    "bmp": bmp_header,
    "bmp old": old_bmp_of_size,
    "tiff": tiff_of_two,
    "tiff big": big_tiff_of_size,
    "webp": webp_of_size,
    "webp canvas": webp_header,
    "heic": heic_of_size,
}

EXAMINE_ALL = """
import json, resource, sys
from pathlib import Path
from receipt_watcher.examine.judge import TELLING_BYTES, FileLimits, examine
def reasons(folder):
    found = {path.name: examine(path, FileLimits(50_000_000, 100_000_000)).refusal for path in Path(folder).iterdir()}
    return {name: refusal and refusal.reason.value for name, refusal in found.items()}
reasons(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = reasons(sys.argv[2])
print(json.dumps([found, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before]))
"""


def examined_elsewhere(contents: dict[str, bytes], folder: Path) -> tuple[dict[str, str | None], int]:
    """Examine files in a process of their own; return the reasons and how many KiB more than ever before it took."""
    for name, files in {"usual": {kind: sample(kind) for kind in KINDS}, "these": contents}.items():
        (folder / name).mkdir()
        for file, content in files.items():
            (folder / name / file).write_bytes(content)
    command = [sys.executable, "-c", EXAMINE_ALL, str(folder / "usual"), str(folder / "these")]
    found, kibibytes = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return found, kibibytes


def test_bombs_cost_no_memory(tmp_path: Path) -> None:
    """A few bytes that declare 60,000 x 60,000 pixels are refused by their header; no picture is ever set up."""
    contents = {name: make(BOMB, BOMB) for name, make in BOMBS.items()}
    assert max(map(len, contents.values())) < 200_000
    found, kibibytes = examined_elsewhere(contents, tmp_path)
    assert found == dict.fromkeys(BOMBS, "too_many_pixels")
    assert kibibytes < 32 * 1024


@pytest.mark.parametrize("name", ["jpeg", "jpeg of a print shop", "heic", "webp", "tiff big", "bmp old"])
@pytest.mark.parametrize(("width", "height"), [(0, 7), (7, 0), (0, 0)])
def test_a_picture_without_pixels_is_broken(name: str, width: int, height: int, tmp_path: Path) -> None:
    """A picture that is zero pixels wide or high is none, and waiting would not mend it."""
    assert reason(BOMBS[name](width, height), tmp_path) is Reason.BROKEN


def test_text_in_png_that_unpacks_to_much(tmp_path: Path) -> None:
    """40 MB of text in a few bytes are never unpacked: readers do not open such a PNG, so it is broken.

    Behind the picture nobody reads them, and it passes.
    """
    packed = zlib.compress(bytes(40_000_000))
    hostile = {
        "text": receipt_variants.png_chunk(b"zTXt", b"Comment\0\0" + packed),
        "xmp": receipt_variants.png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + packed),
        "profile": receipt_variants.png_chunk(b"iCCP", b"icc\0\0" + packed),
    }
    contents = {name: receipt_variants.png_with(chunk) for name, chunk in hostile.items()}
    assert not any(decodes("image/png", content) for content in contents.values())
    whole = receipt_variants.png_with()
    contents |= {f"{name} behind": whole[:-12] + chunk + whole[-12:] for name, chunk in hostile.items()}
    found, kibibytes = examined_elsewhere(contents, tmp_path)
    assert found == {**dict.fromkeys(contents, None), **dict.fromkeys(hostile, "broken")}
    assert kibibytes < 32 * 1024


def test_long_text_in_png(tmp_path: Path) -> None:
    """40 MB of text as they are, and a colour profile or a history of edits of more than a megabyte, do no harm."""
    noise = random.Random(1).randbytes(1_500_000)
    for chunk in (
        receipt_variants.png_chunk(b"tEXt", b"Comment\0" + b"x" * 40_000_000),
        receipt_variants.png_chunk(b"iCCP", b"icc\0\0" + zlib.compress(noise)),
        receipt_variants.png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b"<edit/>" * 200_000)),
    ):
        assert reason(receipt_variants.png_with(chunk), tmp_path) is None


# --- in disguise ---


def zipped(content: bytes) -> bytes:
    """Return a ZIP archive that stores this as it is."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        archive.writestr("a.pdf", content)
    return written.getvalue()


def gif_that_is_a_script() -> bytes:
    """Return a GIF that begins with a comment of JavaScript, and goes on as a script behind its end."""
    frame = b"," + struct.pack("<HHHHB", 0, 0, 8, 8, 0) + b"\x02\x02\x4c\x01\x00"
    return b"GIF89a/*\x08\0\x80\0\0" + bytes(6) + frame + b";*/=1;alert(1)"


@pytest.mark.parametrize(
    ("content", "mime_type", "expected"),
    [
        (sample("jpeg") + zipped(b"anything"), "image/jpeg", None),
        (sample("png") + sample("pdf"), "image/png", None),
        (
            receipt_variants.png_with(receipt_variants.png_chunk(b"tEXt", b"Comment\0" + sample("pdf"))),
            "image/png",
            None,
        ),
        (
            sample("jpeg")[:2] + receipt_variants.jpeg_segment(0xFE, sample("pdf")) + sample("jpeg")[2:],
            "image/jpeg",
            None,
        ),
        (sample("pdf") + b"<!DOCTYPE html><script>alert(1)</script>", "application/pdf", None),
        (b"<!DOCTYPE html><html><!-- " + sample("pdf") + b" --><script>alert(1)</script>", "application/pdf", None),
        (gif_that_is_a_script(), "image/gif", None),
        (zipped(sample("pdf")), "application/zip", Reason.UNSUPPORTED_TYPE),
        (sample("jpeg") + sample("jpeg")[:99], "image/jpeg", None),
        (sample("jpeg")[:-400] + sample("jpeg"), "image/jpeg", Reason.BROKEN),
    ],
    ids=["jpeg+zip", "png+pdf", "pdf in png", "pdf in jpeg", "pdf+html", "html+pdf", "gif+js", "zip", "twice", "cut"],
)
def test_two_kinds_in_one_file(content: bytes, mime_type: str, expected: Reason | None, tmp_path: Path) -> None:
    """A file that is two things is what its beginning says, and N8N is told that type, whatever is inside or behind."""
    found = judged(content, tmp_path, "invoice.html", LIMITS)
    assert found.mime_type == mime_type
    assert (found.refusal and found.refusal.reason) == expected
