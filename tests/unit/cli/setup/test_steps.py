"""Setting up and taking away do each step once, and leave what people made."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from receipt_watcher.cli.setup import places, program
from receipt_watcher.cli.setup import steps as service
from receipt_watcher.cli.setup.configuration import problems_before_start
from receipt_watcher.cli.setup.files import Step
from receipt_watcher.cli.setup.host import Host, Pause
from receipt_watcher.config.options import Config
from receipt_watcher.config.sources.load import load
from receipt_watcher.errors import ReceiptWatcherError
from tests.fakes.daemons.process import merge

CONFIG = Path("/etc/receipt-watcher/watcher.yaml")
DROP_IN = Path("/etc/systemd/system/receipt-watcher.service.d/inbox.conf")
WEBHOOK_URL = "https://n8n.office.lan/webhook/receipts"
MANUAL = {"receipt-watcher": ".TH RECEIPT-WATCHER 1\n", "watcher.yaml": ".TH WATCHER.YAML 5\n"}


class FakeHost(Host):
    """A machine that is a folder; its commands are only noted, but for the user that they make."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.commands: list[str] = []
        self.user: tuple[int, int] | None = None
        self.is_on = False
        self.active: list[str] = []

    def says(self, *words: str) -> list[str]:
        """List the units that run, as systemctl does."""
        assert words[:2] == ("systemctl", "list-units")
        return [f"{unit} loaded active running Receipts" for unit in self.active]

    def run(self, *words: str) -> None:
        """Note a command, and what it would change."""
        self.commands.append(" ".join(words))
        if words[0] == "systemd-sysusers":
            self.user = (os.geteuid(), os.getegid())
        elif words[0] == "systemd-tmpfiles":
            self.at(CONFIG.parent / "credentials").mkdir(parents=True, exist_ok=True)
        elif words[:2] in {("systemctl", "enable"), ("systemctl", "disable")}:
            self.is_on = words[1] == "enable"
        elif words[:2] in {("systemctl", "stop"), ("systemctl", "restart")}:
            others = [unit for unit in self.active if unit not in words]
            self.active = [*others, *words[2:]] if words[1] == "restart" else others

    def answers(self, *words: str) -> bool:
        """Return whether it is enabled, or runs."""
        return self.is_on

    def ids(self) -> tuple[int, int] | None:
        """Return whoever runs the test, once the user has been made."""
        return self.user


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    """A machine without anything; the program itself is a file, for speed."""

    def copy(folder: Path, *, home: Path, before_swap: Callable[[], object]) -> None:
        before_swap()
        folder.mkdir(parents=True)
        (folder / "home").write_text(str(home))

    monkeypatch.setattr(program, "copy", copy)
    monkeypatch.setattr(program, "is_current", Path.is_dir)
    return FakeHost(tmp_path)


def carry_out(steps: Callable[[], object]) -> list[str]:
    """Do what is not done yet, and return what that was."""
    done = []
    for step in steps():  # type: ignore[attr-defined]  # an iterator of steps
        assert isinstance(step, Step)
        if not step.is_done():
            step.do()
            done.append(step.what)
    return done


def installing(host: Host, inbox: Path | None = None, url: str | None = WEBHOOK_URL) -> Callable[[], object]:
    """Return the steps of an installation, to be done later."""
    return lambda: service.install(host, inbox, url, MANUAL, Pause(host), is_packaged=False)


def configuration(host: Host) -> Config:
    """Return what was configured."""
    return load(host.at(CONFIG), {"STATE_DIRECTORY": "/var/lib/receipt-watcher"})


def everything(host: Host) -> dict[str, bytes | str]:
    """Return each file and folder of the machine."""
    return {
        str(path.relative_to(host.root)): path.read_bytes() if path.is_file() else "folder"
        for path in host.root.rglob("*")
    }


def test_everything_is_put_in_place(host: FakeHost) -> None:
    """Program, command, unit, user, folders and a configuration with a token of its own are there afterwards."""
    carry_out(installing(host))
    assert host.at(Path("/opt/receipt-watcher/home")).read_text() == "/opt/receipt-watcher"
    assert host.at(Path("/usr/local/bin/receipt-watcher")).readlink() == Path(
        "/opt/receipt-watcher/bin/receipt-watcher"
    )
    unit = host.at(Path("/etc/systemd/system/receipt-watcher.service"))
    assert unit.read_bytes() == (program.shared_files() / "receipt-watcher.service").read_bytes()
    assert "systemd-sysusers /etc/sysusers.d/receipt-watcher.conf" in host.commands
    assert "systemd-tmpfiles --create /etc/tmpfiles.d/receipt-watcher.conf" in host.commands
    config = configuration(host)
    assert [inbox.path for inbox in config.inboxes] == [Path("/srv/receipts/inbox")]
    assert config.n8n.webhook_url == WEBHOOK_URL
    assert str(config.state_dir) == "/var/lib/receipt-watcher"
    assert stat.S_IMODE(host.at(CONFIG).stat().st_mode) == 0o640
    assert host.commands[-2:] == ["systemctl daemon-reload", "systemctl enable receipt-watcher.service"]


def test_the_unit_runs_what_is_installed() -> None:
    """The unit that ships names the user, the program and the configuration that are put in place."""
    unit = (program.shared_files() / "receipt-watcher.service").read_text().splitlines()
    assert f"User={places.USER}" in unit
    assert f"ExecStart={places.PROGRAM}/bin/receipt-watcher run --config {CONFIG}" in unit


def test_folders_have_their_modes(host: FakeHost) -> None:
    """The inbox is shared by a group, nobody takes away what others dropped, and what comes can be read."""
    carry_out(installing(host))
    modes = {
        name: host.at(Path("/srv/receipts", name)).stat().st_mode & 0o7777 for name in ("inbox", "done", "processing")
    }
    assert modes == {"inbox": 0o3770, "done": 0o2750, "processing": 0o700}
    before = os.umask(0o077)
    try:
        dropped = host.at(Path("/srv/receipts/inbox/scan.jpg"))
        dropped.touch(mode=0o666)
    finally:
        os.umask(before)
    assert stat.S_IMODE(dropped.stat().st_mode) == 0o660


def test_a_second_run_changes_nothing(host: FakeHost) -> None:
    """What is there is found: configuration, token and folders stay as the admin has them by now."""
    carry_out(installing(host))
    text = host.at(CONFIG).read_text().replace("settle_seconds: 2", "settle_seconds: 3")
    host.at(CONFIG).write_text(text)
    host.at(Path("/srv/receipts/inbox")).chmod(0o2777)
    before = everything(host)
    assert carry_out(installing(host, url="https://n8n.example.com/other")) == ["systemd reads its units again"]
    assert everything(host) == before
    assert host.at(Path("/srv/receipts/inbox")).stat().st_mode & 0o7777 == 0o2777


def test_two_installations_have_different_tokens(host: FakeHost, tmp_path: Path) -> None:
    """The token is made by chance, and never that of the example."""
    other = FakeHost(tmp_path / "other")
    tokens = set()
    for each in (host, other):
        carry_out(installing(each))
        secret = configuration(each).callback.secret_token
        assert secret is not None
        tokens.add(secret.get_secret_value())
    assert len(tokens) == 2
    assert min(map(len, tokens)) >= 32


def test_a_dry_run_looks_only(host: FakeHost) -> None:
    """Each step can be asked whether it is done on a machine where nothing is, and none is done by that."""
    steps = list(service.install(host, None, None, MANUAL, Pause(host), is_packaged=False))
    assert not any(step.is_done() for step in steps)
    assert everything(host) == {}
    assert host.commands == []


@pytest.mark.parametrize("stop_after", range(0, 18, 3))
def test_one_that_was_cut_off_goes_on(host: FakeHost, tmp_path: Path, stop_after: int) -> None:
    """An installation that ended after any step is finished by the next run, and is the same as one in one go."""
    for number, step in enumerate(service.install(host, None, WEBHOOK_URL, MANUAL, Pause(host), is_packaged=False)):
        if number == stop_after:
            break
        if not step.is_done():
            step.do()
    carry_out(installing(host))
    whole = FakeHost(tmp_path / "whole")
    carry_out(installing(whole))
    names = {name for name in everything(host) if not name.startswith("whole")}
    assert names == everything(whole).keys()


@pytest.mark.parametrize(
    ("inbox", "lines"),
    [
        ("/data/scans/inbox", ["ReadWritePaths=-/data/scans"]),
        ("/home/anna/scans/inbox", ["ProtectHome=tmpfs", "BindPaths=-/home/anna/scans"]),
        ("/data/100 %/inbox", ['ReadWritePaths="-/data/100 %%"']),
        (
            "/inbox",
            [
                "ReadWritePaths=-/inbox",
                "ReadWritePaths=-/processing",
                "ReadWritePaths=-/done",
                "ReadWritePaths=-/failed",
            ],
        ),
    ],
)
def test_the_sandbox_lets_an_inbox_elsewhere_in(host: FakeHost, inbox: str, lines: list[str]) -> None:
    """For an inbox outside of /srv/receipts a drop-in opens the sandbox for its folders, and for nothing else."""
    carry_out(installing(host, Path(inbox)))
    written = host.at(DROP_IN).read_text().splitlines()
    assert set(lines) <= set(written)
    assert configuration(host).inboxes[0].path == Path(inbox)
    assert host.at(Path(inbox)).is_dir()


def test_the_usual_inbox_needs_no_drop_in(host: FakeHost) -> None:
    """The unit itself lets the service write below /srv/receipts."""
    carry_out(installing(host))
    assert not host.at(DROP_IN).exists()


def test_an_inbox_that_the_configuration_does_not_name_is_refused(host: FakeHost) -> None:
    """Where a configuration is there, --inbox changes nothing: the text says which line to add."""
    carry_out(installing(host))
    before = everything(host)
    with pytest.raises(
        ReceiptWatcherError, match=r"has no inbox /data/inbox; add «- path: /data/inbox» below inboxes:"
    ):
        carry_out(installing(host, Path("/data/inbox")))
    assert everything(host) == before


def test_a_command_that_is_none_of_ours_stays(host: FakeHost) -> None:
    """A file of that name that somebody else put there is not replaced."""
    path = host.at(places.COMMAND)
    path.parent.mkdir(parents=True)
    path.write_text("somebody's own")
    with pytest.raises(ReceiptWatcherError, match="is there and none of ours"):
        carry_out(installing(host))
    assert path.read_text() == "somebody's own"


def test_the_package_is_not_in_the_way_of_itself(host: FakeHost) -> None:
    """Where the Debian package brought the service, the command says so; the package itself only sets it up."""
    host.at(places.PACKAGE_LIST).parent.mkdir(parents=True)
    host.at(places.PACKAGE_LIST).touch()
    for steps in (installing(host), lambda: service.uninstall(host)):
        with pytest.raises(ReceiptWatcherError, match="Debian package"):
            carry_out(steps)
    carry_out(lambda: service.install(host, None, None, MANUAL, Pause(host), is_packaged=True))
    assert host.at(CONFIG).is_file()
    assert not host.at(places.PROGRAM).exists()
    assert host.commands == []


def test_taking_away_leaves_what_people_made(host: FakeHost) -> None:
    """Program, units and command go; receipts, job log, configuration and the drop-ins of the admin stay."""
    carry_out(installing(host, Path("/data/scans/inbox")))
    kept = {
        Path("/data/scans/inbox/scan.jpg"): b"a receipt",
        Path("/data/scans/done/2026-11/scan.jpg"): b"another",
        Path("/var/lib/receipt-watcher/receipts.db"): b"the job log",
        DROP_IN.with_name("mine.conf"): b"[Service]\n",
        CONFIG: host.at(CONFIG).read_bytes(),
    }
    for path, content in kept.items():
        host.at(path).parent.mkdir(parents=True, exist_ok=True)
        host.at(path).write_bytes(content)
    carry_out(lambda: service.uninstall(host))
    assert "systemctl disable --now receipt-watcher.service receipt-watcher.socket" in host.commands
    assert "systemctl stop receipt-watcher@*.service" in host.commands
    left = {path: content for path, content in everything(host).items() if isinstance(content, bytes)}
    assert left == {str(path.relative_to("/")): content for path, content in kept.items()}
    assert not host.at(places.PROGRAM).exists()
    assert not os.path.lexists(host.at(places.COMMAND))


def test_taking_away_twice_is_harmless(host: FakeHost) -> None:
    """What is gone is found gone."""
    carry_out(installing(host))
    carry_out(lambda: service.uninstall(host))
    assert carry_out(lambda: service.uninstall(host)) == ["systemd reads its units again"]


def test_it_starts_when_it_has_been_told_where_n8n_is(host: FakeHost) -> None:
    """Before the webhook is set, what is missing is said in the words of a mistake in the configuration."""
    carry_out(installing(host, url=None))
    [problem] = problems_before_start(host)
    assert "n8n.webhook_url" in str(problem)
    assert "is still that of the example" in str(problem)
    host.at(CONFIG).write_text(host.at(CONFIG).read_text().replace("https://n8n.example.com", "http://127.0.0.1:5678"))
    assert problems_before_start(host) == []
    host.at(CONFIG).write_text("inboxes: 3\n")
    assert problems_before_start(host) != []


@pytest.mark.parametrize(
    ("change", "keeps"),
    [
        ("", True),
        ("http: {host: 0.0.0.0}", True),
        ("http: {public_url: 'http://localhost:8000'}", True),
        ("http: {public_url: 'http://receipts.office.lan:8000'}", False),
        ("http: {host: 192.0.2.7}", False),
        ("n8n: {accept: last_node}", False),
        ("n8n: {accept: last_node, payload: link}", True),
    ],
)
def test_it_does_not_start_where_n8n_cannot_call_back(host: FakeHost, change: str, *, keeps: bool) -> None:
    """With N8N elsewhere and callbacks asked for at this machine's own address the service is not started."""
    host.at(CONFIG).parent.mkdir(parents=True)
    base = {"inboxes": [{"path": "/srv/receipts/inbox"}], "n8n": {"webhook_url": WEBHOOK_URL}}
    host.at(CONFIG).write_text(yaml.safe_dump(merge(base, yaml.safe_load(change) or {})))
    assert [problem.key for problem in problems_before_start(host)] == (["http.public_url"] if keeps else [])


def test_an_empty_credential_keeps_it_from_starting(host: FakeHost) -> None:
    """A credential file without a secret is told before the start, which would fail for it."""
    carry_out(installing(host, url="http://127.0.0.1:5678/webhook/receipts"))
    assert problems_before_start(host) == []
    host.at(places.CREDENTIALS / "n8n_api_key").touch()
    [problem] = problems_before_start(host)
    assert (problem.source, problem.key) == ("credential n8n_api_key", "n8n.api_key")


def test_our_url_is_written(host: FakeHost) -> None:
    """--public-url sets both where N8N calls and, without a proxy between, on which addresses the service listens."""
    for url, address in (("http://receipts.lan:8000", "0.0.0.0"), ("https://receipts.lan", "127.0.0.1")):
        host.at(CONFIG).unlink(missing_ok=True)
        steps = service.install(host, None, WEBHOOK_URL, MANUAL, Pause(host), is_packaged=False, public_url=url)
        carry_out(steps.__iter__)
        assert (configuration(host).http.public_url, configuration(host).http.host) == (url, address)
        assert problems_before_start(host) == []


@pytest.mark.parametrize("umask", [0o027, 0o077])
def test_an_admins_umask_keeps_nobody_out(host: FakeHost, umask: int) -> None:
    """What the service and people read is readable, and its folders can be entered, whatever the admin's umask."""
    before = os.umask(umask)
    try:
        carry_out(installing(host, Path("/data/office/inbox")))
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    unit, page = Path("/etc/systemd/system/receipt-watcher.service"), places.MANUAL["watcher.yaml"]
    for file in (unit, page, DROP_IN):
        assert host.at(file).stat().st_mode & 0o044 == 0o044, file
        for folder in file.parents[:-1]:
            assert host.at(folder).stat().st_mode & 0o055 == 0o055, folder
    assert host.at(Path("/data/office")).stat().st_mode & 0o055 == 0o055
    assert stat.S_IMODE(host.at(CONFIG).stat().st_mode) == 0o640


def test_what_is_told_was_looked_at(host: FakeHost) -> None:
    """A step that ends without an error and has no effect is an error; a service that ended at once has not started."""
    pretending = Step("the folder", lambda: False, lambda: None)
    with pytest.raises(ReceiptWatcherError, match="the folder: that was done without an error, and is not so"):
        pretending.carry_out()
    carry_out(installing(host))
    [step] = service.start(host, Pause(host))
    host.is_on = False  # what systemctl says of a service that fails right after its start
    with pytest.raises(ReceiptWatcherError, match=r"receipt-watcher\.service started: that was done"):
        step.carry_out()
    assert not any("the user" in line for line in service.kept(FakeHost(host.root / "elsewhere")))


def test_the_state_is_what_systemd_says(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last line is systemd's word on the service, whatever was done before."""
    shown = ["ActiveState=activating", "SubState=auto-restart", "UnitFileState=enabled", "StatusText=the port = in use"]
    monkeypatch.setattr(host, "says", lambda *_: shown)
    said = service.state_of_service(host)
    assert said == "receipt-watcher.service: activating (auto-restart), enabled, the port = in use"
    monkeypatch.setattr(host, "says", lambda *_: [])
    assert service.state_of_service(host) == "receipt-watcher.service: unknown (unknown)"


def test_what_runs_is_stopped_before_its_program_is_replaced(host: FakeHost) -> None:
    """Service and instances that run, and no others, are stopped, then the program is replaced, then they run again."""
    host.active = ["receipt-watcher.service", "receipt-watcher@north.service"]
    with Pause(host) as pause:
        for step in service.install(host, None, WEBHOOK_URL, MANUAL, pause, is_packaged=False):
            if not step.is_done():
                step.do()
            assert host.active == []  # from the first step on: that is the program
    assert host.active == ["receipt-watcher.service", "receipt-watcher@north.service"]
    assert host.commands[0] == "systemctl stop receipt-watcher.service receipt-watcher@north.service"
    [again] = service.start(host, pause)
    assert again.is_done()


def test_what_does_not_run_is_not_started_by_a_replacement(host: FakeHost) -> None:
    """A service that was stopped before stays stopped, unless it is told to start."""
    with Pause(host) as pause:
        carry_out(lambda: service.install(host, None, WEBHOOK_URL, MANUAL, pause, is_packaged=False))
    assert host.active == []
    [step] = service.start(host, pause)
    assert not step.is_done()
    step.do()
    assert host.active == ["receipt-watcher.service"]


def test_a_replacement_that_fails_has_the_service_run_again(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever fails once the service was stopped, it is started again; where that fails, too, both are told."""
    host.active = ["receipt-watcher.service"]

    def fail() -> None:
        with Pause(host) as pause:
            pause.begin()
            assert host.active == []
            raise ReceiptWatcherError("the disk is full")

    with pytest.raises(ReceiptWatcherError, match="the disk is full"):
        fail()
    assert host.active == ["receipt-watcher.service"]

    def refuse(*words: str) -> None:
        if words[1] == "restart":
            raise ReceiptWatcherError("systemctl restart failed: see its log")
        FakeHost.run(host, *words)

    monkeypatch.setattr(host, "run", refuse)
    with pytest.raises(ReceiptWatcherError, match="the disk is full; and then systemctl restart failed"):
        fail()
