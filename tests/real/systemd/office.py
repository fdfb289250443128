"""The acts of an admin and a scanner on a machine with the service, and views of it from outside."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from receipt_watcher.cli.setup import program
from systemd.debian import build
from tests.fakes.daemons.process import digest, jpegs, merge, wait_until
from tests.real.systemd.machine import Machine

UNIT = "receipt-watcher.service"
SPOOL = "/srv/receipts"
CONFIG = "/etc/receipt-watcher/watcher.yaml"
TOKEN = "a-token-for-this-machine-only"
COMMAND = "/opt/receipt-watcher/bin/receipt-watcher"
_SHARED_ENVIRONMENT = "/mnt/share/env"
#: Tests need not wait for scanners, nor for the usual patience with N8N.
_QUICK = {
    "inboxes": [{"path": f"{SPOOL}/inbox", "name": "office", "settle_seconds": 0.2, "patience_seconds": 1}],
    "n8n": {
        "webhook_url": "http://127.0.0.1:5678/webhook/receipts",
        "backoff_initial_seconds": 0.2,
        "backoff_max_seconds": 1,
        "probe_max_seconds": 1,
    },
    "callback": {"secret_token": TOKEN, "deadline_seconds": 60},
}


class Office:
    """A machine, the service on it, a scanner, and N8N's side as a service beside it."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.dropped: dict[str, bytes] = {}
        self._receipts = iter(jpegs(2000))
        self._packages: dict[str, str] = {}  # by their versions

    # --- N8N's side ------------------------------------------------------------------------------------------------

    def start_n8n(self) -> None:
        """Start N8N's side, from a copy of the program that no upgrade touches; after a boot, again."""
        share = self.machine.share
        if not (share / "env").exists():
            program.copy(share / "env", home=Path(_SHARED_ENVIRONMENT))
            for script in ("far_side.py", "hanging.py"):
                shutil.copy(Path(__file__).with_name(script), share)
        self.n8n_does("answer")
        self.machine.run(
            *("systemd-run", "--unit=n8n", "--collect", "--property=StandardOutput=append:/mnt/share/deliveries.jsonl"),
            *(f"{_SHARED_ENVIRONMENT}/bin/python3", "-I", "/mnt/share/far_side.py", TOKEN),
        )

    def n8n_does(self, mode: str) -> None:
        """Have N8N's side behave so from now on; see far_side.py."""
        (self.machine.share / "mode").write_text(mode)

    def deliveries(self) -> list[dict[str, str]]:
        """Return what N8N's side was sent so far."""
        file = self.machine.share / "deliveries.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def times_sent(self, name: str) -> int:
        """Return how often a receipt was sent."""
        return sum(each["sha256"] == digest(self.dropped[name]) for each in self.deliveries())

    # --- the admin -------------------------------------------------------------------------------------------------

    def configure(self, changes: Mapping[str, Any] | None = None, file: str = CONFIG) -> None:
        """Write a configuration, as an editor does."""
        path = self.machine.path(file)
        new = path.with_name("watcher.yaml.new")
        shutil.copy(path, new)  # for its mode
        shutil.chown(new, path.stat().st_uid, path.stat().st_gid)
        new.write_text(yaml.safe_dump(merge(_QUICK, changes or {})))
        new.rename(path)

    def add_scanner(self) -> None:
        """Make the user that the scanner logs in as, a member of the service's group."""
        self.machine.run("useradd", "--no-create-home", "--groups", "receipts", "scanner")

    def package(self, version: str) -> str:
        """Build the Debian package, once, in a shell with a narrow umask; return where the machine sees it."""
        if version not in self._packages:
            before = os.umask(0o077)
            try:
                self._packages[version] = build.build(self.machine.share, version).name
            finally:
                os.umask(before)
        return f"/mnt/share/{self._packages[version]}"

    def install_package(self, version: str) -> str:
        """Install the Debian package, as apt has dpkg do it; return what was said."""
        package = self.package(version)
        ran = self.machine.run("env", "DEBIAN_FRONTEND=noninteractive", "dpkg", "-i", package)
        return ran.stdout + ran.stderr

    def drop_in(self, *lines: str) -> None:
        """Lay these lines over the unit; none of them: take the last ones away again."""
        path = self.machine.path(f"/etc/systemd/system/{UNIT}.d/test.conf")
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(["[Service]", *lines, ""]) if lines else "")
        self.systemctl("daemon-reload")

    def systemctl(self, *words: str, check: bool = True) -> str:
        """Run systemctl and return what it says."""
        return self.machine.run("systemctl", *words, check=check).stdout.strip()

    def property(self, name: str, unit: str = UNIT) -> str:
        """Return one property of a unit."""
        return self.systemctl("show", "--value", f"--property={name}", unit)

    def starts_failed(self) -> int:
        """Return how often a start has ended in exit status 2 since the last boot."""
        lines = self.machine.run("journalctl", "--boot", "--output=cat", f"--unit={UNIT}").stdout.splitlines()
        return sum("status=2/INVALIDARGUMENT" in line for line in lines)

    def is_active(self, unit: str = UNIT) -> bool:
        """Return whether a unit is up: of Type=notify, since it said that it is ready."""
        return self.property("ActiveState", unit) == "active"

    def restart(self) -> None:
        """Start it anew; returns once it is up."""
        self.systemctl("reset-failed", UNIT)
        self.systemctl("restart", UNIT)

    def journal(self, *words: str) -> list[dict[str, Any]]:
        """Return entries of the journal, the oldest first; by default those of the service."""
        lines = self.machine.run("journalctl", "--output=json", "--all", *(words or (f"--unit={UNIT}",))).stdout
        return [json.loads(line) for line in lines.splitlines()]

    def cursor(self) -> str:
        """Return the place in the journal where it ends now."""
        self.machine.run("journalctl", "--sync")
        entries = self.journal("--lines=1")
        return str(entries[-1]["__CURSOR"])

    def since(self, cursor: str, unit: str = UNIT, **fields: str) -> list[dict[str, Any]]:
        """Return what the service itself wrote since then: the entries with these fields."""
        self.machine.run("journalctl", "--sync")
        fields["_SYSTEMD_UNIT"] = unit
        # Chosen here: journalctl 252 leaves out the first match where the entry at the cursor is none.
        return [entry for entry in self.journal(f"--after-cursor={cursor}") if fields.items() <= entry.items()]

    def ask(self, *words: str) -> Any:
        """Run a command of the program as the service's user, and return its JSON."""
        ran = self.machine.run(
            "runuser",
            "-u",
            "receipts",
            "--",
            "env",
            "STATE_DIRECTORY=/var/lib/receipt-watcher",
            COMMAND,
            *words,
            "--json",
            "--config",
            CONFIG,
            check=False,
        )
        assert ran.stdout, ran.stderr
        return json.loads(ran.stdout)

    # --- the scanner -----------------------------------------------------------------------------------------------

    def scan(self, count: int, inbox: str = f"{SPOOL}/inbox") -> list[str]:
        """Have a scanner, a user of the group, leave so many receipts; return their names."""
        folder = self.machine.path(inbox)
        names = []
        for _ in range(count):
            content, name = next(self._receipts), f"scan_{len(self.dropped):04}.jpg"
            self.dropped[name] = content
            names.append(name)
            (self.machine.share / name).write_bytes(content)
        self.machine.run(
            *(
                "runuser",
                "-u",
                "scanner",
                "--",
                "sh",
                "-euc",
                'umask 077; to=$1; shift; for f; do cp "/mnt/share/$f" "$to/"; done',
            ),
            *("sh", inbox, *names),
        )
        for name in names:
            (self.machine.share / name).unlink()
        assert folder.is_dir()
        return names

    def places(self, spool: str = SPOOL) -> dict[str, list[str]]:
        """Return for each receipt in which of the four folders it is, byte for byte."""
        found: dict[str, list[str]] = {}
        for folder in ("inbox", "processing", "done", "failed"):
            for path, _, names in os.walk(self.machine.path(f"{spool}/{folder}")):  # where rglob minds what is gone
                for name in self.dropped.keys() & set(names):
                    with contextlib.suppress(FileNotFoundError):  # it is on its way
                        assert digest(Path(path, name).read_bytes()) == digest(self.dropped[name]), (path, name)
                        found.setdefault(name, []).append(folder)
        return found

    def wait_done(self, names: list[str], spool: str = SPOOL, deadline_seconds: float = 60) -> None:
        """Wait until all of them are in done/, and nowhere else."""

        def are_done() -> bool:
            places = self.places(spool)
            return all(places.get(name) == ["done"] for name in names)

        try:
            wait_until(are_done, "all are done", deadline_seconds)
        except AssertionError as error:
            log = self.machine.run("journalctl", "--no-pager", "--lines=60", "--output=cat").stdout
            raise AssertionError(f"{error}: {Counter(map(str, self.places(spool).values()))}\n{log}") from error

    def words_of(self, text: str) -> str:
        """Return a text on one line."""
        return re.sub(r"\s+", " ", text).strip()
