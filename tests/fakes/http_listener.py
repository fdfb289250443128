"""The far side of a channel, a heartbeat or a workflow: a listener on loopback that keeps what it is sent."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True)
class Heard:
    """One POST."""

    path: str
    headers: Mapping[str, str]
    body: bytes


#: A status, and what goes with it as JSON.
Answer = int | tuple[int, Mapping[str, Any]]


class Listener:
    """Answers each POST with what `answer` says."""

    def __init__(self, answer: Callable[[Heard], Answer] = lambda _: 200) -> None:
        self.answer = answer
        self.heard: list[Heard] = []
        listener = self

        class Answering(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                heard = Heard(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
                answered = listener.answer(heard)
                listener.heard.append(heard)
                status, said = answered if isinstance(answered, tuple) else (answered, None)
                content = b"" if said is None else json.dumps(said).encode()
                self.send_response(status)
                if content:
                    self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
                """Keep quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]  # who was killed hangs up
        self.address = f"127.0.0.1:{self._server.server_port}"
        self.url = f"http://{self.address}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.05])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def said(self) -> list[Any]:
        """The bodies posted as JSON, in the order of their arrival."""
        return [json.loads(heard.body) for heard in tuple(self.heard)]

    @property
    def paths(self) -> list[str]:
        """The paths in the order in which they were posted to."""
        return [heard.path for heard in self.heard]
