"""Notion and Gemini as far as the shipped workflows ask them, on loopback, with a ledger of what was done.

The ledger is the witness: what a receipt's side effect is, is one page in it. What goes wrong is said by the receipt's
file name, which begins with `broken` (refused for good), `busy` (429 at the first try) or `lost` (the page is made,
and the answer is a 500).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from tests.fakes.http_listener import Heard, Listener

NOTION_KEY, GEMINI_KEY = "notion-key-of-the-tests", "gemini-key-of-the-tests"
DATABASE = "0f3c5a52-5d0c-4f0e-9d56-0d6f0c1d9c11"
INVOICE = {"vendor": {"value": "Hardware & Garden", "confidence": 0.97}, "line_items": []}
CREDENTIALS = [
    {"id": "receiptWatcherNotion", "name": "Notion", "type": "notionApi", "data": {"apiKey": NOTION_KEY}},
    {
        "id": "receiptWatcherGemini",
        "name": "Gemini",
        "type": "googlePalmApi",
        "data": {"host": "https://generativelanguage.googleapis.com", "apiKey": GEMINI_KEY},
    },
]


@dataclass(frozen=True, slots=True)
class Page:
    """One page that was made: whose, what it is called, and the file on it."""

    job_id: str
    title: str
    sha256: str
    url: str
    content: dict[str, Any]


@dataclass(eq=False)
class FakeServices:
    """Both services at one address. `pages` is the ledger, `read` the digests of what Gemini was asked about."""

    pages: list[Page] = field(default_factory=list)
    read: list[str] = field(default_factory=list)
    #: While it is cleared, pages are made, but their answers wait.
    answering: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._uploads: dict[str, str] = {}
        self._refused_once: set[str] = set()
        self.answering.set()
        self._listener = Listener(self._answer)
        self.url = self._listener.url

    def __enter__(self) -> Self:
        self._listener.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.answering.set()
        self._listener.__exit__(kind, error, trace)

    def counted(self) -> Counter[str]:
        """Return how many pages there are of each file, by its digest."""
        with self._lock:
            return Counter(page.sha256 for page in self.pages)

    def _answer(self, heard: Heard) -> tuple[int, dict[str, Any]]:
        path = urlsplit(heard.path).path
        if path.startswith("/v1beta/"):
            return self._read(heard.body)
        if heard.headers.get("authorization", "").strip() != f"Bearer {NOTION_KEY}":
            return 401, {"object": "error", "status": 401, "message": "API token is invalid."}
        if found := re.fullmatch("/v1/file_uploads/(.+)/send", path):
            return self._receive(found[1], heard.headers["content-type"], heard.body)
        sent = json.loads(heard.body)
        if path == "/v1/file_uploads":
            return self._announce(sent)
        if path == f"/v1/databases/{DATABASE}/query":
            return self._look(sent["filter"]["rich_text"]["equals"])
        return self._make(sent) if path == "/v1/pages" else (404, {"object": "error", "message": f"no {path}"})

    def _look(self, job_id: str) -> tuple[int, dict[str, Any]]:
        with self._lock:
            return 200, {"results": [{"url": page.url} for page in self.pages if page.job_id == job_id]}

    def _announce(self, sent: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        with self._lock:
            number = f"upload-{len(self._uploads)}"
            self._uploads[number] = ""
        return 200, {"id": number, "object": "file_upload", "filename": sent["filename"]}

    def _receive(self, number: str, content_type: str, body: bytes) -> tuple[int, dict[str, Any]]:
        boundary = content_type.partition("boundary=")[2].strip('"').encode()
        _, part, _ = body.split(b"--" + boundary)
        content = part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
        with self._lock:
            self._uploads[number] = hashlib.sha256(content).hexdigest()
        return 200, {"id": number, "status": "uploaded"}

    def _make(self, sent: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        title = sent["properties"]["title"]["title"][0]["text"]["content"]
        job_id = sent["properties"]["Job ID"]["rich_text"][0]["text"]["content"]
        file = sent["children"][-1]
        with self._lock:
            is_first = job_id not in self._refused_once
            self._refused_once.add(job_id)
            if title.startswith("broken"):
                return 400, {"object": "error", "status": 400, "message": f"{title} cannot be made."}
            if title.startswith("busy") and is_first:
                return 429, {"object": "error", "status": 429, "message": "You have been rate limited."}
            url = f"https://www.notion.so/{len(self.pages)}"
            digest = self._uploads[file[file["type"]]["file_upload"]["id"]]
            self.pages.append(Page(job_id, title, digest, url, sent))
        self.answering.wait()
        if title.startswith("lost") and is_first:
            return 500, {"object": "error", "status": 500, "message": "Unexpected error occurred."}
        return 200, {"object": "page", "url": url}

    def _read(self, body: bytes) -> tuple[int, dict[str, Any]]:
        sent = json.loads(body)
        inline = sent["contents"][0]["parts"][0]["inline_data"]
        assert sent["generationConfig"]["responseSchema"]["properties"]["gross_total"]
        with self._lock:
            self.read.append(hashlib.sha256(base64.b64decode(inline["data"])).hexdigest())
        return 200, {"candidates": [{"content": {"parts": [{"text": json.dumps(INVOICE)}]}}]}
