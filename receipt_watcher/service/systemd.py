"""Messages to systemd, and the sockets that it hands over: sd_notify(3) and sd_listen_fds(3), without its library.

What it promises: `Systemd` says nothing where nobody listens, and never raises or blocks for longer than a moment: the
service must not stop for want of somebody to tell. The variables that systemd sets are taken out of the environment, so
that no child takes itself for the service.

Any thread may tell. Nothing is kept, so a crash leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import re
import socket
import struct
from collections.abc import MutableMapping

from receipt_watcher.errors import ReceiptWatcherError

_FIRST_DESCRIPTOR = 3
_SEND_SECONDS = 1
_LISTENING_VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")


class Systemd:
    """The connection to systemd; within each `watchdog_seconds` the service must report (None: it need not)."""

    def __init__(self, address: str = "", watchdog_seconds: float | None = None) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address  # an abstract socket
        self.watchdog_seconds = watchdog_seconds if address else None

    @property
    def listens(self) -> bool:
        """Return whether systemd takes messages."""
        return bool(self._address)

    def ready(self, status: str = "") -> None:
        """Say that a start or a reload is done."""
        self._notify("READY=1", *([f"STATUS={status}"] if status else []))

    def status(self, text: str) -> None:
        """Say in one line what is done now, for `systemctl status`."""
        self._notify(f"STATUS={text}")

    def ping(self) -> None:
        """Say that work goes on."""
        self._notify("WATCHDOG=1")

    def reloading(self, monotonic_seconds: float) -> None:
        """Say that a reload has begun, by CLOCK_MONOTONIC."""
        self._notify("RELOADING=1", f"MONOTONIC_USEC={_microseconds(monotonic_seconds)}")

    def stopping(self) -> None:
        """Say that a stop has begun."""
        self._notify("STOPPING=1")

    def extend(self, seconds: float) -> None:
        """Ask for so much time from now on, for a start, a reload or a stop."""
        self._notify(f"EXTEND_TIMEOUT_USEC={_microseconds(seconds)}")

    def _notify(self, *lines: str) -> None:
        if not self._address:
            return
        message = "\n".join(line.replace("\n", " ") for line in lines)
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to_systemd:
            # By the kernel: Python's own timeout would turn in circles, for an unconnected socket is always writable.
            to_systemd.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", _SEND_SECONDS, 0))
            to_systemd.sendto(message.encode("utf-8", "replace"), self._address)


def systemd_of(environ: MutableMapping[str, str], pid: int) -> Systemd:
    """Return who is to be told, and take the variables that say so out of the environment."""
    address = environ.pop("NOTIFY_SOCKET", "")
    microseconds, whose = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", str(pid))
    is_number = re.fullmatch(r"[0-9]{1,20}", microseconds) is not None  # of 64 bits
    is_watched = is_number and int(microseconds) > 0 and whose == str(pid)
    return Systemd(address if address[:1] in ("/", "@") else "", int(microseconds) / 1e6 if is_watched else None)


def handed_over(environ: MutableMapping[str, str], pid: int) -> socket.socket | None:
    """Return the listening socket that systemd holds for us, or None; the variables are taken out of the environment.

    Raises:
        ReceiptWatcherError: there are several, or it is none that callbacks can come by.
    """
    whose, number, _ = (environ.pop(name, "") for name in _LISTENING_VARIABLES)
    if whose != str(pid) or not (number.isascii() and number.isdigit()) or number == "0":
        return None
    if number != "1":
        raise ReceiptWatcherError(f"systemd hands over {number} sockets; give the socket unit one ListenStream=")
    try:
        listener = socket.socket(fileno=_FIRST_DESCRIPTOR)
        listener.set_inheritable(False)
        is_listening = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise ReceiptWatcherError(f"the socket that systemd hands over cannot be used ({error})") from error
    if not is_listening or listener.family not in (socket.AF_INET, socket.AF_INET6):
        listener.close()
        raise ReceiptWatcherError(
            "the socket that systemd hands over is none that callbacks come by; write ListenStream=127.0.0.1:8000, "
            "or another address and port, and Accept=no"
        )
    return listener


def _microseconds(seconds: float) -> int:
    return int(seconds * 1_000_000)
