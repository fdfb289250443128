"""The driver of a torture: starts everything, breaks it by the plan, heals it, waits for quiet, and has it audited.

Around the daemon are two processes, N8N's side and the dropper, so that whatever kills the daemon kills no witness.
Three inboxes: all of `office` is on one file system; the inbox and done/ of `share` are in memory, so that its moves
are copies; the workflow of `sink` answers with its verdict and books each receipt that it is sent, also one that it has
booked. A power cut is a kill after which every file that was recorded, or has left the inbox for good, and was not
flushed is zeros. Names are not cut: a file system's journal keeps them in order, and `test_durability` looks at that.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from receipt_watcher.jobs.states import OPEN_STATES
from receipt_watcher.spool.reason_file import NOTE_SUFFIX
from receipt_watcher.system.disk import PARTIAL_SUFFIX
from tests.fakes.daemons.fork_server import fork_server
from tests.fakes.daemons.process import RunningDaemon, files_below, wait_until
from tests.torture.audit import Report, audit
from tests.torture.folders import Folders, make_folders, spools_in
from tests.torture.ledger import TOKEN, Ledger, Ledgers, read
from tests.torture.plan import INBOXES, SINK, End, Fault, Order, Round, Until
from tests.torture.watcher import trace_of

DEADLINE_SECONDS = 1.5
TIMEOUT_SECONDS = 1.0
_QUIET_SECONDS = 300.0
_STOP_SECONDS = 30.0
_OPEN = ", ".join(f"'{state}'" for state in sorted(OPEN_STATES))


def torture(root: Path, memory: Path, rounds: Sequence[Round], seed: int, planted: str = "") -> Report:
    """Do these rounds in these two folders, and return what was found."""
    with contextlib.ExitStack() as stack:
        problems = Run(root, memory, seed, planted, stack).problems_in(rounds)
    report = audit_of(root, memory)
    for problem in problems:
        report.find("not quiet", problem)
    return report


def audit_of(root: Path, memory: Path) -> Report:
    """Audit what a torture left in its two folders, and count what it did."""
    report = audit(
        root,
        spools_in(root, memory),
        root / "state" / "receipts.db",
        sorted((root / "logs").iterdir()),
        deadline_seconds=DEADLINE_SECONDS,
        timeout_seconds=TIMEOUT_SECONDS,
    )
    for line in read(Ledgers.below(root).driver):
        report.figures[{"ended": line.get("how", ""), "started": "starts"}.get(line["what"], line["what"])] += 1
    return report


class Witness:
    """A process beside the daemon, which is told lines and answers each with a line."""

    def __init__(self, module: str, *arguments: str) -> None:
        command = [sys.executable, "-m", f"tests.torture.{module}", *arguments]
        (told, tells), (answers, answered) = os.pipe(), os.pipe()
        self._process = fork_server().start(command, os.environ, answered, 2, told)
        os.close(told)
        os.close(answered)
        self._tells, self._answers = os.fdopen(tells, "w"), os.fdopen(answers)
        self._unanswered = 0

    def tell(self, told: Any) -> None:
        """Tell it something."""
        self._tells.write(json.dumps(told) + "\n")
        self._tells.flush()
        self._unanswered += 1

    def wait(self) -> None:
        """Wait until it has done everything that it was told."""
        while self._unanswered:
            if not self._answers.readline():
                raise AssertionError(f"{self._process.args!r} has ended")
            self._unanswered -= 1

    def close(self) -> None:
        """End it, by the end of its standard input."""
        with contextlib.suppress(BrokenPipeError):
            self._tells.close()
        with self._answers:
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


class TorturedDaemon(RunningDaemon):
    """The daemon as `watcher` runs it; each start has a log file of its own."""

    starts = 0
    start_seconds = _QUIET_SECONDS  # beside other tortures it takes its time

    def command(self, *arguments: str) -> list[str]:
        """Return the words of a command; the daemon itself is watched."""
        words = super().command(*arguments)
        if arguments[0] == "run":
            words[words.index("receipt_watcher")] = "tests.torture.watcher"
        return words

    def start(self, *arguments: str, wait: bool = True, crash_at: str | None = None) -> None:
        """Start it."""
        self.starts += 1
        self.log_file = self.root / "logs" / f"daemon-{self.starts:04}.log"
        super().start(*arguments, wait=wait, crash_at=crash_at)


class Run:
    """One torture."""

    def __init__(self, root: Path, memory: Path, seed: int, planted: str, stack: contextlib.ExitStack) -> None:
        self._root = root
        (root / "logs").mkdir()
        self._ledgers = Ledgers.below(root)
        self._ledger = Ledger(self._ledgers.driver)
        stack.callback(self._ledger.close)
        self._spools = spools_in(root, memory)
        make_folders(self._spools.values())
        self._orders: list[subprocess.Popen[bytes]] = []
        self._clock = threading.Event()  # is never set: waiting for it lets time pass
        port, callback_port = _free_ports(2)
        self._far_side = Witness("far_side", str(self._ledgers.far_side), str(port), str(seed))
        stack.callback(self._far_side.close)
        names = ("inbox", "failed", "outside")
        places = {
            inbox: {name: str(getattr(folders, name)) for name in names} for inbox, folders in self._spools.items()
        }
        self._dropper = Witness("dropper", str(self._ledgers.dropper), json.dumps(places))
        stack.callback(self._dropper.close)
        self._daemon = TorturedDaemon(
            root,
            f"http://127.0.0.1:{port}/webhook/receipts",
            TOKEN,
            inbox={"path": str(self._spools[INBOXES[0]].inbox)},
            changes=_options(self._spools, callback_port, f"http://127.0.0.1:{port}/webhook/{SINK}"),
            environment={"TORTURE_FLUSHES": str(self._ledgers.flushes), "TORTURE_PLANTED": planted},
        )
        stack.callback(self._daemon.close)

    # --- rounds --------------------------------------------------------------------------------------------------

    def problems_in(self, rounds: Sequence[Round]) -> list[str]:
        """Do the rounds, heal everything and wait for quiet; return what kept it from becoming quiet."""
        try:
            self._start()
            for number, one in enumerate(rounds, 1):
                self._ledger.write("round", number=number, fault=one.fault, end=one.end)
                self._do(one)
            self._heal()
        except (AssertionError, OSError, subprocess.TimeoutExpired):
            return [f"{traceback.format_exc()}\n{self._what_is_left()}"]
        return []

    def _do(self, one: Round) -> None:
        self._far_side.tell({"fault": one.fault, "share": one.share})
        self._far_side.wait()
        self._dropper.wait()  # of the round before
        self._dropper.tell([asdict(drop) for drop in one.drops])
        if one.order is not None:
            self._give(one.order, one.pick)
        if one.until is not Until.TIME:
            self._dropper.wait()
            is_so = self._is_quiet if one.until is Until.QUIET else self._is_recorded
            wait_until(is_so, one.until, _QUIET_SECONDS)
        self._clock.wait(one.seconds)
        if one.end is not End.GO_ON:
            self._end(one)
            self._clock.wait(one.down_seconds)
            self._start()

    def _heal(self) -> None:
        """Let everything work again, and wait until nothing is left to do; then stop."""
        self._ledger.write("healed")
        self._far_side.tell({"fault": Fault.HEALTHY, "share": 1.0})
        self._far_side.wait()
        self._dropper.wait()
        for order in self._orders:
            order.wait(_QUIET_SECONDS)
        for _ in range(2):  # the last callbacks may still move something
            wait_until(self._is_quiet, "nothing is left to do", _QUIET_SECONDS)
            self._far_side.tell({"wait": True})
            self._far_side.wait()
        wait_until(self._is_quiet, "nothing is left to do", _QUIET_SECONDS)
        self._terminate()
        balance = self._daemon.run("balance")
        self._ledger.write("balance", code=balance.returncode, said=f"{balance.stdout}{balance.stderr}")

    # --- the daemon ----------------------------------------------------------------------------------------------

    def _start(self) -> None:
        self._daemon.start()
        self._ledger.write("started")

    def _check_alive(self) -> None:
        process = self._daemon.process
        assert process is None or process.poll() is None, f"it ended by itself, see {self._daemon.log_file}"

    def _end(self, one: Round) -> None:
        self._check_alive()
        if one.end is End.TERM:
            self._terminate()
            return
        self._kill("kill")
        if one.end is End.POWER_CUT:
            for path in _cut_power(self._spools, self._daemon.state / "receipts.db", self._ledgers.flushes):
                self._ledger.write("zeroed", path=str(path))
            self._ledger.write("power cut")
        elif one.end is End.KILL_TWICE:
            self._daemon.start(wait=False)
            self._clock.wait(one.start_seconds)
            self._kill("kill")

    def _kill(self, how: str) -> None:
        began = time.time()
        self._daemon.kill()
        self._ledger.write("ended", how=how, began=began)

    def _terminate(self) -> None:
        began = time.time()
        code = self._daemon.terminate(_STOP_SECONDS)
        self._ledger.write("ended", how="term", began=began)
        assert code == 0, f"exit code {code} after SIGTERM, see {self._daemon.log_file}"

    def _give(self, order: Order, pick: int) -> None:
        """Let an admin type something about a job that N8N knows, while everything else goes on."""
        self._orders = [given for given in self._orders if given.poll() is None]
        known = read(self._ledgers.far_side, "delivered")[-20:]
        if not known:
            return
        job_id = known[pick % len(known)]["job_id"]
        self._ledger.write("order", order=order, job_id=job_id)
        words = order.split() if order is Order.RETRY_FAILED else [order, job_id]
        with open(os.devnull, "w") as nowhere:  # noqa: PTH123 - a device is no path
            self._orders.append(fork_server().start(self._daemon.command(*words), os.environ, nowhere, nowhere))

    # --- what is waited for --------------------------------------------------------------------------------------

    def _is_quiet(self) -> bool:
        self._check_alive()
        if self._entries("inbox") or self._entries("processing"):
            return False
        query = f"SELECT COUNT(*) FROM job WHERE move_due OR moving_to_path IS NOT NULL OR state IN ({_OPEN})"
        return _asked(self._daemon.state / "receipts.db", query) == [(0,)]

    def _is_recorded(self) -> bool:
        self._check_alive()
        if self._entries("inbox"):
            return False
        recorded = {str(job_id) for (job_id,) in _asked(self._daemon.state / "receipts.db", "SELECT job_id FROM job")}
        return {path.parent.name for path in self._entries("processing")} <= recorded

    def _entries(self, name: str) -> list[Path]:
        tops = [dict(folders.each())[name] for folders in self._spools.values()]
        return [path for top in tops for path in files_below(top) if path.name != ".owner"]

    def _what_is_left(self) -> str:
        database = self._daemon.state / "receipts.db"
        jobs = _asked(database, f"SELECT job_id, state, folder, move_due FROM job WHERE move_due OR state IN ({_OPEN})")
        left = [*self._entries("inbox"), *self._entries("processing"), *jobs]
        return "\n".join(ascii(str(one))[:200] for one in left[:20])


def _options(spools: dict[str, Folders], callback_port: int, sink_url: str) -> dict[str, Any]:
    inboxes = [
        {
            "name": name,
            "path": str(folders.inbox),
            **{f"{folder}_dir": str(path) for folder, path in folders.each() if folder != "inbox"},
            "recursive": True,
            "settle_seconds": 0.1,
            "patience_seconds": 2,
            **({"webhook_url": sink_url, "accept": "last_node"} if name == SINK else {}),
        }
        for name, folders in spools.items()
    ]
    return {
        "inboxes": inboxes,
        "n8n": {"timeout_seconds": TIMEOUT_SECONDS},
        "callback": {"deadline_seconds": DEADLINE_SECONDS, "max_resends": 2},
        "http": {"port": callback_port},
    }


def _free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on, below those that the system gives to anybody: ours are away for a while."""
    found: list[int] = []
    while len(found) < count:
        port = random.SystemRandom().randrange(10000, 30000)
        with contextlib.closing(socket.socket()) as tried, contextlib.suppress(OSError):
            tried.bind(("127.0.0.1", port))
            found.append(port)
    return found


def _asked(database: Path, query: str) -> list[Any]:
    """Return the rows of a query; none where the job log is not there yet."""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as log:
            return log.execute(query).fetchall()
    except sqlite3.OperationalError:
        return []


def _cut_power(spools: dict[str, Folders], database: Path, flushes: Path) -> Iterator[Path]:
    """Zero every file that has left the inbox for good and was not flushed, and yield it.

    What lies in processing/ without a row has not: nobody was promised anything yet.
    """
    recorded = {job_id for (job_id,) in _asked(database, "SELECT job_id FROM job")}
    flushed = set(flushes.read_text("ascii").splitlines()) if flushes.exists() else set()
    for folders in spools.values():
        for top in (folders.processing, folders.done, folders.failed):
            for path in files_below(top):
                is_promised = top is not folders.processing or path.relative_to(top).parts[0] in recorded
                is_ours = path.name == ".owner" or path.name.endswith((NOTE_SUFFIX, PARTIAL_SUFFIX))
                status = path.stat()
                if is_promised and not is_ours and status.st_size and trace_of(status) not in flushed:
                    path.write_bytes(bytes(status.st_size))
                    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
                    yield path
