"""The journal's native protocol: an entry is fields, not a line; see systemd.io/JOURNAL_NATIVE_PROTOCOL.

What it promises: an entry goes out as one datagram, or as one sealed file in memory where it is too large for that, so
entries of several threads never mix. A journal that is not there is told by the answer; one that hangs costs a
second once, and then entries, which are counted, but never a receipt's time.

Any thread may call it. Nothing is kept on disk; a crash loses nothing that was sent.
"""

from __future__ import annotations

import array
import errno
import fcntl
import os
import socket
import struct
import threading
import weakref
from collections.abc import Mapping

#: The socket on which the journal listens.
SOCKET = "/run/systemd/journal/socket"

#: Longest wait for a journal that takes nothing: longer than a restart of it, by taste.
_PATIENCE_SECONDS = 1

_TOO_LARGE = {errno.EMSGSIZE, errno.ENOBUFS}
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL


class Journal:
    """The way to the journal's socket; whether there is one shows when something is sent."""

    def __init__(self, address: str = SOCKET) -> None:
        self._address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        weakref.finalize(self, self._socket.close)
        # By the kernel: Python's own timeout would turn in circles, for an unconnected socket is always writable.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", _PATIENCE_SECONDS, 0))
        self._lost = 0
        self._is_clogged = False
        self._lock = threading.Lock()

    def send(self, fields: Mapping[str, str]) -> bool:
        """Hand an entry over; return False where there is no journal, so that it has to go elsewhere.

        An entry that the journal does not take in time is lost, and counted.
        """
        entry = encode(fields)
        try:
            try:
                self._send([entry], [])
            except OSError as error:
                if error.errno not in _TOO_LARGE:
                    raise
                self._send_file(entry)
        except BlockingIOError:
            with self._lock:
                self._lost += 1
                self._is_clogged = True
        except OSError:
            return False
        else:
            self._is_clogged = False
        return True

    @property
    def trouble(self) -> str | None:
        """Why entries are lost now, in words; None if they are not."""
        return f"{self._lost} log lines are lost so far: the journal takes none" if self._is_clogged else None

    def take_lost(self) -> int:
        """Return how many entries were lost since this was asked last; 0 for as long as it goes on."""
        if not self._lost or self._is_clogged:
            return 0
        with self._lock:
            lost, self._lost = self._lost, 0
        return lost

    def _send(self, content: list[bytes], ancillary: list[tuple[int, int, array.array[int]]]) -> None:
        flags = socket.MSG_DONTWAIT if self._is_clogged else 0  # it is waited for once, not for each entry
        self._socket.sendmsg(content, ancillary, flags | socket.MSG_NOSIGNAL, self._address)

    def _send_file(self, entry: bytes) -> None:
        """Send an entry as a file in memory; sealed, or the journal would not trust it."""
        descriptor = os.memfd_create("receipt-watcher-entry", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        with open(descriptor, "wb") as file:  # noqa: PTH123 - it has no path
            file.write(entry)
            file.flush()
            fcntl.fcntl(file, fcntl.F_ADD_SEALS, _SEALS)
            self._send([], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [file.fileno()]))])


def encode(fields: Mapping[str, str]) -> bytes:
    """Return an entry as it is sent: `NAME=value`, or where the value has several lines the name, its length and it."""
    return b"".join(
        _encoded(name.encode("ascii"), value.encode("utf-8", "backslashreplace")) for name, value in fields.items()
    )


def _encoded(name: bytes, value: bytes) -> bytes:
    if b"\n" not in value:
        return name + b"=" + value + b"\n"
    return name + b"\n" + struct.pack("<Q", len(value)) + value + b"\n"
