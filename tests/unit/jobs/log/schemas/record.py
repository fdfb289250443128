"""Records what a version leaves behind: `python -m tests.unit.jobs.log.schemas.record NAME [--source FOLDER]`.

Before a migration is added, so that the present version is among those that the next one must carry over. The daemon
of `source`, a check-out of this repository, is run until it has a receipt in each state, and killed.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import sqlite3
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import yaml

from receipt_watcher.cli.demo.received_posts import ReceivedPost
from receipt_watcher.cli.demo.stand_in import Behaviour, StandIn
from tests.fakes.daemons.process import REPOSITORY, wait_until

TOKEN = "a-token-for-tests-only"
WEBHOOK_URL = "http://127.0.0.1:5678/webhook/receipts"
HERE = Path(__file__).parent
_FOLDERS = ("inbox", "processing", "done", "failed")


def picture(name: str) -> bytes:
    """Return a GIF of one pixel that has a comment: the same bytes for ever, whatever library is installed."""
    comment = name.encode()
    head = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xfe"
    pixel = b"\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"
    return head + bytes([len(comment)]) + comment + pixel


def main() -> None:
    """Run the daemon, write the file."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.unit.jobs.log.schemas.record", description="Records a version's job log."
    )
    parser.add_argument("name", help="such as 0008: the last migration that it has")
    parser.add_argument("--source", type=Path, default=REPOSITORY)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        recorded = _record(Path(folder), options.source.absolute())
    (HERE / f"{options.name}.json").write_text(json.dumps(recorded, indent=1, ensure_ascii=False) + "\n")


def _record(root: Path, source: Path) -> dict[str, object]:
    never = threading.Event()

    def behave(delivery: ReceivedPost) -> Behaviour:
        kind = delivery.filename.partition(".")[0]
        if kind == "rejected":
            return Behaviour(verdict="failure", message="no invoice")
        if kind == "in-flight":
            return Behaviour(hang=never)
        return Behaviour(verdict=None if kind in {"awaited", "cancelled"} else "success")

    (root / "inbox").mkdir()
    config = root / "watcher.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "inboxes": [
                    {"path": str(root / "inbox"), "name": "office", "settle_seconds": 0.2, "patience_seconds": 1}
                ],
                "n8n": {"webhook_url": WEBHOOK_URL, "workers": 1},
                "callback": {"secret_token": TOKEN, "deadline_seconds": 3600},
                "http": {"port": 0},
                "state_dir": str(root / "state"),
            }
        )
    )
    command = [sys.executable, "-m", "receipt_watcher"]
    with StandIn(TOKEN, None, behave, 5678):
        daemon = subprocess.Popen([*command, "run", "--config", str(config)], cwd=source)
        try:
            _drop(root, "good.gif")
            _wait(root, "good.gif", "success", moved=True)
            (root / "inbox/copy.gif").write_bytes(picture("good.gif"))
            (root / "inbox/broken.gif").write_bytes(picture("broken.gif")[:-9])
            _wait(root, "copy.gif", "duplicate", moved=True)
            _wait(root, "broken.gif", "failure", moved=True)
            _drop(root, "rejected.gif")
            _wait(root, "rejected.gif", "failure", moved=True)
            for name in ("cancelled.gif", "awaited.gif"):
                _drop(root, name)
                _wait(root, name, "processing")
            cancel = [*command, "cancel", "cancelled.gif", "--config", str(config)]
            subprocess.run(cancel, cwd=source, check=True)
            _wait(root, "cancelled.gif", "cancelled", moved=True)
            _drop(root, "in-flight.gif")
            _wait(root, "in-flight.gif", "delivering")
            for name in ("queued-1.gif", "queued-2.gif"):
                _drop(root, name)
                _wait(root, name, "queued")
        finally:
            daemon.kill()
            daemon.wait()
            never.set()
    return _found(root)


def _drop(root: Path, name: str) -> None:
    (root / "inbox" / name).write_bytes(picture(name))


def _wait(root: Path, name: str, state: str, *, moved: bool = False) -> None:
    def is_so() -> bool:
        with contextlib.suppress(sqlite3.OperationalError), contextlib.closing(_open(root)) as database:
            rows = database.execute("SELECT state, move_due FROM job WHERE filename = ?", [name]).fetchall()
            return rows == [(state, 0)] if moved else [row[0] for row in rows] == [state]
        return False

    wait_until(is_so, f"{name} is in the state {state}")


def _open(root: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{root / 'state/receipts.db'}?mode=ro", uri=True)


def _found(root: Path) -> dict[str, object]:
    installation = (root / "state/installation").read_text().strip()
    files = {
        str(path.relative_to(root)): base64.b64encode(path.read_bytes()).decode()
        for folder in _FOLDERS
        for path in sorted((root / folder).rglob("*"))
        if path.is_file() and path.name != ".owner"
    }
    with contextlib.closing(_open(root)) as database:
        sql = [line.replace(str(root), "/srv/receipts") for line in database.iterdump()]
    return {"installation": installation, "sql": sql, "files": files}


if __name__ == "__main__":
    main()
