"""The demo's daemon, and the play: receipts are dropped into its inbox and watched until they have been filed.

The daemon is `receipt-watcher run` as a process of its own, with a watcher.yaml like the one that `init` writes, short
waits, and none of the user's own settings. `Play` sees it from outside: by its folders, its log and its API.

Each wait has a deadline, and ends at once when the daemon ends or when `Stop` is asked for. The main thread uses it;
another one writes the slow receipt. Leaving `DemoDaemon` stops the process, after `KILL_SECONDS` by force; a kill -9
of the demo leaves it running.
"""

from __future__ import annotations

import functools
import http.client
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from receipt_watcher.cli.demo.progress import INBOX, Journeys
from receipt_watcher.cli.demo.receipts import Receipt
from receipt_watcher.cli.demo.stand_in import StandIn
from receipt_watcher.cli.documents.example import example_yaml
from receipt_watcher.system.display import printable

DEADLINE_SECONDS, START_SECONDS, ASK_SECONDS, KILL_SECONDS = 60.0, 20.0, 5.0, 10.0
SETTLE_SECONDS = 0.6
PATIENCE_SECONDS = 2.0

# Between two drops, of the outage at least, between two looks: by taste, for a person's eye.
_DROP_SECONDS, _OUTAGE_SECONDS, _LOOK_SECONDS = 0.35, 2.0, 0.05

# The pauses are far below the settle time: even on a busy machine the file must not count as settled in one.
_PIECES, _PIECE_SECONDS = 20, 0.1

_LAST_LINES = 6
_NOT_FOR_IT = re.compile(
    "RECEIPT_WATCHER_|N8N_|(CALLBACK_SECRET_TOKEN|CALLBACK_PREVIOUS_SECRET_TOKEN|DATABASE_URL|CREDENTIALS_DIRECTORY|STATE_DIRECTORY|NOTIFY_SOCKET"
    "|WATCHDOG_USEC|WATCHDOG_PID|(HTTP|HTTPS|ALL)_PROXY)$",
    re.IGNORECASE,
)


class TroubleError(Exception):
    """The demo cannot go on; the text says why."""


class StoppedError(Exception):
    """Somebody pressed Ctrl-C, or sent SIGTERM."""


@dataclass(slots=True)
class Stop:
    """A request to stop the demo. No threading.Event: a signal handler may wait for its lock for ever."""

    is_asked: bool = False

    def ask(self) -> None:
        """Ask for it."""
        self.is_asked = True


# --- the daemon --------------------------------------------------------------------------------------------------


class DemoDaemon:
    """The process, and the lines of its log."""

    def __init__(self, root: Path, webhook_url: str, token: str) -> None:
        self.log_file = root / "daemon.log"
        config_file = _write_config(root, webhook_url, token)
        self._rest = b""
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - it is ourselves
                [sys.executable, "-m", "receipt_watcher", "run", "--config", str(config_file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=clean_environment(os.environ),
                start_new_session=True,  # Ctrl-C is for the demo, which stops it in good order
            )
        self._log = self.log_file.open("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._log.close()

    @property
    def exit_code(self) -> int | None:
        """The exit code of the daemon; None while it runs."""
        return self._process.poll()

    def new_lines(self) -> list[dict[str, Any]]:
        """Return the log lines since the last call; one that is not whole yet comes with the next call."""
        *lines, self._rest = (self._rest + self._log.read()).split(b"\n")
        return [told for line in lines if (told := _parsed(line))]

    def last_words(self) -> str:
        """Return the end of its log."""
        lines = self.log_file.read_text("utf-8", "replace").splitlines()[-_LAST_LINES:]
        return "\n".join(f"  {printable(line)}" for line in lines) or "  (nothing)"

    def stop(self) -> int:
        """Send SIGTERM, after a while SIGKILL, and return the exit code."""
        self._process.terminate()
        try:
            return self._process.wait(KILL_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        told = json.loads(line)
    except ValueError:
        return {}  # not every library knows our format
    return told if isinstance(told, dict) else {}


def clean_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without settings of this program, of systemd's service, and of proxies."""
    return {name: value for name, value in environ.items() if not _NOT_FOR_IT.match(name)}


def _write_config(root: Path, webhook_url: str, token: str) -> Path:
    config_file = root / "watcher.yaml"
    values = {
        "inboxes.0.path": str(root / INBOX),
        "inboxes.0.settle_seconds": SETTLE_SECONDS,
        "inboxes.0.patience_seconds": PATIENCE_SECONDS,
        "inboxes.0.poll_seconds": 0.2,
        "inboxes.0.scan_seconds": 2,
        "n8n.webhook_url": webhook_url,
        "n8n.timeout_seconds": 10,
        "n8n.backoff_initial_seconds": 0.4,
        "n8n.backoff_max_seconds": 0.8,
        "callback.secret_token": token,
        "http.port": 0,
        "state_dir": str(root / "state"),
        "limits.stop_timeout_seconds": 8,
        "logging.level": "debug",
        "logging.format": "json",
    }
    config_file.write_text(example_yaml(values), "utf-8")
    return config_file


# --- the play ----------------------------------------------------------------------------------------------------


class Play:
    """Drops the receipts, and watches until they have ended."""

    def __init__(self, root: Path, n8n: StandIn, daemon: DemoDaemon, ways: Journeys, stop: Stop) -> None:
        self._root = root
        self._n8n = n8n
        self._daemon = daemon
        self._ways = ways
        self._stop = stop
        self._ends_at = time.monotonic() + DEADLINE_SECONDS
        self._slow: Future[None] | None = None
        self._url = ""

    @property
    def has_started(self) -> bool:
        """Return whether the daemon has said that it started."""
        return bool(self._url)

    @property
    def recorded(self) -> int:
        """The number of jobs that the daemon has recorded."""
        return self._ways.events.count("job.recorded")

    def start(self) -> None:
        """Wait until the daemon has started."""
        self._wait(lambda: self.has_started, "the daemon has started", START_SECONDS)

    def perform(self, receipts: Sequence[Receipt], writers: ThreadPoolExecutor) -> None:
        """Drop the receipts one after another, and wait until each has been filed."""
        for receipt in receipts:
            if receipt.copy_of:
                self._wait_until_recorded(receipt.copy_of)
            if receipt.is_slow:
                path = self._root / INBOX / receipt.name
                self._slow = writers.submit(_write_slowly, path, receipt.content, self._stop)
            elif receipt.meets_outage:
                self._wait_until_filed(other.name for other in receipts if other is not receipt)
                self._drop_in_outage(receipt)
            else:
                self._drop(receipt)
            self._watch_for(_DROP_SECONDS)
        self._wait_until_filed(receipt.name for receipt in receipts)

    def _drop(self, receipt: Receipt) -> None:
        """Put a whole file into the inbox by one rename, as a careful program does."""
        beside = self._root / receipt.name
        beside.write_bytes(receipt.content)
        beside.rename(self._root / INBOX / receipt.name)

    def _drop_in_outage(self, receipt: Receipt) -> None:
        self._n8n.stop_listening()
        self._ways.about_n8n("is down for a moment", "is switched off for a moment, by this demo", time.monotonic())
        self._drop(receipt)
        self._watch_for(_OUTAGE_SECONDS)
        events = self._ways.events
        self._wait(
            lambda: "destination.held" in events and events.count("job.deferred") > 1,
            "receipts are held because N8N is down",
        )
        self._n8n.listen_again()
        self._ways.about_n8n("is up again", "is switched on again", time.monotonic())

    def _wait_until_recorded(self, name: str) -> None:
        self._wait(lambda: name in self._ways.job_ids, f"{name} has been taken in")

    def _wait_until_filed(self, names: Iterable[str]) -> None:
        for name in names:
            self._wait(functools.partial(self._ways.has_ended, name), f"{name} has been filed")

    def _watch_for(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        self._wait(lambda: time.monotonic() >= until, "time has passed")

    def _wait(self, is_so: Callable[[], object], what: str, seconds: float = DEADLINE_SECONDS) -> None:
        """Watch until something is so; raise where that takes too long, or can no longer be."""
        ends_at = min(self._ends_at, time.monotonic() + seconds)
        while not is_so():
            _pause(_LOOK_SECONDS)
            if self._stop.is_asked:
                raise StoppedError
            self._follow()
            if self._slow is not None and self._slow.done():
                self._slow.result()
            if self._daemon.exit_code is not None:
                raise TroubleError(
                    f"the daemon ended by itself, with code {self._daemon.exit_code}; the last lines of its log:\n"
                    f"{self._daemon.last_words()}"
                )
            if time.monotonic() > ends_at:
                raise TroubleError(f"it took too long: not within {seconds:g} s was it so that {what}")

    def _follow(self) -> None:
        now = time.monotonic()
        for line in self._daemon.new_lines():
            self._ways.note_line(line, now)
            if line.get("event") == "daemon.started":
                self._url = line["public_url"]
        self._ways.read_folders(self._root, now)
        if self.has_started:
            self._ways.draw(now)

    def jobs(self) -> dict[str, dict[str, Any]]:
        """Ask the daemon for the jobs, by file name; one that it cannot tell of is left out."""
        views: dict[str, dict[str, Any]] = {}
        for name, job_id in self._ways.job_ids.items():
            view = self._job(job_id)
            if view is None:
                break  # nor will it answer for the others
            views |= {name: view} if "job_id" in view else {}
        return views

    def _job(self, job_id: str) -> dict[str, Any] | None:
        line = http.client.HTTPConnection(urlsplit(self._url).netloc, timeout=ASK_SECONDS)
        try:
            line.request("GET", f"/api/v1/jobs/{job_id}")
            view: dict[str, Any] = json.loads(line.getresponse().read())
        except (OSError, ValueError, http.client.HTTPException):
            return None
        finally:
            line.close()
        return view


def _write_slowly(path: Path, content: bytes, stop: Stop) -> None:
    size = len(content) // _PIECES + 1
    with path.open("wb", buffering=0) as file:
        for start in range(0, len(content), size):
            file.write(content[start : start + size])
            _pause(_PIECE_SECONDS)
            if stop.is_asked:
                return


def _pause(seconds: float) -> None:
    threading.Event().wait(seconds)
