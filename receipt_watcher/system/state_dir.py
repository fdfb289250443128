"""The state directory: the lock that keeps a second daemon out, the installation's name, the callback token.

What it promises: one daemon per state directory (flock, which the kernel gives back when the process ends, however
it ends); a token and a name that are made once, by chance, and survive a crash in the middle of being written.

Used by the main thread at start and by the command line.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import threading
import uuid
from collections.abc import Callable
from pathlib import Path

from receipt_watcher.errors import LockedError, ReceiptWatcherError
from receipt_watcher.system.disk import flush_folder

_LOCK_TRIES = 10
_COUNTER_NAME = "log_counter"
_LOCK_PAUSE_SECONDS = 0.05


class Installation:
    """The state directory of one daemon."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        self._lock_fd: int | None = None
        self._known: dict[str, str] = {}  # what was made once, in case the folder is deleted under us

    def make_folder(self) -> None:
        """Make the state directory, readable to nobody else: it holds the callback token.

        Raises:
            ReceiptWatcherError: it cannot be made.
        """
        try:
            self.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise self._unusable(error) from error

    def lock(self) -> None:
        """Keep other daemons out until `unlock`.

        Raises:
            LockedError: one is running; the text names its process.
            ReceiptWatcherError: the state directory cannot be written.
        """
        try:
            descriptor = os.open(self.state_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._unusable(error) from error
        try:
            _lock_exclusively(descriptor)
        except BlockingIOError as error:
            pid = os.read(descriptor, 20).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise LockedError(
                f"another receipt-watcher (process {pid or 'unknown'}) is running on {self.state_dir}; "
                "stop it, or set state_dir to another folder"
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
        self._lock_fd = descriptor

    def _unusable(self, error: OSError) -> ReceiptWatcherError:
        return ReceiptWatcherError(
            f"the state directory {self.state_dir} cannot be used ({error.strerror}); "
            "set state_dir to a folder that the service's user may write"
        )

    def unlock(self) -> None:
        """Let others in; harmless when called twice."""
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    def is_running(self) -> bool:
        """Return whether a daemon holds the lock."""
        try:
            descriptor = os.open(self.state_dir / "lock", os.O_RDONLY | os.O_CLOEXEC)
        except PermissionError:  # another user asks
            return _is_locked(self.state_dir / "lock")
        except OSError:
            return False
        try:
            # Shared, so that two who ask do not see each other; given back at once, as a daemon may be starting.
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def installation_id(self) -> str:
        """Return the name by which spools know us; it is made at the first call."""
        return self._kept("installation", lambda: str(uuid.uuid4()))

    def known_id(self) -> str:
        """Return that name, or "" if it has not been made yet."""
        try:
            return (self.state_dir / "installation").read_text("ascii", "replace").strip()
        except OSError:
            return ""

    def locked_by(self) -> int | None:
        """Return the process id of the daemon that took the lock last; None if it cannot be read."""
        try:
            return int((self.state_dir / "lock").read_text("ascii"))
        except (OSError, ValueError):
            return None

    def known_session_secret(self) -> str:
        """Return what sessions are signed with, or "" if it has not been made yet or we may not read it."""
        try:
            return (self.state_dir / "session_secret").read_text("ascii", "replace").strip()
        except OSError:
            return ""

    def callback_token(self) -> str:
        """Return the token for callbacks where the configuration sets none; it is made at the first call."""
        return self._kept("callback_token", new_token)

    def session_secret(self) -> str:
        """Return what sessions are signed with; it is made at the first call."""
        return self._kept("session_secret", new_token)

    def counter(self) -> int:
        """Return the number of the last start on the job log, as this folder knows it; 0 before the first."""
        try:
            return int((self.state_dir / _COUNTER_NAME).read_text("ascii"))
        except (OSError, ValueError):
            return 0

    def keep_counter(self, counter: int) -> None:
        """Keep the number of a start, durably, once the job log has it.

        Raises:
            ReceiptWatcherError: the state directory cannot be written.
        """
        try:
            self._replace(_COUNTER_NAME, str(counter))
        except OSError as error:
            raise self._unusable(error) from error

    def _replace(self, name: str, text: str) -> None:
        path = self.state_dir / name
        temporary = path.with_name(f".{name}.{os.getpid()}")
        temporary.touch(mode=0o600)
        with temporary.open("w", encoding="ascii") as file:
            file.write(f"{text}\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
        flush_folder(self.state_dir)

    def _kept(self, name: str, make: Callable[[], str]) -> str:
        path = self.state_dir / name
        if not path.exists() or not path.read_text("ascii").strip():  # an empty token would let everybody in
            self._replace(name, self._known.get(name) or make())
        self._known[name] = path.read_text("ascii").strip()
        return self._known[name]

    def restore(self) -> None:
        """Make anew what was deleted of the folder while we used it: our lock, our name, our token.

        Raises:
            LockedError: another daemon has begun to use the folder that was made there meanwhile.
            ReceiptWatcherError: the state directory cannot be written.
        """
        self.make_folder()
        try:
            if self._lock_fd is not None and not _is_still_at(self._lock_fd, self.state_dir / "lock"):
                before = self._lock_fd
                self.lock()
                os.close(before)
            for name in tuple(self._known):
                self._kept(name, new_token)
        except OSError as error:
            raise self._unusable(error) from error


def _lock_exclusively(descriptor: int) -> None:
    """Take the lock; be patient with a `status` that asks, which holds it for a moment."""
    pause = threading.Event()
    for _ in range(_LOCK_TRIES - 1):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pause.wait(_LOCK_PAUSE_SECONDS)
        else:
            return
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_locked(path: Path) -> bool:
    """Return whether the kernel's table of locks has one of this file (proc_locks(5)); it needs no right to open it."""
    try:
        status = path.stat()
        lines = Path("/proc/locks").read_text("ascii", "replace").splitlines()
    except OSError:
        return False
    file = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    return any(" FLOCK " in line and f" {file} " in line for line in lines)


def _is_still_at(descriptor: int, path: Path) -> bool:
    try:
        now = path.stat()
    except FileNotFoundError:
        return False
    ours = os.fstat(descriptor)
    return (now.st_dev, now.st_ino) == (ours.st_dev, ours.st_ino)


def new_token() -> str:
    """Return a fresh secret: 32 random bytes, fit for a header."""
    return secrets.token_urlsafe(32)
