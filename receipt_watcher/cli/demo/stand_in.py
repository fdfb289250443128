"""A stand-in for N8N, for the demo, the tests and the benchmarks. It is not n8n and runs no workflow.

It listens on 127.0.0.1, takes posts below /webhook/, records each one, answers in the words of n8n 2.41 and calls
back. The `Behaviour` that `behave` returns says how. Without `behave`, a receipt succeeds if its bytes match its
`sha256`. Requests that n8n refuses before a workflow starts (key, path, unreadable or too large body) are no
deliveries: only their status is recorded, in `refused`. The stand-in fetches a file that comes as a link and records
its digest in `fetched` before the callback. Like n8n, it calls back even if the sender left without waiting.

One thread serves all connections and calls `behave`, which must not block (`hang` and `delay_seconds` are for that);
four more post callbacks. `close()` ends them and drops callbacks that are not due. Everything is kept in memory.

It reads HTTP itself: as a Starlette application on uvicorn it had no fewer lines, took 1.4 to 3 times the CPU per
delivery (so benchmarks measured the stand-in), and accepted multipart bodies without their last boundary.
"""

from __future__ import annotations

import argparse
import asyncio
import binascii
import contextlib
import functools
import hashlib
import http.client
import json
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import KW_ONLY, dataclass, field, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self, TextIO
from urllib.parse import SplitResult, urlsplit

from receipt_watcher.cli.demo.received_posts import ReceivedPost, Request, read_parts, read_request

IDLE_SECONDS = 5.0  # n8n closes a kept connection after this time
CALLBACK_TIMEOUT_SECONDS = 10.0
CALLBACK_PAUSES_SECONDS = (0.0, 0.0, 0.05, 0.2)  # before each try; the second is for a kept connection that was closed
MAX_JSON_BYTES, MAX_MULTIPART_BYTES = 16 * 2**20, 200 * 2**20

_UNTOLD = ("headers", "content", "callback_token", "file_url")  # not written to the log of `main`

Callback = tuple[str, dict[str, str], int | str]  # job id, body sent, HTTP status or the error of the last try


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Reaction to a delivery: wait, answer (or reset the connection), call back (`verdict=None`: never).

    With `missing_bytes` the answer announces that many more bytes than it has, and breaks off.
    """

    status: int = 200
    body: bytes = b'{"message":"Workflow was started"}'
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_seconds: float = 0.0
    reset: bool = False
    missing_bytes: int = 0
    hang: threading.Event | None = None  # the answer waits for it; close() sets it
    verdict: str | None = "success"
    callback_delay_seconds: float = 0.0  # after the answer
    callback_before_answer: bool = False
    callback_times: int = 1
    callback_token: str | None = None  # None: the right one
    message: str | None = None
    notion_page_url: str | None = None


STARTING_UP = Behaviour(200, b"<html><body>n8n is starting up. Please wait</body></html>", "text/html", verdict=None)
NOT_REGISTERED = Behaviour(
    404, rb'{"code":404,"message":"The requested webhook \"POST receipts\" is not registered."}', verdict=None
)
NOT_FOR_GET = Behaviour(
    404,
    b'{"code":404,"message":"This webhook is not registered for GET requests. Did you mean to make a POST request?"}',
    verdict=None,
)
WRONG_KEY = Behaviour(403, b"Authorization data is wrong!", "text/plain", verdict=None)
TOO_LARGE = Behaviour(413, b'{"message":"The submitted form data exceeds the allowed size."}', verdict=None)
INTERNAL_ERROR = Behaviour(500, b'{"code":0,"message":"There was a problem executing the workflow"}', verdict=None)
UNAVAILABLE = Behaviour(503, b"Service Unavailable", "text/plain", {"Retry-After": "1"}, verdict=None)
_BAD_JSON = Behaviour(422, b'{"code":422,"message":"Failed to parse request body"}', verdict=None)
_BAD_FORM = Behaviour(400, b'{"message":"The submitted form data could not be parsed."}', verdict=None)
_HEALTHY = Behaviour(200, b'{"status":"ok"}', verdict=None)


def succeed_if_intact(delivery: ReceivedPost) -> Behaviour:
    """Accept a delivery; the verdict is a failure if its bytes do not match its `sha256`."""
    if not delivery.claimed_sha256 or delivery.sha256 in ("", delivery.claimed_sha256):
        return Behaviour()
    return Behaviour(verdict="failure", message="The bytes that arrived are not those that sha256 names.")


@dataclass(eq=False)
class StandIn:
    """N8N's side: its address, its deliveries and refusals, and the outcome of its callbacks."""

    token: str = ""
    api_key: str | None = None
    behave: Callable[[ReceivedPost], Behaviour] | None = None
    port: int = 0
    _: KW_ONLY
    keep_content: bool = False
    check_content: bool = True
    workflow: str | None = None  # the name of a shipped workflow that answers GET; None: an unknown workflow
    max_json_bytes: int = MAX_JSON_BYTES
    refused: list[int] = field(default_factory=list, init=False)
    torn: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._changed, self._closing = threading.Condition(), threading.Event()
        self._deliveries, self._callbacks = list[ReceivedPost](), list[Callback]()
        self._fetched = list[tuple[str, str]]()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="standin", daemon=True)
        self._serving, self._hung = dict[asyncio.Task[None], asyncio.StreamWriter](), set[threading.Event]()
        self._lines = dict[tuple[int, str], http.client.HTTPConnection]()
        self._calling, self._hanging = ThreadPoolExecutor(4, "standin-call"), ThreadPoolExecutor(256, "standin-hang")

    def start(self) -> Self:
        """Listen; raise OSError if the port is taken."""
        self.listen_again()
        self._thread.start()
        return self

    __enter__ = start

    def __exit__(self, *_: object) -> None:
        self.close()

    def listen_again(self) -> None:
        """Listen on the same port as before."""
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=512)
        self._listener.settimeout(0)
        self.port = self._listener.getsockname()[1]
        self._accepting = asyncio.run_coroutine_threadsafe(self._accept(self._listener), self._loop)

    def stop_listening(self) -> None:
        """Refuse and close connections; deliveries without an answer get no callback either."""
        with contextlib.suppress(OSError):  # it is closed already
            self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.result()
        asyncio.run_coroutine_threadsafe(self._hang_up(), self._loop).result()

    def close(self) -> None:
        """End every connection and thread; deliveries that hang get no answer."""
        self._closing.set()
        if self._thread.is_alive():
            self.stop_listening()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        for event in self._hung:
            event.set()
        for line in list(self._lines.values()):
            if (wire := line.sock) is not None:
                with contextlib.suppress(OSError):
                    wire.shutdown(socket.SHUT_RDWR)  # wakes a thread that waits for an answer
        for pool in (self._calling, self._hanging):
            pool.shutdown(cancel_futures=True)
        for line in self._lines.values():
            line.close()
        self._loop.close()

    @property
    def webhook_url(self) -> str:
        """The URL for receipts; every other path below /webhook/ is served as well."""
        return f"http://127.0.0.1:{self.port}/webhook/receipts"

    @property
    def deliveries(self) -> list[ReceivedPost]:
        """The deliveries in the order of their arrival."""
        with self._changed:
            return self._deliveries.copy()

    @property
    def callbacks(self) -> list[Callback]:
        """The callbacks that have ended, answered or given up."""
        with self._changed:
            return self._callbacks.copy()

    @property
    def fetched(self) -> list[tuple[str, str]]:
        """The job and SHA-256 of each file fetched by its link; an empty digest if it came in part."""
        with self._changed:
            return self._fetched.copy()

    def wait_for(self, predicate: Callable[[StandIn], bool], timeout_seconds: float) -> bool:
        """Return whether `predicate` came true in time; each new record asks it again."""
        with self._changed:
            return self._changed.wait_for(lambda: predicate(self), timeout_seconds)

    async def _accept(self, listener: socket.socket) -> None:
        with listener, contextlib.suppress(OSError):  # which shutdown() raises here; cancelling could lose a connection
            while True:
                connection, _ = await self._loop.sock_accept(listener)
                reader, writer = await asyncio.open_connection(sock=connection, limit=2**20)
                task = self._loop.create_task(self._serve(reader, writer))
                self._serving[task] = writer
                task.add_done_callback(lambda ended: self._serving.pop(ended).close())

    async def _hang_up(self) -> None:
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while request := await self._next_request(reader):
            if not await self._respond(request, writer):
                return

    async def _next_request(self, reader: asyncio.StreamReader) -> Request | None:
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                begin = await reader.readexactly(1)
        except (OSError, EOFError):
            return None  # the connection ended or idled between two requests
        try:
            return await read_request(begin, reader)
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError):
            with self._changed:
                self.torn += 1
                self._changed.notify_all()
            return None

    async def _respond(self, request: Request, writer: asyncio.StreamWriter) -> bool:
        delivery = self._examine(*request)
        if isinstance(delivery, Behaviour):
            self._note(self.refused, delivery.status)
            return await self._answer(writer, delivery)
        self._note(self._deliveries, delivery)
        behaviour = (self.behave or succeed_if_intact)(delivery)
        call_back = functools.partial(self._call_back, delivery, behaviour)
        times = behaviour.callback_times if behaviour.verdict else 0
        if behaviour.callback_before_answer:
            await asyncio.sleep(behaviour.callback_delay_seconds)
            await asyncio.gather(*(self._loop.run_in_executor(self._calling, call_back) for _ in range(times)))
            times = 0
        stays_open = await self._answer(writer, behaviour)
        for _ in range(times):
            self._loop.call_later(behaviour.callback_delay_seconds, self._calling.submit, call_back)
        return stays_open

    def _note(self, notes: list[Any], note: object) -> None:
        with self._changed:
            notes.append(note)
            self._changed.notify_all()

    def _examine(self, method: str, path: str, headers: dict[str, str], body: bytes) -> ReceivedPost | Behaviour:
        if method == "GET" and path.startswith("/webhook/"):
            if self.workflow is None:
                return NOT_FOR_GET
            told = json.dumps({"receipt_watcher_workflow": self.workflow}).encode()
            return Behaviour(200, told, verdict=None) if self._is_key_right(headers) else WRONG_KEY
        if method != "POST" or not path.startswith("/webhook/"):
            return _HEALTHY if path == "/healthz" else NOT_REGISTERED
        kind = headers.get("content-type", "")
        in_parts = kind.startswith("multipart/form-data")
        if len(body) > (MAX_MULTIPART_BYTES if in_parts else self.max_json_bytes):
            return TOO_LARGE if in_parts else INTERNAL_ERROR
        try:
            form = read_parts(body, kind) if in_parts else json.loads(body)
            delivery = self._read_delivery(path, headers, form)
        except (AttributeError, LookupError, TypeError, ValueError):
            return _BAD_FORM if in_parts else _BAD_JSON
        return delivery if self._is_key_right(headers) else WRONG_KEY

    def _is_key_right(self, headers: Mapping[str, str]) -> bool:
        return self.api_key in (None, headers.get("x-n8n-api-key"))

    def _read_delivery(self, path: str, headers: dict[str, str], form: dict[str, Any]) -> ReceivedPost:
        content: bytes | None = form.get("file")
        if content is None and "file_url" not in form and (self.check_content or self.keep_content):
            content = binascii.a2b_base64(form.get("image_data", ""), strict_mode=True)
        names = ("job_id", "filename", "mime_type", "inbox", "subfolder", "notion_database_id", "callback_url")
        texts: dict[str, Any] = {name: str(form.get(name, "")) for name in names}
        return ReceivedPost(
            **texts,
            callback_token=str(form.get("callback_token", "")),
            attempt=int(form.get("attempt", 0)),
            sha256=hashlib.sha256(content).hexdigest() if content is not None and self.check_content else "",
            claimed_sha256=str(form.get("sha256", "")),
            size=int(form.get("size", 0)) if content is None else len(content),
            file_url=str(form.get("file_url", "")),
            payload="multipart" if "file" in form else "link" if "file_url" in form else "json",
            path=path,
            headers=headers,
            raw_filename=form.get("file.filename", ""),
            received_at=time.time(),
            monotonic_at=time.monotonic(),
            content=content if self.keep_content else None,
        )

    async def _answer(self, writer: asyncio.StreamWriter, behaviour: Behaviour) -> bool:
        await asyncio.sleep(behaviour.delay_seconds)
        if behaviour.hang is not None:
            self._hung.add(behaviour.hang)
            await self._loop.run_in_executor(self._hanging, behaviour.hang.wait)
        if behaviour.reset:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        length = len(behaviour.body) + behaviour.missing_bytes
        named = {"Content-Type": behaviour.content_type, **behaviour.headers, "Content-Length": length}
        lines = [f"HTTP/1.1 {behaviour.status} {http.client.responses.get(behaviour.status, '')}"]
        lines += [f"{name}: {text}" for name, text in named.items()]
        writer.write("\r\n".join([*lines, "\r\n"]).encode() + behaviour.body)
        with contextlib.suppress(OSError):  # the sender left: n8n would go on all the same
            await writer.drain()
        return not behaviour.missing_bytes and not writer.is_closing()

    def _call_back(self, delivery: ReceivedPost, behaviour: Behaviour) -> None:
        if delivery.file_url and self.check_content:
            sha256 = _digest_at(urlsplit(delivery.file_url))
            self._note(self._fetched, (delivery.job_id, sha256))
            behaviour = succeed_if_intact(replace(delivery, sha256=sha256 or "none")) if not self.behave else behaviour
        words = {"message": behaviour.message, "notion_page_url": behaviour.notion_page_url}
        body = {"status": behaviour.verdict or "", **{name: text for name, text in words.items() if text is not None}}
        own_token = delivery.callback_token or self.token
        token = own_token if behaviour.callback_token is None else behaviour.callback_token
        outcome: int | str = "given up: the stand-in was closed"
        for pause in CALLBACK_PAUSES_SECONDS:
            if self._closing.wait(pause):
                break
            outcome = self._post(urlsplit(delivery.callback_url), json.dumps(body), token)
            if isinstance(outcome, int) and outcome < HTTPStatus.INTERNAL_SERVER_ERROR:
                break
        self._note(self._callbacks, (delivery.job_id, body, outcome))

    def _post(self, url: SplitResult, body: str, token: str) -> int | str:
        fresh = http.client.HTTPConnection(url.netloc, timeout=CALLBACK_TIMEOUT_SECONDS)
        line = self._lines.setdefault((threading.get_ident(), url.netloc), fresh)
        try:
            line.request("POST", url.path, body, {"Content-Type": "application/json", "X-Callback-Token": token})
            with line.getresponse() as response:
                response.read()
                return response.status
        except (OSError, http.client.HTTPException) as error:
            line.close()
            return f"{type(error).__name__}: {error}"


def _digest_at(url: SplitResult) -> str:
    """Return the SHA-256 of the file at a URL; an empty text if it does not arrive whole."""
    digest = hashlib.sha256()
    line = http.client.HTTPConnection(url.netloc, timeout=CALLBACK_TIMEOUT_SECONDS)
    try:
        line.request("GET", f"{url.path}?{url.query}")
        with line.getresponse() as response:
            while piece := response.read(2**16):
                digest.update(piece)
            is_whole = response.status == HTTPStatus.OK and not response.length
    except (OSError, http.client.HTTPException):
        is_whole = False
    finally:
        line.close()
    return digest.hexdigest() if is_whole else ""


def _write_line(stream: TextIO, told: dict[str, Any]) -> None:
    stream.write(json.dumps(told) + "\n")
    stream.flush()


def main() -> None:
    """Run until SIGTERM; write the address, then one JSON line for each delivery."""
    parser = argparse.ArgumentParser(description="A stand-in for N8N, for demos and tests.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--token", default="")
    parser.add_argument("--no-content-check", action="store_true", help="neither decode nor hash what arrives")
    parser.add_argument("--silent-for", metavar="PREFIX", help="never call back for files whose name begins so")
    parser.add_argument("--log", type=Path, help="where the lines about deliveries go; default: standard output")
    options = parser.parse_args()
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # before a thread starts: only sigwait may get them

    with options.log.open("a") if options.log else contextlib.nullcontext(sys.stdout) as log:

        def log_and_answer(delivery: ReceivedPost) -> Behaviour:
            shown = {name: getattr(delivery, name) for name in ReceivedPost.__slots__ if name not in _UNTOLD}
            _write_line(log, shown)
            is_silent = options.silent_for is not None and delivery.filename.startswith(options.silent_for)
            return Behaviour(verdict=None) if is_silent else succeed_if_intact(delivery)

        with StandIn(
            options.token, None, log_and_answer, options.port, check_content=not options.no_content_check
        ) as standin:
            _write_line(sys.stdout, {"webhook_url": standin.webhook_url})
            signal.sigwait(signals)


if __name__ == "__main__":
    main()
