"""The demo as a process, on a terminal or in a pipe, and the ends of its receipts."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import termios
from pathlib import Path

ESCAPES = re.compile(r"\x1b\[(\d*)([AJKm])|\x1b\[\?(25|7)([hl])")
#: The end of each receipt of the demo: the word, and the folder without the month.
ENDS = {
    "phone-photo.jpg": ("success", "done"),
    "slow-scan.jpg": ("success", "done"),
    "web-shop.png": ("success", "done"),
    "three-pages.tif": ("success", "done"),
    "hotel.pdf": ("success", "done"),
    "same-photo.jpg": ("copy", "done"),
    "cut-off.jpg": ("refused", "failed"),
    "not-a-photo.jpg": ("refused", "failed"),
    "no-total.pdf": ("rejected", "failed"),
    "in-outage.png": ("success", "done"),
}


def on_terminal(columns: int, lines: int) -> tuple[int, int]:
    """Return the two ends of a pseudo terminal of that size: the program's and ours."""
    ours, program = pty.openpty()
    resize(ours, columns, lines)
    return program, ours


def resize(terminal: int, columns: int, lines: int) -> None:
    """Give a pseudo terminal another size."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))


def read_all(descriptor: int) -> str:
    """Read a pseudo terminal until the last program has closed it."""
    content = b""
    try:
        while piece := os.read(descriptor, 65536):
            content += piece
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(descriptor)
    return content.decode()


def screen_of(output: str) -> list[str]:
    """Return what a terminal without an end shows after this output; an escape that is not known to it is an error."""
    screen, line, column = [""], 0, 0
    for escape, number, what, character in re.findall(r"(\x1b\[\??(\d*)([A-Za-z]))|((?s:.))", output):
        if escape:
            assert ESCAPES.fullmatch(escape), repr(escape)
            line -= int(number) if what == "A" else 0
            screen[line] = screen[line][:column] if what in "JK" else screen[line]
            screen = screen[: line + 1] if what == "J" else screen
        elif character in "\r\n":
            line, column = line + (character == "\n"), 0
            screen += [""] * (line + 1 - len(screen))
        else:
            assert character.isprintable(), repr(character)
            screen[line] = screen[line][:column].ljust(column) + character + screen[line][column + 1 :]
            column += 1
    return screen


def processes_in(folder: Path) -> list[str]:
    """Return the command lines that name this folder."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return [line for line in lines if str(folder) in line]
