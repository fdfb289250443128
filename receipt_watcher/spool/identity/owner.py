"""Owner of a spool: the file processing/.owner, by which two daemons that take one spool for theirs find out.

What it promises: one daemon for each spool. On one machine the kernel's lock (flock) sees to it. Where two machines
see the same share that lock may not reach the other one, so the file itself says who has the spool open:
`<installation id> <host> <process> <boot id>`; after a stop only the installation id is left, as in older versions.
The next line is the counter of the job log that was in use here last: a log with a smaller one was restored.
A daemon that finds another one there, for which the lock cannot vouch, asks it by one more line. A running one, which
looks every two seconds, takes that line away, and the asking one is refused. One that was killed with its machine
does not answer.
A daemon that finds another one in the first line has lost the spool, and is told so.

Called by the thread of the inbox. A crash leaves the file as it was while the daemon ran: the next start on the same
boot of the machine knows that the lock was given back and goes on at once; after a power cut it asks, for some
seconds, and gets no answer.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path

import structlog

from receipt_watcher.errors import ForeignSpoolError, LockedError, SpoolError
from receipt_watcher.system import disk
from receipt_watcher.system.permissions import refusal_and

logger = structlog.get_logger()

#: A daemon that is asked has so long for its answer. By taste: it looks every two seconds, and between two receipts.
ANSWER_SECONDS = 5.0

#: The name of the file, in processing/.
OWNER_NAME = ".owner"

_LOOK_SECONDS = 0.1
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_UNKNOWN = "-"
_MOST_BYTES = 2000
_WORDS = 4
_COUNTER = "counter"


@dataclass(frozen=True, slots=True)
class Mark:
    """The content of .owner: an installation, while it has the spool open its host, process and boot, and a counter."""

    installation: str = ""
    host: str = ""
    pid: str = ""
    boot: str = ""
    counter: int = field(default=0, compare=False)

    @classmethod
    def read(cls, text: str) -> Mark:
        """Return what a text's first line says; what cannot be understood of it is left out."""
        first, _, rest = text.partition("\n")
        words, counted = first.split(), rest.partition("\n")[0].split()
        is_whole = len(words) == _WORDS and words[2].isascii() and words[2].isdigit()
        is_counted = len(counted) == len((_COUNTER, "n")) and counted[0] == _COUNTER and counted[1].isdecimal()
        installation, host, pid, boot = words if is_whole else [*words[:1], "", "", "", ""][:_WORDS]
        return cls(installation, host, pid, boot, int(counted[1]) if is_counted else 0)

    @classmethod
    def ours(cls, installation: str) -> Mark:
        """Return the mark of this process."""
        host = "".join(os.uname().nodename.split()) or _UNKNOWN
        return cls(installation, host, str(os.getpid()), _boot_id())

    @property
    def is_open(self) -> bool:
        """Whether a daemon has the spool open, or had it when it was killed."""
        return bool(self.pid)

    @property
    def daemon(self) -> str:
        """The daemon in words, for an admin."""
        return f"process {self.pid} on {self.host}" if self.is_open else "one that has stopped"

    def is_gone(self) -> bool:
        """Whether that daemon has certainly ended: it ran in this boot of this machine, and its process is gone."""
        if self.boot != _boot_id() or self.boot == _UNKNOWN:
            return False
        return self.pid == str(os.getpid()) or not Path("/proc", self.pid).exists()

    def __str__(self) -> str:
        first = " ".join(word for word in (self.installation, self.host, self.pid, self.boot) if word)
        return f"{first}\n{_COUNTER} {self.counter}\n" if self.counter else f"{first}\n"


class Owner:
    """The mark of one spool."""

    def __init__(self, path: Path, take_over: str = "receipt-watcher take-over") -> None:
        """Begin with a file that is not open; `take_over` is the command that makes a foreign spool ours."""
        self._path = path
        self._take_over = take_over
        self._mark = Mark()
        self._descriptor: int | None = None

    @property
    def installation(self) -> str:
        """The installation that the file names; "" where it does not."""
        with contextlib.suppress(OSError):
            return Mark.read(self._text()).installation
        return ""

    @property
    def counter(self) -> int:
        """The counter that the file has; 0 if it has none."""
        with contextlib.suppress(OSError):
            return Mark.read(self._text()).counter
        return 0

    def keep_counter(self, counter: int) -> None:
        """Keep the counter of the job log, once that has it; between `take` and `release`."""
        if self._descriptor is not None and counter != self._mark.counter:
            self._mark = replace(self._mark, counter=counter)
            _write(self._descriptor, str(self._mark))

    def take(self, installation: str, *, take_over: bool) -> bool:
        """Make the spool ours until `release`; `take_over` replaces the name of another installation.

        Return whether a daemon was asked and did not answer: should it run all the same, it finishes its receipt.

        Raises:
            SpoolError: the file cannot be opened.
            ForeignSpoolError: the spool belongs to another installation.
            LockedError: another daemon has it open.
        """
        descriptor = self._open()
        try:
            is_locked = self._lock(descriptor)
            before = Mark.read(self._text())
            if before.installation not in ("", installation) and not take_over:
                raise ForeignSpoolError(
                    f"{self._path.parent} belongs to another installation ({before.installation}, we are "
                    f"{installation}). If that one still exists, give one of the two folders of its own. After a move "
                    f"to this machine, or a purge and a new installation, type: {self._take_over}"
                )
            was_asked = before.is_open and not (is_locked and before.is_gone())
            if was_asked:
                self._ask(descriptor, before)
            mark = replace(Mark.ours(installation), counter=before.counter)
            _write(descriptor, str(mark))
            disk.flush_folder(self._path.parent)
        except BaseException:
            os.close(descriptor)
            raise
        self._mark, self._descriptor = mark, descriptor
        return was_asked

    def check(self) -> None:
        """See that the spool is still ours, and answer who asks.

        Raises:
            OSError: the file is not there, or cannot be read.
            ForeignSpoolError: another daemon has taken the spool.
        """
        text = self._text()
        if self._descriptor is None or text == str(self._mark):
            return
        mark = Mark.read(text)
        if mark.installation not in ("", self._mark.installation) or (mark.is_open and mark != self._mark):
            raise ForeignSpoolError(
                f"{self._path.parent} was taken over by another receipt-watcher ({mark.daemon}, installation "
                f"{mark.installation}); stop one of the two"
            )
        _write(self._descriptor, str(self._mark))

    def release(self) -> None:
        """Give the spool back; harmless when called twice or before `take`."""
        if self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
        with contextlib.suppress(OSError):
            if Mark.read(self._text()) == self._mark:
                _write(descriptor, str(Mark(self._mark.installation, counter=self._mark.counter)))
        os.close(descriptor)

    def _text(self) -> str:
        # Opened anew each time: only then does NFS promise what other machines have written.
        with self._path.open("rb") as file:
            return file.read(_MOST_BYTES).decode("ascii", "replace")

    def _open(self) -> int:
        try:
            return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            folder = self._path.parent
            raise SpoolError(
                f"{self._path} cannot be opened: "
                + refusal_and(f"the service's user must own {folder}", error, folder),
                self._path,
            ) from error

    def _lock(self, descriptor: int) -> bool:
        """Lock the file; return False where the mount knows no locks."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise self._in_use(Mark.read(self._text())) from error
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
            return False
        return True

    def _ask(self, descriptor: int, before: Mark) -> None:
        """Ask the daemon whose mark is there whether it runs.

        Raises:
            LockedError: it does.
        """
        logger.info("spool.asked", path=str(self._path), daemon=before.daemon, seconds=ANSWER_SECONDS)
        question = f"{before}asked by {os.getpid()} on {os.uname().nodename}\n"
        _write(descriptor, question)
        pause = threading.Event()
        for _ in range(round(ANSWER_SECONDS / _LOOK_SECONDS)):
            pause.wait(_LOOK_SECONDS)
            answer = self._text()
            if answer != question:
                mark = Mark.read(answer)
                if mark.is_open:
                    raise self._in_use(mark)
                return  # it has just stopped

    def _in_use(self, mark: Mark) -> LockedError:
        error = LockedError(
            f"another receipt-watcher is running on {self._path.parent} ({mark.daemon}); stop it, or give this one "
            "folders of its own"
        )
        error.is_ours = mark == Mark.ours(mark.installation)
        return error


def _write(descriptor: int, text: str) -> None:
    """Replace the file's text, durably and for other machines to see; at no moment is its first line missing."""
    os.pwrite(descriptor, text.encode("ascii", "replace"), 0)
    os.ftruncate(descriptor, len(text))
    os.fsync(descriptor)


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text("ascii").strip() or _UNKNOWN
    except OSError:
        return _UNKNOWN
