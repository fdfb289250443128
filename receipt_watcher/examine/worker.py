"""The examiner: a process of its own that judges and draws receipts: a file may break the libraries that read it.

`python -m receipt_watcher.examine.worker MEMORY_BYTES CPU_SECONDS PARENT_PID`, with a socket as its standard input.
Over that come questions, each with the open file, and go answers; see `examination`. It opens no receipt itself. What
it promises: it takes no more memory and computing time than it was given, writes no file and no core, and ends with the
daemon that started it, however that ends. It ignores the signals that ask a service to stop: the daemon needs it then.

One thread, one file at a time. It keeps nothing, so a crash leaves nothing behind. These are bounds for bombs and for
crashes; what an exploit runs in here still has the daemon's user, see `examiners` for what it cannot do all the same.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import math
import os
import resource
import signal
import socket
import sys
from collections.abc import Iterable
from pathlib import Path

from receipt_watcher.examine.judge import judge
from receipt_watcher.examine.preview import draw
from receipt_watcher.examine.result import (
    EXIT_OUT_OF_MEMORY,
    FILE_DESCRIPTOR,
    MESSAGE_BYTES,
    READY,
    PreviewQuestion,
    drawn,
    failed,
    judged,
    read_question,
    troubled,
)

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_PR_SET_NO_NEW_PRIVS = 38

#: Kept for its page of memory, in which callbacks of PDFium get room. Where memory that is written and run is denied
#: (MemoryDenyWriteExecute of systemd), libffi makes such a page of a file in memory, and here no file may grow.
_CALLBACK_ROOM = ctypes.CFUNCTYPE(None)(lambda: None)

#: The standard output, which is /dev/null.
_NOTHING = 1

#: Descriptors: four are always open, a library that is loaded needs a few for a moment.
_OPEN_FILES = 64


def main() -> None:
    """Answer until the daemon closes the other end."""
    memory_bytes, cpu_seconds, parent = map(int, sys.argv[1:])
    _bind(memory_bytes, parent)
    os.dup2(_NOTHING, FILE_DESCRIPTOR)  # nobody else shall get this number
    channel = socket.socket(fileno=0)
    channel.send(READY)
    while _answer_one(channel, cpu_seconds):
        pass


def _bind(memory_bytes: int, parent: int) -> None:
    """Bind this process to its limits and to its parent's life."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before PR_SET_PDEATHSIG applied
        sys.exit("the daemon is gone")
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    with contextlib.suppress(OSError):  # if memory is short, better this process than the daemon
        Path("/proc/self/oom_score_adj").write_text("1000", "ascii")
    _limit(resource.RLIMIT_AS, memory_bytes)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_NOFILE, _OPEN_FILES)


def _limit(kind: int, most: int) -> None:
    """Set a limit for good, or keep a lower one."""
    hard = resource.getrlimit(kind)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(kind, (most, most))


def _limit_cpu(seconds: int) -> None:
    """Let the kernel end this process (SIGXCPU) when it has computed for `seconds` more."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft, hard = math.ceil(used.ru_utime + used.ru_stime) + seconds, resource.getrlimit(resource.RLIMIT_CPU)[1]
    if hard == resource.RLIM_INFINITY or soft < hard:
        resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


def _answer_one(channel: socket.socket, cpu_seconds: int) -> bool:
    """Answer one question; return False if there are no more."""
    message, descriptors, _, _ = socket.recv_fds(channel, MESSAGE_BYTES, 1)
    if not message:
        return False
    os.dup2(descriptors[0], FILE_DESCRIPTOR)
    os.close(descriptors[0])
    _limit_cpu(cpu_seconds)
    for answer in _answer(message):
        channel.send(answer)
    os.dup2(_NOTHING, FILE_DESCRIPTOR)
    return True


def _answer(message: bytes) -> Iterable[bytes]:
    question = read_question(message)
    try:
        with open(FILE_DESCRIPTOR, "rb", closefd=False) as file:
            if isinstance(question, PreviewQuestion):
                return drawn(draw(file, question))
            name, limits = question
            return [judged(judge(file, name, limits))]
    except OSError as error:
        return [troubled(error)]
    except MemoryError:
        os._exit(EXIT_OUT_OF_MEMORY)  # nothing is sure any more
    except ImportError as error:  # a library that is loaded when it is first needed: no fault of the receipt
        return [troubled(OSError(errno.EIO, repr(error)))]
    except Exception as error:  # noqa: BLE001 - a defect of ours; the daemon says so
        return [failed(error)]


if __name__ == "__main__":
    main()
