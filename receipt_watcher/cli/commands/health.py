"""`receipt-watcher health`: asks the running daemon how it is, for monitors that run commands, and for containers.

What it promises: one request to `/health/ready` on this machine, by no proxy, and an answer within seconds. It opens no
job log and reads no folder, so it may be asked every few seconds.
"""

from __future__ import annotations

import http.client
from dataclasses import dataclass

from receipt_watcher.config.options import Config
from receipt_watcher.errors import ConfigError, Problem, ReceiptWatcherError

#: The daemon asks disks for two seconds at the most, several of them one after the other.
ANSWER_SECONDS = 15.0

_LONGEST_ANSWER_BYTES = 1024 * 1024
_NO_PORT = Problem("configuration", "http.port", "is 0, so nobody knows where the daemon listens", "name a port")


@dataclass(frozen=True, slots=True)
class HealthAnswer:
    """The daemon's answer about its health, and whether it is ready."""

    is_ready: bool
    text: str


def ask(config: Config, *, as_json: bool) -> HealthAnswer:
    """Return what the daemon says of itself, as one line or as JSON.

    Raises:
        ConfigError: the port that it listens on cannot be known.
        ReceiptWatcherError: it does not answer, or something else does.
    """
    if config.http.port == 0:
        raise ConfigError([_NO_PORT])
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(config.http.host, config.http.host)  # noqa: S104 - not bound here
    connection = http.client.HTTPConnection(host, config.http.port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", "/health/ready" if as_json else "/health/ready?format=text")
        answer = connection.getresponse()
        text = answer.read(_LONGEST_ANSWER_BYTES).decode("utf-8", "replace").strip()
    except (OSError, http.client.HTTPException) as error:
        raise ReceiptWatcherError(
            f"nothing answers at http.host {config.http.host}, http.port {config.http.port} ({error}); does it run?"
        ) from error
    finally:
        connection.close()
    if answer.status not in (200, 503):
        raise ReceiptWatcherError(
            f"what answers at http.host {config.http.host}, http.port {config.http.port} says {answer.status}, "
            "so it is another program; which one has the port?"
        )
    return HealthAnswer(answer.status == 200, text)  # noqa: PLR2004
