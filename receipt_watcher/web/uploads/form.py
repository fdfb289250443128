"""A form with a file (multipart/form-data, RFC 7578), streamed: the file goes to disk as it comes.

What it promises: nothing of the file is held; fields, headers and the number of parts are bounded; what is no such form
is a problem in words. A name loses its folders, whatever way they are written, and what no file system or terminal
should see; it is never a path. Called in worker threads, one at a time; whoever calls it removes the file.
"""

from __future__ import annotations

import os
import re
import unicodedata
from typing import BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from receipt_watcher.system.display import cut_name
from receipt_watcher.web.problem import RefusedError

_FIELD_BYTES = 1024
_HEADER_BYTES = 4096
_TYPE_CHARACTERS = 256
_MOST_PARTS = 8
_NAME_BYTES = 255
_FILE = "file"


class Form:
    """One form on its way; `file` takes the bytes of its file, at most so many."""

    def __init__(self, content_type: str, file: BinaryIO, max_file_bytes: int) -> None:
        """Begin.

        Raises:
            RefusedError: it is no such form.
        """
        # A long one could take quadratic time to be read.
        kind, options = parse_options_header(content_type if len(content_type) <= _TYPE_CHARACTERS else "")
        boundary = options.get(b"boundary", b"")
        if kind != b"multipart/form-data" or not 0 < len(boundary) <= 70:  # noqa: PLR2004 - RFC 2046, 5.1.1
            raise RefusedError(415, "Send a form: multipart/form-data with the part «file», such as curl -F file=@….")
        self.fields: dict[str, str] = {}
        self.filename: str | None = None
        self.size = 0
        self.is_whole = False
        self._file = file
        self._max_file_bytes = max_file_bytes
        self._parts = 0
        self._header = self._text = b""
        self._headers: dict[bytes, bytes] = {}
        self._name = ""
        self._value = bytearray()
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._on_part_begin,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_part_data": self._on_part_content,
                "on_part_end": self._on_part_end,
                "on_end": self._on_end,
            },
        )

    def feed(self, piece: bytes) -> None:
        """Take the next bytes.

        Raises:
            RefusedError: it is no form, or too large.
            OSError: the disk does not take the file.
        """
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise RefusedError(422, f"The form cannot be read: {error}"[:300]) from error

    def _on_part_begin(self) -> None:
        self._parts += 1
        if self._parts > _MOST_PARTS:
            raise RefusedError(422, f"The form has more than {_MOST_PARTS} parts.")
        self._headers, self._header, self._text = {}, b"", b""
        self._value = bytearray()

    def _on_header_field(self, content: bytes, start: int, end: int) -> None:
        self._header = self._bounded(self._header + content[start:end])

    def _on_header_value(self, content: bytes, start: int, end: int) -> None:
        self._text = self._bounded(self._text + content[start:end])

    def _on_header_end(self) -> None:
        self._headers[self._header.lower()] = self._text
        self._header = self._text = b""
        if len(self._headers) > _MOST_PARTS:
            raise RefusedError(422, "A part of the form has too many headers.")

    def _bounded(self, text: bytes) -> bytes:
        if len(text) > _HEADER_BYTES:
            raise RefusedError(422, "A header in the form is too long.")
        return text

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        if self._name != _FILE:
            if self._name in self.fields:
                raise RefusedError(422, f"The form has {self._name[:80]!r} twice.")
            return
        if self.filename is not None:
            raise RefusedError(422, "The form has more than one file; send one form for each.")
        if b"filename" not in options:
            raise RefusedError(422, "The part «file» is no file: it has no filename.")
        self.filename = safe_name(options[b"filename"])

    def _on_part_content(self, content: bytes, start: int, end: int) -> None:
        if self._name == _FILE:
            self.size += end - start
            if self.size > self._max_file_bytes:
                raise RefusedError(413, f"The file is larger than {self._max_file_bytes:,} bytes (limits.max_file_mb).")
            self._file.write(content[start:end])
            return
        self._value += content[start:end]
        if len(self._value) > _FIELD_BYTES:
            raise RefusedError(422, f"The field {self._name[:80]!r} is too long.")

    def _on_part_end(self) -> None:
        if self._name != _FILE:
            self.fields[self._name] = self._value.decode("utf-8", "replace")

    def _on_end(self) -> None:
        self.is_whole = True


def safe_name(given: bytes) -> str:
    """Return the name that a file is kept under: without folders, line breaks, and what is invisible."""
    text = unicodedata.normalize("NFC", given.decode("utf-8", "replace"))
    name = re.split(r"[/\\]", text)[-1]
    name = "".join("_" if unicodedata.category(letter)[0] == "C" else letter for letter in name).strip(" .")
    return cut_name(name, _NAME_BYTES) or "upload"


def file_at_end(file: BinaryIO) -> None:
    """Make what was written durable, and close it.

    Raises:
        OSError: the disk does not take it.
    """
    file.flush()
    os.fsync(file.fileno())
    file.close()
