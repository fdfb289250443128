"""The journal: what is sent to it, by the real daemon too, what `journalctl` finds in it, and a journal that fails."""

from __future__ import annotations

import json
import logging
import re
import shlex
import socket
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from receipt_watcher.cli.demo.stand_in import Behaviour, StandIn
from receipt_watcher.jobs.job import Job
from receipt_watcher.service.logging import setup
from receipt_watcher.service.logging.entries import entry_of, line_of
from receipt_watcher.service.logging.events import SENTENCES
from receipt_watcher.service.logging.journald import Journal, encode
from receipt_watcher.service.logging.sentences import message_id
from tests.conftest import TOKEN
from tests.docs_tables import CATALOG, README
from tests.fakes.daemons.process import jpegs, wait_until
from tests.fakes.journald import FakeJournal, JournalFolder, JournallingDaemon, decode, fake_journal

API_KEY = "a-key-that-is-for-tests-only"
STEERING = "a\x1b[31m\n<0>b.jpg"
TEXTS = st.text(st.characters(exclude_categories=())) | st.sampled_from(["", "a\nb", "\n", "=\n", "\udce9", "\0"])
NAMES = st.from_regex(r"[A-Z][A-Z0-9_]{0,63}", fullmatch=True)


@pytest.fixture
def journal() -> Iterator[FakeJournal]:
    """A journal that keeps what it is sent."""
    with fake_journal() as journal:
        yield journal


@pytest.fixture(autouse=True)
def undone() -> Iterator[None]:
    """The standard library's loggers are afterwards as they were before."""
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


def log_to(journal: FakeJournal, level: str = "info") -> None:
    """Log to a journal from this process."""
    setup.configure(level, "journal", journal_socket=journal.address)


# --- the protocol --------------------------------------------------------------------------------------------------


@given(st.dictionaries(NAMES, TEXTS))
def test_entries_arrive_as_they_were(fields: dict[str, str]) -> None:
    """Whatever is in a field, lines, NULs, bytes that are no text, it is read as it was, and forges no other."""
    assert decode(encode(fields)) == {
        name: value.encode("utf-8", "backslashreplace").decode() for name, value in fields.items()
    }


@pytest.mark.parametrize("size", [10, 100_000, 3_000_000])
def test_an_entry_of_any_size(journal: FakeJournal, size: int) -> None:
    """What is too large for a datagram goes as a sealed file."""
    fields = {"MESSAGE": "m" * size, "OTHER": "two\nlines"}
    assert Journal(journal.address).send(fields)
    wait_until(lambda: journal.received, "it arrives")
    [entry] = journal.received
    assert {name: value for name, value in entry.items() if name in fields} == fields
    assert journal.by_file == (size > 1_000_000)


def test_entries_of_threads_do_not_mix(journal: FakeJournal) -> None:
    """Each entry arrives whole, however many write at once."""
    way = Journal(journal.address)

    def write(writer: int) -> None:
        for number in range(50):
            assert way.send({"MESSAGE": f"{writer} {number}\n", "WRITER": str(writer)})

    threads = [threading.Thread(target=write, args=[writer]) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    wait_until(lambda: len(journal.received) == 200, "all arrive")
    assert all(entry["MESSAGE"].startswith(f"{entry['WRITER']} ") for entry in journal.received)


# --- a journal that fails ------------------------------------------------------------------------------------------


def test_no_journal_is_told(tmp_path: Path) -> None:
    """Where nobody listens the answer says so, and the journal is found again when it is back."""
    with tempfile.TemporaryDirectory() as folder:
        way = Journal(f"{folder}/socket")
        assert not way.send({"MESSAGE": "nobody is there"})
        with FakeJournal(Path(folder)) as journal:
            assert way.send({"MESSAGE": "now"})
            wait_until(lambda: journal.messages == ["now"], "it arrives")
        assert not way.send({"MESSAGE": "it left a socket that nobody reads"})


def test_a_journal_that_hangs_keeps_nobody_waiting() -> None:
    """Who takes nothing is waited for once; what is lost meanwhile is counted, and told when it takes entries again."""
    with (
        tempfile.TemporaryDirectory() as folder,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as hanging,
    ):
        hanging.bind(f"{folder}/socket")
        setup.configure("info", "journal", journal_socket=f"{folder}/socket")
        logger = structlog.get_logger()
        for _ in range(
            3000
        ):  # the kernel keeps some; were each of the others waited for, this would take most of an hour
            logger.info("job_log.mended")
        kept = 0
        hanging.setblocking(False)
        while True:
            try:
                hanging.recv(1 << 16)
            except BlockingIOError:
                break
            kept += 1
        assert 0 < kept < 3000
        logger.info("heartbeat.resumed")
        last, lost = decode(hanging.recv(1 << 16)), decode(hanging.recv(1 << 16))
    assert last["RECEIPT_EVENT"] == "heartbeat.resumed"
    assert (lost["RECEIPT_EVENT"], lost["RECEIPT_LINES"], lost["PRIORITY"]) == (
        "journal.clogged",
        str(3000 - kept),
        "4",
    )


# --- what an entry is ----------------------------------------------------------------------------------------------


def test_an_entry(journal: FakeJournal) -> None:
    """An entry is a sentence, and has each field by itself under the name that an admin looks for."""
    log_to(journal)
    structlog.get_logger().warning(
        "job.deferred",
        job_id="018b",
        inbox="office",
        filename="scan_0042.pdf",
        attempt=2,
        seconds=0.412,
        message="N8N answered 503",
        reason=None,
    )
    wait_until(lambda: journal.received, "it arrives")
    entry = dict(journal.received[0])
    assert Path(entry.pop("CODE_FILE")) == Path(__file__)
    assert int(entry.pop("CODE_LINE")) > 100
    assert entry.pop("CODE_FUNC") == "test_an_entry"
    assert int(entry.pop("__REALTIME_TIMESTAMP")) > 0
    said = "office: scan_0042.pdf not taken by N8N, and will be sent again (attempt 2, 0.4 s): N8N answered 503"
    assert entry == {
        "MESSAGE": said,
        "MESSAGE_ID": message_id("job.deferred"),
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "receipt-watcher",
        "SYSLOG_FACILITY": "3",
        "RECEIPT_EVENT": "job.deferred",
        "RECEIPT_JOB": "018b",
        "RECEIPT_INBOX": "office",
        "RECEIPT_FILE": "scan_0042.pdf",
        "RECEIPT_ATTEMPT": "2",
        "RECEIPT_SECONDS": "0.412",
        "RECEIPT_MESSAGE": "N8N answered 503",
    }


@pytest.mark.parametrize(
    ("level", "priority"), [("debug", "7"), ("info", "6"), ("warning", "4"), ("error", "3"), ("critical", "2")]
)
def test_priorities(journal: FakeJournal, level: str, priority: str) -> None:
    """Each level has its priority, from us as well as from a library."""
    log_to(journal, "debug")
    getattr(structlog.get_logger(), level)("job_log.mended")
    getattr(logging.getLogger("some.package"), level)("theirs %d", 7)
    wait_until(lambda: len(journal.received) == 2, "both arrive")
    assert [entry["PRIORITY"] for entry in journal.received] == [priority, priority]


def test_what_libraries_say(journal: FakeJournal) -> None:
    """A library's words bear its name, and where they come from; they are no event of ours."""
    log_to(journal)
    logging.getLogger("some.package").warning("disk %s is %d%% full", "sda", 97)
    logging.getLogger("some.package").warning("too few for %s and %s", *["this"])
    logging.getLogger("httpx").info("HTTP Request: GET …")
    wait_until(lambda: len(journal.received) == 2, "both arrive")
    entry, broken = journal.received
    assert (entry["MESSAGE"], entry["LOGGER"]) == ("some.package: disk sda is 97% full", "some.package")
    assert entry["CODE_FUNC"] == "test_what_libraries_say"
    assert entry.keys().isdisjoint({"RECEIPT_EVENT", "MESSAGE_ID"})
    assert broken["MESSAGE"] == "some.package: too few for %s and %s"


def fail_with_a_secret() -> None:
    """Log an error from where a secret is at hand."""
    token = f"{'hush'}-{'hush'}"
    try:
        raise ValueError("no\ntotal")
    except ValueError as error:
        structlog.get_logger().exception("stage.failed", stage="filing")
        structlog.get_logger().error("http.failed", correlation_id="1", exc_info=error)
        logging.getLogger("some.package").exception("broken")
    assert token


def test_an_error_is_a_sentence_with_its_traceback_below(journal: FakeJournal) -> None:
    """The first line says what failed and how; the traceback is below it, and a field; no secret is in any."""
    log_to(journal)
    fail_with_a_secret()
    wait_until(lambda: len(journal.received) == 3, "all arrive")
    stage, request, library = journal.received
    first, *trace = stage["MESSAGE"].split("\n")
    assert first == "a defect of receipt-watcher: filing failed, and is tried again (ValueError: no\\ntotal)"
    assert trace[0] == "Traceback (most recent call last):"
    assert "\n".join(trace) == stage["RECEIPT_TRACEBACK"]
    assert stage["PRIORITY"] == "3"
    assert request["MESSAGE"].startswith("a defect of receipt-watcher: a caller was answered 500 (ValueError: no")
    for entry in (stage, request, library):
        assert "fail_with_a_secret" in entry["RECEIPT_TRACEBACK"]
        assert "hush-hush" not in str(entry)


VALUES = TEXTS | st.none() | st.integers() | st.floats() | st.booleans() | TEXTS.map(Path) | TEXTS.map(ValueError)
FIELDS = sorted({"job_id", "filename", "inbox", "reason", "exception", "logger", "ä b=c"} | {"seconds", "size", "why"})


@given(st.sampled_from(sorted(SENTENCES)) | TEXTS, st.dictionaries(st.sampled_from(FIELDS), VALUES | st.lists(TEXTS)))
def test_nothing_in_an_entry_steers_a_terminal(event: str, fields: dict[str, object]) -> None:
    """Whatever is in an event, its entry is of the journal's form, and all of it can be shown on a terminal."""
    entry = entry_of({"event": event, "level": "info", **fields})
    assert decode(encode(entry)) == entry
    for name, value in entry.items():
        may_have_lines = name in ("MESSAGE", "RECEIPT_TRACEBACK") and fields.get("exception") is not None
        assert value.isprintable() or (may_have_lines and all(line.isprintable() for line in value.split("\n"))), name
    lines = line_of(entry).split("\n")
    assert all(line.startswith("<6>") and line.isprintable() for line in lines)


# --- the real daemon -----------------------------------------------------------------------------------------------


def carry_receipts(tmp_path: Path, n8n: StandIn, journal: FakeJournal) -> dict[str, Job]:
    """Let the real daemon have a bad day, and return its jobs by file name.

    One receipt goes well, N8N is away for the second, the third is a copy, the fourth is empty, and N8N fails the last.
    """
    n8n.api_key = API_KEY
    failing = Behaviour(verdict="failure", message="no total found")
    n8n.behave = lambda delivery: failing if delivery.filename == "no total.jpg" else Behaviour()
    one, two, three = jpegs(3)
    changes = {"n8n": {"api_key": API_KEY, "hold_after": 1, "probe_max_seconds": 0.2}}
    with JournallingDaemon(tmp_path, n8n.webhook_url, TOKEN, journal, changes=changes) as daemon:
        daemon.drop("scan_0042.jpg", one)
        daemon.wait_quiet(1)
        n8n.api_key = "another"  # so that ours is wrong
        daemon.drop(STEERING, two)
        wait_until(lambda: daemon.count("destination.held"), "N8N is on hold")
        n8n.api_key = API_KEY
        daemon.wait_quiet(2)
        daemon.drop("copy.jpg", one)
        daemon.drop("empty.jpg", b"")
        daemon.drop("no total.jpg", three)
        daemon.wait_quiet(5)
        wait_until(lambda: daemon.count("balance.checked"), "the balance is made")
        assert daemon.terminate() == 0
        assert daemon.log_file.read_text() == ""
        return {job.filename: job for job in daemon.recorded()}


@pytest.fixture(scope="module")
def bad_day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FakeJournal, dict[str, Job]]]:
    """The journal of a bad day, and its jobs; several tests ask it."""
    with StandIn(token=TOKEN) as n8n, fake_journal() as journal:
        jobs = carry_receipts(tmp_path_factory.mktemp("bad-day"), n8n, journal)
        yield journal, jobs


BadDay = tuple[FakeJournal, dict[str, Job]]


def test_a_receipt_that_goes_well_has_two_lines(bad_day: BadDay) -> None:
    """At level info a receipt is told of when it is taken in and when it is concluded, and each line bears its job."""
    journal, jobs = bad_day
    entries = [entry for entry in journal.received if entry.get("RECEIPT_FILE") == "scan_0042.jpg"]
    assert [entry["RECEIPT_EVENT"] for entry in entries] == ["job.recorded", "job.concluded"]
    assert {entry["RECEIPT_JOB"] for entry in entries} == {jobs["scan_0042.jpg"].job_id}
    assert {entry["PRIORITY"] for entry in entries} == {"6"}
    recorded, concluded = (entry["MESSAGE"] for entry in entries)
    assert re.fullmatch(r"office: scan_0042\.jpg taken in, \d+ kB, image/jpeg", recorded)
    assert re.fullmatch(r"office: scan_0042\.jpg succeeded after \d+\.\d s", concluded)


def test_a_hold_has_two_lines(bad_day: BadDay) -> None:
    """A hold is told once when it begins, with what to do, and once when it ends; its probes are no news."""
    journal, _ = bad_day
    [held] = journal.entries("destination.held")
    [resumed] = journal.entries("destination.resumed")
    assert held["PRIORITY"] == "4"
    assert held["MESSAGE"].startswith("office: N8N is on hold: N8N answered 403")
    assert "n8n.api_key" in held["MESSAGE"]
    assert resumed["MESSAGE"] == "office: N8N is back: it accepts receipts again"
    assert not journal.entries("job.deferred")


def test_a_failure_says_why(bad_day: BadDay) -> None:
    """A failed receipt is a warning with its reason and the words of whoever failed it."""
    journal, jobs = bad_day
    [entry] = [one for one in journal.entries("job.concluded") if one["RECEIPT_FILE"] == "no total.jpg"]
    assert re.fullmatch(r'office: "no total\.jpg" failed after .+ s \(n8n_failure\): no total found', entry["MESSAGE"])
    named = {"RECEIPT_STATUS": "failure", "RECEIPT_REASON": "n8n_failure", "RECEIPT_ATTEMPT": "1", "PRIORITY": "4"}
    assert entry.items() >= (named | {"RECEIPT_JOB": jobs["no total.jpg"].job_id}).items()
    assert Path(entry["CODE_FILE"]).name == "route.py"


def test_a_name_is_shown_and_steers_nothing(bad_day: BadDay) -> None:
    """A name that would colour the terminal and forge a line is written out, in the sentence and in the field."""
    journal, _ = bad_day
    shown = r"a\x1b[31m\n<0>b.jpg"
    entries = [entry for entry in journal.received if entry.get("RECEIPT_FILE") == shown]
    assert [entry["RECEIPT_EVENT"] for entry in entries] == ["job.recorded", "job.concluded"]
    assert all(shown in entry["MESSAGE"] for entry in entries)
    assert all(value.isprintable() for entry in journal.received for value in entry.values())


def test_no_secret_reaches_the_journal(bad_day: BadDay) -> None:
    """Neither the token nor the key is in any field, though N8N complained of the key."""
    journal, _ = bad_day
    assert len(journal.received) > 10
    assert not [entry for entry in journal.received if any(s in str(entry) for s in (TOKEN, API_KEY))]


def test_without_a_journal_stderr_gets_the_lines(tmp_path: Path, n8n: StandIn) -> None:
    """Under systemd, but with no socket to reach, as in a chroot, lines with priorities go where systemd reads."""
    nobody = FakeJournal(tmp_path / "nobody")
    daemon = JournallingDaemon(tmp_path, n8n.webhook_url, TOKEN, nobody, changes={"n8n": {"api_key": API_KEY}})
    try:
        daemon.start(wait=False)
        daemon.drop("scan.jpg", jpegs(1)[0])
        daemon.wait_quiet(1)
        assert daemon.terminate() == 0
    finally:
        daemon.close()
        nobody.close()
    [job] = daemon.recorded()
    lines = daemon.log_file.read_text().splitlines()
    assert all(re.match("<[34567]>", line) for line in lines)
    [concluded] = [line for line in lines if "job.concluded" in line]
    assert re.fullmatch(rf"<6>office: scan\.jpg succeeded after .+ \[job\.concluded, {job.job_id}\]", concluded)
    assert not [line for line in lines if TOKEN in line or API_KEY in line]


# --- what an admin asks --------------------------------------------------------------------------------------------


def questions() -> dict[str, str]:
    """Return the questions of the README with the commands that answer them."""
    block = README.read_text("utf-8").split("### The journal\n")[1].split("```sh\n")[1].split("```")[0]
    return dict(re.findall(r"^# (.+)\n(journalctl .+)$", block, re.MULTILINE))


@pytest.fixture(scope="module")
def folder(bad_day: BadDay, tmp_path_factory: pytest.TempPathFactory) -> JournalFolder:
    """The journal of the bad day as a file that journalctl reads."""
    return JournalFolder(tmp_path_factory.mktemp("journal"), bad_day[0].received, CATALOG)


def ask(folder: JournalFolder, question: str, prefix: Sequence[str] = ()) -> list[str]:
    """Put a question of the README to journalctl, and return the lines that it answers with."""
    command = questions()[question].replace(
        "journalctl", f"journalctl --root={shlex.quote(str(folder.root))} --no-pager"
    )
    return folder.shell([*prefix, "bash", "-c", command]).splitlines()


def said(lines: list[str]) -> list[str]:
    """Return what the lines say, without time, host and program; a wrapped or explained line is left out."""
    return [line.split("]: ", 1)[1] for line in lines if "receipt-watcher[1]: " in line]


def test_there_are_ten_questions() -> None:
    """The README answers ten, each by one line."""
    assert len(questions()) == 10


@pytest.mark.parametrize(
    ("question", "events"),
    [
        ("What has it done?", None),
        ("What went wrong?", ["destination.held", "job.concluded", "job.concluded"]),
        ("What does that mean, and what am I to do?", ["destination.held", "job.concluded", "job.concluded"]),
        ("What became of this file?", ["job.recorded", "job.concluded"]),
        ("Which receipts failed within a month, and why?", ["job.concluded", "job.concluded"]),
        ("When was N8N away?", ["destination.held", "destination.resumed"]),
        ("What would not come out of this inbox?", ["file.waiting"]),
        ("When did it start and stop?", ["daemon.started", "daemon.stopped"]),
    ],
)
def test_a_question_is_answered(
    folder: JournalFolder, bad_day: BadDay, question: str, events: list[str] | None
) -> None:
    """The real journalctl answers with the entries that are meant, and no others."""
    received = bad_day[0].received
    expected = received
    if events is not None:
        expected = [entry for entry in received if entry["MESSAGE"] in said(ask(folder, question))]
        assert [entry["RECEIPT_EVENT"] for entry in expected] == events
    assert said(ask(folder, question)) == [entry["MESSAGE"] for entry in expected]


def test_reasons_and_numbers(folder: JournalFolder) -> None:
    """A field's values can be listed, and entries counted."""
    reasons = ask(folder, "For which reasons has anything failed or waited, ever?")
    assert sorted(reasons) == ["empty", "n8n_failure"]
    assert ask(folder, "How many succeeded within a day?") == ["2"]


def test_journalctl_explains(folder: JournalFolder, bad_day: BadDay) -> None:
    """With -x each of our lines has its explanation: what it means, what to do, and where there is more."""
    with folder.as_the_only_one() as prefix:
        text = "\n".join(ask(folder, "What does that mean, and what am I to do?", prefix))
    assert "Subject: N8N is down or misconfigured" in text
    assert "What to do: Nothing after a success; after a failure read the note" in text
    assert f"receipt-watcher show {bad_day[1]['no total.jpg'].job_id}" in text


def test_the_catalog_is_taken_whole(folder: JournalFolder) -> None:
    """Each event has its explanation in what journalctl made of the catalog."""
    listed = re.findall(r"^-- ([0-9a-f]{32})$", folder.run("journalctl", "--dump-catalog"), re.MULTILINE)
    assert {message_id(event) for event in SENTENCES} <= set(listed)


def test_fields_come_back_whole(folder: JournalFolder, bad_day: BadDay) -> None:
    """Read back as JSON, each entry has the fields that it was sent with."""
    lines = folder.run("journalctl", "-o", "json", "--all", "RECEIPT_EVENT=job.concluded").splitlines()
    sent = bad_day[0].entries("job.concluded")
    assert len(sent) == 5
    for line, entry in zip(map(json.loads, lines), sent, strict=True):
        assert line.items() >= {name: value for name, value in entry.items() if name[0] != "_"}.items()


# --- before there is a log -----------------------------------------------------------------------------------------


def test_a_mistake_in_the_configuration_is_an_error_in_the_journal(tmp_path: Path, journal: FakeJournal) -> None:
    """What is wrong with the configuration goes to stderr with a priority, so that `journalctl -p err` finds it."""
    daemon = JournallingDaemon(tmp_path, "no URL", TOKEN, journal, changes={})
    daemon.start(wait=False)
    assert daemon.ended() == 2
    lines = daemon.log_file.read_text().splitlines()
    assert lines[0] == "<3>receipt-watcher: the configuration has 1 mistake:"
    assert all(line.startswith("<3>") for line in lines)
    assert "n8n.webhook_url" in lines[1]
