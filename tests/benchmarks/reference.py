"""The same work by bare Python in one loop, without durability: what the machine could do if nothing were promised.

    python -m tests.benchmarks.reference SOURCE TARGET WEBHOOK_URL json|multipart

For each file of SOURCE: read, SHA-256, a body made of bytes (base64 in JSON, or a form), POST on one kept-alive
connection, rename to TARGET. Callbacks are answered by threads of the same process. Prints seconds and the number of
receipts as JSON. It keeps no log, flushes nothing and knows no errors: a crash loses what it was doing.
"""

from __future__ import annotations

import binascii
import hashlib
import http.client
import json
import socket
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

INBOX = "reference"
_FORM = "multipart/form-data; boundary=reference"
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


class Callbacks:
    """Answers callbacks, each connection in a thread, and counts them."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._heard = threading.Semaphore(0)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/callback"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            threading.Thread(target=self._answer, args=[connection], daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        request = b""
        while piece := connection.recv(65536):
            request += piece
            if request.endswith(b"}"):  # the stand-in's callbacks are flat JSON
                connection.sendall(_ANSWER)
                self._heard.release()
                request = b""

    def wait_for(self, count: int) -> None:
        """Return when so many have been answered."""
        for _ in range(count):
            self._heard.acquire(timeout=30)


def send_all(source: Path, target: Path, webhook_url: str, callback_url: str, payload: str) -> int:
    """Send and rename every file; return how many there were."""
    address = urlsplit(webhook_url)
    line = http.client.HTTPConnection(address.netloc)
    files = sorted(source.iterdir())
    for file in files:
        content = file.read_bytes()
        fields = {
            "job_id": file.name,
            "filename": file.name,
            "callback_url": callback_url,
            "mime_type": "image/jpeg",
            "size": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            "inbox": INBOX,
            "attempt": 1,
        }
        kind, body = _body(fields, content, payload)
        line.request("POST", address.path, body, {"Content-Type": kind})
        with line.getresponse() as answer:
            answer.read()
        file.rename(target / file.name)
    return len(files)


def _body(fields: Mapping[str, object], content: bytes, payload: str) -> tuple[str, bytes]:
    """Return a message and its type."""
    if payload == "json":
        head = json.dumps(fields).encode()[:-1] + b', "image_data": "'
        return "application/json", head + binascii.b2a_base64(content, newline=False) + b'"}'
    part = "--reference\r\nContent-Disposition: form-data; name="
    parts = [f'{part}"{name}"\r\n\r\n{value}\r\n' for name, value in fields.items()]
    file = f'{part}"file"; filename="{fields["filename"]}"\r\n\r\n'
    return _FORM, "".join([*parts, file]).encode() + content + b"\r\n--reference--\r\n"


def main() -> None:
    """Do it, and say how long it took."""
    source, target, webhook_url, payload = sys.argv[1:]
    callbacks = Callbacks()
    began = time.monotonic()
    count = send_all(Path(source), Path(target), webhook_url, callbacks.url, payload)
    print(json.dumps({"seconds": time.monotonic() - began, "receipts": count}), flush=True)  # noqa: T201 - its output
    callbacks.wait_for(count)


if __name__ == "__main__":
    main()
