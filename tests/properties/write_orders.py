"""Writers do what they like, in any order, with real files; the real take-in takes each file that ends whole, once.

`python -m tests.properties.write_orders --examples 2000` runs the long form; the suite runs a short one.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import BinaryIO

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from receipt_watcher.cli.demo import samples
from receipt_watcher.config.sections.inbox import Inbox
from receipt_watcher.examine.judge import examine
from receipt_watcher.inbox.take_in import ParkedFile, TakeIn
from receipt_watcher.inbox.watching.watch import InboxWatch
from receipt_watcher.jobs.states import State
from receipt_watcher.spool.folders import Spool
from receipt_watcher.spool.paths import SpoolFolders
from receipt_watcher.system.wakeup import Bell
from tests.conftest import INSTALLATION, FakeClock, open_log
from tests.fakes.daemons.process import digest
from tests.unit.inbox.test_take_in import route_on, take_in

SETTLE, PATIENCE = 2.0, 60.0
NAMES = ("a.jpg", "b.pdf", "sub/a.jpg")
#: Kinds whose end can be told by their structure.
WHOLE = (samples.jpeg(1, 2_000), samples.png(2), samples.pdf(3), samples.jpeg(4, 3_000))
PARTS = st.sampled_from([0, 1, 20, 300])


class InterferedSpool(Spool):
    """A spool whose moves somebody gets in the way of: just before a file is moved, or just after."""

    def __init__(self, name: str, folders: SpoolFolders) -> None:
        super().__init__(name, folders)
        self.before: list[bytes] = []
        self.squatters: list[bytes] = []

    def take(self, relative: Path, job_id: str) -> Path:
        """Move a file as ever, with somebody in the way."""
        source = self.folders.inbox / relative
        if self.before and source.exists():
            _rewrite(source, source.read_bytes() + self.before.pop())
        target = super().take(relative, job_id)
        if self.squatters:
            source.write_bytes(self.squatters.pop())
        return target


class AnyOrder(RuleBasedStateMachine):
    """The inbox, the settler, the spool, the log and the take-in as the daemon has them, on a clock of our own."""

    def __init__(self) -> None:
        super().__init__()
        self._root = Path(tempfile.mkdtemp())
        folders = SpoolFolders(*(self._root / name for name in ("inbox", "processing", "done", "failed")))
        (folders.inbox / "sub").mkdir(parents=True)
        self._inbox = folders.inbox
        self._spool = InterferedSpool("office", folders)
        self._spool.open(INSTALLATION)
        self._log = open_log(self._root / "receipts.db")
        self._clock = FakeClock()
        self._route = route_on(self._spool)
        self._take_in = TakeIn(
            self._log,
            [self._route],
            examine=examine,
            deliveries=Bell(),
            filings=Bell(),
            clock=self._clock,
            monotonic=self._clock,
        )
        options = {"settle_seconds": SETTLE, "patience_seconds": PATIENCE, "poll_seconds": 0.1}
        self._watch = InboxWatch(Inbox(path=self._inbox, recursive=True, **options))  # type: ignore[arg-type]
        self._writers: dict[str, BinaryIO] = {}
        self._rests: dict[str, bytes] = {}
        self._ticks = 0

    # --- what writers do ---------------------------------------------------------------------------------------

    def _changed(self, name: str, *, told: bool) -> None:
        self._ticks += 1
        stamp = int(self._clock.now * 1_000_000_000) + self._ticks
        if (self._inbox / name).exists():
            os.utime(self._inbox / name, ns=(stamp, stamp))
        if told:
            self._watch.source.on_file(f"{self._inbox}/{name}")

    @rule(name=st.sampled_from(NAMES), whole=st.sampled_from(WHOLE), cut=PARTS, told=st.booleans())
    def write(self, name: str, whole: bytes, cut: int, *, told: bool) -> None:
        """Write a file, or a part of it, over whatever was there."""
        self.close(name, told=told)
        (self._inbox / name).write_bytes(whole[: len(whole) - cut])
        self._changed(name, told=told)

    @rule(name=st.sampled_from(NAMES), whole=st.sampled_from(WHOLE), cut=PARTS, told=st.booleans())
    def move_in(self, name: str, whole: bytes, cut: int, *, told: bool) -> None:
        """Put a file, or a torso, into its place by one rename, over whatever was there."""
        temporary = self._root / "temporary"
        temporary.write_bytes(whole[: len(whole) - cut])
        self.close(name, told=told)
        temporary.replace(self._inbox / name)
        self._changed(name, told=told)

    @rule(name=st.sampled_from(NAMES), more=st.sampled_from([b"\n", b"%%EOF\n", b"more"]), told=st.booleans())
    def append(self, name: str, more: bytes, *, told: bool) -> None:
        """Open a file again, and append to it; or begin one."""
        with (self._inbox / name).open("ab") as file:
            file.write(more)
        self._changed(name, told=told)

    @rule(name=st.sampled_from(NAMES), whole=st.sampled_from(WHOLE), at=st.integers(1, 400))
    def begin(self, name: str, whole: bytes, at: int) -> None:
        """Write the beginning of a file and keep it open."""
        self.close(name, told=False)
        file = (self._inbox / name).open("wb", buffering=0)
        file.write(whole[:-at])
        self._writers[name] = file
        self._rests[name] = whole[-at:]
        self._changed(name, told=True)

    @precondition(lambda self: self._writers)
    @rule(picked=st.data(), told=st.booleans())
    def finish(self, picked: st.DataObject, *, told: bool) -> None:
        """Write the rest of what was begun, and close it."""
        name = picked.draw(st.sampled_from(sorted(self._writers)))
        self._writers[name].write(self._rests[name])
        self.close(name, told=told)
        self._changed(name, told=told)

    def close(self, name: str, *, told: bool) -> None:
        """Close what a writer has open under a name, without a word more."""
        if name in self._writers:
            self._writers.pop(name).close()
            if told:
                self._watch.source.on_file(f"{self._inbox}/{name}")

    @rule(name=st.sampled_from(NAMES), to=st.sampled_from(NAMES), told=st.booleans())
    def rename(self, name: str, to: str, *, told: bool) -> None:
        """Give a file another name, over whatever was there."""
        if name == to or not (self._inbox / name).exists() or name in self._writers or to in self._writers:
            return
        (self._inbox / name).replace(self._inbox / to)
        self._changed(name, told=told)
        self._changed(to, told=told)

    @rule(name=st.sampled_from(NAMES), told=st.booleans())
    def delete(self, name: str, *, told: bool) -> None:
        """Take a file back."""
        self.close(name, told=told)
        (self._inbox / name).unlink(missing_ok=True)
        self._changed(name, told=told)

    @rule(name=st.sampled_from(NAMES), stamp=st.sampled_from([0, 1, 2**33, 10**9]))
    def date(self, name: str, stamp: int) -> None:
        """Give a file any date, as cp -p, rsync or a camera without a clock does."""
        if (self._inbox / name).exists():
            os.utime(self._inbox / name, (stamp, stamp))

    @rule(late=st.sampled_from([b"late", b"\n%%EOF\n"]), squatter=st.sampled_from([None, *WHOLE]))
    def interfere(self, late: bytes, squatter: bytes | None) -> None:
        """The next file that is moved changes just before; perhaps another one takes its name just after."""
        self._spool.before = [late]
        self._spool.squatters = [] if squatter is None else [squatter]

    # --- what the daemon does ----------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.0, 0.1, SETTLE / 2, SETTLE, SETTLE + 0.1, PATIENCE]))
    def round(self, seconds: float) -> None:
        """Let time pass and do what a gate's round does; whatever is recorded now was whole, or is overdue."""
        self._clock.advance(seconds)
        before = {job.job_id for job in self._log.lookups.listing(limit=None)}
        open_names = set(self._writers)
        orphans = {path.relative_to(self._spool.folders.processing).parts[0] for path in self._orphans()}
        self._take_in.recovery.recover(self._route)
        take_in(self._take_in, self._route, self._watch.settled(self._clock.now, 16), self._park)
        for job in self._log.lookups.listing(limit=None):
            if job.job_id in before or job.state is State.FAILURE:
                continue
            content = (self._spool.folders.processing / job.stored_path).read_bytes()
            assert digest(content) == job.sha256
            is_another = job.job_id in orphans  # one that settled in processing/, its name being somebody else's now
            assert is_another or str(job.relative_path) not in open_names, "a file that somebody was writing was taken"

    def _park(self, one: ParkedFile) -> None:
        self._watch.settler.park(one.settled, one.why, one.detail, self._clock.now)

    @invariant()
    def what_is_recorded_stays_as_it_was(self) -> None:
        """Each job's file is in processing/, with the very bytes that were recorded."""
        for job in self._log.lookups.listing(limit=None):
            path = self._spool.folders.processing / job.stored_path
            assert digest(path.read_bytes()) == job.sha256, job

    def teardown(self) -> None:
        """Check that after all have stopped, every file that is left is taken, once and with its last bytes."""
        try:
            for name in tuple(self._writers):
                self.close(name, told=False)
            self._spool.before, self._spool.squatters = [], []
            left = Counter(digest(path.read_bytes()) for path in self._inbox.rglob("*") if path.is_file())
            left += Counter(digest(path.read_bytes()) for path in self._orphans())
            before = Counter(job.sha256 for job in self._log.lookups.listing(limit=None))
            for _ in range(3):
                self.round(SETTLE)
            for _ in range(3):
                self.round(PATIENCE)
            assert [path for path in self._inbox.rglob("*") if path.is_file()] == [], "never taken"
            assert Counter(job.sha256 for job in self._log.lookups.listing(limit=None)) == before + left
            self.what_is_recorded_stays_as_it_was()
        finally:
            self._log.database.close()
            self._spool.close()
            shutil.rmtree(self._root)

    def _orphans(self) -> list[Path]:
        recorded = {job.stored_path.parts[0] for job in self._log.lookups.listing(limit=None)}
        return [
            path
            for folder in self._spool.folders.processing.iterdir()
            if folder.is_dir() and folder.name not in recorded
            for path in folder.rglob("*")
            if path.is_file()
        ]


def _rewrite(path: Path, content: bytes) -> None:
    with path.open("r+b") as file:
        file.write(content)


def main() -> int:
    """Run the long form."""
    parser = argparse.ArgumentParser(prog="python -m tests.properties.write_orders", description=__doc__)
    parser.add_argument("--examples", type=int, default=1000)
    options = parser.parse_args()
    long = settings(
        max_examples=options.examples,
        stateful_step_count=60,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
    run_state_machine_as_test(AnyOrder, settings=long)
    return 0


if __name__ == "__main__":
    sys.exit(main())
