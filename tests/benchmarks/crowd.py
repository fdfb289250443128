"""Those who ask much of the daemon's HTTP at once, each a process: `python -m tests.benchmarks.crowd WHO URL`.

`caller` is N8N with very much to say: it reads ids of jobs from its standard input and posts a success for each, so
many a second, whether or not those before were answered. `sender` uploads one receipt after the other, `reader` has
the overview open in Chromium where there is one, and else asks as its script does; both until their input ends.
They write a line when they had their first answer, and each writes at its end what it saw as JSON: how long each
answer took in milliseconds, by its status.
"""

from __future__ import annotations

import argparse
import http.client
import json
import queue
import shutil
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from urllib.parse import urlsplit

from playwright.sync_api import Request, sync_playwright

from receipt_watcher.cli.demo import samples
from tests.benchmarks.stage import TOKEN

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
BEGUN = "begun"
_LINES = 32
_TIMEOUT_SECONDS = 60.0
#: As the page's script does.
_PULSE_SECONDS = 2.0
_LOOK_MILLISECONDS = 200
_BOUNDARY = "----------------------a-boundary-for-benchmarks"
_SENT_SEED = 5_000_000

Seen = dict[str, list[float]]


class _Line:
    """A connection that is kept; it notes how long each answer took, by its status."""

    def __init__(self, url: str, seen: Seen) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=_TIMEOUT_SECONDS)
        self._seen = seen

    def ask(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> bytes:
        began = time.perf_counter()
        try:
            self._connection.request(method, path, body or None, headers or {})
            answer = self._connection.getresponse()
            said, status = answer.read(), str(answer.status)
        except (OSError, http.client.HTTPException) as error:
            said, status = b"", f"{type(error).__name__}: {error}"
            self._connection.close()
        self._seen[status].append((time.perf_counter() - began) * 1000)
        return said


def call(url: str, per_second: float) -> Seen:
    """Post a success for each job of the standard input, at this rate."""
    seen: Seen = defaultdict(list)
    due: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    headers = {"X-Callback-Token": TOKEN, "Content-Type": "application/json"}
    body = json.dumps({"status": "success", "message": "Booked", "execution_id": "1"}).encode()

    def serve() -> None:
        line = _Line(url, seen)
        while (job_id := due.get()) is not None:
            line.ask("POST", f"/api/v1/jobs/{job_id}/callback", body, headers)

    lines = [threading.Thread(target=serve) for _ in range(_LINES)]
    for each in lines:
        each.start()
    began, pause = time.perf_counter(), threading.Event()
    for number, job_id in enumerate(sys.stdin.read().split()):
        pause.wait(max(0.0, began + number / per_second - time.perf_counter()))
        due.put(job_id)
    for _ in lines:
        due.put(None)
    for each in lines:
        each.join()
    return seen


def send(url: str, is_over: threading.Event) -> Seen:
    """Upload receipts of 200 kB one after the other, until it is over."""
    seen: Seen = defaultdict(list)
    line = _Line(url, seen)
    content = samples.jpeg(_SENT_SEED, target_bytes=200_000)
    kind = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}
    number = 0
    while not is_over.is_set():
        number += 1
        head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="sent-{number:05}.jpg"\r\n\r\n'
        body = head.encode() + _commented(content, number) + f"\r\n--{_BOUNDARY}--\r\n".encode()
        line.ask("POST", "/api/v1/receipts/upload", body, kind)
        if number == 1:
            _say(BEGUN)
    return seen


def _commented(content: bytes, number: int) -> bytes:
    """Return a JPEG with one more comment, which makes it another receipt: to draw them costs what is measured."""
    return content[:2] + b"\xff\xfe\x00\x06" + number.to_bytes(4) + content[2:]


def read(url: str, is_over: threading.Event) -> Seen:
    """Have the overview open, until it is over."""
    seen: Seen = defaultdict(list)
    if CHROMIUM is None:
        _read_without(url, is_over, seen)
        return seen

    def note(request: Request) -> None:
        answer = request.response()
        if answer is not None:
            seen[str(answer.status)].append(request.timing["responseEnd"] - request.timing["requestStart"])

    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        page = browser.new_page()
        page.on("requestfinished", note)
        page.goto(url)
        _say(BEGUN)
        while not is_over.is_set():
            page.wait_for_timeout(_LOOK_MILLISECONDS)
        browser.close()
    return seen


def _read_without(url: str, is_over: threading.Event, seen: Seen) -> None:
    line = _Line(url, seen)
    line.ask("GET", "/", headers={"Accept": "text/html"})
    _say(BEGUN)
    while not is_over.wait(_PULSE_SECONDS):
        line.ask("GET", "/page/pulse")
        line.ask("GET", "/", headers={"Accept": "text/html"})


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - it is said to the benchmark


def _wait_for_end(is_over: threading.Event) -> None:
    sys.stdin.read()
    is_over.set()


def main() -> None:
    """Be one of them, and write what was seen."""
    parser = argparse.ArgumentParser(description="One who asks much of the daemon's HTTP.")
    parser.add_argument("who", choices=["caller", "sender", "reader"])
    parser.add_argument("url")
    parser.add_argument("--per-second", type=float, default=200.0)
    options = parser.parse_args()
    if options.who == "caller":
        seen = call(options.url, options.per_second)
    else:
        is_over = threading.Event()
        threading.Thread(target=_wait_for_end, args=(is_over,), daemon=True).start()
        seen = {"sender": send, "reader": read}[options.who](options.url, is_over)
    _say(json.dumps(seen))


if __name__ == "__main__":
    main()
