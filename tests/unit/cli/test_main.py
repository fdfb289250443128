from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from receipt_watcher import __version__
from receipt_watcher.cli import main
from receipt_watcher.cli.context import hurrying
from receipt_watcher.cli.demo import samples
from receipt_watcher.cli.demo.stand_in import Behaviour, StandIn
from receipt_watcher.config.sources.load import load
from receipt_watcher.jobs.job import Folder
from receipt_watcher.jobs.log.holds import HoldKind
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.log.queries.lookups import Lookups
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import Event, State
from tests.conftest import TOKEN, make_job
from tests.fakes.daemons.process import REPOSITORY, RunningDaemon, wait_until

API_KEY = "the-key-that-nobody-may-read"
WEBHOOK = "http://127.0.0.1:9/webhook/receipts"
JOB_FIELDS = (
    *("job_id", "status", "reason", "inbox", "filename", "mime_type", "size", "sha256", "notion_database_id"),
    *(
        "attempts",
        "created_at",
        "next_attempt_at",
        "completed_at",
        "message",
        "notion_page_url",
        "duplicate_of",
        "path",
    ),
)


@dataclass(frozen=True)
class Said:
    """The exit code and output of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Return what it printed as JSON."""
        return json.loads(self.out)


Command = Callable[..., Said]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """Type a command, in an empty folder that is home, too."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    monkeypatch.setenv("HOME", str(home))

    def typed(*words: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["receipt-watcher", *words])
        with pytest.raises(SystemExit) as left:
            main.main()
        said = capsys.readouterr()
        code = left.value.code
        assert isinstance(code, int)
        return Said(code, said.out, said.err)

    return typed


@pytest.fixture
def config_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration with an inbox and no daemon; the commands find it by themselves."""
    (tmp_path / "inbox").mkdir()
    (tmp_path / "state").mkdir()
    path = tmp_path / "watcher.yaml"
    options = {
        "inboxes": [{"path": str(tmp_path / "inbox"), "name": "office"}],
        "n8n": {"webhook_url": WEBHOOK, "api_key": API_KEY},
        "callback": {"secret_token": TOKEN},
        "state_dir": str(tmp_path / "state"),
    }
    path.write_text(yaml.safe_dump(options))
    monkeypatch.setenv("RECEIPT_WATCHER_CONFIG", str(path))
    return path


@pytest.fixture
def job_log(config_file: Path) -> Iterator[JobLog]:
    """The job log of that configuration, open."""
    log = JobLog(config_file.parent / "state" / "receipts.db")
    log.database.open()
    yield log
    log.database.close()


def add(log: JobLog, name: str, state: State = State.QUEUED, age_seconds: float = 0.0) -> str:
    """Put a job into the log that came to a state by legal steps, and return its id."""
    now = time.time() - age_seconds
    job = log.jobs.insert(make_job(now, filename=name, relative_path=Path(name)))
    steps = {
        State.QUEUED: [],
        State.DELIVERING: [Event.CLAIM],
        State.PROCESSING: [Event.CLAIM, Event.ACCEPT],
        State.SUCCESS: [Event.SUCCEED],
        State.FAILURE: [Event.FAIL],
        State.CANCELLED: [Event.CANCEL],
    }
    for event in steps[state]:
        changes = {"reason": Reason.N8N_FAILURE, "message": "The supplier is unknown."} if event is Event.FAIL else {}
        assert log.jobs.advance(job.job_id, event, now, **changes) is not None
    return job.job_id


def state_of(log: JobLog, job_id: str) -> State:
    """Return how a job stands."""
    job = log.lookups.get(job_id)
    assert job is not None
    return job.state


# --- help and usage ------------------------------------------------------------------------------------------------


def all_commands(group: click.Group, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words of each command that does something."""
    for name, found in group.commands.items():
        if isinstance(found, click.Group):
            yield from all_commands(found, (*above, name))
        else:
            yield (*above, name)


@pytest.mark.parametrize("words", list(all_commands(main.commands)), ids=" ".join)
def test_help(words: tuple[str, ...], command: Command) -> None:
    """Each command explains itself, with an example of how it is typed."""
    said = command(*words, "--help")
    assert said.code == 0
    assert f"Example: receipt-watcher {' '.join(words)}" in said.out


def test_all_commands_are_listed(command: Command) -> None:
    """The overview names each command and says where to begin."""
    said = command("--help")
    assert said.code == 0
    assert "receipt-watcher demo" in said.out
    for words in all_commands(main.commands):
        assert f"  {words[0]} " in said.out


def test_version(command: Command) -> None:
    """--version says which one it is."""
    assert command("--version").out == f"receipt-watcher, version {__version__}\n"


@pytest.mark.parametrize(
    "words",
    [
        ("dance",),
        ("show",),
        ("cancel",),
        ("run", "--fast"),
        ("jobs", "--limit", "0"),
        ("jobs", "--status", "lost"),
        ("retry",),
        ("retry", "scan.jpg", "--failed"),
    ],
    ids=" ".join,
)
def test_wrong_usage(words: tuple[str, ...], command: Command) -> None:
    """What cannot be understood is told on stderr, with exit code 2."""
    said = command(*words)
    assert (said.code, said.out) == (2, "")
    assert "Error: " in said.err


def test_interrupted(command: Command, monkeypatch: pytest.MonkeyPatch, job_log: JobLog) -> None:
    """Ctrl-C ends a command with exit code 1 and no traceback."""

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Lookups, "listing", interrupt)
    said = command("jobs")
    assert (said.code, said.out) == (1, "")
    assert "Traceback" not in said.err


# --- configuration -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [("run",), ("check",), ("jobs",), ("status",), ("config", "show")], ids=" ".join)
def test_five_mistakes(words: tuple[str, ...], command: Command, config_file: Path) -> None:
    """A configuration with five mistakes has them all told at once, a line each, with exit code 2."""
    config_file.write_text(
        "inboxes: [{path: /x/inbox, settle_secs: 2, poll_seconds: fast}]\n"
        "n8n: {webhook_url: n8n.example.com/hook, workers: 0}\n"
        "callback: {secret_token: short}\n"
    )
    said = command(*words)
    assert (said.code, said.out) == (2, "")
    first, *lines = said.err.splitlines()
    assert first == "receipt-watcher: the configuration has 5 mistakes:"
    keys = ("settle_secs", "poll_seconds", "webhook_url", "workers", "secret_token")
    assert len(lines) == len(keys)
    assert all(str(config_file) in line for line in lines)
    assert all(sum(f"{key}: " in line for line in lines) == 1 for key in keys)
    assert "short" not in said.err.replace("shorter", "")


def test_a_configuration_that_is_not_there(command: Command, tmp_path: Path) -> None:
    """A configuration file that is not there is named, with exit code 2."""
    said = command("jobs", "--config", str(tmp_path / "nothing.yaml"))
    assert said.code == 2
    assert str(tmp_path / "nothing.yaml") in said.err


@pytest.mark.parametrize("as_json", [False, True])
def test_config_show(as_json: bool, command: Command, config_file: Path) -> None:
    """The configuration is shown whole, from all its sources, and without secrets."""
    said = command("config", "show", *(["--json"] if as_json else []))
    assert said.code == 0
    shown = said.json if as_json else yaml.safe_load(said.out)
    assert shown["n8n"]["webhook_url"] == WEBHOOK
    assert shown["limits"]["max_file_mb"] == 50
    assert TOKEN not in said.out
    assert API_KEY not in said.out


def test_config_example(command: Command, tmp_path: Path) -> None:
    """The example is a configuration that can be used as it is."""
    said = command("config", "example")
    path = tmp_path / "example.yaml"
    path.write_text(said.out)
    assert load(path, {}).limits.max_file_mb == 50


# --- init ----------------------------------------------------------------------------------------------------------


def test_init(command: Command, tmp_path: Path) -> None:
    """It makes the folders and a configuration that only its owner may read, with a fresh token in it."""
    tokens = set()
    for name in ("one", "two"):
        folder = tmp_path / name
        said = command("init", str(folder), "--webhook-url", WEBHOOK)
        assert said.code == 0
        assert f"receipt-watcher check --config {folder / 'watcher.yaml'}" in said.out
        assert (folder / "watcher.yaml").stat().st_mode & 0o777 == 0o600
        assert (folder / "state").stat().st_mode & 0o777 == 0o700
        assert all((folder / part).is_dir() for part in ("inbox", "processing", "done", "failed"))
        config = load(folder / "watcher.yaml", {})
        assert config.webhook_urls() == [WEBHOOK]
        assert config.inboxes[0].path == folder / "inbox"
        assert config.http.local_role == "none"
        assert "receipt-watcher token create" in said.out
        assert config.callback.secret_token is not None
        tokens.add(config.callback.secret_token.get_secret_value())
    assert len(tokens) == 2


def test_init_as_json(command: Command, tmp_path: Path) -> None:
    """A set-up that a program makes: it is told where the configuration and the folders are."""
    folder = tmp_path / "office"
    said = command("init", str(folder), "--json")
    names = ("inbox", "processing", "done", "failed", "state")
    assert said.json == {"config": str(folder / "watcher.yaml"), "folders": [str(folder / name) for name in names]}
    assert all((folder / name).is_dir() for name in names)


def test_init_changes_nothing_that_is_there(command: Command, tmp_path: Path) -> None:
    """A second init is refused and changes nothing."""
    assert command("init", str(tmp_path / "office")).code == 0
    before = (tmp_path / "office" / "watcher.yaml").read_bytes()
    said = command("init", str(tmp_path / "office"))
    assert said.code == 2
    assert "is there already; nothing was changed" in said.err
    assert (tmp_path / "office" / "watcher.yaml").read_bytes() == before


def test_init_then_check_then_run(command: Command, tmp_path: Path, n8n: StandIn) -> None:
    """What init makes passes the check and runs as it is."""
    folder = tmp_path / "office"
    assert command("init", str(folder), "--webhook-url", n8n.webhook_url).code == 0
    # The port and the settle time are the test's: another program may have the port.
    daemon = RunningDaemon(tmp_path / "elsewhere", "", "", environment={"RECEIPT_WATCHER_HTTP__PORT": "0"})
    daemon.config_file = folder / "watcher.yaml"
    daemon.config_file.write_text(daemon.config_file.read_text().replace("settle_seconds: 2.0", "settle_seconds: 0.2"))
    daemon.inbox, daemon.done = folder / "inbox", folder / "done"
    checked = command("check", "--config", str(daemon.config_file))
    assert checked.code == 0, checked.out
    token = load(daemon.config_file, {}).callback.secret_token
    assert token is not None
    n8n.token = token.get_secret_value()
    daemon.drop("scan.jpg", samples.jpeg(1))
    ended = daemon.run("run", "--once")
    assert ended.returncode == 0, ended.stderr
    assert [path.name for path in daemon.files(daemon.done)] == ["scan.jpg"]


# --- check ---------------------------------------------------------------------------------------------------------


def test_check(command: Command, config_file: Path) -> None:
    """Findings are a line each, with advice below; an error makes the exit code 1, in JSON as in text."""
    said = command("check")
    assert said.code == 1
    assert "error    N8N at http://127.0.0.1:9 cannot be reached" in said.out
    assert "         → is it running, and the URL right?" in said.out
    found = command("check", "--json")
    assert found.code == 1
    assert {"ok", "error"} == {finding["level"] for finding in found.json}
    assert all(set(finding) == {"level", "what", "advice"} for finding in found.json)


# --- looking -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ("jobs",),
        ("show", "scan.jpg"),
        ("retry", "scan.jpg"),
        ("retry", "--failed"),
        ("cancel", "scan.jpg"),
        ("status",),
    ],
    ids=" ".join,
)
def test_no_job_log_yet(words: tuple[str, ...], command: Command, config_file: Path) -> None:
    """Before the first run there is no job log: that is said, with exit code 1, and none is made."""
    said = command(*words)
    assert (said.code, said.out) == (1, "")
    database = config_file.parent / "state" / "receipts.db"
    assert said.err.startswith(f"receipt-watcher: there is no job log at {database} yet")
    assert not database.exists()


def test_jobs(command: Command, job_log: JobLog) -> None:
    """Jobs are listed with what people ask for, the newest first, and those that are asked for only."""
    ids = [add(job_log, "a.jpg", State.SUCCESS, 20), add(job_log, "b.jpg", State.FAILURE, 10), add(job_log, "c.jpg")]
    title, *lines = command("jobs").out.splitlines()
    assert title.split() == ["recorded", "status", "inbox", "file", "reason", "job"]
    assert [line.split()[2:] for line in lines] == [
        ["queued", "office", "c.jpg", ids[2]],
        ["failure", "office", "b.jpg", "n8n_failure", ids[1]],
        ["success", "office", "a.jpg", ids[0]],
    ]
    for words, expected in (
        (("--status", "failure"), ["b.jpg"]),
        (("--status", "failure", "--status", "success"), ["b.jpg", "a.jpg"]),
        (("--inbox", "elsewhere"), []),
        (("--inbox", "office", "--limit", "1"), ["c.jpg"]),
    ):
        assert [job["filename"] for job in command("jobs", "--json", *words).json] == expected


def test_a_job_as_json(command: Command, job_log: JobLog, tmp_path: Path) -> None:
    """A job's JSON has the fields of the contract, and its path is where the file is."""
    job_id = add(job_log, "a.jpg")
    (job,) = command("jobs", "--json").json
    assert set(JOB_FIELDS) <= set(job)
    assert job["path"] == str(tmp_path / "processing" / job_id / "scan.jpg")
    assert job["created_at"].endswith("Z")


def test_show(command: Command, job_log: JobLog) -> None:
    """A job is shown by its id, by the beginning of it, or by its file's name, with its history and what to do."""
    job_id = add(job_log, "scan.jpg", State.FAILURE)
    said = command("show", "scan.jpg")
    assert said.code == 0
    for part in (job_id, "failure", Reason.N8N_FAILURE.meaning, Reason.N8N_FAILURE.advice, "queued → failure"):
        assert part in said.out
    assert command("show", job_id).out == command("show", job_id[:13]).out == said.out
    shown = command("show", job_id, "--json").json
    assert [row["event"] for row in shown["history"]] == ["record", "fail"]
    assert shown["deliveries"] == []


@pytest.mark.parametrize("word", ["show", "retry", "cancel"])
def test_names_of_several_jobs(word: str, command: Command, job_log: JobLog) -> None:
    """A name that may be several jobs changes none; their ids are listed to choose from."""
    ids = [add(job_log, "scan.jpg", State.FAILURE, age) for age in (20, 10)]
    said = command(word, "scan.jpg")
    assert (said.code, said.out) == (2, "")
    assert "may be several jobs" in said.err
    assert all(job_id in said.err for job_id in ids)
    assert [state_of(job_log, job_id) for job_id in ids] == [State.FAILURE] * 2


@pytest.mark.parametrize("word", ["show", "retry", "cancel"])
def test_names_of_no_job(word: str, command: Command, job_log: JobLog) -> None:
    """A name that no job has is an error that repeats it."""
    said = command(word, "nothing.jpg")
    assert (said.code, said.out) == (2, "")
    assert "'nothing.jpg'" in said.err


def test_names_cannot_steer_the_terminal(command: Command, job_log: JobLog) -> None:
    """A file's name with control characters is shown with them written out."""
    add(job_log, "scan\x1b[2J.jpg")
    for words in (("jobs",), ("show", "scan\x1b[2J.jpg"), ("cancel", "scan\x1b[2J.jpg"), ("status",)):
        assert "\x1b" not in command(*words).out


def test_status_without_a_daemon(command: Command, job_log: JobLog, config_file: Path) -> None:
    """Status says that nothing runs, what waits, what is old, what is held and what nobody serves; that is trouble."""
    (config_file.parent / "inbox" / "new.jpg").write_bytes(b"a receipt")
    add(job_log, "old.jpg", State.PROCESSING, age_seconds=3600)
    job_log.jobs.insert(make_job(time.time(), inbox="closed", filename="lost.jpg"))
    job_log.holds.hold(WEBHOOK, HoldKind.ANSWERS, "no connection", time.time(), time.time() + 5)
    said = command("status")
    assert said.code == 1
    for part in (
        "The daemon is not running.",
        "office: 1 waiting",
        "1 queued, 0 delivering, 1 processing",
        "Open for 60 minutes: old.jpg (processing",
        "Look at this: the daemon is not running",
        "Look at this: N8N at 127.0.0.1 is on hold since ",
        " (office: 0 waiting; next try ",
        "Look at this: 1 open jobs belong to inboxes that are no longer configured",
    ):
        assert part in said.out
    shown = command("status", "--json")
    assert shown.code == 1
    assert (shown.json["running"], shown.json["inboxes"][0]["waiting"]) == (False, 1)
    assert (shown.json["jobs"]["processing"], len(shown.json["holds"]), len(shown.json["old"])) == (1, 1, 1)
    assert len(shown.json["troubles"]) == 3


def test_status_of_a_missing_inbox(command: Command, job_log: JobLog, config_file: Path) -> None:
    """An inbox that cannot be read is said."""
    (config_file.parent / "inbox").rmdir()
    said = command("status")
    assert "Look at this: inbox office: cannot be read: No such file or directory" in said.out


# --- changing ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "state", "after", "text"),
    [
        ("retry", State.FAILURE, State.QUEUED, "queued; a running daemon goes on with it within seconds"),
        ("retry", State.CANCELLED, State.QUEUED, "queued; a running daemon goes on with it within seconds"),
        ("retry", State.SUCCESS, State.SUCCESS, "not possible, it is success"),
        ("retry", State.QUEUED, State.QUEUED, "not possible, it is queued"),
        ("cancel", State.QUEUED, State.CANCELLED, "cancelled; a running daemon goes on with it within seconds"),
        ("cancel", State.PROCESSING, State.CANCELLED, "cancelled; a running daemon goes on with it within seconds"),
        ("cancel", State.DELIVERING, State.DELIVERING, "not possible, it is delivering; it is being delivered"),
        ("cancel", State.FAILURE, State.FAILURE, "not possible, it is failure"),
    ],
)
def test_retry_and_cancel(  # noqa: PLR0917 - four columns and two fixtures
    word: str, state: State, after: State, text: str, command: Command, job_log: JobLog
) -> None:
    """They do what the job's state allows, with exit code 0, or say why it cannot be, with 1."""
    job_id = add(job_log, "scan.jpg", state)
    said = command(word, "scan.jpg")
    assert said.out.startswith(f"{job_id}  scan.jpg: {text}")
    assert said.code == (0 if state is not after else 1)
    assert state_of(job_log, job_id) is after
    again = command(word, job_id, "--json")
    assert (again.code, again.json) == (1, [{"job_id": job_id, "filename": "scan.jpg", "done": False}])


def test_retry_of_all_that_failed(command: Command, job_log: JobLog) -> None:
    """--failed retries each failed job and no other."""
    ids = {name: add(job_log, f"{name}.jpg", State(name), 5) for name in ("failure", "success", "cancelled")}
    said = command("retry", "--failed", "--json")
    assert (said.code, said.json) == (0, [{"job_id": ids["failure"], "filename": "failure.jpg", "done": True}])
    assert [state_of(job_log, job_id) for job_id in ids.values()] == [State.QUEUED, State.SUCCESS, State.CANCELLED]


MAYBE = [Reason.OUTCOME_UNKNOWN, Reason.UNREADABLE_VERDICT, Reason.NO_CALLBACK]


def unknown(log: JobLog, reason: Reason = Reason.OUTCOME_UNKNOWN) -> str:
    """Put a job into the log that may have been booked, and return its id."""
    job_id = add(log, "scan.jpg", State.DELIVERING)
    assert log.jobs.advance(job_id, Event.GIVE_UP, time.time(), reason=reason)
    return job_id


@pytest.mark.parametrize("reason", MAYBE)
def test_retry_of_what_may_have_been_booked(reason: Reason, command: Command, job_log: JobLog) -> None:
    """It needs --force, be it named or among all that failed; without it the command says why and what else to do."""
    job_id = unknown(job_log, reason)
    for words in (["scan.jpg"], ["--failed"]):
        said = command("retry", *words)
        assert said.code == 1
        assert f"not retried ({reason}). N8N may have booked it" in said.out
        assert "settle" in said.out
        assert "--force" in said.out
    assert state_of(job_log, job_id) is State.FAILURE
    assert command("retry", "scan.jpg", "--force").code == 0
    assert state_of(job_log, job_id) is State.QUEUED


@pytest.mark.parametrize(
    ("word", "state", "text"),
    [("--delivered", State.SUCCESS, "success"), ("--not-delivered", State.FAILURE, "marked as not delivered")],
)
def test_settle(word: str, state: State, text: str, command: Command, job_log: JobLog) -> None:
    """An admin who has looked in N8N says what became of a job; once, and of no job that cannot be settled."""
    job_id = unknown(job_log)
    assert command("settle", job_id).code == 2
    said = command("settle", "scan.jpg", word)
    assert (said.code, state_of(job_log, job_id)) == (0, state)
    assert said.out.startswith(f"{job_id}  scan.jpg: {text}")
    assert job_log.database.select("SELECT detail FROM history ORDER BY id DESC LIMIT 1")[0] == ("by an admin",)
    again = command("settle", "scan.jpg", word)
    assert again.code == 1
    assert "can be settled; this one is" in again.out
    assert command("retry", "scan.jpg").code == (1 if state is State.SUCCESS else 0)


# --- backup --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_json", [False, True])
def test_backup(as_json: bool, command: Command, job_log: JobLog, tmp_path: Path) -> None:
    """`backup FILE` writes the job log to a file, which holds the same jobs, and says how many, how large and where."""
    ids = {add(job_log, f"{number}.jpg") for number in range(3)}
    target = tmp_path / "backup.db"
    said = command("backup", str(target), *(["--json"] if as_json else []))
    size = target.stat().st_size
    assert (said.code, said.err) == (0, "")
    if as_json:
        assert said.json == {"file": str(target), "jobs": 3, "bytes": size}
    else:
        assert said.out == f"{target}: 3 jobs, {size:,} bytes\n"
    copy = JobLog(target)
    copy.database.open()
    assert {job.job_id for job in copy.lookups.listing()} == ids
    copy.database.close()


def test_backup_into_a_folder(command: Command, job_log: JobLog, tmp_path: Path) -> None:
    """In a folder the copy is named by the local time, so that one a night needs no script."""
    add(job_log, "scan.jpg")
    (tmp_path / "backups").mkdir()
    said = command("backup", str(tmp_path / "backups"), "--json")
    (path,) = (tmp_path / "backups").iterdir()
    assert said.json["file"] == str(path)
    named_at = time.mktime(time.strptime(path.name, "receipts-%Y-%m-%d-%H%M%S.db"))
    assert abs(named_at - path.stat().st_mtime) < 60


def test_backup_that_is_refused(command: Command, job_log: JobLog, tmp_path: Path) -> None:
    """Nothing is overwritten, and a folder that is missing is told; the exit code is 1."""
    taken = tmp_path / "taken.db"
    taken.write_text("precious")
    said = command("backup", str(taken))
    assert (said.code, said.out) == (1, "")
    assert f"{taken} is there already; nothing was overwritten" in said.err
    assert taken.read_text() == "precious"
    said = command("backup", str(tmp_path / "missing" / "backup.db"))
    assert (said.code, said.out) == (1, "")
    assert "cannot be written" in said.err


# --- beside a daemon, and in pipes ---------------------------------------------------------------------------------


def test_beside_a_daemon(tmp_path: Path, n8n: StandIn) -> None:
    """The commands work while a daemon runs, and it goes on with what they changed within seconds."""
    n8n.behave = lambda delivery: Behaviour(verdict="failure" if delivery.attempt == 1 else "success")
    with RunningDaemon(tmp_path, n8n.webhook_url, TOKEN) as daemon:
        daemon.drop("scan.jpg", samples.jpeg(1))
        daemon.wait_quiet(1)
        assert daemon.run("status").returncode == 0
        assert json.loads(daemon.run("backup", str(tmp_path / "backup.db"), "--json").stdout)["jobs"] == 1
        assert [job["status"] for job in daemon.jobs()] == ["failure"]
        assert "n8n_failure" in daemon.run("show", "scan.jpg").stdout
        assert daemon.run("retry", "scan.jpg").returncode == 0
        wait_until(lambda: daemon.job("scan.jpg").folder is Folder.DONE, "the daemon went on with it", 10)


def test_a_reader_that_leaves(job_log: JobLog, config_file: Path) -> None:
    """`receipt-watcher jobs | head` is no error and leaves no traceback."""
    with job_log.database.transaction():
        for number in range(2000):
            add(job_log, f"scan-{number}.jpg")
    process = subprocess.Popen(
        [sys.executable, "-m", "receipt_watcher", "jobs", "--limit", "2000"],
        cwd=REPOSITORY,
        env=os.environ | {"RECEIPT_WATCHER_CONFIG": str(config_file)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with process, process.stdout as lines, process.stderr as errors:
        assert b"recorded" in lines.readline()
        lines.close()
        assert errors.read() == b""
    assert process.returncode == 0


def test_the_collector_rests_while_the_daemon_is_loaded() -> None:
    """Loading makes no garbage, and what was loaded stays: it is not looked at again and again."""
    with hurrying():
        assert not gc.isenabled()
    assert gc.isenabled()
    assert gc.get_freeze_count() > 0


@pytest.mark.parametrize(("listen_pid", "pauses"), [("own", [5.0]), ("other", []), ("", [])])
def test_a_mistake_pauses_where_the_socket_starts_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    listen_pid: str,
    pauses: list[float],
) -> None:
    """Under the socket unit a mistake in the configuration pauses: each waiting call starts it at once."""
    (tmp_path / "watcher.yaml").write_text("nonsense: 1\n")
    if listen_pid:
        monkeypatch.setenv("LISTEN_PID", str(os.getpid()) if listen_pid == "own" else "1")
    monkeypatch.setattr(sys, "argv", ["receipt-watcher", "run", "--config", str(tmp_path / "watcher.yaml")])
    paused: list[tuple[float, str]] = []
    monkeypatch.setattr(main, "_pause", lambda seconds: paused.append((seconds, capsys.readouterr().err)))
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 2
    assert [seconds for seconds, _ in paused] == pauses
    assert all("nonsense" in said for _, said in paused)
