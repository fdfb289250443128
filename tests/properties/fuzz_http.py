"""Hostile callers of all kinds against the real daemon, while a well-behaved N8N must be heard at the first try.

`python -m tests.properties.fuzz_http --minutes 10` first runs the attacks of `tests.properties.attacks` one by one,
with a table of what they delay. Then it runs all of it at once, and prints what it saw each minute; the suite runs a
short form of both. It fails on an answer 500, on any log line at level error or with a traceback, on a line that is no
JSON, on a callback that was not heard, and when memory, files or threads of the daemon do not stay where they were.

What callers send is drawn from the seed, per caller; in which order their bytes arrive is the kernel's.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import http.client
import json
import os
import random
import re
import socket
import statistics
import struct
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from receipt_watcher.cli.demo.received_posts import ReceivedPost
from receipt_watcher.cli.demo.stand_in import Behaviour, StandIn
from receipt_watcher.jobs.job import new_job_id
from receipt_watcher.jobs.states import CLOSED_STATES
from tests.conftest import TOKEN
from tests.fakes.daemons.process import RunningDaemon, jpegs, wait_until
from tests.properties import attacks

CALLERS = 16
IDLE_CONNECTIONS = 400
READ_SECONDS = 3.0
#: After this share of the time the daemon has met everything once: buffers, threads and caches are there.
WARM_UP = 0.2
#: By how much memory may have grown since. One leaked connection in a hundred would be far more; the parsing of some
#: bodies of 1 MiB at once, whose holes the allocator keeps, is less.
GROWTH_BYTES = 32 * 2**20
#: Eight threads hear callbacks and four look things up (web), and the pool ends them late.
MORE_THREADS = 12
MORE_FILES = 4
_SAMPLES = 60
_PAGE = os.sysconf("SC_PAGE_SIZE")
_STATUS = re.compile(rb"HTTP/1\.1 (\d\d\d) ")


@dataclass
class Target:
    """The knowledge of a caller: the address, the right token, and the ids of receipts that are there."""

    port: int
    job_ids: list[str] = field(default_factory=lambda: [new_job_id(1_700_000_000.0)])
    links: list[str] = field(default_factory=lambda: ["/api/v1/jobs/x/file?expires=1&sha256=a&signature=b"])
    answers: Counter[str] = field(default_factory=Counter)
    over: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def line(self) -> Iterator[socket.socket]:
        """A connection; what the far side does with it is no error."""
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", self.port), timeout=READ_SECONDS) as wire,
        ):
            yield wire

    def send(self, *pieces: bytes, patience: float = READ_SECONDS) -> None:
        """Send pieces and note what is answered."""
        with self.line() as wire:
            with contextlib.suppress(OSError):
                for piece in pieces:
                    wire.sendall(piece)
            self.note(wire, patience)

    def note(self, wire: socket.socket, patience: float) -> None:
        """Read what comes until the connection ends, an answer is whole, or patience ends."""
        wire.settimeout(patience)
        heard = b""
        with contextlib.suppress(OSError):
            while len(heard) < 2**20 and not _is_whole(heard) and (piece := wire.recv(65536)):
                heard += piece
        statuses = [int(status) for status in _STATUS.findall(heard)]
        self.answers.update([str(status) for status in statuses] or ["none"])
        if statuses and statuses[-1] >= 400 and _is_whole(heard) and b"application/problem+json" not in heard:
            self.answers["no problem"] += 1


def _is_whole(heard: bytes) -> bool:
    head, _, body = heard.rpartition(b"HTTP/1.1 ")[2].partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    return length is not None and not head.startswith(b"100") and len(body) >= int(length[1])


# --- what hostile callers do ---------------------------------------------------------------------------------------

Chance = random.Random
Attack = Callable[[Chance, Target], None]


def _head(chance: Chance, target: Target, *lines: str, method: str = "POST", path: str | None = None) -> bytes:
    path = path if path is not None else f"/api/v1/jobs/{chance.choice(target.job_ids)}/callback"
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", *lines, "\r\n"]).encode("latin-1")


def _token(chance: Chance) -> str:
    """Return a header with a token, seldom the right one."""
    texts = [
        "",
        "x",
        TOKEN,
        TOKEN[:-1],
        TOKEN + " x",
        TOKEN.upper(),
        "\xff" * 20,
        "y" * 9000,
        chance.randbytes(20).hex(),
    ]
    return f"X-Callback-Token: {chance.choice(texts)}"


def _json(chance: Chance) -> bytes:
    """Return a body that is sometimes a verdict."""
    parts: list[object] = [
        "success",
        "failure",
        None,
        1e400,
        float("nan"),
        "\ud800",
        "\x00",
        "x" * chance.randrange(100_000),
        [],
        {"a": [1]},
    ]
    said = {name: chance.choice(parts) for name in ("status", "message", "notion_page_url", "data", "other")}
    bodies = [
        json.dumps(said).encode(),
        json.dumps(said | {"status": chance.choice(["success", "failure"])}).encode(),
        b'{"status": "success", "status": "failure"}',
        b'{"status": "failure", "data": ' + b"[" * (depth := chance.randrange(150_000)) + b"]" * depth + b"}",
        b'{"status": ' + b"9" * chance.randrange(6000) + b"}",
        b"status=success",
        b"<verdict>success</verdict>",
        gzip.compress(json.dumps(said).encode()),
        chance.randbytes(chance.randrange(2000)),
        b"{" + b'"a":1,' * chance.randrange(50_000) + b'"status":"failure"}',
        "{}".encode("utf-16"),
        b"",
    ]
    return chance.choice(bodies)


def say_nonsense(chance: Chance, target: Target) -> None:
    """Send bytes that are no HTTP, or only the beginning of it."""
    greetings = [
        b"\x16\x03\x01\x02\x00",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET",
        b"\r\n" * 50,
        b"\x00",
        b"HELP\r\n",
    ]
    target.send(chance.choice(greetings) + chance.randbytes(chance.randrange(3000)), patience=0.2)


def mutate(chance: Chance, target: Target) -> None:
    """Send a right request with a few bytes changed."""
    body = b'{"status": "failure"}'
    request = bytearray(_head(chance, target, f"Content-Length: {len(body)}", _token(chance)) + body)
    for _ in range(chance.randrange(1, 6)):
        request[chance.randrange(len(request))] = chance.randrange(256)
    target.send(bytes(request), patience=0.2)


def post_bodies(chance: Chance, target: Target) -> None:
    """Post a body of any kind, under any name for its kind."""
    body = _json(chance)
    kinds = ["application/json", "text/plain", "multipart/form-data", "application/json; charset=utf-16", "\xff"]
    lines = [f"Content-Type: {chance.choice(kinds)}", _token(chance)]
    if chance.random() < 0.3:
        lines.append(f"Content-Encoding: {chance.choice(['gzip', 'br', 'deflate, gzip', 'x'])}")
    if chance.random() < 0.3:
        lines.append("Connection: close")
    if chance.random() < 0.5:
        pieces = [body[at : at + 9000] for at in range(0, len(body), 9000)]
        chunks = [b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces]
        target.send(_head(chance, target, *lines, "Transfer-Encoding: chunked"), *chunks, b"0\r\n\r\n")
    else:
        target.send(_head(chance, target, *lines, f"Content-Length: {len(body)}"), body)


def post_too_much(chance: Chance, target: Target) -> None:
    """Post a body of some megabytes."""
    count = chance.choice([17, 40, 600])
    lines = [_token(chance), f"Content-Length: {count * 65536}", *chance.choice([[], ["Connection: close"]])]
    target.send(_head(chance, target, *lines), *[b"[" * 65536] * count)


def smuggle(chance: Chance, target: Target) -> None:
    """Send requests whose end may be seen in two places."""
    inner = _head(chance, target, "Content-Length: 0", method="GET", path="/health/live")
    lengths = [
        ["Content-Length: 5", "Transfer-Encoding: chunked"],
        ["Content-Length: 5", "Content-Length: 6"],
        ["Content-Length: +5"],
        ["Content-Length: 5, 5"],
        ["Content-Length: 99999999999999999999"],
        ["Transfer-Encoding: chunked", "Transfer-Encoding: identity"],
        ["Transfer-Encoding: xchunked"],
        ["Transfer-Encoding : chunked"],
        ["Transfer-Encoding: chunked", "Trailer: X-Callback-Token"],
        ["Content-Length: 0", "Host: other"],
    ]
    ends = [
        b"0\r\n\r\n",
        b"0\r\nX-Callback-Token: " + TOKEN.encode() + b"\r\n\r\n",
        b"ffffffffffffffffff\r\n",
        b"-1\r\n",
        b"5;x=y\r\nabc",
    ]
    target.send(
        _head(chance, target, _token(chance), *chance.choice(lengths)) + chance.choice(ends) + inner, patience=0.2
    )


def play_with_paths(chance: Chance, target: Target) -> None:
    """Ask for paths that are none."""
    parts = [
        "%2e%2e",
        "..",
        "",
        "//",
        "%2f",
        "%00",
        "%ff",
        "\\",
        ";",
        "?a=%",
        "#",
        "api",
        "v1",
        "jobs",
        "callback",
        "*",
        "%25",
        "http:",
        "x" * 300,
    ]
    path = "/" + "/".join(chance.choices(parts, k=chance.randrange(1, 12)))
    prefix = chance.choice(
        ["", "/api/v1/jobs", "/api/v1/jobs/" + chance.choice(target.job_ids), "http://x@y:z", "*", "\x7f"]
    )
    hosts = [
        "Host: [",
        "Host: a:b:c",
        "Host: \xff",
        "X: y",
        f"X-Forwarded-For: {'1,' * 500}",
        f"Forwarded: {'a' * 900}",
    ]
    methods = ["GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PATCH", "get", "A" * 500]
    method = chance.choice(methods)
    head = "\r\n".join(
        [f"{method} {prefix}{path} HTTP/1.{chance.randrange(3)}", chance.choice([*hosts, "Host: localhost"]), "\r\n"]
    )
    target.send(head.encode("latin-1"), patience=0.2)


def send_long_heads(chance: Chance, target: Target) -> None:
    """Send a path, a header, or a number of headers beyond all reason."""
    size = chance.choice([9_000, 17_000, 70_000, 2_000_000])
    lines = [[f"X: {'y' * size}"], ["X: y"] * (size // 6), [f"Cookie: {'a=b; ' * (size // 5)}"]]
    path = f"/api/v1/jobs/{'z' * size}/callback" if chance.random() < 0.3 else None
    target.send(_head(chance, target, *([] if path else chance.choice(lines)), path=path), patience=0.5)


def be_slow(chance: Chance, target: Target) -> None:
    """Begin a head or a body, go on a byte at a time for a while, and leave, or be left."""
    head = _head(chance, target, _token(chance), "Content-Length: 50")
    head = head[: chance.randrange(len(head))] if chance.random() < 0.5 else head
    with target.line() as wire:
        wire.sendall(head)
        for _ in range(chance.randrange(20)):
            if target.over.wait(0.3):
                break
            wire.sendall(chance.choice([b" ", b"x", b"\r", b"\n"]))
        target.note(wire, 0.1)


def half_close(chance: Chance, target: Target) -> None:
    """Close the sending half, or reset, in the midst of a request or behind it."""
    body = _json(chance)
    request = _head(chance, target, _token(chance), f"Content-Length: {len(body)}") + body
    with target.line() as wire:
        wire.sendall(request[: chance.choice([len(request), chance.randrange(1, len(request))])])
        if chance.random() < 0.5:
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            wire.shutdown(socket.SHUT_WR)
            target.note(wire, 1.0)


def pipeline(chance: Chance, target: Target) -> None:
    """Send many requests at once, perhaps with nonsense among them, and read little."""
    live = _head(chance, target, method="GET", path=chance.choice(["/health/live", "/health/ready", "/nothing"]))
    middle = chance.choice([b"", b"\x00\x01", _head(chance, target, _token(chance), "Content-Length: 2") + b"{}"])
    with target.line() as wire:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        wire.sendall(live * chance.randrange(1, 300) + middle + live)
        target.note(wire, 0.1)


def ask_first(chance: Chance, target: Target) -> None:
    """Ask for «100 Continue», for another protocol, or for what else there is in headers."""
    extras = [
        "Expect: 100-continue",
        "Expect: a miracle",
        "Upgrade: websocket",
        "Upgrade: h2c",
        "TE: trailers",
        "Range: bytes=0-1",
    ]
    body = _json(chance)
    lines = [_token(chance), chance.choice(extras), "Connection: Upgrade", f"Content-Length: {len(body)}"]
    target.send(_head(chance, target, *lines), *chance.choice([[], [body]]), patience=0.5)


def guess_tokens(chance: Chance, target: Target) -> None:
    """Try tokens one after another on one connection."""
    with target.line() as wire:
        for _ in range(chance.randrange(1, 30)):
            headers = [_token(chance) for _ in range(chance.choice([1, 1, 1, 2]))]
            wire.sendall(_head(chance, target, *headers, "Content-Length: 2") + b"{}")
            target.note(wire, READ_SECONDS)


def garble_chunks(chance: Chance, target: Target) -> None:
    """Begin a chunked body and go on with nonsense, perhaps when the answer is there already."""
    with target.line() as wire:
        wire.sendall(_head(chance, target, _token(chance), "Transfer-Encoding: chunked") + b"5\r\nabcde\r\n")
        if chance.random() < 0.5:
            target.over.wait(0.1)
        wire.sendall(chance.choice([b"zz\r\n", b"5\r\nabcdefgh", b"\xff" * 100, b"0\r\n" + b"A: b\r\n" * 9000]))
        target.note(wire, 0.3)


def play_with_links(chance: Chance, target: Target) -> None:
    """Ask for a file by a link that is changed here and there, or, now and then, right; perhaps read little of it."""
    link = bytearray(chance.choice(target.links[-20:]), "latin-1")
    changes = [b"%00", b"%ff", b"&", b"=", b"&signature=", b"&expires=9", b"+", b"%0a", b"\xff", b"0" * 4000, b""]
    for _ in range(chance.choice([0, 1, 1, 1, 5])):
        place = chance.randrange(link.index(b"/file") + 5, len(link))
        link[place : place + chance.randrange(3)] = chance.choice(changes)
    extras = ["Range: bytes=0-1", "Range: bytes=-1,5-2,x", "If-Range: x", "Accept-Encoding: gzip", "X: y"]
    method = chance.choice(["GET", "GET", "HEAD", "POST", "DELETE"])
    with target.line() as wire:
        if chance.random() < 0.3:
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        wire.sendall(_head(chance, target, chance.choice(extras), method=method, path=link.decode("latin-1")))
        target.note(wire, chance.choice([0.0001, 0.3]))


ATTACKS: tuple[Attack, ...] = (
    say_nonsense, mutate, mutate, post_bodies, post_bodies, post_too_much, smuggle, smuggle, play_with_paths,
    play_with_paths, send_long_heads, be_slow, half_close, pipeline, ask_first, guess_tokens, garble_chunks,
    play_with_links, play_with_links,
)  # fmt: skip


def attack_on(seed: int, number: int, target: Target) -> None:
    """Be one hostile caller until it is over."""
    chance = random.Random(f"{seed} {number}")
    while not target.over.is_set():
        attack = chance.choice(ATTACKS)
        attack(chance, target)
        target.answers[f"({attack.__name__})"] += 1


def crowd(target: Target) -> None:
    """Hold connections open that say nothing, and open each again that is closed, until it is over."""
    held: list[socket.socket] = []
    while not target.over.wait(0.01):
        with contextlib.suppress(OSError):
            held.append(socket.create_connection(("127.0.0.1", target.port), timeout=READ_SECONDS))
        if len(held) > IDLE_CONNECTIONS:
            held.pop(0).close()
    for wire in held:
        wire.close()


# --- the well-behaved N8N ------------------------------------------------------------------------------------------


class WellBehaved:
    """Calls back once for each delivery, in its own thread; notes what was not heard at the first try."""

    def __init__(self, target: Target) -> None:
        self.heard = 0
        self.unheard: list[str] = []
        self.slowest_seconds = 0.0
        self._target = target

    def call(self, delivery: ReceivedPost) -> None:
        """Call back on a connection of its own."""
        began = time.monotonic()
        url = urlsplit(delivery.callback_url)
        line = http.client.HTTPConnection(url.netloc, timeout=10)
        headers = {"X-Callback-Token": TOKEN, "Content-Type": "application/json"}
        try:
            with contextlib.closing(line):
                line.request("POST", url.path, b'{"status": "success", "message": "booked"}', headers)
                with line.getresponse() as answer:
                    said = f"{answer.status} {answer.read()!r}"
        except (OSError, http.client.HTTPException) as error:
            said = repr(error)
        if said.startswith("200 "):
            self.heard += 1
        else:
            self.unheard.append(said)
        self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - began)

    def run(self, daemon: RunningDaemon, standin: StandIn, every_seconds: float) -> None:
        """Drop a receipt now and then, and call back for what arrives, until it is over."""
        dropped = called = 0
        while not self._target.over.is_set() or called < dropped:
            if not self._target.over.is_set():
                daemon.drop(f"{dropped}.jpg", jpegs(1, dropped)[0])
                dropped += 1
            standin.wait_for(lambda side: len(side.deliveries) > called, every_seconds)  # noqa: B023 - asked at once
            for delivery in standin.deliveries[called:]:
                self._target.job_ids.append(delivery.job_id)
                self._target.links.append(delivery.file_url.removeprefix(daemon.url))
                self.call(delivery)
                called += 1
            self._target.over.wait(every_seconds)


# --- what must not happen ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Usage:
    """The resources that a process uses."""

    rss_bytes: int
    files: int
    threads: int

    @classmethod
    def of(cls, pid: int) -> Usage:
        """Look at a process; see proc(5)."""
        folder = Path("/proc", str(pid))
        pages = int((folder / "statm").read_text().split()[1])
        return cls(pages * _PAGE, *(len(list((folder / name).iterdir())) for name in ("fd", "task")))

    def __str__(self) -> str:
        return f"{self.rss_bytes / 2**20:.1f} MiB, {self.files} files, {self.threads} threads"


def faults_in(log: Path) -> list[str]:
    """Return the log lines that no caller may cause."""
    lines = log.read_text().splitlines()
    return [
        line[:500]
        for line in lines
        if not line.startswith("{") or json.loads(line)["level"] in ("error", "critical") or "Traceback" in line
    ]


def fuzz(seconds: float, seed: int, root: Path, say: Callable[[str], None] = lambda _: None) -> list[str]:
    """Run for so long; return what was wrong."""
    with StandIn(TOKEN, behave=lambda _: Behaviour(verdict=None)) as standin:
        changes = {"logging": {"level": "info"}, "callback": {"deadline_seconds": 3600}, "n8n": {"payload": "link"}}
        with RunningDaemon(root, standin.webhook_url, TOKEN, changes=changes) as daemon:
            wrong = _fuzz(daemon, standin, seconds, seed, say)
            if daemon.terminate() != 0:
                wrong.append("the daemon did not end by itself")
            return wrong + faults_in(daemon.log_file)


def _fuzz(daemon: RunningDaemon, standin: StandIn, seconds: float, seed: int, say: Callable[[str], None]) -> list[str]:
    assert daemon.process is not None
    pid = daemon.process.pid
    target = Target(int(daemon.url.rpartition(":")[2]))
    well_behaved = WellBehaved(target)
    threads = [threading.Thread(target=attack_on, args=[seed, number, target]) for number in range(CALLERS)]
    threads.append(threading.Thread(target=crowd, args=[target]))
    threads.append(threading.Thread(target=well_behaved.run, args=[daemon, standin, 0.25]))
    before = Usage.of(pid)
    for thread in threads:
        thread.start()
    try:
        usages = _watched(pid, seconds, target, well_behaved, say)
    finally:
        target.over.set()
        for thread in threads:
            thread.join()
    say(f"{well_behaved.heard} callbacks heard, the slowest in {well_behaved.slowest_seconds:.2f} s")
    say(f"answers: {dict(sorted(target.answers.items()))}")
    return [*_complaints(target, well_behaved, usages), *_left_behind(daemon, before, say)]


def _watched(
    pid: int, seconds: float, target: Target, well_behaved: WellBehaved, say: Callable[[str], None]
) -> list[Usage]:
    usages: list[Usage] = []
    said = 0.0
    began = time.monotonic()
    while (passed := time.monotonic() - began) < seconds and not target.over.wait(seconds / _SAMPLES):
        usages.append(Usage.of(pid))
        if passed - said >= 60:
            said = passed
            requests = sum(count for name, count in target.answers.items() if not name.startswith("("))
            say(f"{passed:5.0f} s  {usages[-1]}, {requests} answers, {well_behaved.heard} callbacks heard")
    return usages


def _complaints(target: Target, well_behaved: WellBehaved, usages: list[Usage]) -> list[str]:
    wrong = [f"not heard: {said}" for said in well_behaved.unheard]
    wrong += [f"{target.answers[what]} times {what}" for what in ("500", "no problem") if target.answers[what]]
    if not well_behaved.heard or not all(target.answers[status] for status in ("200", "400", "401", "404", "422")):
        wrong.append(f"too little was tried: {well_behaved.heard} callbacks, {dict(target.answers)}")
    rss = [usage.rss_bytes for usage in usages]
    warm = int(len(rss) * WARM_UP)
    growth = statistics.median(rss[-10:]) - statistics.median(rss[warm : warm + 10])
    if growth > GROWTH_BYTES:
        wrong.append(f"memory grew by {growth / 2**20:.0f} MiB")
    return wrong


def _left_behind(daemon: RunningDaemon, before: Usage, say: Callable[[str], None]) -> list[str]:
    """Wait until the daemon is as it was, and every receipt is concluded."""
    assert daemon.process is not None
    pid = daemon.process.pid

    def is_as_before() -> bool:
        now = Usage.of(pid)
        return now.files <= before.files + MORE_FILES and now.threads <= before.threads + MORE_THREADS

    try:
        wait_until(is_as_before, "files and threads are as before")
        wait_until(lambda: all(job.state in CLOSED_STATES for job in daemon.recorded()), "all is concluded")
    except AssertionError as error:
        return [f"{error}: {Usage.of(pid)}, before: {before}"]
    say(f"before: {before}; after: {Usage.of(pid)}")
    return []


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    """Run, and exit 1 when something is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.properties.fuzz_http", description="Throw hostile requests at the real daemon."
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="for how long; default 10; 0: attacks only")
    parser.add_argument(
        "--seed", type=int, default=random.SystemRandom().randrange(2**32), help="what callers send; default random"
    )
    parser.add_argument(
        "--attack", action="append", choices=attacks.ALL, help="only this one; may be repeated; default all"
    )
    parser.add_argument("--attack-seconds", type=float, default=10.0, help="for how long each attack runs; default 10")
    options = parser.parse_args()
    say(f"seed {options.seed}")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "attacks")
        root.mkdir()
        wrong, slow = attacks.attack(options.attack or attacks.ALL, options.attack_seconds, root, say)
        wrong += slow
        if options.minutes:
            wrong += fuzz(options.minutes * 60, options.seed, Path(folder, "fuzz"), say)
    say("\n".join(wrong) or "nothing is wrong")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
