"""The audit of a torture: what the ledgers say must be so, and what is on disk and in the job log.

The ledgers of the dropper, of N8N's side and of the driver are the truth, never the program's own word: what the job
log says is compared with them and with the folders. Nothing is changed. It is done when nothing is left to do and the
daemon has ended.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import re
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import CLOSED_STATES, INITIAL_STATES, TRANSITIONS, Event, State
from receipt_watcher.spool.reason_file import NOTE_SUFFIX
from receipt_watcher.system.disk import PARTIAL_SUFFIX
from receipt_watcher.system.display import display_name
from tests.fakes.daemons.process import files_below
from tests.torture.folders import Folders
from tests.torture.ledger import Ledgers, read
from tests.torture.plan import RECEIPTS, SINK, Fault

#: Each kind of finding, in the order of the summary.
KINDS = (
    "lost",
    "torn",
    "in two places",
    "misnamed",
    "left behind",
    "wrong jobs",
    "two ids",
    "illegal histories",
    "verdicts changed",
    "sent twice",
    "unexplained deliveries",
    "unexplained failures",
    "callbacks answered wrongly",
    "job log damaged",
    "defects in the log",
    "balance disagrees",
    "not quiet",
)

#: Events that explain why N8N took a receipt once more.
EXPLANATIONS = ("unanswered request", "callback never sent", "killed or stopped", "callback came late", "retried")

#: Log lines that no torture explains.
_DEFECTS = ("stage.failed", "task.failed", "http.failed", "file.missing", "file.unknown", "file.stuck", "note.not_")

#: A request that was on its way when a verdict came in cannot be called back; so old a verdict it must know.
_ON_THE_WAY_SECONDS = 3.0
_NUMBER = re.compile(r"( \(\d+\))+(?=\.\w+$)")
_HEARD, _TOO_LARGE, _UNREADABLE, _ERROR = 200, 413, 422, 500

#: Time limit for an order, or for a file that is dropped once more.
_ORDER_SECONDS = 3.0

#: So much earlier than its deadline a repetition may seem to be: N8N's side notes a delivery a little after it arrived.
_CLOCK_SECONDS = 0.2

#: After so many errors 500 a receipt has failed, as configured.
_MAX_ATTEMPTS = 8

Line = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Filed:
    """One file that is there at the end; `name` is its path as it was dropped, as far as that can be told."""

    inbox: str
    folder: str
    path: Path
    below: str
    sha256: str

    @property
    def name(self) -> str:
        """Without the job's folder or the month's, and without our number."""
        own = self.folder in ("done", "processing")
        return _NUMBER.sub("", self.below.partition("/")[2] if own else self.below)


@dataclass(frozen=True, slots=True)
class Row:
    """One job, as the log has it."""

    job_id: str
    state: State
    inbox: str
    folder: str
    stored_path: str
    sha256: str | None
    is_moving: bool
    note_path: str | None
    reason: str | None


@dataclass
class Report:
    """The findings by kind, and the amounts of work by name."""

    findings: dict[str, list[str]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    figures: Counter[str] = field(default_factory=Counter)
    explained: Counter[str] = field(default_factory=Counter)

    def find(self, kind: str, text: str) -> None:
        """Add a finding."""
        self.findings[kind].append(text)

    @property
    def is_clean(self) -> bool:
        """Return whether nothing was found."""
        return not any(self.findings.values())


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that the audit goes by."""

    dropped: Sequence[Line]
    delivered: Sequence[Line]
    answered: Mapping[int, float]
    callbacks: Sequence[Line]
    driven: Sequence[Line]
    again: Sequence[Line]
    filed: Sequence[Filed]
    rows: Sequence[Row]
    histories: Mapping[str, Sequence[Line]]


def audit(
    root: Path,
    spools: Mapping[str, Folders],
    database: Path,
    logs: Iterable[Path],
    *,
    deadline_seconds: float,
    timeout_seconds: float,
) -> Report:
    """Compare everything with everything."""
    report = Report()
    _check_database(report, database)
    evidence = _gather(root, spools, database)
    _check_logs(report, logs, evidence)
    _check_balance(report, evidence)
    _check_files(report, evidence)
    _check_left_behind(report, spools, evidence)
    _check_jobs(report, evidence)
    _check_histories(report, evidence)
    _check_ids(report, evidence)
    _check_verdicts(report, evidence)
    _check_callbacks(report, evidence)
    _check_failures(report, evidence)
    _check_deliveries(report, evidence, deadline_seconds, timeout_seconds)
    _check_sink(report, evidence)
    return report


# --- what there is -------------------------------------------------------------------------------------------------


def _gather(root: Path, spools: Mapping[str, Folders], database: Path) -> Evidence:
    ledgers = Ledgers.below(root)
    rows, histories = _read_log(database)
    return Evidence(
        dropped=read(ledgers.dropper, "dropped"),
        again=read(ledgers.dropper, "again"),
        delivered=read(ledgers.far_side, "delivered"),
        answered={line["number"]: line["at"] for line in read(ledgers.far_side, "answered")},
        callbacks=read(ledgers.far_side, "callback"),
        driven=read(ledgers.driver),
        filed=list(_files(spools)),
        rows=rows,
        histories=histories,
    )


def _files(spools: Mapping[str, Folders]) -> Iterator[Filed]:
    """Yield every file of every spool, hidden ones and parts of copies too, but for our notes."""
    for inbox, folders in spools.items():
        for folder, top in folders.each():
            for path in files_below(top):
                if path.name == ".owner" or path.name.endswith(NOTE_SUFFIX):
                    continue
                yield Filed(inbox, folder, path, str(path.relative_to(top)), _digest_of(path))


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_log(database: Path) -> tuple[list[Row], dict[str, list[Line]]]:
    with contextlib.closing(sqlite3.connect(database)) as log:
        log.row_factory = sqlite3.Row
        rows = [
            Row(
                job_id=row["job_id"],
                state=State(row["state"]),
                inbox=row["inbox"],
                folder=row["folder"],
                stored_path=os.fsdecode(row["stored_path"]),
                sha256=row["sha256"],
                is_moving=bool(row["move_due"]) or row["moving_to_path"] is not None,
                note_path=None if row["note_path"] is None else os.fsdecode(row["note_path"]),
                reason=row["reason"],
            )
            for row in log.execute("SELECT * FROM job ORDER BY job_id")
        ]
        histories: dict[str, list[Line]] = defaultdict(list)
        for row in log.execute("SELECT * FROM history WHERE to_state IS NOT NULL ORDER BY id"):
            histories[row["job_id"]].append(dict(row))
    return rows, histories


# --- files ---------------------------------------------------------------------------------------------------------


def _check_files(report: Report, evidence: Evidence) -> None:
    """Each receipt that was dropped is there as often as it was dropped, byte for byte, under its name."""
    expected = Counter(line["sha256"] for line in evidence.dropped)
    found = Counter(filed.sha256 for filed in evidence.filed)
    names = {line["sha256"]: f"{line['inbox']}/{line['path']}" for line in evidence.dropped}
    for sha256 in expected - found:
        report.find("lost", f"{names[sha256]} ({sha256[:12]}): dropped {expected[sha256]}, there {found[sha256]} times")
    for sha256 in found - expected:
        places = ", ".join(str(filed.path) for filed in evidence.filed if filed.sha256 == sha256)
        kind = "in two places" if sha256 in expected else "torn"
        report.find(kind, f"{names.get(sha256, 'unknown bytes')} ({sha256[:12]}): {places}")
    dropped = Counter((line["inbox"], _NUMBER.sub("", line["path"]), line["sha256"]) for line in evidence.dropped)
    filed = Counter((one.inbox, one.name, one.sha256) for one in evidence.filed)
    for inbox, name, sha256 in filed - dropped:
        if expected[sha256] == found[sha256]:
            report.find("misnamed", f"{inbox}/{name} ({sha256[:12]}) was dropped as {names[sha256]}")
    report.figures["receipts"] = expected.total()


def _check_left_behind(report: Report, spools: Mapping[str, Folders], evidence: Evidence) -> None:
    """Nothing is left in inbox and processing, no part of a copy, and no note without its file or file without note."""
    for filed in evidence.filed:
        if filed.folder in ("inbox", "processing") or filed.path.name.endswith(PARTIAL_SUFFIX):
            report.find("left behind", str(filed.path))
    for inbox, folders in spools.items():
        for entry in folders.processing.iterdir():
            if entry.name != ".owner" and not files_below(entry):
                report.find("left behind", f"{entry}, an empty folder")
        rows = [row for row in evidence.rows if row.inbox == inbox and row.folder == "failed"]
        meant = {str(folders.failed / row.note_path) for row in rows if row.note_path is not None}
        there = {str(path) for _, top in folders.each() for path in files_below(top) if path.name.endswith(NOTE_SUFFIX)}
        for path in sorted(there - meant):
            report.find("left behind", f"{path}, a note about nothing")
        for path in sorted(meant - there):
            report.find("left behind", f"{path} is not there, a note that the log knows of")
        for row in rows:
            if row.note_path is None:
                report.find("left behind", f"{folders.failed / row.stored_path} has no note")


# --- the job log ---------------------------------------------------------------------------------------------------


def _check_database(report: Report, database: Path) -> None:
    with contextlib.closing(sqlite3.connect(database)) as log:
        if (said := log.execute("PRAGMA integrity_check").fetchall()) != [("ok",)]:
            report.find("job log damaged", f"integrity_check: {said}")
        if said := log.execute("PRAGMA foreign_key_check").fetchall():
            report.find("job log damaged", f"foreign_key_check: {said}")


def _check_logs(report: Report, logs: Iterable[Path], evidence: Evidence) -> None:
    """No line that only a defect explains, and no traceback; a file that people took from failed/ is missing there."""
    taken = {_NUMBER.sub("", display_name(Path(line["path"]).name)) for line in evidence.again}
    for path in logs:
        for line in path.read_text("utf-8", "replace").splitlines():
            if not any(f'"event": "{event}' in line for event in _DEFECTS) and "Traceback" not in line:
                continue
            if '"event": "file.missing"' not in line or json.loads(line)["filename"] not in taken:
                report.find("defects in the log", f"{path.name}: {line}")


def _check_balance(report: Report, evidence: Evidence) -> None:
    """The program's own balance finds nothing either: what it says is judged here, and judges nobody."""
    for line in evidence.driven:
        if line["what"] == "balance" and line["code"] != 0:
            report.find("balance disagrees", line["said"])


def _check_jobs(report: Report, evidence: Evidence) -> None:
    """Each receipt has one job, which has ended, and which names the place where the file is."""
    expected = Counter(line["sha256"] for line in evidence.dropped)
    jobs = Counter(row.sha256 for row in evidence.rows)
    for sha256 in (expected - jobs) | (jobs - expected):
        report.find("wrong jobs", f"{sha256}: dropped {expected[sha256]} times, {jobs[sha256]} jobs")
    there = {(filed.inbox, filed.folder, filed.below): filed.sha256 for filed in evidence.filed}
    named = Counter((row.inbox, row.folder, row.stored_path) for row in evidence.rows)
    for row in evidence.rows:
        place = (row.inbox, row.folder, row.stored_path)
        if row.state not in CLOSED_STATES or row.is_moving:
            report.find("wrong jobs", f"{row.job_id} has not ended: {row.state}, moving: {row.is_moving}")
        if there.get(place) != row.sha256:
            report.find("wrong jobs", f"{row.job_id}, {row.state}: its file is not at {'/'.join(place)}")
        if named[place] > 1:
            report.find("wrong jobs", f"{row.job_id}, {row.state}: {'/'.join(place)} is another job's, too")


def _check_histories(report: Report, evidence: Evidence) -> None:
    for row in evidence.rows:
        if wrong := _wrong_in(evidence.histories.get(row.job_id, ()), row.state):
            report.find("illegal histories", f"{row.job_id}: {wrong}")


def _wrong_in(history: Sequence[Line], state: State) -> str:
    """Say what in a history is no legal path; "" where it is one."""
    if not history or history[0]["event"] != "record" or history[0]["to_state"] not in INITIAL_STATES:
        return f"it begins with {dict(history[0]) if history else 'nothing'}"
    now = State(history[0]["to_state"])
    for line in history[1:]:
        transition = TRANSITIONS[Event(line["event"])]
        step = f"{line['event']}: {line['from_state']} to {line['to_state']}"
        if line["from_state"] != now or now not in transition.sources or line["to_state"] != transition.target:
            return f"{step}, while it was {now}"
        now = transition.target
    return "" if now is state else f"it ends in {now}, but the job is {state}"


# --- N8N -----------------------------------------------------------------------------------------------------------


def _check_ids(report: Report, evidence: Evidence) -> None:
    """Check that all deliveries were whole, and each receipt came under its job's id in each of its places."""
    expected = {line["sha256"] for line in evidence.dropped}
    rows = {row.job_id: row for row in evidence.rows}
    ids: dict[str, set[str]] = defaultdict(set)
    for line in evidence.delivered:
        ids[line["sha256"]].update(line["ids"])
        if line["sha256"] not in expected or line["sha256"] != line["claimed_sha256"]:
            report.find("torn", f"N8N got {line['sha256']} as {line['claimed_sha256']}, job {line['job_id']}")
        if line["job_id"] not in rows or rows[line["job_id"]].sha256 != line["sha256"]:
            report.find(
                "wrong jobs", f"N8N got {line['sha256'][:12]} under {line['job_id']}; the log knows nothing of it"
            )
    for sha256, found in ids.items():
        if len(found) > 1:
            report.find("two ids", f"{sha256}: {', '.join(sorted(found))}")


def _heard(evidence: Evidence) -> dict[str, list[Line]]:
    """Return the callbacks that were answered with 200, by job."""
    heard: dict[str, list[Line]] = defaultdict(list)
    for line in evidence.callbacks:
        if line["outcome"] == _HEARD and line["right_token"] and line["job_id"] is not None:
            heard[line["job_id"]].append(line)
    return heard


def _check_verdicts(report: Report, evidence: Evidence) -> None:
    """A success that was answered with 200 stays one and its file is in done/; nothing else is there."""
    rows = {row.job_id: row for row in evidence.rows}
    for job_id, heard in _heard(evidence).items():
        successes = [line["at"] for line in heard if line["verdict"] == "success"]
        if not successes:
            continue
        if any(line["verdict"] == "failure" and line["asked_at"] > min(successes) for line in heard):
            report.find("verdicts changed", f"{job_id}: a failure was answered with 200 after a success was")
        if (row := rows.get(job_id)) and (row.state is not State.SUCCESS or row.folder != "done"):
            report.find(
                "verdicts changed", f"{job_id}: a success was answered with 200, it is {row.state} in {row.folder}"
            )
    known = {line["sha256"] for line in evidence.dropped}
    digests = {line["job_id"]: line["sha256"] for line in evidence.delivered}
    said = {digests[line["job_id"]] for line in evidence.callbacks if line["job_id"] and line["verdict"] == "success"}
    said |= {line["sha256"] for line in evidence.delivered if line["booked"]}  # by the answer
    for filed in evidence.filed:
        if filed.folder == "done" and filed.sha256 in known - said:
            report.find("verdicts changed", f"{filed.path} is in done/, but N8N never said so")


def _check_callbacks(report: Report, evidence: Evidence) -> None:
    """Each callback that was answered at all was answered as the contract says."""
    successes: dict[str, float] = {}
    for line in sorted(evidence.callbacks, key=lambda line: line["asked_at"]):
        job_id, outcome = line["job_id"], line["outcome"]
        if not line["right_token"]:
            allowed = {401, 429}
        elif job_id is None:
            allowed = {404}
        else:
            if line["verdict"] == "success":
                successes.setdefault(job_id, line["asked_at"])
            if line["verdict"] not in ("success", "failure"):
                allowed = {_UNREADABLE}
            else:
                allowed = {200, 409} if line["verdict"] == "failure" and job_id in successes else {200}
        if outcome is not None and outcome not in allowed:
            report.find("callbacks answered wrongly", f"{dict(line)}: {sorted(allowed)} was to be expected")


def _check_failures(report: Report, evidence: Evidence) -> None:
    """A good receipt is in failed/ only by a word of N8N's, by an admin, or because nobody called back or can know."""
    good = {line["sha256"] for line in evidence.dropped if line["kind"] in RECEIPTS}
    digests = {line["job_id"]: line["sha256"] for line in evidence.delivered}
    errors = Counter(line["sha256"] for line in evidence.delivered if line["status"] == _ERROR)
    excused = {sha256 for sha256, count in errors.items() if count >= _MAX_ATTEMPTS}
    excused |= {line["sha256"] for line in evidence.delivered if line["status"] == _TOO_LARGE or line["taken"]}
    excused |= {digests[line["job_id"]] for line in evidence.driven if line.get("order") == "cancel"}
    if any(line["what"] == "ended" or line.get("fault") == Fault.RESET_IN_REQUEST for line in evidence.driven):
        # It may have been claimed or on its way then, and never have arrived whole at the sink.
        excused |= {row.sha256 for row in evidence.rows if row.inbox == SINK and row.reason == Reason.OUTCOME_UNKNOWN}
    for filed in evidence.filed:
        if filed.folder == "failed" and filed.sha256 in good - excused:
            report.find("unexplained failures", str(filed.path))


# --- deliveries beyond one -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Repetition:
    """A receipt that N8N took once more: the delivery before, this one, and what may explain it.

    `heard` are the callbacks that were answered by then, `asked` when somebody wanted it to be sent again, `called_at`
    when N8N first called back on the delivery before, `away` whether the daemon was away for a while between the two.
    """

    before: Line
    after: Line
    heard: Sequence[Line]
    asked: Sequence[float]
    answered_at: float | None
    called_at: float
    away: bool
    unread: Sequence[Line] = ()
    moved_back: Sequence[float] = ()

    def explained_by(self, deadline_seconds: float, timeout_seconds: float) -> str:
        """Return one of EXPLANATIONS, or "" where none holds."""
        if any(line["verdict"] == "success" for line in self.heard) or self._was_unreadable:
            return ""
        waited = self.after["at"] - self.before["at"]
        is_unheard = not any(line["at"] >= self.before["at"] for line in self.heard)
        if waited >= deadline_seconds - _CLOCK_SECONDS and is_unheard:
            if self.answered_at is None or self.answered_at - self.before["at"] > timeout_seconds:
                return "unanswered request"
            if not self.before["words"]:
                return "callback never sent"
            if self.away:
                return "killed or stopped"
            if self.called_at - self.before["at"] > deadline_seconds / 2:
                return "callback came late"
        return "retried" if any(at >= self.before["at"] - _ORDER_SECONDS for at in self.asked) else ""

    @property
    def _was_unreadable(self) -> bool:
        """Return whether a callback could not be read, and nobody has moved the file back since: it is sent no more."""
        return any(all(at < line["at"] - _ORDER_SECONDS for at in self.moved_back) for line in self.unread)

    def __str__(self) -> str:
        waited = self.after["at"] - self.before["at"]
        verdicts = ", ".join(line["verdict"] for line in self.heard) or "no verdict"
        told = {name: self.before[name] for name in ("number", "fault", "words")}
        return f"{self.after['job_id']} was taken again {waited:.2f} s after {told}; {verdicts} had been heard"


def _check_deliveries(report: Report, evidence: Evidence, deadline_seconds: float, timeout_seconds: float) -> None:
    """Count what N8N took more than once, and find the reason for each; where there is none, that is a finding."""
    report.figures["POSTs that arrived"] = len(evidence.delivered)
    report.figures["of them taken by N8N"] = sum(line["taken"] for line in evidence.delivered)
    report.figures["booked by the sink"] = sum(line["booked"] for line in evidence.delivered)
    for repetition in _repetitions(evidence):
        if why := repetition.explained_by(deadline_seconds, timeout_seconds):
            report.explained[why] += 1
        else:
            report.find("unexplained deliveries", str(repetition))


def _repetitions(evidence: Evidence) -> Iterator[Repetition]:
    heard, retries, away = _heard(evidence), _retries(evidence), list(_away(evidence.driven))
    unread: dict[str, list[Line]] = defaultdict(list)
    for line in evidence.callbacks:
        if line["outcome"] == _UNREADABLE:
            unread[line["job_id"]].append(line)
    called: dict[int, float] = {}
    for line in evidence.callbacks:
        called[line["number"]] = min(line["asked_at"], called.get(line["number"], line["asked_at"]))
    taken: dict[str, list[Line]] = defaultdict(list)
    for line in evidence.delivered:
        if line["taken"] and line["inbox"] != SINK:
            taken[line["job_id"]].append(line)
    for job_id, lines in taken.items():
        orders = (*retries[job_id], *retries[lines[0]["sha256"]], *retries[""])
        asked = sorted(_seen_at(at, away) for at in orders)
        for before, after in itertools.pairwise(lines):
            yield Repetition(
                before=before,
                after=after,
                heard=[line for line in heard[job_id] if line["at"] <= after["at"] - _ON_THE_WAY_SECONDS],
                asked=[at for at in asked if at <= after["at"]],
                answered_at=evidence.answered.get(before["number"]),
                called_at=called.get(before["number"]) or after["at"],
                unread=[line for line in unread[job_id] if line["at"] <= after["at"] - _ON_THE_WAY_SECONDS],
                moved_back=[line["at"] for line in evidence.again if line["sha256"] == before["sha256"]],
                away=any(left <= after["at"] and before["at"] - 1 <= back for left, back in away),
            )


def _check_sink(report: Report, evidence: Evidence) -> None:
    """Check that the sink, which books each receipt, got none twice, unless a person moved its file out of failed/."""
    booked: dict[str, list[Line]] = defaultdict(list)
    for line in evidence.delivered:
        if line["booked"]:
            booked[line["sha256"]].append(line)
    for sha256, lines in booked.items():
        moved_back = [line["at"] for line in evidence.again if line["sha256"] == sha256]
        for before, after in itertools.pairwise(lines):
            if not any(before["at"] - _ORDER_SECONDS <= at <= after["at"] for at in moved_back):
                waited = after["at"] - before["at"]
                report.find("sent twice", f"{after['job_id']}, {waited:.2f} s after {before['fault']} had booked it")


def _seen_at(at: float, away: Iterable[tuple[float, float]]) -> float:
    """Return when the daemon could see what was asked for: not while it was away."""
    return next((back for left, back in away if left <= at <= back), at)


def _away(driven: Iterable[Line]) -> Iterator[tuple[float, float]]:
    """Yield from when to when no daemon was there."""
    left: float | None = None
    for line in driven:
        if line["what"] == "ended":
            left = line["began"] if left is None else left
        elif line["what"] == "started" and left is not None:
            yield left, line["at"]
            left = None


def _retries(evidence: Evidence) -> dict[str, list[float]]:
    """Return when somebody asked for a receipt once more, by job, by digest, and, for all of them, by ""."""
    retries: dict[str, list[float]] = defaultdict(list)
    for line in evidence.driven:
        if line.get("order") == "retry":
            retries[line["job_id"]].append(line["at"])
        elif line.get("order") == "retry --failed":
            retries[""].append(line["at"])
    first: set[str] = set()
    for line in evidence.dropped:
        if line["sha256"] in first:
            retries[line["sha256"]].append(line["at"])
        first.add(line["sha256"])
    for line in evidence.again:
        retries[line["sha256"]].append(line["at"])
    return retries
