"""An examiner, and a daemon with it, that files make do what a file of an attacker would: the first word says what.

`python -m tests.fakes.daemons.hostile_examiner run …` is `receipt-watcher run …` with such examiners; with
numbers it is such an examiner. A file that begins with none of the words is judged as ever.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from receipt_watcher.examine import worker
from receipt_watcher.examine.judge import judge
from receipt_watcher.examine.preview import draw
from receipt_watcher.examine.result import FILE_DESCRIPTOR, MESSAGE_BYTES, FileLimits, Judgement, PreviewQuestion

MODULE = "tests.fakes.daemons.hostile_examiner"

CHANNEL = 0


def segfault() -> None:
    """Crash as a decoder does."""
    ctypes.string_at(0)


def abort() -> None:
    """Crash as a library does that finds itself in disorder."""
    os.abort()


def loop() -> None:
    """Compute for ever."""
    while True:
        pass


def allocate() -> None:
    """Ask for 10 GB, piece by piece."""
    held: list[bytearray] = []
    while len(held) < 10_000:
        held.append(bytearray(1 << 20))


def leave() -> None:
    """Go without a word."""
    os._exit(3)


def killed() -> None:
    """Be killed, as the kernel does where memory is short."""
    os.kill(os.getpid(), signal.SIGKILL)


def signal_itself(number: str) -> None:
    """Be ended by a signal."""
    os.kill(os.getpid(), int(number))


def garble() -> None:
    """Say what makes no sense, and then nothing more."""
    os.write(CHANNEL, b"\xff[[[[{{{{")
    threading.Event().wait()


def flood() -> None:
    """Say more than fits."""
    os.write(CHANNEL, b"judged\0" + b"9" * 10 * MESSAGE_BYTES)


def lie() -> None:
    """Call it an accepted kind of another size."""
    os.write(CHANNEL, b"judged\x0012345\0image/jpeg\0\0")


def draw_svg() -> None:
    """Hand over what a browser might run."""
    os.write(CHANNEL, b"drawn\x0030")
    os.write(CHANNEL, b"<svg onload='alert(1)'></svg>.")


def draw_much() -> None:
    """Announce a picture that fills the memory."""
    os.write(CHANNEL, b"drawn\x00999999999999")


def draw_half() -> None:
    """Hand over half a picture, and go."""
    os.write(CHANNEL, b"drawn\x001000")
    os.write(CHANNEL, b"\xff\xd8\xff")
    os._exit(0)


def sleep() -> None:
    """Neither compute nor read nor answer, as in a deadlock."""
    threading.Event().wait()


def read() -> None:
    """Read a file that the disk never gives."""
    ours, _theirs = os.pipe()
    os.dup2(ours, FILE_DESCRIPTOR)
    os.read(FILE_DESCRIPTOR, 1)


def stumble() -> None:
    """Fail as a defect of ours does."""
    raise RecursionError("maximum recursion depth\nexceeded")


def lack() -> None:
    """Find a library gone."""
    raise ImportError("libheif.so.1: cannot open shared object file")


def write(path: str) -> None:
    """Write a file, which is not allowed."""
    Path(path).write_bytes(b"anything")


def core() -> None:
    """Crash, and say by the exit code whether a core might be written, or the environment holds more than it must."""
    is_bound = resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)
    os._exit(10 if is_bound and "SECRET" not in os.environ else 11)


def once(path: str) -> None:
    """Crash at the first time only; an empty file is the memory."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
        segfault()


DEEDS: dict[str, Callable[..., None]] = {
    deed.__name__: deed
    for deed in (
        segfault, abort, loop, allocate, leave, killed, signal_itself, garble, flood, lie,
        draw_svg, draw_much, draw_half, sleep, read, stumble, lack, write, core, once,
    )
}  # fmt: skip


def _obey(file: BinaryIO) -> None:
    file.seek(0)  # the examiner that broke at it may have read it
    word, *rest = file.read(300).decode(errors="replace").split("\n")[0].split(" ")
    if word in DEEDS:
        DEEDS[word](*rest)


def hostile_judge(file: BinaryIO, name: str, limits: FileLimits) -> Judgement:
    """Do what the file says, and then judge it."""
    _obey(file)
    return judge(file, name, limits)


def hostile_draw(file: BinaryIO, wanted: PreviewQuestion) -> bytes:
    """Do what the file says, and then draw it."""
    _obey(file)
    file.seek(0)
    return draw(file, wanted)


if __name__ == "__main__":
    if sys.argv[1].isdigit():
        vars(worker)["judge"] = hostile_judge
        vars(worker)["draw"] = hostile_draw
        worker.main()
    else:
        from receipt_watcher.cli import main
        from receipt_watcher.examine.examiners import Examiners
        from receipt_watcher.service import web_wiring, wiring

        for module in (wiring, web_wiring):
            vars(module)["Examiners"] = functools.partial(Examiners, module=MODULE)
        main.main()
