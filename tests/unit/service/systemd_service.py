"""The daemon as systemd starts it, and systemd's side of the notify socket."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Any

from receipt_watcher.cli.demo.stand_in import StandIn
from tests.conftest import TOKEN
from tests.fakes.daemons.process import RunningDaemon


class FakeSystemd:
    """A notify socket, and what came by it."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.messages: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while message := self._socket.recv(65536):
            self.messages.append(message.decode())

    def close(self) -> None:
        """End; an empty message is nobody else's."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own:
            own.sendto(b"", self._socket.getsockname())
        self._thread.join()
        self._socket.close()

    @property
    def lines(self) -> list[str]:
        """All that was said, a line each."""
        return [line for message in tuple(self.messages) for line in message.split("\n")]

    def count(self, line: str) -> int:
        """Return how often something was said."""
        return self.lines.count(line)

    @property
    def status(self) -> str:
        """The last status."""
        found = [line.removeprefix("STATUS=") for line in self.lines if line.startswith("STATUS=")]
        return found[-1] if found else ""


def service(root: Path, n8n: StandIn, systemd: FakeSystemd | None = None, **options: Any) -> RunningDaemon:
    """Return a daemon that is started as systemd would."""
    variables = {"NOTIFY_SOCKET": systemd.address} if systemd else {}
    return RunningDaemon(root, n8n.webhook_url, TOKEN, environment=variables | options.pop("variables", {}), **options)
