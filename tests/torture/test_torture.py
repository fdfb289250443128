"""The torture ends clean, and finds each promise that is broken on purpose; it is long as `python -m tests.torture`."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from receipt_watcher.system.disk import PARTIAL_SUFFIX
from tests.fakes.daemons.fork_server import fork_server
from tests.torture import __main__
from tests.torture.audit import EXPLANATIONS
from tests.torture.drive import audit_of, torture
from tests.torture.dropper import content_of
from tests.torture.far_side import REPLIES, SINK_REPLIES
from tests.torture.ledger import Ledger, Ledgers, read
from tests.torture.plan import KINDS, End, Fault, Manner, Plan, opening
from tests.torture.watcher import PLANTED

#: The finding that each planted fault must cause.
FOUND = {
    "claim": {"illegal histories", "unexplained deliveries"},
    "flush": {"lost", "torn"},
    "verdict": {"verdicts changed", "illegal histories"},
    "move": {"lost"},
    "once": {"sent twice"},
}


_COMMAND = [sys.executable, "-m", "tests.torture", "--seed", "1"]


def figures_of(said: str) -> Counter[str]:
    """Return the summary's figures."""
    rows = [line.rsplit(None, 1) for line in said.splitlines() if line[:1].islower() or line.startswith("  ")]
    return Counter({row[0].strip(): int(row[1].replace(",", "")) for row in rows if row[-1].replace(",", "").isdigit()})


@pytest.mark.long
@pytest.mark.timeout(300)
def test_nothing_is_lost(tmp_path: Path) -> None:
    """Twenty rounds, with each fault of N8N, kills, stops and power cuts, end with nothing found."""
    command, environment = [*_COMMAND, "--rounds", "20"], os.environ | {"TMPDIR": str(tmp_path)}
    code, said, wrong = fork_server().run(command, environment, timeout=300)
    assert code == 0, said + wrong
    figures = figures_of(said)
    assert figures["rounds"] == len(opening()) + 20
    assert figures["receipts dropped"] > 200
    assert figures["kills (kill -9)"] > 10
    assert figures["of them booked by the sink"] > 20
    assert figures["taken more than once"] == sum(figures[why] for why in EXPLANATIONS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", PLANTED)
def test_planted_fault_is_found(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A promise that is broken on purpose ends with exit code 1, and with the finding that tells which it is."""
    monkeypatch.setattr(sys, "argv", [*_COMMAND[2:], "--planted", name])
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code = __main__.main()
    said = capsys.readouterr().out
    assert code == 1, said
    found = {kind for kind, count in figures_of(said).items() if count}
    assert found >= FOUND[name], said
    assert f"Again: python -m tests.torture --planted {name} --seed 1\n" in said


# --- the audit -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that a torture of one healthy round left."""
    root = tmp_path_factory.mktemp("clean")
    (root / "memory").mkdir()
    report = torture(root, root / "memory", [opening()[""]], seed=1)
    assert report.is_clean, report.findings
    return root


def _filed(root: Path) -> Path:
    return next(path for path in (root / "office" / "done").rglob("*") if path.is_file())


def _append(path: Path, what: str, **changes: object) -> None:
    """Append the last line of a kind once more, now, with changes."""
    line = read(path, what)[-1] | {"at": time.time()} | changes
    del line["what"]
    ledger = Ledger(path)
    ledger.write(what, **line)
    ledger.close()


def _ask(root: Path, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(root / "state" / "receipts.db")) as log, log:
        log.execute(statement)


def _in_two_places(root: Path) -> None:
    shutil.copy2(_filed(root), root / "office" / "failed")


def _misnamed(root: Path) -> None:
    _filed(root).rename(_filed(root).with_name("another.jpg"))


def _part_of_a_copy(root: Path) -> None:
    (root / "memory" / "done" / f".1{PARTIAL_SUFFIX}").touch()


def _stray_note(root: Path) -> None:
    (root / "office" / "failed" / "scan.jpg.reason.txt").touch()


def _row_gone(root: Path) -> None:
    _ask(root, "DELETE FROM job WHERE job_id = (SELECT MAX(job_id) FROM job)")


def _row_of_nobody(root: Path) -> None:
    _ask(root, "UPDATE attempt SET job_id = 'nobody'")


def _another_id(root: Path) -> None:
    _append(root / "far-side.jsonl", "delivered", job_id="another", ids=["another"])


def _sent_once_more(root: Path) -> None:
    _append(root / "far-side.jsonl", "delivered", number=99)


def _booked_twice(root: Path) -> None:
    for number in (98, 99):
        _append(root / "far-side.jsonl", "delivered", number=number, inbox="sink", booked=True)


def _wrong_token_heard(root: Path) -> None:
    _append(root / "far-side.jsonl", "callback", right_token=False)


def _failed_without_a_word(root: Path) -> None:
    (root / "far-side.jsonl").write_text("")
    _filed(root).rename(root / "office" / "failed" / _filed(root).name)


def _defect(root: Path) -> None:
    with next((root / "logs").iterdir()).open("a") as log:
        log.write('{"event": "stage.failed"}\n')


def _balance(root: Path) -> None:
    _append(Ledgers.below(root).driver, "balance", code=1)


@pytest.mark.parametrize(
    ("doctor", "kind"),
    [
        (_in_two_places, "in two places"),
        (_misnamed, "misnamed"),
        (_part_of_a_copy, "left behind"),
        (_stray_note, "left behind"),
        (_row_gone, "wrong jobs"),
        (_row_of_nobody, "job log damaged"),
        (_another_id, "two ids"),
        (_sent_once_more, "unexplained deliveries"),
        (_booked_twice, "sent twice"),
        (_wrong_token_heard, "callbacks answered wrongly"),
        (_failed_without_a_word, "unexplained failures"),
        (_defect, "defects in the log"),
        (_balance, "balance disagrees"),
    ],
)
def test_the_audit_sees(doctor: Callable[[Path], None], kind: str, clean: Path, tmp_path: Path) -> None:
    """Whatever is doctored in what a clean torture left is found, and named."""
    root = tmp_path / "doctored"
    shutil.copytree(clean, root)
    assert audit_of(root, root / "memory").is_clean
    doctor(root)
    assert audit_of(root, root / "memory").findings[kind]


# --- the plan ------------------------------------------------------------------------------------------------------


def test_the_seed_makes_the_plan() -> None:
    """The same seed draws the same rounds, another seed others."""
    assert Plan(1).rounds(30) == Plan(1).rounds(30)
    assert Plan(1).rounds(30) != Plan(2).rounds(30)


def test_a_plan_leaves_nothing_out() -> None:
    """Each fault, each manner, each kind and each end comes up; no two new receipts are the same."""
    rounds = Plan(1).rounds(2 * len(Fault))
    drops = [drop for one in rounds for drop in one.drops]
    assert {one.fault for one in rounds} == set(Fault)
    assert {one.end for one in rounds} == set(End)
    assert {drop.manner for drop in drops} == set(Manner)
    assert {drop.kind for drop in drops} == set(KINDS)
    others = [drop.path for drop in drops if drop.manner not in (Manner.SAME_NAME, Manner.AGAIN)]
    assert len(set(others)) == len(others)


def test_each_fault_is_made_somewhere() -> None:
    """Each fault has its reply, but for those that are made before a request has arrived."""
    for replies in (REPLIES, SINK_REPLIES):
        assert set(Fault) - replies.keys() == {Fault.DOWN, Fault.RESET_IN_REQUEST}


@pytest.mark.parametrize("kind", KINDS)
def test_content_is_made_anew(kind: str) -> None:
    """The same drop has the same bytes; another number makes other bytes, but for a file without any."""
    assert content_of(kind, 7) == content_of(kind, 7)
    assert (content_of(kind, 7) != content_of(kind, 8)) is (kind != "nothing")
