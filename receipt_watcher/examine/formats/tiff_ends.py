"""Whether a compressed strip of a TIFF ended before the zeros that follow it (TIFF 6.0, ITU-T T.4 and T.6, RFC 1950).

What it promises: yes only if the compression's own end stands before the zeros, so that they are padding. Some
scanners pad each strip to a round length; a copy that set its room aside first leaves the same zeros in place of data.

Pure. A strip of LZW is walked code by code without being decoded, a megabyte in about a second.
"""

from __future__ import annotations

import zlib

_CCITT_G3, _CCITT_G4, _LZW, _JPEG, _DEFLATE, _OLD_DEFLATE = 3, 4, 5, 7, 8, 32946

_END_OF_LINE = "000000000001"
_END_OF_BLOCK_G4 = _END_OF_LINE * 2
_ENDS_OF_FAX = (_END_OF_LINE * 6, (_END_OF_LINE + "1") * 6)
#: More bytes than the longest of these takes.
_FAX_END_BYTES = 12

_LZW_CLEAR, _LZW_END, _LZW_FIRST = 256, 257, 258
_LZW_BITS, _LZW_MOST_BITS = 9, 12


def ends_before_padding(compression: int, strip: bytes, *, is_reversed: bool) -> bool:
    """Return whether a strip that ends in zeros has its own end before them; `is_reversed`: the lowest bit first."""
    if compression in (_DEFLATE, _OLD_DEFLATE):
        return _ends_deflate(strip)
    if compression == _JPEG:
        return strip.rstrip(b"\0").endswith(b"\xff\xd9")
    if compression == _LZW:
        return _ends_lzw(strip)
    if compression in (_CCITT_G3, _CCITT_G4):
        return _ends_fax(strip, compression, is_reversed=is_reversed)
    return False


def _ends_deflate(strip: bytes) -> bool:
    unpacker = zlib.decompressobj()
    rest = strip
    try:
        while rest and not unpacker.eof:
            unpacker.decompress(rest, 1 << 20)
            rest = unpacker.unconsumed_tail
    except zlib.error:
        return False
    return unpacker.eof


def _ends_fax(strip: bytes, compression: int, *, is_reversed: bool) -> bool:
    tail = strip.rstrip(b"\0")[-_FAX_END_BYTES:]
    bits = "".join(f"{byte:08b}"[:: -1 if is_reversed else 1] for byte in tail).rstrip("0")
    return bits.endswith(_END_OF_BLOCK_G4 if compression == _CCITT_G4 else _ENDS_OF_FAX)


def _ends_lzw(strip: bytes) -> bool:
    buffer = held_bits = 0
    width, following = _LZW_BITS, _LZW_FIRST
    for byte in strip:
        buffer, held_bits = (buffer << 8 | byte) & 0xFFFFFF, held_bits + 8
        if held_bits < width:
            continue
        held_bits -= width
        code = buffer >> held_bits & (1 << width) - 1
        if code == _LZW_END:
            return True
        if code == _LZW_CLEAR:
            width, following = _LZW_BITS, _LZW_FIRST - 1  # the first code after it makes no entry
            continue
        if code > following:
            return False
        following += 1
        # TIFF's writers widen codes one entry early.
        width = min(_LZW_MOST_BITS, max(_LZW_BITS, (following + 1).bit_length()))
    return False
