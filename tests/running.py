"""The real daemon as a process, with a spool and a state directory of its own, for tests that look from outside."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import yaml

REPOSITORY = Path(__file__).parent.parent
DEADLINE_SECONDS = 30.0
_LOOK_SECONDS = 0.01


def wait_until(is_so: Callable[[], object], what: str, deadline_seconds: float = DEADLINE_SECONDS) -> None:
    """Return as soon as a fact can be observed; fail with `what` when it cannot within the deadline."""
    pause = threading.Event()
    ends_at = time.monotonic() + deadline_seconds
    while not is_so():
        if time.monotonic() > ends_at:
            raise AssertionError(f"not within {deadline_seconds:g} s: {what}")
        pause.wait(_LOOK_SECONDS)


def merge(base: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with the changes laid over it, section by section."""
    merged = dict(base)
    for key, value in changes.items():
        merged[key] = merge(merged.get(key, {}), value) if isinstance(value, Mapping) else value
    return merged


class RunningDaemon:
    """`receipt-watcher run` on a folder; may be started, stopped, killed and started again."""

    def __init__(
        self,
        root: Path,
        webhook_url: str,
        token: str,
        *,
        inbox: Mapping[str, Any] | None = None,
        changes: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
    ) -> None:
        self.root = root
        self.inbox = root / "inbox"
        self.processing = root / "processing"
        self.done = root / "done"
        self.failed = root / "failed"
        self.state = root / "state"
        self.config_file = root / "watcher.yaml"
        self.log_file = root / "daemon.log"
        self.environment = dict(environment or {})
        self.prefix = list(prefix)
        self.process: subprocess.Popen[bytes] | None = None
        self.inbox.mkdir(parents=True, exist_ok=True)
        base = {
            "inboxes": [{"path": str(self.inbox), "name": "office", "settle_seconds": 0.2, **(inbox or {})}],
            "n8n": {"webhook_url": webhook_url, "backoff_initial_seconds": 0.1, "backoff_max_seconds": 0.5},
            "callback": {"secret_token": token},
            "http": {"port": 0},
            "state_dir": str(self.state),
            "logging": {"format": "json", "level": "debug"},
        }
        self.config_file.write_text(yaml.safe_dump(merge(base, changes or {}), allow_unicode=True))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def command(self, *arguments: str) -> list[str]:
        """Return the words of a command with this configuration."""
        return [*self.prefix, sys.executable, "-m", "receipt_watcher", *arguments, "--config", str(self.config_file)]

    def start(self, *arguments: str, wait: bool = True) -> None:
        """Start it, and wait until it says that it has started."""
        started = self.count("daemon.started")
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                self.command("run", *arguments), cwd=REPOSITORY, stderr=log, env=os.environ | self.environment
            )
        if wait:
            wait_until(
                lambda: (
                    self.count("daemon.started") > started or self.process is None or self.process.poll() is not None
                ),
                "the daemon starts",
            )
            assert self.process.poll() is None, self.log_file.read_text()

    def terminate(self, timeout_seconds: float = DEADLINE_SECONDS) -> int:
        """Send SIGTERM and return the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_seconds)

    def kill(self) -> None:
        """Send SIGKILL; harmless when it has ended."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def ended(self, timeout_seconds: float = DEADLINE_SECONDS) -> int:
        """Wait for the process to end by itself, and return its exit code."""
        assert self.process is not None
        return self.process.wait(timeout_seconds)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another command with the same configuration."""
        return subprocess.run(
            self.command(*arguments),
            cwd=REPOSITORY,
            env=os.environ | self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    # --- what can be seen from outside -----------------------------------------------------------------------------

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """Return the log lines so far, or those of one event."""
        if not self.log_file.exists():
            return []
        lines = [json.loads(line) for line in self.log_file.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if name in (None, line["event"])]

    def count(self, name: str) -> int:
        """Return how many log lines of one event there are so far."""
        return len(self.events(name))

    def jobs(self, *arguments: str) -> list[dict[str, Any]]:
        """Return the jobs as the command line lists them, the newest first."""
        found: list[dict[str, Any]] = json.loads(self.run("jobs", "--json", "--limit", "10000", *arguments).stdout)
        return found

    @property
    def url(self) -> str:
        """Where it listens."""
        address: str = self.events("daemon.started")[-1]["public_url"]
        return address

    def call(self, job_id: str, body: Mapping[str, Any], token: str) -> httpx.Response:
        """Call back."""
        return httpx.post(
            f"{self.url}/api/v1/jobs/{job_id}/callback", json=dict(body), headers={"X-Callback-Token": token}
        )

    @staticmethod
    def files(folder: Path) -> list[Path]:
        """Return all receipts below a folder, without our own notes and hidden files."""
        return sorted(
            path
            for path in folder.rglob("*")
            if path.is_file() and not path.name.startswith(".") and not path.name.endswith(".reason.txt")
        )

    def drop(self, name: str, content: bytes) -> Path:
        """Put a whole file into the inbox by one rename, as a careful program does."""
        temporary = self.root / f"drop-{name.replace('/', '_')}"
        temporary.write_bytes(content)
        target = self.inbox / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(temporary, target)
        return target
