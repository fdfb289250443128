"""Posts to the stand-in: a small HTTP/1.1 reader, a multipart reader, and the receipt in a post."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_BOUNDARY = re.compile(r'boundary="?([^";]+)', re.IGNORECASE)
_PART_NAME = re.compile(r'[; ](name|filename)="((?:[^"\\]|\\.)*)"', re.IGNORECASE)

Request = tuple[str, str, dict[str, str], bytes]  # method, path, headers, body


@dataclass(frozen=True, slots=True)
class ReceivedPost:
    """A POST that arrived whole and for which n8n would start its workflow; header names in lower case."""

    job_id: str
    attempt: int
    filename: str
    sha256: str  # of the bytes that arrived; empty without check_content
    claimed_sha256: str
    size: int
    mime_type: str
    inbox: str
    notion_database_id: str
    callback_url: str
    callback_token: str  # of this job alone; empty if all share one
    file_url: str  # where to fetch the file; empty if the post has it
    payload: str
    path: str
    headers: Mapping[str, str]
    subfolder: str
    raw_filename: str  # as written in the head of the multipart's file; empty with JSON
    received_at: float
    monotonic_at: float
    content: bytes | None


async def read_request(begin: bytes, reader: asyncio.StreamReader) -> Request:
    """Read a request whose first byte is `begin`; raise EOFError or ValueError if it is torn or no HTTP."""
    head = begin + await reader.readuntil(b"\r\n\r\n")
    first_line, *lines = head.decode("latin-1").rstrip().split("\r\n")
    method, path, _ = first_line.split()
    pairs = (line.partition(":") for line in lines)
    headers = {name.lower(): text.strip() for name, _, text in pairs}
    if headers.get("transfer-encoding") != "chunked":
        return method, path, headers, await reader.readexactly(int(headers.get("content-length", 0)))
    chunks = []
    while size := int(await reader.readuntil(b"\r\n"), 16):
        chunks.append((await reader.readexactly(size + 2))[:-2])
    await reader.readuntil(b"\r\n")
    return method, path, headers, b"".join(chunks)


def read_parts(body: bytes, content_type: str) -> dict[str, Any]:
    """Return a multipart form's fields: texts, and `file` as bytes."""
    boundary = _BOUNDARY.findall(content_type)[0].encode()
    _, *parts, end = (b"\r\n" + body).split(b"\r\n--" + boundary)
    if not end.startswith(b"--"):
        raise ValueError("the last boundary is missing")
    form: dict[str, Any] = {}
    for part in parts:
        head, _, content = part.partition(b"\r\n\r\n")
        named = dict(_PART_NAME.findall(head.decode()))
        form[named["name"]] = content if named["name"] == "file" else content.decode()
        form |= {"file.filename": named["filename"]} if "filename" in named else {}
    return form
