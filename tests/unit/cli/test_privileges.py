"""The rights that a command works with: words for each refusal, and root leaves no file that is root's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from receipt_watcher.cli import privileges
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.system.state_dir import Installation
from tests.conftest import make_job
from tests.fakes.daemons.fork_server import fork_server
from tests.fakes.daemons.process import REPOSITORY, without_capabilities

#: The service's user; there is one of that number everywhere.
DAEMON = 1


Ended = subprocess.CompletedProcess[str]


class Place:
    """A service whose user is another one."""

    def __init__(self, root: Path) -> None:
        self.state = root / "state"
        self.config_file = root / "watcher.yaml"
        self.database = self.state / "receipts.db"
        (root / "inbox").mkdir()
        self.state.mkdir()
        options = {
            "inboxes": [{"path": str(root / "inbox"), "name": "office"}],
            "n8n": {"webhook_url": "http://127.0.0.1:9/webhook", "api_key": "0123456789abcdef"},
            "state_dir": str(self.state),
        }
        self.config_file.write_text(yaml.safe_dump(options))
        self.log = JobLog(self.database)
        self.log.database.open()
        self.log.jobs.insert(make_job())
        for path in (self.config_file, self.state, *self.state.iterdir()):
            os.chown(path, DAEMON, DAEMON)
        for path in self.state.iterdir():
            path.chmod(0o644)  # as an admin lets others read it; a start takes that back

    def typed(self, *words: str, program: str = "receipt_watcher", is_root: bool = False) -> Ended:
        """Type a command, as one who owns nothing of this, or with root's power over it."""
        command = [sys.executable, "-m", program, *words, "--config", str(self.config_file)]
        if is_root:
            return subprocess.CompletedProcess(command, *fork_server().run(command, os.environ, timeout=60))
        power = ("dac_override", "dac_read_search", "fowner", "chown", "setuid", "setgid")
        return subprocess.run(
            [*without_capabilities(*power), *command],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Such a service; its job log is open, as a daemon has it, until a test closes it."""
    if os.geteuid() != 0:
        pytest.skip("only root can make files of somebody else's")
    place = Place(tmp_path)
    yield place
    place.log.database.close()


def assert_refused(ended: Ended, code: int, *parts: str) -> None:
    """See that a command was refused in words."""
    assert (ended.returncode, ended.stdout) == (code, ""), ended
    assert "Traceback" not in ended.stderr
    assert all(part in ended.stderr for part in parts), ended.stderr


def test_who_may_read_reads(place: Place) -> None:
    """Beside a running daemon, reading takes no right to write anything."""
    ended = place.typed("jobs")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "scan.jpg" in ended.stdout


def test_a_running_daemon_is_seen(place: Place) -> None:
    """Who may not open the daemon's lock sees all the same that it runs."""
    installation = Installation(place.state)
    installation.lock()
    assert "The daemon is running." in place.typed("status").stdout
    installation.unlock()
    assert "The daemon is not running." in place.typed("status").stdout


def test_a_configuration_that_may_not_be_read(place: Place) -> None:
    """It is told apart from a wrong one, with what to type."""
    place.config_file.chmod(0o600)
    typed = f"type: sudo -u daemon receipt-watcher status --config {place.config_file}"
    assert_refused(place.typed("status"), 2, f"{place.config_file}: whole file: cannot be read by you; {typed}")


def test_a_state_folder_that_is_shut(place: Place) -> None:
    """Mode 0700, as systemd makes it: the owner is named in what to type."""
    place.state.chmod(0o700)
    assert_refused(place.typed("jobs"), 1, f"you may not look into {place.state}; type: sudo -u daemon receipt-watcher")


def test_a_job_log_that_may_not_be_read(place: Place) -> None:
    """Its own mode may refuse, too."""
    place.database.chmod(0o600)
    assert_refused(
        place.typed("jobs"), 1, f"you may not read the job log {place.database}; type: sudo -u daemon receipt-watcher"
    )


def test_files_beside_the_job_log_that_may_not_be_read(place: Place) -> None:
    """Those that SQLite keeps beside it are meant, too."""
    place.database.with_name("receipts.db-shm").chmod(0o600)
    place.database.with_name("receipts.db-wal").chmod(0o600)
    assert_refused(
        place.typed("jobs"),
        1,
        "you may not read the -wal and -shm beside it; run this as daemon (sudo -u daemon receipt-watcher …)",
    )


def test_a_job_log_that_nobody_has_open(place: Place) -> None:
    """While no daemon runs, SQLite has to make a file beside it even to read: that is said, not «cannot be opened»."""
    place.log.database.close()
    assert_refused(place.typed("jobs"), 1, "while the daemon does not run, SQLite has to write beside it to read it")


@pytest.mark.parametrize("words", [("retry", "scan.jpg"), ("cancel", "scan.jpg"), ("hold", "n8n"), ("resume", "n8n")])
def test_who_may_only_read_changes_nothing(words: tuple[str, ...], place: Place) -> None:
    """What changes something needs the right to."""
    assert_refused(place.typed(*words), 1, f"you may not change the job log {place.database}; type: sudo -u daemon")


def test_root_goes_on_as_the_owner() -> None:
    """What root types is done as the owner of the state folder: what is made there is not root's."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:  # into pytest's own folders only root may look
        root = Path(folder)
        root.chmod(0o755)
        place = Place(root)
        place.log.database.close()
        ended = place.typed("n8n-workflow", "--credentials", program="tests.fakes.daemons.preimported", is_root=True)
        assert ended.returncode == 0, ended.stderr
        assert (place.state / "callback_token").stat().st_uid == DAEMON


@pytest.mark.parametrize(
    "typed",
    [
        ("accept-backlog office", "take-over office", "hold n8n", "retry --failed", "backup {root}/state/copy.db"),
        ("balance --csv {root}/state/november.csv", "check"),
        ("take-over office",),
        ("check", "accept-backlog office"),
        ("run --once --take-over --accept-backlog",),
    ],
)
def test_what_root_writes_belongs_to_the_service(typed: tuple[str, ...]) -> None:
    """Whatever an admin types as root, before the first start or later: no file or folder becomes root's."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        root = Path(folder)
        root.chmod(0o755)
        place = Place(root)
        place.log.database.close()
        for name in (".", "inbox", "processing", "done", "failed"):
            (root / name).mkdir(exist_ok=True)
            os.chown(root / name, DAEMON, DAEMON)
        if len(typed) == 1 or typed[0] == "check":  # before the first start
            shutil.rmtree(place.state)
        for words in typed:
            ended = place.typed(
                *words.format(root=root).split(), program="tests.fakes.daemons.preimported", is_root=True
            )
            assert "Permission" not in ended.stderr
            assert [path for path in (root, *root.rglob("*")) if path.lstat().st_uid != DAEMON] == []


def test_what_root_sets_up_belongs_to_the_owner_of_the_folder() -> None:
    """`init` in somebody's folder makes nothing there that they cannot use."""
    if os.geteuid() != 0:
        pytest.skip("only root can make files for somebody else")
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        root = Path(folder)
        os.chown(root, DAEMON, DAEMON)
        made = root / "below" / "receipts"
        command = [sys.executable, "-m", "receipt_watcher", "init", str(made)]
        assert subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=False, timeout=60).returncode == 0
        assert len(list(made.iterdir())) == 6
        assert [path for path in (root, *root.rglob("*")) if path.lstat().st_uid != DAEMON] == []


def test_a_log_of_an_older_version_is_not_changed_by_reading(place: Place) -> None:
    """A command that reads leaves the schema to the daemon, which may still be the older one."""
    place.log.database.change("DELETE FROM schema_migration WHERE name = (SELECT MAX(name) FROM schema_migration)")
    assert_refused(place.typed("jobs"), 1, "is of an older version; restart the daemon")


def test_what_only_the_service_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a configuration of the service its state folder and credentials are found; for another one nothing is."""
    etc, state, credentials = tmp_path / "etc", tmp_path / "state", tmp_path / "credentials"
    monkeypatch.setattr(privileges, "SYSTEM_CONFIG_FOLDER", etc)
    monkeypatch.setattr(privileges, "_STATE_FOLDER", state)
    monkeypatch.setattr(privileges, "_CREDENTIALS_FOLDER", credentials)
    assert privileges.as_service(etc / "watcher.yaml", {}) == {}
    for folder in (
        state,
        tmp_path / "state-second",
        credentials / "receipt-watcher@second.service",
        credentials / "receipt-watcher.service",
    ):
        folder.mkdir(parents=True)
    assert privileges.as_service(etc / "watcher.yaml", {"A": "b"}) == {
        "A": "b",
        "STATE_DIRECTORY": str(state),
        "CREDENTIALS_DIRECTORY": str(credentials / "receipt-watcher.service"),
    }
    assert privileges.as_service(etc / "second.yaml", {"A": "b"}) == {
        "A": "b",
        "STATE_DIRECTORY": f"{state}-second",
        "CREDENTIALS_DIRECTORY": str(credentials / "receipt-watcher@second.service"),
    }
    assert privileges.as_service(etc / "second.yaml", {"STATE_DIRECTORY": "/own"})["STATE_DIRECTORY"] == "/own"
    assert privileges.as_service(tmp_path / "watcher.yaml", {}) == {}
    assert privileges.as_service(None, {}) == {}
