"""Comforts of the command line: filters, tables, live events, one screen, completion, manual, schema."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from receipt_watcher.cli import main
from receipt_watcher.cli.documents.json_schema import json_schema
from receipt_watcher.cli.documents.manual import command_page, file_page
from receipt_watcher.cli.table import columns_of, padded, widths_of
from receipt_watcher.cli.times import moment_of
from receipt_watcher.config.sources.load import load
from receipt_watcher.jobs.log.holds import HoldKind
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.log.manual_holds import HoldTarget
from receipt_watcher.jobs.states import State
from tests.conftest import make_job
from tests.fakes.daemons.process import REPOSITORY
from tests.unit.cli import test_main
from tests.unit.cli.test_main import WEBHOOK, Command, add, all_commands

command, config_file, job_log = test_main.command, test_main.config_file, test_main.job_log

NOW = datetime(2026, 11, 20, 14, 5)  # noqa: DTZ001 - the office's clock is meant


# --- jobs ----------------------------------------------------------------------------------------------------------


def names(said: test_main.Said) -> list[str]:
    """Return the files' names of a listing."""
    assert said.code == 0, said.err
    return [job["filename"] for job in said.json]


@pytest.fixture
def four_jobs(job_log: JobLog) -> JobLog:
    """Four jobs, of which one is three days old, and one of another inbox."""
    now = time.time()
    add(job_log, "old.pdf", State.SUCCESS, age_seconds=3 * 86400)
    add(job_log, "Scan_1.PDF", State.FAILURE, age_seconds=3600)
    add(job_log, "photo.jpg", age_seconds=60)
    job_log.jobs.insert(make_job(now, inbox="cellar", filename="scan_2.pdf"))
    return job_log


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), ["scan_2.pdf", "photo.jpg", "Scan_1.PDF", "old.pdf"]),
        (("--name", "*.pdf"), ["scan_2.pdf", "Scan_1.PDF", "old.pdf"]),
        (("--name", "SCAN*"), ["scan_2.pdf", "Scan_1.PDF"]),
        (("--name", "scan_?.pdf", "--inbox", "cellar"), ["scan_2.pdf"]),
        (("--name", "pdf"), []),
        (("--since", "2h"), ["scan_2.pdf", "photo.jpg", "Scan_1.PDF"]),
        (("--since", "30 minutes ago"), ["scan_2.pdf", "photo.jpg"]),
        (("--since", "2h", "--status", "failure", "--status", "success"), ["Scan_1.PDF"]),
        (("--name", "*.pdf", "--limit", "1"), ["scan_2.pdf"]),
    ],
)
def test_filters(words: tuple[str, ...], expected: list[str], command: Command, four_jobs: JobLog) -> None:
    """Jobs are chosen by status, inbox, time and name, by all that is given, the newest first."""
    assert names(command("jobs", "--json", *words)) == expected


def test_json_lines(command: Command, four_jobs: JobLog) -> None:
    """One job on a line, for programs that read line by line; the same as in the array."""
    said = command("jobs", "--json-lines")
    assert [json.loads(line) for line in said.out.splitlines()] == command("jobs", "--json").json


@pytest.mark.parametrize(
    "words",
    [
        ("jobs", "--json", "--json-lines"),
        ("balance", "--force"),
        ("balance", "--force", "--csv", "-"),
        ("n8n-workflow", "echo", "--credentials"),
        ("n8n-workflow", "--signed"),
    ],
)
def test_options_that_contradict_are_refused(words: tuple[str, ...], command: Command, four_jobs: JobLog) -> None:
    """Of two options that exclude each other none is dropped without a word."""
    said = command(*words)
    assert said.code == 2
    assert "--" in said.err


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2h", "2026-11-20T12:05"),
        ("90m", "2026-11-20T12:35"),
        ("2 hours ago", "2026-11-20T12:05"),
        ("1 Day", "2026-11-19T14:05"),
        ("3 weeks ago", "2026-10-30T14:05"),
        ("today", "2026-11-20T00:00"),
        ("yesterday", "2026-11-19T00:00"),
        ("2026-11-01", "2026-11-01T00:00"),
        ("2026-11-01T12:30", "2026-11-01T12:30"),
    ],
)
def test_since_when(text: str, expected: str) -> None:
    """What people say of time is understood, on the office's clock."""
    assert moment_of(text, NOW) == datetime.fromisoformat(expected).timestamp()


@given(st.text())
def test_any_text_is_a_time_or_is_none(text: str) -> None:
    """Whatever is given is a time, or is told to be none."""
    with contextlib.suppress(ValueError):
        assert isinstance(moment_of(text, NOW), float)


def test_no_time(command: Command, job_log: JobLog) -> None:
    """A time that cannot be read is a mistake that says what can."""
    said = command("jobs", "--since", "soon")
    assert said.code == 2
    assert "'soon' is no time; write 2h" in said.err


def test_a_million_receipts(job_log: JobLog) -> None:
    """A listing never sorts, and reads no row that it does not show, however rare what it looks for is."""
    asked: list[str] = []
    connection = job_log.database.connection.raw()
    connection.set_trace_callback(asked.append)
    job_log.lookups.listing()
    job_log.lookups.listing(
        states=[State.FAILURE, State.QUEUED], inbox="office", since=1.0, name="*.pdf", older_than="f", limit=9
    )
    job_log.lookups.find("scan.pdf")
    connection.set_trace_callback(None)
    assert len(asked) == 5
    with contextlib.closing(sqlite3.connect(job_log.database.path)) as other:
        for statement in asked:
            plan = [row[3] for row in other.execute(f"EXPLAIN QUERY PLAN {statement}")]
            looks = [step for step in plan if step.startswith(("SCAN job", "SEARCH"))]
            if statement.startswith("SELECT job_id,"):
                assert looks.pop(0) == "SEARCH job USING INDEX sqlite_autoindex_job_1 (job_id=?)", plan
            assert all(re.search(r"COVERING INDEX \w+ \(job_id", step) for step in looks), plan
            assert "USE TEMP B-TREE FOR ORDER BY" not in plan


def test_what_a_job_may_be_called(job_log: JobLog) -> None:
    """A job is found by its id, the beginning of it in either case, or its file's whole name; no more than ten are."""
    ids = [add(job_log, f"scan_{number}.pdf") for number in range(12)]
    assert [job.job_id for job in job_log.lookups.find(ids[3])] == [ids[3]]
    assert [job.job_id for job in job_log.lookups.find(ids[3][:-1].upper())] == [ids[3]]
    assert [job.job_id for job in job_log.lookups.find("scan_7.pdf")] == [ids[7]]
    assert job_log.lookups.find("scan_7") == job_log.lookups.find("%") == job_log.lookups.find("SCAN_7.PDF") == []
    assert len(job_log.lookups.find("0")) == 10


# --- tables --------------------------------------------------------------------------------------------------------


@given(st.text(), st.integers(1, 60))
def test_a_cell_has_its_width(text: str, width: int) -> None:
    """Whatever a name is made of, its cell takes the columns that it should, and is whole where it fits."""
    cell = padded(text, width)
    assert columns_of(cell) == width
    if columns_of(text) <= width:
        assert cell.startswith(text)
    else:
        assert "…" in cell


@given(st.lists(st.tuples(*[st.text(max_size=40)] * 6), min_size=1, max_size=5), st.integers(1, 300))
def test_a_table_fits(rows: list[tuple[str, ...]], room: int) -> None:
    """A table is as wide as its terminal at the most, unless that is too narrow for anybody; in a file it is whole."""
    whole = widths_of(rows, None)
    assert whole == [max(columns_of(row[index]) for row in rows) for index in range(6)]
    fitted = widths_of(rows, room)
    assert all(width <= before for width, before in zip(fitted, whole, strict=True))
    least = [whole[0], whole[1], min(whole[2], 6), min(whole[3], 10), min(whole[4], 8), min(whole[5], 18)]
    assert sum(fitted) + 10 <= max(room, sum(least) + 10)


def typed_at_terminal(config: Path, columns: int, **variables: str) -> str:
    """Return what `jobs` prints at a terminal of so many columns."""
    ours, theirs = pty.openpty()
    environment = (
        os.environ | {"RECEIPT_WATCHER_CONFIG": str(config), "COLUMNS": str(columns), "TERM": "xterm"} | variables
    )
    with subprocess.Popen(
        [sys.executable, "-m", "receipt_watcher", "jobs"], cwd=REPOSITORY, env=environment, stdout=theirs
    ) as process:
        os.close(theirs)
        found = b""
        with contextlib.suppress(OSError):  # EIO: the other side has closed
            while chunk := os.read(ours, 65536):
                found += chunk
        os.close(ours)
    assert process.returncode == 0
    return found.decode().replace("\r\n", "\n")


def test_a_terminal(config_file: Path, job_log: JobLog) -> None:
    """At a terminal the table fits and is coloured, unless NO_COLOR is set; the job's id is cut so that it names it."""
    job_id = add(job_log, f"{'a-long-name-' * 9}.pdf", State.FAILURE)
    plain = typed_at_terminal(config_file, 80, NO_COLOR="1")
    assert "\x1b" not in plain
    _, line = plain.splitlines()
    assert columns_of(line) <= 80
    assert job_id.startswith(line.split()[-1])
    assert "…" in line
    coloured = typed_at_terminal(config_file, 80)
    assert "\x1b[31m" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain


def test_a_pipe_gets_all(command: Command, job_log: JobLog) -> None:
    """In a file or a pipe nothing is cut or coloured."""
    job_id = add(job_log, f"{'a-long-name-' * 9}.pdf")
    said = command("jobs")
    assert f"{'a-long-name-' * 9}.pdf" in said.out
    assert job_id in said.out
    assert "\x1b" not in said.out


# --- tail and watch ------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def following(config: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command that follows, and end it by Ctrl-C, which is no error."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "receipt_watcher", *words],
        cwd=REPOSITORY,
        env=os.environ | {"RECEIPT_WATCHER_CONFIG": str(config)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    )
    try:
        yield process
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert (process.wait(30), process.stderr.read()) == (0, b"")
    finally:
        process.kill()
        process.communicate()


def next_lines(process: subprocess.Popen[bytes], count: int) -> list[str]:
    """Return the next lines that a process prints."""
    assert process.stdout is not None
    found: list[str] = []
    for _ in range(count):
        assert select.select([process.stdout], [], [], 30)[0], f"only {found}"
        found.append(process.stdout.readline().decode())
        assert found[-1], f"it ended after {found}"
    return found


def test_tail(config_file: Path, job_log: JobLog) -> None:
    """It begins with what happened last, then shows what happens, and nothing of other inboxes."""
    add(job_log, "first.pdf")
    second = add(job_log, "second.pdf", State.FAILURE)
    with following(config_file, "tail", "-n", "2", "--json", "--inbox", "office") as process:
        before = [json.loads(line) for line in next_lines(process, 2)]
        assert [(row["filename"], row["event"], row["to"]) for row in before] == [
            ("second.pdf", "record", "queued"),
            ("second.pdf", "fail", "failure"),
        ]
        assert before[1]["job_id"] == second
        job_log.jobs.insert(make_job(time.time(), inbox="cellar"))
        add(job_log, "third\x1b[2J.pdf", State.CANCELLED)
        after = [json.loads(line) for line in next_lines(process, 2)]
        assert [row["event"] for row in after] == ["record", "cancel"]


def test_tail_for_people(config_file: Path, job_log: JobLog) -> None:
    """A line says when, where, what; a name cannot steer the terminal."""
    add(job_log, "evil\x1b[2J.pdf", State.CANCELLED)
    with following(config_file, "tail") as process:
        recorded, cancelled = next_lines(process, 2)
    assert recorded.endswith("office: evil\\x1b[2J.pdf: record → queued\n")
    assert cancelled.endswith("office: evil\\x1b[2J.pdf: cancel → cancelled\n")


def test_tail_after_retention(job_log: JobLog) -> None:
    """Old histories may have been removed, and their numbers may come again: what comes is still seen."""
    job_id = add(job_log, "first.pdf")
    (happening,) = job_log.histories.last_events(5)
    assert (happening.job_id, job_log.histories.events_after(happening.number, 5)) == (job_id, [])
    assert job_log.histories.events_after(happening.number - 1, 5) == [happening]


def test_watch(config_file: Path, job_log: JobLog) -> None:
    """`status --watch` shows what changed, again and again."""
    with following(config_file, "status", "--watch") as process:
        line = ""
        while "Jobs: " not in line:
            (line,) = next_lines(process, 1)
        assert "0 queued" in line
        add(job_log, "scan.pdf")
        while "1 queued" not in line:
            (line,) = next_lines(process, 1)


# --- status --------------------------------------------------------------------------------------------------------


def test_one_screen(command: Command, job_log: JobLog) -> None:
    """Holds by hand, the last failures, disks and versions are told; with a thousand of each it still fits a screen."""
    for number in range(30):
        add(job_log, f"failed_{number}.pdf", State.FAILURE, age_seconds=1000 - number)
        add(job_log, f"open_{number}.pdf", age_seconds=5000)
    job_log.manual_holds.hold(HoldTarget.INBOX, "office", "sorting", time.time())
    said = command("status")
    for part in (
        "the inbox office: sorting",
        "→ receipt-watcher resume office",
        "failed_29.pdf (n8n_failure, ",
        "Disk of ",
        "Versions: receipt-watcher ",
    ):
        assert part in said.out
    assert "failed_24.pdf" not in said.out
    assert len(said.out.splitlines()) <= 24
    shown = command("status", "--json").json
    assert [job["filename"] for job in shown["failed"]] == [f"failed_{number}.pdf" for number in range(29, 24, -1)]
    assert shown["disks"][0]["total_bytes"] > shown["disks"][0]["free_bytes"] > 0
    assert shown["versions"]["schema"].startswith("00")
    assert shown["held_by_hand"] == [
        {"kind": "inbox", "name": "office", "since": shown["held_by_hand"][0]["since"], "why": "sorting"}
    ]


def test_an_older_daemon(command: Command, job_log: JobLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that was upgraded while the daemon runs on is told: it needs a restart."""
    job_log.facts.version.keep("0.0.1")
    monkeypatch.setattr("receipt_watcher.system.state_dir.Installation.is_running", lambda _: True)
    said = command("status")
    assert said.code == 1
    assert "Look at this: the daemon was started as version 0.0.1, and this is" in said.out


# --- hold and resume -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["n8n", WEBHOOK, "127.0.0.1"])
def test_hold_and_resume(name: str, command: Command, job_log: JobLog) -> None:
    """A destination is held by any of its names; a second hold and a second resume say that nothing changed."""
    assert command("hold", name, "--why", "moves").out == "N8N at 127.0.0.1 is held\n"
    assert command("hold", name).out == "N8N at 127.0.0.1 was held before\n"
    assert [hold.name for hold in job_log.manual_holds.all()] == [WEBHOOK]
    assert command("resume", name).out == "N8N at 127.0.0.1 goes on within seconds\n"
    again = command("resume", name)
    assert (again.code, again.out) == (1, "N8N at 127.0.0.1 is not held\n")


def test_resume_of_what_the_daemon_holds(command: Command, job_log: JobLog) -> None:
    """Where the daemon holds N8N, a resume has it probed now, and does not believe that all is well."""
    job_log.holds.hold(WEBHOOK, HoldKind.ANSWERS, "no connection", time.time(), time.time() + 900)
    assert command("resume", "n8n").code == 0
    standing = job_log.holds.of(WEBHOOK)
    assert standing.is_held
    assert (standing.probe_at or 0) <= time.time()


def test_resume_gives_time(command: Command, job_log: JobLog) -> None:
    """What N8N was given before the hold has its whole time for the callback again."""
    job_id = add(job_log, "scan.pdf", State.PROCESSING)
    job_log.database.change("UPDATE job SET deadline_at = 1")
    command("hold", "n8n")
    command("resume", "n8n")
    job = job_log.lookups.get(job_id)
    assert job is not None
    assert (job.deadline_at or 0) > time.time() + 800


def test_resume_of_what_is_configured_no_more(command: Command, job_log: JobLog) -> None:
    """A hold whose inbox or webhook left the configuration can still be ended."""
    job_log.manual_holds.hold(HoldTarget.INBOX, "closed", "", time.time())
    assert command("hold", "cellar").code == 2
    assert command("resume", "closed", "--json").json == [{"kind": "inbox", "name": "closed", "done": True}]
    assert job_log.manual_holds.all() == []


# --- configuration -------------------------------------------------------------------------------------------------


def test_origins(command: Command, config_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each value says where it comes from: environment, credential, line of the file, default; no secret is told."""
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "callback_secret_token").write_text("a-secret-of-systemd-0123")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    monkeypatch.setenv("RECEIPT_WATCHER_N8N__WORKERS", "7")
    config_file.write_text(
        f"inboxes:\n  - name: office\n    path: {tmp_path / 'inbox'}\n    recursive: true\n"
        "    routes:\n      travel: {duplicates: send}\n"
        f"n8n:\n  webhook_url: {WEBHOOK}\n\n  api_key: {test_main.API_KEY}\n"
    )
    said = command("config", "show")
    assert said.code == 0
    lines = {line.strip() for line in said.out.splitlines()}
    assert lines >= {
        "workers: 7  # environment variable RECEIPT_WATCHER_N8N__WORKERS",
        "secret_token: '********'  # credential callback_secret_token",
        f"- path: {tmp_path / 'inbox'}  # {config_file}:3",
        f"duplicates: send  # {config_file}:6",
        f"api_key: '********'  # {config_file}:10",
        "max_attempts: 8  # default",
        "settle_seconds: 2  # default",
    }
    assert test_main.API_KEY not in said.out
    assert "systemd" not in said.out
    shown = command("config", "show", "--json").json
    assert yaml.safe_load(said.out) == shown
    rows = {row["option"]: row for row in command("config", "show", "--json", "--origins").json}
    assert rows["n8n.workers"]["value"] == 7
    assert rows["inboxes[0].name"]["origin"] == f"{config_file}:2"


def test_the_schema_takes_what_the_program_takes(tmp_path: Path) -> None:
    """The example is valid, as are the short forms; unknown options, wrong words and numbers out of bounds are not."""
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    example = yaml.safe_load((REPOSITORY / "watcher.example.yaml").read_text())
    short = {
        "inboxes": [
            {"path": "/srv/inbox", "accept": "any_2xx", "ignore": "*.bak", "recursive": True, "routes": {"a": "0f3c"}}
        ],
        "n8n": {"webhook_url": WEBHOOK, "accept": {"status": 202}, "deliver_when": {"days": ["mon", "tue"]}},
        "notify": {"urls": "ntfys://ntfy.example.com/x", "quiet_hours": "22:00-07:00", "kinds": ["holds"]},
    }
    for number, right in enumerate((example, short)):
        jsonschema.validate(right, schema)
        path = tmp_path / f"{number}.yaml"
        path.write_text(json.dumps(right))
        load(path, {})
    inboxes = [{"path": "/srv/inbox"}]
    mistakes: tuple[dict[str, object], ...] = (
        {},
        {"inboxes": []},
        {"inboxes": inboxes, "n8n": {"webook_url": WEBHOOK}},
        {"inboxes": inboxes, "n8n": {"payload": "xml"}},
        {"inboxes": inboxes, "n8n": {"workers": 0}},
        {"inboxes": [{"path": "/srv/inbox", "accept": "sometimes"}]},
    )
    for wrong in mistakes:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)


def test_the_schema_explains(command: Command) -> None:
    """Each option has its description, for who hovers over it."""
    schema = command("config", "schema").json
    for section in (schema, *schema["$defs"].values()):
        assert all(option.get("description") for option in section["properties"].values())


# --- completion ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script(shell: str, command: Command, tmp_path: Path) -> None:
    """What is printed is a script for that shell, which the shell itself reads without a word."""
    said = command("completion", shell)
    assert said.code == 0
    assert "_RECEIPT_WATCHER_COMPLETE" in said.out
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not here")
    script = tmp_path / "script"
    script.write_text(said.out)
    checked = subprocess.run([program, "-n", str(script)], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("receipt-watcher zz", set()),
        ("receipt-watcher ho", {"hold"}),
        ("receipt-watcher show scan_", {"scan_1.pdf", "scan_2.pdf"}),
        ("receipt-watcher jobs --inbox o", {"office"}),
        ("receipt-watcher jobs --status can", {"cancelled"}),
        ("receipt-watcher hold ", {"office", "n8n"}),
        ("receipt-watcher completion z", {"zsh"}),
    ],
)
def test_completion(line: str, expected: set[str], config_file: Path, job_log: JobLog) -> None:
    """Commands, words, inboxes and files are offered, by what is typed already."""
    for name in ("scan_1.pdf", "scan_2.pdf", "photo.jpg"):
        add(job_log, name)
    assert completed(line, config_file) == expected


def completed(line: str, config: Path) -> set[str]:
    """Return what a shell is offered at the end of a line."""
    asked = {
        "_RECEIPT_WATCHER_COMPLETE": "bash_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split(" ")) - 1),
    }
    ended = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; sys.argv = ['receipt-watcher']; from receipt_watcher.cli.main import main; main()",
        ],
        cwd=REPOSITORY,
        env=os.environ | {"RECEIPT_WATCHER_CONFIG": str(config)} | asked,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stderr == ""
    return {found.partition(",")[2] for found in ended.stdout.splitlines() if found}


def test_completion_of_ids_and_of_nothing(config_file: Path, job_log: JobLog) -> None:
    """Ids are completed; where the configuration is wrong, nothing is offered and nothing is said."""
    job_id = add(job_log, "scan.pdf")
    assert completed(f"receipt-watcher retry {job_id[:4]}", config_file) == {job_id}
    config_file.write_text("inboxes: wrong\n")
    assert completed("receipt-watcher retry ", config_file) == set()
    assert completed("receipt-watcher jobs --inbox ", config_file) == set()


# --- the manual ----------------------------------------------------------------------------------------------------


def test_the_manual_has_everything(command: Command) -> None:
    """Each command and each option of the configuration is in the manual, in the words of its help."""
    page, options = (
        re.sub(r"\\(&|e|-)", lambda found: found[1].strip("&e"), command("man", name).out)
        for name in ("receipt-watcher", "watcher.yaml")
    )
    for words in {*all_commands(main.commands)} - {("service", "ready"), ("service", "reload")}:  # of package and unit
        assert f".SS {' '.join(words)} " in page
        assert f"receipt-watcher {' '.join(words)}" in page
    assert "Only files whose name is like this" in page
    for name, option in json_schema()["$defs"]["N8n"]["properties"].items():
        assert f".TP\n.B {name}\n{option['description']}" in options


@pytest.mark.parametrize(
    ("text", "name"), [(command_page(main.commands), "command"), (file_page(), "file")], ids=["1", "5"]
)
def test_the_manual_is_well_formed(text: str, name: str, tmp_path: Path) -> None:
    """Groff reads each page without a warning, and shows no trace of its own language."""
    groff = shutil.which("groff")
    if groff is None:
        pytest.skip("groff is not here")
    page = tmp_path / name
    page.write_text(text, "utf-8")
    shown = subprocess.run(
        [groff, "-ww", "-man", "-Tutf8", "-Kutf8", str(page)], capture_output=True, check=True, encoding="utf-8"
    )
    assert shown.stderr == ""
    assert "SEE" in re.sub("(.)\b.", r"\1", re.sub(r"\x1b\[[0-9;]*m", "", shown.stdout))
    assert "\\-" not in shown.stdout


def test_the_manual_into_a_folder(command: Command, tmp_path: Path) -> None:
    """All pages are written where a package wants them, by the names that man looks for."""
    said = command("man", "--to", str(tmp_path / "man"))
    assert said.code == 0
    assert sorted(path.name for path in (tmp_path / "man").iterdir()) == ["receipt-watcher.1", "watcher.yaml.5"]


# --- how quick it is -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "without"),
    [
        (("--help",), {"pydantic", "peewee", "structlog", "yaml", "httpx", "starlette", "PIL"}),
        (
            ("jobs",),
            {
                "httpx",
                "starlette",
                "uvicorn",
                "watchdog",
                "PIL",
                "apscheduler",
                "receipt_watcher.service.process.daemon",
            },
        ),
        (
            ("status",),
            {
                "httpx",
                "starlette",
                "uvicorn",
                "watchdog",
                "PIL",
                "apscheduler",
                "receipt_watcher.service.process.daemon",
            },
        ),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else "",
)
def test_only_what_is_needed_is_loaded(
    words: tuple[str, ...], without: set[str], config_file: Path, job_log: JobLog
) -> None:
    """A command that only looks does not load what only the daemon needs: that is what would take time."""
    add(job_log, "scan.pdf")
    program = (
        "import sys, atexit; sys.argv = ['receipt-watcher', *sys.argv[1:]];"
        "atexit.register(lambda: print(*sys.modules, file=sys.stderr));"
        "from receipt_watcher.cli.main import main; main()"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, *words],
        cwd=REPOSITORY,
        env=os.environ | {"RECEIPT_WATCHER_CONFIG": str(config_file)},
        capture_output=True,
        text=True,
        check=False,
    )
    loaded = set(ended.stderr.split())
    assert "click" in loaded
    assert loaded & without == set()
