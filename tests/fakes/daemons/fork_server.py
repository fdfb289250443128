"""`python -m tests.fakes.daemons.fork_server`: a process that has imported the program, and forks daemons and commands.

A start of Python that imports the program costs more than a second of computing time; a fork costs none of it. What is
forked runs the same module as `__main__` in a process of its own, with its own arguments, environment, descriptors,
signals and end. A test that means the start itself starts Python: see `RunningDaemon.is_forked`.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

REPOSITORY = Path(__file__).parents[3]

#: Modules that each daemon imports until its first answer, and no more: a module which it lacks is missed here too.
_IMPORTED = (
    "anyio._backends._asyncio",
    "apscheduler.triggers.date",
    "encodings.ascii",
    "encodings.idna",
    "encodings.utf_8_sig",
    "httpcore",
    "receipt_watcher.cli.main",
    "receipt_watcher.config.sources.load",
    "receipt_watcher.service.logging.setup",
    "receipt_watcher.service.once",
    "receipt_watcher.service.process.supervisor",
    "uvicorn.lifespan.off",
    "uvicorn.loops.asyncio",
    "uvicorn.loops.auto",
    "uvicorn.protocols.http.auto",
)

#: Variables that Python or its libraries read when they are started or imported: with others than ours it is no fork.
_READ_AT_START = ("COVERAGE", "LANG", "LC_", "LD_", "MALLOC", "PYTHON", "TZ")

_MESSAGE_BYTES = 1 << 17


class ForkedProcess(subprocess.Popen[bytes]):
    """A process that the fork server forked; the server is its parent and knows its exit code."""

    def __init__(self, server: ForkServer, pid: int, command: Sequence[str]) -> None:
        # Popen's own __init__ would start a process: what it would set and others look at is set here.
        self.args = list(command)
        self.pid = pid
        self.returncode: int | None = None
        self.stdin = self.stdout = self.stderr = None
        self._server = server
        self._asking = threading.Lock()
        self._end = os.pidfd_open(pid)  # readable as soon as the process has ended

    def __del__(self, *_: Any) -> None:
        with contextlib.suppress(OSError):
            os.close(self._end)

    def poll(self) -> int | None:
        """Return the exit code, None while it runs."""
        return self._exit_code(0)

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code as soon as it has ended."""
        code = self._exit_code(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return code

    def send_signal(self, sig: int) -> None:
        """Send a signal; harmless when it has ended."""
        if self.poll() is None:
            os.kill(self.pid, sig)

    def _exit_code(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._end], [], [], timeout)[0]:
            with self._asking:  # the kernel tells an exit code once, and two threads may see the end
                if self.returncode is None:
                    self.returncode = self._server.exit_code(self.pid)
        return self.returncode


class ForkServer:
    """The tests' end of the server: one for all tests of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._environment = _read_at_start(os.environ)
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno())],
                cwd=REPOSITORY,
                pass_fds=[theirs.fileno()],
            )
        atexit.register(self._close)

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._process.pid

    def can_start(self, command: Sequence[str], environment: Mapping[str, str]) -> bool:
        """Return whether a command may be forked: Python runs a module, and nothing else happens at its start."""
        return list(command[:2]) == [sys.executable, "-m"] and _read_at_start(environment) == self._environment

    def start(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        stdout: int | IO[Any],
        stderr: int | IO[Any],
        stdin: int | IO[Any] = 0,
    ) -> ForkedProcess:
        """Have a command forked with these descriptors, in the repository's folder."""
        descriptors = [each if isinstance(each, int) else each.fileno() for each in (stdin, stdout, stderr)]
        question = {"words": list(command[2:]), "environment": dict(environment)}
        return ForkedProcess(self, self._ask(question, descriptors), command)

    def run(self, command: Sequence[str], environment: Mapping[str, str], timeout: float) -> tuple[int, str, str]:
        """Fork a command, and return its exit code and what it wrote to standard output and error."""
        with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
            process = self.start(command, environment, stdout, stderr)
            try:
                code = process.wait(timeout)
            except BaseException:
                process.kill()
                process.wait()
                raise
            for file in (stdout, stderr):
                file.seek(0)
            return code, stdout.read(), stderr.read()

    def exit_code(self, pid: int) -> int:
        """Return the exit code of a process that was forked and has ended."""
        return self._ask({"ended": pid}, [])

    def _ask(self, question: dict[str, Any], descriptors: list[int]) -> int:
        with self._lock:
            socket.send_fds(self._channel, [json.dumps(question).encode()], descriptors)
            return int(self._channel.recv(_MESSAGE_BYTES))

    def _close(self) -> None:
        self._channel.close()
        self._process.wait()


@functools.cache
def fork_server() -> ForkServer:
    """Return the server of this process; it is started when the first test needs it."""
    return ForkServer()


def server_pids() -> set[int]:
    """Return the process id of this process's server, if it was started: a child that no test has started itself."""
    return {fork_server().pid} if fork_server.cache_info().currsize else set()


def _read_at_start(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(_READ_AT_START)}


def _serve(channel: socket.socket) -> list[str] | None:
    """Fork what is asked for, and return its words in each fork; nothing when the tests have ended."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(channel, _MESSAGE_BYTES, 3)
        if not message:
            return None
        question = json.loads(message)
        if "ended" in question:
            answer = os.waitstatus_to_exitcode(os.waitpid(question["ended"], 0)[1])
        else:
            answer = os.fork()
            if answer == 0:
                channel.close()
                _take_place(question["environment"], descriptors)
                words: list[str] = question["words"]
                return words
        for descriptor in descriptors:
            os.close(descriptor)
        channel.send(str(answer).encode())


def _take_place(environment: Mapping[str, str], descriptors: Sequence[int]) -> None:
    """Be as a process that was started: its environment, its descriptors, its signals."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(environment)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests, which end the channel
    for name in _IMPORTED:
        importlib.import_module(name)
    gc.freeze()  # a fork need not look at what was imported when it collects garbage, nor when it ends
    forked = _serve(socket.socket(fileno=int(sys.argv[1])))
    if forked is not None:
        sys.argv[1:] = forked[1:]
        runpy.run_module(forked[0], run_name="__main__", alter_sys=True)
