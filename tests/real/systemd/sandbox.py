"""Runs a program under the filter of the unit file itself: `python -m tests.real.systemd.sandbox COMMAND…`.

Of what systemd does for the unit this does what needs no systemd: SystemCallFilter, RestrictAddressFamilies,
MemoryDenyWriteExecute, NoNewPrivileges. It takes libseccomp and systemd-analyze; `missing` says what is not there.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import errno
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

_UNIT = Path(__file__).parents[3] / "systemd" / "receipt-watcher.service"
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM  # seccomp.h
_EQUALS = 4
_PR_SET_NO_NEW_PRIVS, _PR_SET_MDWE, _REFUSE_EXEC_GAIN = 38, 65, 1  # linux/prctl.h


class _Comparison(ctypes.Structure):
    _fields_ = (("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64))


def missing() -> str | None:
    """Return what is needed and not there."""
    for program in ("systemd-analyze", "setpriv"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    if ctypes.util.find_library("seccomp") is None:
        return "libseccomp is not installed"
    return None if ctypes.CDLL(None).prctl(66, 0, 0, 0, 0) >= 0 else "this kernel is older than 6.3"


def settings(name: str) -> list[str]:
    """Return what the unit sets, a text for each line."""
    lines = _UNIT.read_text("utf-8").splitlines()
    return [line.partition("=")[2] for line in lines if line.startswith(f"{name}=")]


def allowed_calls() -> set[str]:
    """Return the names of the calls that the unit allows, as systemd reads it: one line after the other."""
    found = _calls_of("@default")
    for line in settings("SystemCallFilter"):
        names = set().union(*map(_calls_of, line.lstrip("~").split()))
        found = found - names if line.startswith("~") else found | names
    return found


def _calls_of(name: str) -> set[str]:
    if not name.startswith("@"):
        return {name}
    listed = subprocess.run(["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True)
    words = [line.strip() for line in listed.stdout.splitlines()[1:]]
    return set().union(*(_calls_of(word) for word in words if word and not word.startswith("#")))


def confine() -> None:
    """Lay the filter on this process, and on all that it starts."""
    calls = allowed_calls() - {"socket"}
    library = ctypes.CDLL(ctypes.util.find_library("seccomp"), use_errno=True)
    library.seccomp_init.restype = ctypes.c_void_p
    rules = ctypes.c_void_p(library.seccomp_init(_REFUSE))
    for name in calls:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number >= 0 and library.seccomp_rule_add_array(rules, _ALLOW, number, 0, None) != 0:
            sys.exit(f"no rule for {name}")
    number = library.seccomp_syscall_resolve_name(b"socket")
    for family in settings("RestrictAddressFamilies")[0].split():
        comparison = _Comparison(0, _EQUALS, int(getattr(socket, family)), 0)
        if library.seccomp_rule_add_array(rules, _ALLOW, number, 1, ctypes.byref(comparison)) != 0:
            sys.exit(f"no rule for {family}")
    libc = ctypes.CDLL(None, use_errno=True)
    if settings("MemoryDenyWriteExecute") == ["yes"] and libc.prctl(_PR_SET_MDWE, _REFUSE_EXEC_GAIN, 0, 0, 0) != 0:
        sys.exit("memory cannot be bound")
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 or library.seccomp_load(rules) != 0:
        sys.exit("the filter cannot be loaded")


if __name__ == "__main__":
    confine()
    os.execvp(sys.argv[1], sys.argv[1:])
