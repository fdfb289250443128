"""Real-life variants of the accepted kinds, as scanners, phones, fax servers and office software write them.

Each function returns a whole file that ends where its format ends. `VARIANTS` names them all, with the type that they
are of; `content_of` makes each only once. What neither Pillow nor pikepdf writes is put together here by hand.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import io
import re
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pikepdf
import pillow_heif
import pypdfium2.raw as pdfium
from PIL import Image, TiffImagePlugin

from receipt_watcher.cli.demo import samples

_SIZE = (180, 260)
_ROTATED = 6
_ORIENTATION = 0x0112


def picture(seed: int = 1, mode: str = "RGB") -> Image.Image:
    """Return a receipt as a picture, small so that it is quick, and noisy so that no format compresses it away."""
    with Image.open(io.BytesIO(samples.png(seed))) as drawn:
        return drawn.resize(_SIZE, Image.Resampling.NEAREST).convert(mode)


def saved(image: Image.Image, plugin: str, **options: Any) -> bytes:
    """Return what Pillow writes."""
    written = io.BytesIO()
    image.save(written, plugin, **options)
    return written.getvalue()


def _rotated() -> bytes:
    exif = Image.Exif()
    exif[_ORIENTATION] = _ROTATED
    return exif.tobytes()


@functools.cache
def content_of(name: str) -> bytes:
    """Return this variant; each is made once."""
    return VARIANTS[name][1]()


# --- JPEG ---


def jpeg_segment(marker: int, body: bytes) -> bytes:
    """Return a segment of a JPEG."""
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def jpeg_rotated_with_thumbnail() -> bytes:
    """A phone's: EXIF says that it lies on its side, and holds a whole small JPEG."""
    thumbnail = saved(picture().resize((60, 86)), "JPEG")
    first = struct.pack("<HHHII", 1, _ORIENTATION, 3, 1, _ROTATED) + struct.pack("<I", 26)
    second = struct.pack("<HHHIIHHII", 2, 513, 4, 1, 56, 514, 4, 1, len(thumbnail)) + bytes(4)
    exif = b"Exif\0\0II*\0" + struct.pack("<I", 8) + first + second + thumbnail
    whole = saved(picture(), "JPEG")
    return whole[:2] + jpeg_segment(0xE1, exif) + whole[2:]


def jpeg_of_print_shop() -> bytes:
    """Progressive, four colours, restart markers, and a colour profile that takes several segments."""
    return saved(picture(2, "CMYK"), "JPEG", progressive=True, restart_marker_rows=1, icc_profile=bytes(150_000))


def jpeg_with_gain_map() -> bytes:
    """A phone's with a second picture behind the first (MPO): brightness that only some screens show."""
    return saved(picture(), "MPO", save_all=True, append_images=[picture(2)])


def jpeg_with_end_marker_in_comment() -> bytes:
    """A comment that holds an end marker, and stray padding before a marker."""
    whole = saved(picture(), "JPEG", quality=95, subsampling=0)
    return whole[:2] + jpeg_segment(0xFE, b"\xff\xd9" * 40) + b"\xff\xff" + whole[2:]


# --- PNG ---


def png_chunk(kind: bytes, body: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_with(*chunks: bytes) -> bytes:
    """Return a PNG with further chunks between its header and its picture."""
    whole = saved(picture(), "PNG")
    return whole[:33] + b"".join(chunks) + whole[33:]


def _png_of(header: bytes, rows: bytes) -> bytes:
    packed = zlib.compress(rows)
    middle = len(packed) // 2
    pieces = (png_chunk(b"IDAT", packed[:middle]), png_chunk(b"IDAT", packed[middle:]))
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + b"".join(pieces) + png_chunk(b"IEND", b"")


def png_16_bit_colour() -> bytes:
    """A scanner's highest depth: 16 bits for each of three colours."""
    width, height = _SIZE
    pixels = picture().tobytes()
    rows = (pixels[at : at + 3 * width] for at in range(0, len(pixels), 3 * width))
    deep = b"".join(b"\0" + bytes(byte for value in row for byte in (value, value)) for row in rows)
    return _png_of(struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0), deep)


def png_interlaced() -> bytes:
    """Seven passes, from coarse to fine."""
    width, height = _SIZE
    grey = picture(mode="L").tobytes()
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    rows = b"".join(
        b"\0" + grey[y * width + left : (y + 1) * width : right]
        for left, top, right, down in passes
        for y in range(top, height, down)
    )
    return _png_of(struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 1), rows)


def png_animated() -> bytes:
    """Three frames, the first of which only shows where animation is unknown."""
    return saved(picture(), "PNG", save_all=True, default_image=True, append_images=[picture(2), picture(3)])


# --- GIF, WebP, BMP ---


def gif_animated() -> bytes:
    """Three frames with a palette each, for ever, the last of them see-through."""
    frames = [picture(seed, "P") for seed in (1, 2, 3)]
    return saved(frames[0], "GIF", save_all=True, append_images=frames[1:], loop=0, transparency=0, disposal=2)


def webp_animated() -> bytes:
    """Three frames."""
    return saved(picture(), "WEBP", save_all=True, append_images=[picture(2), picture(3)], method=0)


def webp_with_everything() -> bytes:
    """Lossy with see-through parts, a colour profile of odd length, EXIF and XMP."""
    see_through = picture(mode="RGBA")
    see_through.putalpha(picture(2, "L"))
    return saved(see_through, "WEBP", method=0, icc_profile=bytes(3001), exif=_rotated(), xmp=b"<x:xmpmeta/>" * 200)


def webp_blank_below() -> bytes:
    """Lossless, of two greys of one bit each, put together as an encoder without run lengths does it."""
    width, height = 1000, 1000
    green = [(1, 1), (1, 1), (1, 1), (200, 8), (255, 8)]  # simple, of two symbols, of 8 bits each
    single = [(1, 1), (0, 1), (1, 1), (200, 8)]
    codes = [*green, *single, *single, *single, (1, 1), (0, 1), (0, 1), (0, 1)]
    stream, length = 0, 0
    # Width, height, alpha unused, version, no transform, no cache, one set of codes; and then a few pixels.
    for value, bits in [(width - 1, 14), (height - 1, 14), (0, 4), (0, 1), (0, 1), (0, 1), *codes, (0xA5F00FA5, 32)]:
        stream |= value << length
        length += bits
    coded = b"\x2f" + stream.to_bytes((length + width * height) // 8, "little")
    coded += bytes(len(coded) % 2)
    return b"RIFF" + struct.pack("<I4s4sI", 12 + len(coded), b"WEBP", b"VP8L", len(coded)) + coded


def bmp_of(header: bytes, rows: bytes, colours: bytes = b"") -> bytes:
    """Return a BMP of this header after its length, palette, and rows."""
    start = 14 + 4 + len(header) + len(colours)
    head = b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start)
    return head + struct.pack("<I", 4 + len(header)) + header + colours + rows


def bmp_old() -> bytes:
    """The oldest header, of OS/2, with three bytes for each colour of the palette."""
    width, height = _SIZE
    palette = b"".join(bytes((value, value, value)) for value in range(256))
    return bmp_of(struct.pack("<HHHH", width, height, 1, 8), picture(mode="L").tobytes(), palette)


def bmp_top_down() -> bytes:
    """The first row is the top one, as frame grabbers write it."""
    width, height = _SIZE
    return bmp_of(struct.pack("<iiHHII16x", width, -height, 1, 24, 0, 0), picture().tobytes())


def bmp_packed(declared_bytes: int | None = None) -> bytes:
    """Run-length encoded, to its end-of-bitmap code; the header may declare another length, such as none."""
    width, height = _SIZE
    grey = picture(mode="L").tobytes()
    rows = (grey[at : at + width] for at in range(0, len(grey), width))
    packed = b"".join(bytes(byte for value in row for byte in (1, value)) + b"\0\0" for row in rows) + b"\0\1"
    palette = b"".join(bytes((value, value, value, 0)) for value in range(256))
    length = len(packed) if declared_bytes is None else declared_bytes
    return bmp_of(struct.pack("<iiHHII16x", width, height, 1, 8, 1, length), packed, palette)


def bmp_with_masks() -> bytes:
    """The newest header, with masks that say where in 32 bits each colour is."""
    width, height = _SIZE
    masks = struct.pack("<4I4s36x12x4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000, b"BGRs", 4, 0, 0, 0)
    return bmp_of(struct.pack("<iiHHII16x", width, height, 1, 32, 3, 0) + masks, picture(mode="RGBA").tobytes())


# --- TIFF ---


def tiff_of_pages(mode: str, compression: str | None, **options: Any) -> bytes:
    """Return a TIFF of three pages."""
    first, *rest = (picture(seed, mode) for seed in (1, 2, 3))
    written = saved(first, "TIFF", save_all=True, append_images=rest, compression=compression, **options)
    return written[: _end_of_tiff(written)]


def _end_of_tiff(content: bytes) -> int:
    """Return where the last part of a TIFF of Pillow ends, behind which it pads with zeros."""
    order, wide = "<" if content[:2] == b"II" else ">", b"\x2b" in content[2:4]
    entry = struct.Struct(order + ("HHQQ" if wide else "HHII"))
    type_bytes = {3: 2, 4: 4, 5: 8, 16: 8}
    ends: list[int] = []
    (page,) = struct.unpack_from(order + ("8xQ" if wide else "4xI"), content)
    while page:
        (count,) = struct.unpack_from(order + ("Q" if wide else "H"), content, page)
        start, end = page + (8 if wide else 2), page + (16 if wide else 6) + count * entry.size
        entries = entry.iter_unpack(content[start : start + count * entry.size])
        values = [(number * type_bytes.get(kind, 1), value) for _tag, kind, number, value in entries]
        ends += [end, *(value + length for length, value in values if length > (8 if wide else 4))]
        (page,) = struct.unpack_from(order + ("Q" if wide else "I"), content, end - (8 if wide else 4))
    with Image.open(io.BytesIO(content)) as image:
        assert isinstance(image, TiffImagePlugin.TiffImageFile)
        for number in range(image.n_frames):
            image.seek(number)
            ends += [start + length for start, length in zip(image.tag_v2[273], image.tag_v2[279], strict=True)]
    return max(ends)


def tiff_directory_first(mode: str, compression: str, *, padding: int = 0) -> bytes:
    """A scanner's own firmware: what is known of the page comes first, and the page itself last.

    With `padding`, the strip is so many bytes longer than its data, as scanners write that round lengths up.
    """
    written = saved(picture(mode=mode), "TIFF", compression=compression)
    with Image.open(io.BytesIO(written)) as image:
        assert isinstance(image, TiffImagePlugin.TiffImageFile)
        tags = {tag: image.tag_v2[tag] for tag in (256, 257, 259, 262, 273, 279)}
    (start,), (length,) = tags[273], tags[279]  # one strip, or the offsets would not fit into the entry
    tags |= {258: 1 if mode == "1" else 8, 273: 8 + 2 + 12 * 9 + 4, 277: 1, 278: tags[257], 279: length + padding}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, tags[tag]) for tag in sorted(tags))
    strip = written[start : start + length] + bytes(padding)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + strip


# --- HEIC ---


def heic_of(*seeds: int, **options: Any) -> bytes:
    """Return a HEIC of one picture for each seed."""
    file = pillow_heif.from_pillow(picture(seeds[0]))
    for seed in seeds[1:]:
        file.add_from_pillow(picture(seed, "L"))
    written = io.BytesIO()
    file.save(written, quality=50, enc_params={"preset": "ultrafast"}, **options)
    return written.getvalue()


def heic_rotated_with_thumbnail() -> bytes:
    """A phone's: a small picture for the gallery, and EXIF that says that it lies on its side."""
    file: Any = pillow_heif.from_pillow(picture())
    file[0].info["thumbnails"] = [64]
    written = io.BytesIO()
    file.save(written, quality=50, exif=_rotated(), enc_params={"preset": "ultrafast"})
    return written.getvalue()


def box(kind: bytes, *inner: bytes) -> bytes:
    """Return a box of a HEIC."""
    body = b"".join(inner)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def _boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    while content:
        length, kind = struct.unpack(">I4s", content[:8])
        yield kind, content[8:length]
        content = content[length:]


def heic_of_tiles() -> bytes:
    """An iPhone's: tiles side by side, and an item without bytes of its own in the file that puts them together."""
    tile = heic_of(4)
    parts = dict(_boxes(tile))
    meta = dict(_boxes(parts[b"meta"][4:]))
    properties = dict(_boxes(dict(_boxes(meta[b"iprp"]))[b"ipco"]))
    coding, coded = box(b"hvcC", properties[b"hvcC"]), parts[b"mdat"]
    width, height = _SIZE
    items = b"".join(box(b"infe", struct.pack(">B3xHH4sx", 2, number, 0, b"hvc1")) for number in (1, 2, 3, 4))
    items += box(b"infe", struct.pack(">B3xHH4sx", 2, 5, 0, b"grid"))
    sizes = box(b"ispe", properties[b"ispe"]) + box(b"ispe", struct.pack(">4xII", 2 * width, 2 * height))
    used = b"".join(struct.pack(">HBBB", number, 2, 0x81, 2) for number in (1, 2, 3, 4)) + struct.pack(">HBB", 5, 1, 3)
    grid = struct.pack(">BBBBHH", 0, 0, 1, 1, 2 * width, 2 * height)

    def index(start: int) -> bytes:
        places = b"".join(
            struct.pack(">HHHHII", number, 0, 0, 1, start + (number - 1) * len(coded), len(coded))
            for number in (1, 2, 3, 4)
        )
        return box(
            b"meta",
            bytes(4),
            box(b"hdlr", bytes(8), b"pict", bytes(13)),
            box(b"pitm", struct.pack(">4xH", 5)),
            box(b"iloc", struct.pack(">B3xBBH", 1, 0x44, 0, 5), places, struct.pack(">HHHHII", 5, 1, 0, 1, 0, 8)),
            box(b"iinf", struct.pack(">4xH", 5), items),
            box(b"iref", bytes(4), box(b"dimg", struct.pack(">HH4H", 5, 4, 1, 2, 3, 4))),
            box(
                b"iprp",
                box(b"ipco", coding, sizes),
                box(b"ipma", struct.pack(">4xI", 5), used),
            ),
            box(b"idat", grid),
        )

    kind = box(b"ftyp", parts[b"ftyp"])
    return kind + index(len(kind) + len(index(0)) + 8) + box(b"mdat", coded * 4)


# --- PDF ---


def pdf_of(change: Callable[[pikepdf.Pdf], object] | None = None, pages: int = 2, **options: Any) -> bytes:
    """Return a scanned document of some pages as pikepdf writes it after this change."""
    with contextlib.ExitStack() as opened, pikepdf.new() as document:
        for seed in range(1, pages + 1):
            page = opened.enter_context(pikepdf.open(io.BytesIO(samples.pdf(seed))))
            document.pages.extend(page.pages)
        if change is not None:
            change(document)
        written = io.BytesIO()
        document.save(written, **options)
    # A file for the web counts its last line end in the length that it declares.
    return written.getvalue() if options.get("linearize") else written.getvalue().rstrip()


def pdf_updated(base: bytes, body: bytes = b"<< /Type /Annot /Subtype /Text /Contents (paid) >>") -> bytes:
    """Return a PDF with one more object, saved by appending, as a signature or a stamp is."""
    with pikepdf.open(io.BytesIO(base)) as document:
        number, root = len(document.objects) + 1, document.trailer.Root.objgen[0]
    before = re.findall(rb"startxref\s+(\d+)", base)[-1]
    added = base + b"\n%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"xref\n%d 1\n%010d 00000 n \n" % (number, len(base) + 1)
    trailer = b"trailer\n<< /Size %d /Root %d 0 R /Prev %s >>\n" % (number + 1, root, before)
    return added + table + trailer + b"startxref\n%d\n%%%%EOF" % len(added)


def pdf_signed() -> bytes:
    """A second update that is a signature, with much room for its digest."""
    signature = b"<< /Type /Sig /Filter /Adobe.PPKLite /ByteRange [0 1 2 3] /Contents <%s> >>" % (b"0" * 8000)
    return pdf_updated(content_of("pdf updated"), signature)


def pdf_invoice() -> bytes:
    """An e-invoice: the same invoice as XML inside, for the books."""

    def attach(document: pikepdf.Pdf) -> None:
        document.attachments["factur-x.xml"] = b"<rsm:CrossIndustryInvoice/>" * 200

    return pdf_of(attach, object_stream_mode=pikepdf.ObjectStreamMode.generate)


def pdf_in_pdf() -> bytes:
    """A document that holds another one, with its end marker, uncompressed."""

    def attach(document: pikepdf.Pdf) -> None:
        document.attachments["scan.pdf"] = samples.pdf(3)

    return pdf_of(attach, compress_streams=False)


_COMPACT = pikepdf.ObjectStreamMode.generate

#: Name, type, and how it is made.
VARIANTS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "jpeg grey": ("image/jpeg", lambda: saved(picture(mode="L"), "JPEG", optimize=True)),
    "jpeg rotated, thumbnail": ("image/jpeg", jpeg_rotated_with_thumbnail),
    "jpeg of a print shop": ("image/jpeg", jpeg_of_print_shop),
    "jpeg end marker in comment": ("image/jpeg", jpeg_with_end_marker_in_comment),
    "png 1 bit": ("image/png", lambda: saved(picture(mode="1"), "PNG")),
    "png palette, see-through": ("image/png", lambda: saved(picture(mode="P"), "PNG", transparency=3)),
    "png 16 bit grey": ("image/png", lambda: saved(picture(mode="I;16"), "PNG")),
    "png 16 bit colour": ("image/png", png_16_bit_colour),
    "png interlaced": ("image/png", png_interlaced),
    "png animated": ("image/png", png_animated),
    "gif animated": ("image/gif", gif_animated),
    "gif 87a, not interlaced": ("image/gif", lambda: saved(picture(mode="P"), "GIF", interlace=0)),
    "webp lossy": ("image/webp", lambda: saved(picture(), "WEBP", method=0)),
    "webp lossless": ("image/webp", lambda: saved(picture(), "WEBP", lossless=True, method=0)),
    "webp animated": ("image/webp", webp_animated),
    "webp with everything": ("image/webp", webp_with_everything),
    "bmp old": ("image/bmp", bmp_old),
    "bmp top-down": ("image/bmp", bmp_top_down),
    "bmp packed": ("image/bmp", bmp_packed),
    "bmp packed, length unsaid": ("image/bmp", lambda: bmp_packed(0)),
    "bmp with masks": ("image/bmp", bmp_with_masks),
    "tiff fax pages": ("image/tiff", lambda: tiff_of_pages("1", "group4")),
    "tiff old fax pages": ("image/tiff", lambda: tiff_of_pages("1", "group3")),
    "tiff lzw pages, four colours": ("image/tiff", lambda: tiff_of_pages("CMYK", "tiff_lzw")),
    "tiff jpeg pages": ("image/tiff", lambda: tiff_of_pages("RGB", "jpeg")),
    "tiff packbits pages, palette": ("image/tiff", lambda: tiff_of_pages("P", "packbits")),
    "tiff deflate pages, 16 bit": ("image/tiff", lambda: tiff_of_pages("I;16", "tiff_adobe_deflate")),
    "tiff plain pages, big-endian": ("image/tiff", lambda: tiff_of_pages("I;16B", None)),
    "tiff big pages": ("image/tiff", lambda: tiff_of_pages("L", "tiff_lzw", big_tiff=True)),
    "tiff fax, directory first": ("image/tiff", lambda: tiff_directory_first("1", "group4")),
    "tiff lzw, directory first": ("image/tiff", lambda: tiff_directory_first("L", "tiff_lzw")),
    "heic rotated, thumbnail": ("image/heic", heic_rotated_with_thumbnail),
    "heic several": ("image/heic", lambda: heic_of(1, 2, 3)),
    "heic of tiles": ("image/heic", heic_of_tiles),
    "heif general brand": ("image/heif", lambda: heic_of(1).replace(b"ftypheic", b"ftypmif1", 1)),
    "pdf pages": ("application/pdf", pdf_of),
    "pdf for the web": ("application/pdf", lambda: pdf_of(linearize=True)),
    "pdf compact": ("application/pdf", lambda: pdf_of(object_stream_mode=_COMPACT)),
    "pdf compact for the web": ("application/pdf", lambda: pdf_of(linearize=True, object_stream_mode=_COMPACT)),
    "pdf updated": ("application/pdf", lambda: pdf_updated(content_of("pdf pages"))),
    "pdf updated for the web": ("application/pdf", lambda: pdf_updated(content_of("pdf for the web"))),
    "pdf signed": ("application/pdf", pdf_signed),
    "pdf e-invoice": ("application/pdf", pdf_invoice),
    "pdf in pdf": ("application/pdf", pdf_in_pdf),
}


# --- what readers say ---


def needed_bytes(mime_type: str, content: bytes) -> int:
    """Return how many bytes of a file are needed: of a PDF those to the end of its last trailer, else all."""
    if mime_type != "application/pdf":
        return len(content)
    body = content[: content.rindex(b"startxref")]
    return max(body.rfind(b">>") + len(b">>"), body.rfind(b"endstream") + len(b"endstream"))


def is_version_before(name: str, end: int) -> bool:
    """Return whether what a cut leaves of an updated PDF is the version before, of which nothing is missing.

    Of a part of the first number of the update no reader could see that more is to come.
    """
    if name not in UPDATED:
        return False
    before = content_of(UPDATED[name])
    return needed_bytes("application/pdf", before) <= end < len(before) + len("\n12 0 obj")


#: A PDF that was saved again by appending is whole before the update as well, and this is what it was then.
UPDATED = {
    "pdf updated": "pdf pages",
    "pdf signed": "pdf updated",
    "pdf updated for the web": "pdf for the web",
}


def decodes(mime_type: str, content: bytes) -> bool:
    """Say whether a reader shows all of it, to the last pixel or page, and finds nothing to complain of."""
    readers = {"application/pdf": _reads_pdf, "image/heic": _reads_heic, "image/heif": _reads_heic}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return readers.get(mime_type, _reads_picture)(content)
        except (OSError, ValueError, SyntaxError, EOFError, RuntimeError, pikepdf.PdfError):
            return False


def _reads_picture(content: bytes) -> bool:
    with Image.open(io.BytesIO(content)) as image:
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            image.load()
    return True


def _reads_heic(content: bytes) -> bool:
    file = pillow_heif.open_heif(io.BytesIO(content))
    for image in file:
        image.load()
    return len(file) > 0


def _reads_pdf(content: bytes) -> bool:
    # PDFium mends silently what it can, so it would agree to half a document; qpdf says what it finds.
    with pikepdf.open(io.BytesIO(content), attempt_recovery=False) as document:
        return len(document.pages) > 0 and not document.check_pdf_syntax() and not document.get_warnings()


def opens(mime_type: str, content: bytes) -> bool:
    """Say whether a viewer shows it, however much it has to mend."""
    if mime_type != "application/pdf":
        return decodes(mime_type, content)
    room = ctypes.create_string_buffer(content, len(content))
    document = pdfium.FPDF_LoadMemDocument64(room, len(content), None)
    pages = pdfium.FPDF_GetPageCount(document) if document else 0
    if document:
        pdfium.FPDF_CloseDocument(document)
    return int(pages) > 0
