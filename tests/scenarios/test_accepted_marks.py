"""Commands by which an admin accepts something: the mark that each leaves, and the daemon that does it once."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from receipt_watcher.cli.demo.stand_in import StandIn
from receipt_watcher.spool.folders import Spool
from receipt_watcher.spool.identity.accepted_marks import FOLDER, LIFE_SECONDS, MarkKind, Marks, Sight, sight_of
from receipt_watcher.system.folder_identity import FolderPlace, Identity
from receipt_watcher.system.permissions import to_type
from tests.conftest import INSTALLATION, TOKEN
from tests.fakes.daemons.process import RunningDaemon, jpegs, wait_until

NOW = 1_700_000_000.0
OTHER = "99999999-2222-4333-8444-555555555555"


@pytest.fixture
def seen(spool: Spool) -> Sight:
    """Return an admin's sight of a spool."""
    return sight_of(MarkKind.SPOOL, spool)


@pytest.fixture
def marks(tmp_path: Path) -> Marks:
    """The marks for one inbox."""
    return Marks(tmp_path, "office")


def test_a_mark_is_used_once(marks: Marks, seen: Sight, tmp_path: Path) -> None:
    """It is there for what was seen, until it is used, and for no other command or inbox."""
    assert not marks.has(MarkKind.SPOOL, seen, NOW)
    marks.leave(MarkKind.SPOOL, seen, NOW)
    assert marks.has(MarkKind.SPOOL, seen, NOW + LIFE_SECONDS - 1)
    assert not marks.has(MarkKind.BACKLOG, seen, NOW)
    assert not Marks(tmp_path, "cellar").has(MarkKind.SPOOL, seen, NOW)
    marks.use(MarkKind.SPOOL)
    assert not marks.has(MarkKind.SPOOL, seen, NOW)
    assert list((tmp_path / FOLDER).iterdir()) == []


@pytest.mark.parametrize(("source", "is_there"), [("office@nas:/receipts", True), ("other@nas:/receipts", False)])
def test_a_mark_holds_in_the_namespace_of_the_service(marks: Marks, source: str, *, is_there: bool) -> None:
    """On FUSE the service may see a mount point of its own (ReadWritePaths=); the source of the mount counts there."""
    identity = Identity(1, 0, 0)
    shell = FolderPlace("/srv/pool", "fuse.sshfs", "office@nas:/receipts", identity, identity)
    service = FolderPlace("/srv/pool/office", "fuse.sshfs", source, identity, identity)
    marks.leave(MarkKind.SPOOL, Sight(OTHER, {"done": shell}), NOW)
    assert marks.has(MarkKind.SPOOL, Sight(OTHER, {"done": service}), NOW) is is_there


@pytest.mark.parametrize("later", [LIFE_SECONDS, -1.0])
def test_a_mark_lapses(marks: Marks, seen: Sight, later: float) -> None:
    """After 24 hours it is void, as it is when the clock was set back before it."""
    marks.leave(MarkKind.SPOOL, seen, NOW)
    assert_void(marks, seen, NOW + later, "older than 24 hours")


@pytest.mark.parametrize("owner", ["", OTHER])
def test_a_mark_names_the_owner_that_it_replaces(marks: Marks, seen: Sight, owner: str) -> None:
    """When processing/ belongs to somebody else by now, the admin has not accepted that."""
    marks.leave(MarkKind.SPOOL, Sight(owner, seen.folders), NOW)
    assert_void(marks, seen, NOW, f"named {owner or 'nobody'} then, and names {INSTALLATION} now")


@pytest.mark.parametrize("folder", ["inbox", "processing", "done", "failed"])
@pytest.mark.parametrize("is_made", [False, True])
def test_a_mark_names_the_folders(marks: Marks, spool: Spool, seen: Sight, folder: str, *, is_made: bool) -> None:
    """A folder that went, or that another one has replaced since, is not what the admin saw."""
    marks.leave(MarkKind.SPOOL, seen, NOW)
    path = spool.folders.inbox.with_name(folder)
    path.rename(path.with_name("elsewhere"))
    if is_made:
        path.mkdir()
    assert_void(marks, Sight.of(seen.owner, *map(Path, seen.folders)), NOW, "another one now")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"left_at": 1}', '{"left_at": "x", "owner": "", "folders": {}}'])
def test_a_mark_that_cannot_be_read_is_void(marks: Marks, seen: Sight, tmp_path: Path, text: str) -> None:
    """Whatever a crash or a person left there accepts nothing."""
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "office.take-over.json").write_text(text)
    assert_void(marks, seen, NOW, "cannot be read")


def assert_void(marks: Marks, seen: Sight, now: float, why: str) -> None:
    """See that a mark counts for nothing, which is logged once, and is gone."""
    with capture_logs() as lines:
        assert not marks.has(MarkKind.SPOOL, seen, now)
        assert not marks.has(MarkKind.SPOOL, seen, now)
    assert [line["event"] for line in lines] == ["mark.void"]
    assert why in lines[0]["why"]


# --- the commands ----------------------------------------------------------------------------------------------------


@pytest.fixture
def daemon(tmp_path: Path, n8n: StandIn) -> Iterator[RunningDaemon]:
    """A daemon that is not started yet, and takes three old files at its first start."""
    daemon = RunningDaemon(tmp_path, n8n.webhook_url, TOKEN, changes={"limits": {"backlog_files": 3}})
    yield daemon
    daemon.close()


def type_what_it_says(daemon: RunningDaemon, text: str) -> str:
    """Type the command with which a text ends, letter for letter, and return what it says."""
    words = shlex.split(text[text.rindex("receipt-watcher ") :])[1:]
    assert words[-2:] == ["--config", str(daemon.config_file)]
    ended = daemon.run(*words[:-2])
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_the_running_daemon_accepts_the_backlog(daemon: RunningDaemon) -> None:
    """The reason that it gives ends in the command, by which it takes the files within seconds, and for good."""
    for number, content in enumerate(jpegs(4)):
        daemon.drop(f"{number}.jpg", content)
    daemon.start()
    wait_until(lambda: daemon.count("inbox.unavailable"), "the old files are noticed")
    said = type_what_it_says(daemon, daemon.events("inbox.unavailable")[0]["why"])
    assert said == "office: 4 files wait, and are taken in\nThe daemon does it within seconds.\n"
    daemon.wait_quiet(4)
    assert daemon.count("mark.used") == 1
    assert list((daemon.state / FOLDER).iterdir()) == []
    again = daemon.run("accept-backlog", "office")
    assert (again.returncode, again.stdout) == (
        0,
        "office: nothing waits to be accepted: it has had its first start\n",
    )
    assert daemon.run("accept-backlog", "cellar").returncode == 2


def test_the_next_daemon_takes_over_once(daemon: RunningDaemon) -> None:
    """After a purge the refusal ends in the command; it is good for one take-over of that owner, and no other."""
    daemon.start()
    assert daemon.terminate() == 0
    for _ in range(2):
        shutil.rmtree(daemon.state)
        refused = daemon.run("run")
        assert refused.returncode == 1
        assert "belongs to another installation" in refused.stderr
        said = type_what_it_says(daemon, refused.stderr.rstrip())
        assert "becomes that of this one" in said
        assert "The next daemon does it; start it within 24 hours." in said
        daemon.start()
        assert daemon.count("mark.used") == 1
        assert daemon.terminate() == 0
        daemon.log_file.unlink()


def test_take_over_wants_everything_mounted(daemon: RunningDaemon) -> None:
    """A folder that is not there cannot be accepted: the command says what to do first, and leaves no mark."""
    daemon.start()
    assert daemon.terminate() == 0
    daemon.done.rmdir()
    refused = daemon.run("take-over", "office")
    assert refused.returncode == 1
    assert f"the folder {daemon.done} is not there; mount its disk or share" in refused.stderr
    assert not (daemon.state / FOLDER).exists()


def test_what_to_type_begins_with_sudo_under_systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a service it is an admin's command; the configuration is the one that the service was started with."""
    monkeypatch.setattr("sys.argv", ["receipt-watcher", "run", "--config=/etc/receipt-watcher/second.yaml"])
    monkeypatch.setenv("INVOCATION_ID", "x")
    said = "sudo receipt-watcher take-over office --config /etc/receipt-watcher/second.yaml"
    assert to_type("take-over", "office") == said
    monkeypatch.delenv("INVOCATION_ID")
    monkeypatch.setattr("sys.argv", ["receipt-watcher", "run"])
    assert to_type("take-over", "office") == "receipt-watcher take-over office"
    monkeypatch.setenv("RECEIPT_WATCHER_CONFIG", "a b.yaml")
    config = shlex.quote(str(Path.cwd() / "a b.yaml"))
    assert to_type("take-over", "office") == f"receipt-watcher take-over office --config {config}"
