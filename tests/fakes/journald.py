"""A journal to log to, for tests: its socket, its protocol, a daemon that writes there, and journal files of entries.

`python -m tests.fakes.journald` is `receipt-watcher` with its journal at $JOURNAL_SOCKET.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from receipt_watcher.cli import main
from receipt_watcher.service.logging import setup
from receipt_watcher.service.logging.journald import encode
from tests.fakes.daemons.process import RunningDaemon
from tests.fakes.mounts import CannotMountError, Mounts

_LARGEST_DATAGRAM = 1 << 20
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
_REMOTE = Path("/lib/systemd/systemd-journal-remote")

#: An entry's fields as received: the journal adds some of its own.
Received = Mapping[str, str]


def decode(entry: bytes) -> dict[str, str]:
    """Return the fields of an entry as it is sent; anything that is not of the protocol's form is a ValueError."""
    fields: dict[str, str] = {}
    at = 0
    while at < len(entry):
        end = entry.index(b"\n", at)
        name, equals, value = entry[at:end].partition(b"=")
        at = end + 1
        if not equals:
            [length] = struct.unpack_from("<Q", entry, at)
            value = entry[at + 8 :][:length]
            at += 8 + length
            if entry[at : at + 1] != b"\n" or len(value) != length:
                raise ValueError(f"{name!r} does not end where it says")
            at += 1
        if not re.fullmatch(rb"[A-Z][A-Z0-9_]{0,63}", name) or name.decode() in fields:
            raise ValueError(f"not a name that the journal takes, or twice: {name!r}")
        fields[name.decode()] = value.decode()
    return fields


class FakeJournal:
    """Listens where the journal would, and keeps what it is sent."""

    def __init__(self, folder: Path) -> None:
        self.address = str(folder / "socket")
        self.received: list[Received] = []
        self.by_file = 0  # entries that came as a file
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._thread = threading.Thread(target=self._listen, name="journal")

    def __enter__(self) -> Self:
        self._socket.bind(self.address)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self.address)
        self._thread.join()
        self.close()

    def close(self) -> None:
        """Close its socket, also where nobody ever listened."""
        self._socket.close()

    def _listen(self) -> None:
        while True:
            content, descriptors, _, _ = socket.recv_fds(self._socket, _LARGEST_DATAGRAM, 1)
            for descriptor in descriptors:
                with os.fdopen(descriptor, "rb") as file:
                    assert fcntl.fcntl(file, fcntl.F_GET_SEALS) == _SEALS, "the journal reads sealed files only"
                    file.seek(0)
                    content = file.read()
                    self.by_file += 1
            if not content:
                return
            self.received.append({"__REALTIME_TIMESTAMP": str(time.time_ns() // 1000)} | decode(content))

    def entries(self, event: str | None = None) -> list[Received]:
        """Return what came so far, or what came of one event."""
        return [entry for entry in self.received if event in (None, entry.get("RECEIPT_EVENT"))]

    @property
    def messages(self) -> list[str]:
        """The sentences that came so far."""
        return [entry["MESSAGE"] for entry in self.received]

    def text(self) -> str:
        """Return what came so far as `journalctl` shows it."""
        return "\n".join(
            f"{time.strftime('%H:%M:%S', time.localtime(int(entry['__REALTIME_TIMESTAMP']) / 1e6))} "
            f"receipt-watcher[{entry['PRIORITY']}]: {entry['MESSAGE']}"
            for entry in self.received
        )


@contextmanager
def fake_journal() -> Iterator[FakeJournal]:
    """A journal in a folder of its own, for the path of a socket must be short."""
    with tempfile.TemporaryDirectory() as folder, FakeJournal(Path(folder)) as journal:
        yield journal


class JournallingDaemon(RunningDaemon):
    """A daemon whose log is a journal: it finds out by itself, from $JOURNAL_STREAM, as under systemd."""

    def __init__(
        self, root: Path, webhook_url: str, token: str, journal: FakeJournal, *, changes: Mapping[str, Any]
    ) -> None:
        logging = {"logging": {"format": "auto", "level": "info"}}
        super().__init__(root, webhook_url, token, changes=logging | dict(changes))
        self.log_file.touch()
        status = self.log_file.stat()
        self.environment |= {
            "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}",
            "JOURNAL_SOCKET": journal.address,
        }
        self.journal = journal

    def command(self, *arguments: str) -> list[str]:
        """Return the words of a command, which logs to the fake journal."""
        return ["tests.fakes.journald" if word == "receipt_watcher" else word for word in super().command(*arguments)]

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """Return the entries so far, as if they were lines of JSON."""
        return [
            {field.removeprefix("RECEIPT_").lower(): value for field, value in entry.items()}
            for entry in self.journal.entries(name)
        ]


class JournalFolder:
    """A folder as journalctl reads it with --root: a journal file made of entries, and the catalog."""

    def __init__(self, root: Path, entries: Iterable[Received], catalog: Path | None = None) -> None:
        if not _REMOTE.exists() or shutil.which("journalctl") is None:
            pytest.skip("journalctl, or systemd-journal-remote, which makes a journal file, is not here")
        self.root = root
        machine = "0123456789abcdef0123456789abcdef"
        own = {"_MACHINE_ID": machine, "_BOOT_ID": machine, "_SYSTEMD_UNIT": "receipt-watcher.service"}
        own |= {"_HOSTNAME": "office", "_PID": "1", "_TRANSPORT": "journal"}
        folder = root / "var/log/journal" / machine
        folder.mkdir(parents=True)
        (root / "etc").mkdir()
        (root / "etc/machine-id").write_text(machine)
        exported = b"".join(encode({**entry, **own}) + b"\n" for entry in entries)
        subprocess.run([_REMOTE, "-o", folder / "system.journal", "-"], input=exported, capture_output=True, check=True)
        if catalog is not None:
            place = root / "usr/lib/systemd/catalog"
            place.mkdir(parents=True)
            (root / "var/lib/systemd/catalog").mkdir(parents=True)
            shutil.copy(catalog, place)
            self.run("journalctl", "--update-catalog")

    def run(self, *command: str) -> str:
        """Run a journalctl command, or several in a pipe, on this folder, and return what it prints."""
        words = [command[0], f"--root={self.root}", "--no-pager", *command[1:]]
        return self.shell(words)

    @contextmanager
    def as_the_only_one(self) -> Iterator[Sequence[str]]:
        """Yield what goes before a command so that it reads this catalog: with --root alone, -x reads the machine's."""
        try:
            with Mounts() as mounts:
                mounts.bind(self.root / "var/lib/systemd/catalog", Path("/var/lib/systemd/catalog"))
                yield mounts.prefix
        except CannotMountError as error:
            pytest.skip(str(error))

    def shell(self, words: Sequence[str]) -> str:
        """Run it; a complaint is an error."""
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=30)
        assert done.returncode == 0, (words, done.stderr)
        assert "rror" not in done.stderr, done.stderr
        return done.stdout


if __name__ == "__main__":
    setup.SOCKET = os.environ["JOURNAL_SOCKET"]
    main.main()
