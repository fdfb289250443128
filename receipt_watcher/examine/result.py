"""The result of an examination, and how the examiner's process is asked and answers.

The messages are a few fields of text with a NUL between them: nothing in them can make the reader run anything,
recurse or take much memory, since the examiner is not trusted any more once it has read a hostile file. Pure.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from receipt_watcher.jobs.reasons import EXAMINATION_REASONS, Reason

#: A file that no limits.max_file_mb can ever allow is refused by its size, without being read for a digest.
MAX_DIGEST_BYTES = 4096 * 1024 * 1024

_REASONS = {reason.value: reason for reason in EXAMINATION_REASONS - {Reason.UNEXAMINABLE}}

#: The longest message; it holds a few numbers and a sentence, or a file's name.
MESSAGE_BYTES = 4096
_TEXT_CHARACTERS = 500

#: The first word of an examiner, and its exit code if it ran out of memory.
READY = b"ready"
EXIT_OUT_OF_MEMORY = 71

#: The descriptor under which the examiner has the file that it is asked about.
FILE_DESCRIPTOR = 3

#: The kinds that pass; N8N is sent one of these.
ACCEPTED_MIME_TYPES = frozenset(
    {
        "image/jpeg",
        "image/png",
        "image/tiff",
        "image/gif",
        "image/bmp",
        "image/webp",
        "image/heic",
        "image/heif",
        "application/pdf",
    }
)

#: The longest picture that an examiner may hand over; those of its size have a tenth of that.
MAX_PICTURE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class FileLimits:
    """The largest receipt that is accepted."""

    max_file_bytes: int
    max_pixels: int


@dataclass(frozen=True, slots=True)
class PreviewQuestion:
    """A picture to be drawn: the first page of a file of this kind, of at most `max_pixels`."""

    mime_type: str
    max_pixels: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a receipt is not taken: the code, and a sentence that names what was found."""

    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """The content of a file as an examiner found it; `refusal` is None if it is accepted.

    `doubt` says why it may still be being written, though nothing is missing that it names; "" if there is none.
    """

    size: int
    mime_type: str | None
    refusal: Refusal | None
    doubt: str = ""


@dataclass(frozen=True, slots=True)
class Examination:
    """The facts about a file; `refusal` is None if it is accepted, and `doubt` as in `Judgement`."""

    size: int
    sha256: str | None
    mime_type: str | None
    refusal: Refusal | None
    doubt: str = ""

    @classmethod
    def of(cls, judgement: Judgement, sha256: str | None) -> Examination:
        """Return the facts of a judgement, and of the bytes."""
        return cls(judgement.size, sha256, judgement.mime_type, judgement.refusal, judgement.doubt)


def unreadable(path: Path) -> Examination:
    """Return what is known of a file that may not be read."""
    try:
        size = path.stat().st_size
    except PermissionError:
        size = 0
    return Examination(size, None, None, Refusal(Reason.UNREADABLE, "The service may not read it."))


# --- the messages ---


def question(name: str, limits: FileLimits) -> bytes:
    """Return the message that goes to the examiner together with the open file."""
    return _message(str(limits.max_file_bytes), str(limits.max_pixels), name)


def drawing_question(mime_type: str, max_pixels: int) -> bytes:
    """Return the message that asks for a picture of the file's first page."""
    return _message("draw", str(max_pixels), mime_type)


def read_question(message: bytes) -> tuple[str, FileLimits] | PreviewQuestion:
    """Return the file's name and the limits; or what is to be drawn."""
    first, max_pixels, name = _fields(message)
    if first == "draw":
        return PreviewQuestion(name, int(max_pixels))
    return name, FileLimits(int(first), int(max_pixels))


def judged(judgement: Judgement) -> bytes:
    """Return the examiner's answer."""
    refusal = judgement.refusal
    reason, detail = (refusal.reason.value, refusal.detail) if refusal else ("", judgement.doubt)
    return _message("judged", str(judgement.size), judgement.mime_type or "", reason, detail)


def drawn(picture: bytes) -> Iterator[bytes]:
    """Yield the answers that hand a picture over: its size, then its pieces. Without bytes there is none."""
    yield _message("drawn", str(len(picture)))
    for start in range(0, len(picture), MESSAGE_BYTES):
        yield picture[start : start + MESSAGE_BYTES]


def read_size(message: bytes) -> int:
    """Return the size of the picture that comes next; 0 if there is none.

    Raises:
        ValueError: it is no answer of an examiner.
    """
    match _fields(message):
        case ["drawn", size] if size.isdecimal() and len(size) <= len(str(MAX_PICTURE_BYTES)):
            if int(size) <= MAX_PICTURE_BYTES:
                return int(size)
        case ["troubled", _, _] | ["failed", _]:
            return 0
    raise ValueError("it is no answer")


def troubled(error: OSError) -> bytes:
    """Return the answer for a file that the system did not give."""
    return _message("troubled", str(error.errno or errno.EIO), (error.strerror or repr(error))[:_TEXT_CHARACTERS])


def failed(error: Exception) -> bytes:
    """Return the answer for a failure of the examiner itself."""
    return _message("failed", repr(error)[:_TEXT_CHARACTERS])


def read_answer(message: bytes) -> Judgement | OSError | str:
    """Return what was judged, what trouble the system made, or how the examiner failed.

    Raises:
        ValueError: it is no answer of an examiner.
    """
    match _fields(message):
        case ["judged", size, mime_type, "", doubt] if mime_type in ACCEPTED_MIME_TYPES and doubt.isprintable():
            return Judgement(_size(size), mime_type, None, doubt)
        case ["judged", size, mime_type, code, detail] if code in _REASONS and (mime_type + detail).isprintable():
            return Judgement(_size(size), mime_type or None, Refusal(_REASONS[code], detail))
        case ["troubled", number, text] if int(number) in errno.errorcode and text.isprintable():
            return OSError(int(number), text)
        case ["failed", text] if text.isprintable():
            return text
    raise ValueError("it is no answer")


def _size(text: str) -> int:
    if not text.isdecimal():
        raise ValueError("it is no size")
    return int(text)


def _message(*fields: str) -> bytes:
    whole = "\0".join(field.replace("\0", "") for field in fields)
    return whole.encode("utf-8", "surrogateescape")[:MESSAGE_BYTES]  # the bytes of a name need not be UTF-8


def _fields(message: bytes) -> list[str]:
    return message.decode("utf-8", "surrogateescape").split("\0")
