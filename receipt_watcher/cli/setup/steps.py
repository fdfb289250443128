"""Installing as a system service, and taking that away again: steps that say what they do.

What it promises: each step is done or is found done, so that a second run changes nothing and one that was cut off goes
on. What an admin made or changed is never overwritten: configuration, credentials, folders that are there. A service
that runs is stopped before its program is replaced, since it imports parts of it only when it needs them, and started
again whatever comes of that. Taking away removes what was brought, and never a receipt, the job log, the configuration
or the user who owns them all.

Called by the command line, as root, in one thread; no part of it runs in the daemon. A crash leaves some steps done;
one amid the replacement leaves the service stopped.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from receipt_watcher.cli.documents.example import example_yaml
from receipt_watcher.cli.setup import program
from receipt_watcher.config.sources.load import SYSTEM_CONFIG_FILE, load
from receipt_watcher.errors import ConfigError, Problem, ReceiptWatcherError
from receipt_watcher.jobs.job import Folder
from receipt_watcher.system.state_dir import new_token

USER = "receipts"
UNIT = "receipt-watcher.service"
SOCKET = "receipt-watcher.socket"
INSTANCES = "receipt-watcher@*.service"
PROGRAM = Path("/opt/receipt-watcher")
COMMAND = Path("/usr/local/bin/receipt-watcher")
RECEIPTS = Path("/srv/receipts")
STATE = Path("/var/lib/receipt-watcher")
CREDENTIALS = SYSTEM_CONFIG_FILE.parent / "credentials"
#: The pages of the manual, for those who install without the package.
MANUAL = {
    "receipt-watcher": Path("/usr/local/share/man/man1/receipt-watcher.1"),
    "watcher.yaml": Path("/usr/local/share/man/man5/watcher.yaml.5"),
}
#: Of the Debian package, which brings the program and the units itself.
PACKAGE_LIST = Path("/var/lib/dpkg/info/receipt-watcher.list")

_EXAMPLE_HOST = "n8n.example.com"
_SHOWN = tuple(f"--property={name}" for name in ("ActiveState", "SubState", "UnitFileState", "StatusText"))
_UNITS = Path("/etc/systemd/system")
_DROP_IN = _UNITS / f"{UNIT}.d" / "inbox.conf"
_SYSUSERS = Path("/etc/sysusers.d/receipt-watcher.conf")
_TMPFILES = Path("/etc/tmpfiles.d/receipt-watcher.conf")
#: What lies in `systemd/`, and where it goes.
_PLACES = {
    "*.service": _UNITS,
    "*.socket": _UNITS,
    "*.catalog": Path("/etc/systemd/catalog"),
    "sysusers.d/*.conf": _SYSUSERS.parent,
    "tmpfiles.d/*.conf": _TMPFILES.parent,
}


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that is to be so: in words, whether it is, and what makes it so.

    `is_so` is what is looked at afterwards, where that is another question than before.
    """

    what: str
    is_done: Callable[[], bool]
    do: Callable[[], object]
    is_so: Callable[[], bool] | None = None

    def carry_out(self) -> None:
        """Do it, and look.

        Raises:
            ReceiptWatcherError: it failed, or is not so afterwards.
        """
        self.do()
        if not (self.is_so or self.is_done)():
            raise ReceiptWatcherError(f"{self.what}: that was done without an error, and is not so; see journalctl -xe")


class Host:
    """The machine that is changed: its files below `root`, and its commands."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root

    def at(self, path: Path) -> Path:
        """Return where a path of that machine is."""
        return self.root / path.relative_to("/")

    def run(self, *words: str) -> None:
        """Run a command of the system.

        Raises:
            ReceiptWatcherError: it is missing, or failed; the text has what it said.
        """
        try:
            ran = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603 - our own words
        except FileNotFoundError as error:
            raise ReceiptWatcherError(f"{words[0]} is not there; this needs a Linux with systemd") from error
        if ran.returncode != 0:
            raise ReceiptWatcherError(f"{' '.join(words)} failed: {(ran.stderr or ran.stdout).strip()}")

    def says(self, *words: str) -> list[str]:
        """Return the lines that a command of the system prints; none where it is missing."""
        try:
            return subprocess.run(words, capture_output=True, text=True, check=False).stdout.splitlines()  # noqa: S603 - likewise
        except FileNotFoundError:
            return []

    def answers(self, *words: str) -> bool:
        """Whether a command of the system ends well."""
        try:
            return subprocess.run(words, capture_output=True, check=False).returncode == 0  # noqa: S603 - likewise
        except FileNotFoundError:
            return False

    def ids(self) -> tuple[int, int] | None:
        """Return the numbers of the service's user and group, or None before they are made."""
        try:
            return pwd.getpwnam(USER).pw_uid, grp.getgrnam(USER).gr_gid
        except KeyError:
            return None

    def own(self, path: Path, mode: int, *, by_root: bool = False) -> None:
        """Give a file or folder to the service's user, or to root and the service's group."""
        user, group = self.ids() or (-1, -1)
        os.chown(path, 0 if by_root else user, group)
        path.chmod(mode)


class Pause:
    """What runs of our services is stopped at `begin`, and runs again at the end, whatever came between."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._stopped: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._stopped:
            return
        try:
            # restart: a callback may have started it meanwhile, by the socket, with the program from before.
            self._host.run("systemctl", "restart", *self._stopped)
        except ReceiptWatcherError as failed:
            raise failed if error is None else ReceiptWatcherError(f"{error}; and then {failed}") from error

    def begin(self) -> None:
        """Stop what runs, and remember it.

        Raises:
            ReceiptWatcherError: it cannot be stopped.
        """
        wanted = ("--plain", "--no-legend", "--state=active,activating,reloading", UNIT, INSTANCES)
        self._stopped = [
            line.split()[0] for line in self._host.says("systemctl", "list-units", *wanted) if line.split()
        ]
        if self._stopped:
            self._host.run("systemctl", "stop", *self._stopped)

    def has_started(self, unit: str) -> bool:
        """Whether a unit was stopped, and is, or will be, started again."""
        return unit in self._stopped


def install(
    host: Host,
    inbox: Path | None,
    webhook_url: str | None,
    manual: Mapping[str, str],
    pause: Pause,
    *,
    is_packaged: bool,
    public_url: str | None = None,
) -> Iterator[Step]:
    """Yield the steps that make this program a service of the machine; each is looked at after the one before.

    `manual` has the text of each page of `MANUAL`; `pause` begins when the program is replaced. What is made can be
    read by whoever should, whatever umask the admin's shell has.

    Raises:
        ReceiptWatcherError: it was installed as a package, or a part of us is missing.
    """
    for step in _installation(host, inbox, (webhook_url, public_url), manual, pause, is_packaged=is_packaged):
        yield replace(step, do=partial(_readably, step.do))


def _readably(do: Callable[[], object]) -> None:
    with program.readable_by_all():
        do()


def _installation(
    host: Host,
    inbox: Path | None,
    urls: tuple[str | None, str | None],
    manual: Mapping[str, str],
    pause: Pause,
    *,
    is_packaged: bool,
) -> Iterator[Step]:
    """Yield the steps; `urls` are the webhook's and ours.

    Raises:
        ReceiptWatcherError: it was installed as a package, or a part of us is missing.
    """
    if not is_packaged:
        if host.at(PACKAGE_LIST).exists():
            raise ReceiptWatcherError(
                "the Debian package receipt-watcher brought the service already; it is set up in "
                f"{SYSTEM_CONFIG_FILE}, and apt removes it"
            )
        yield from _bring(host, pause)
        for page, text in manual.items():
            yield _file(host, MANUAL[page], text.encode())
    spools = _spools(host, inbox)
    for spool in spools:
        yield from _make_spool(host, spool)
    yield from _configure(host, spools[0], *urls)
    yield from _admit(host, spools)
    if not is_packaged:
        yield _folder(host, STATE, 0o700)  # systemd would make it; `check` looks at it before
        yield _reload(host)
        yield Step(
            f"{UNIT} starts with the machine",
            lambda: host.answers("systemctl", "is-enabled", UNIT),
            lambda: host.run("systemctl", "enable", UNIT),
        )


def start(host: Host, pause: Pause) -> Iterator[Step]:
    """Yield the step that starts the service; one that runs is started anew, since its unit may have changed."""

    def runs() -> bool:
        return host.answers("systemctl", "is-active", UNIT)

    yield Step(
        f"{UNIT} started",
        lambda: pause.has_started(UNIT) and runs(),
        lambda: host.run("systemctl", "restart", UNIT),
        runs,
    )


def checked(host: Host) -> list[str]:
    """Return what `check` says of the service's configuration; as root it works as the service's user."""
    variables = [f"{name}={value}" for name, value in environment_of(host).items()]
    return host.says(
        "env", *variables, str(PROGRAM / "bin" / program.NAME), "check", "--config", str(SYSTEM_CONFIG_FILE)
    )


def state_of_service(host: Host) -> str:
    """Return in a line what systemd says of the service now."""
    shown = dict(line.split("=", 1) for line in host.says("systemctl", "show", UNIT, *_SHOWN) if "=" in line)
    words = [f"{shown.get('ActiveState', 'unknown')} ({shown.get('SubState', 'unknown')})"]
    words += [each for each in (shown.get("UnitFileState"), shown.get("StatusText")) if each]
    return f"{UNIT}: {', '.join(words)}"


def _reload(host: Host) -> Step:
    return Step(
        "systemd reads its units again",
        lambda: False,
        lambda: host.run("systemctl", "daemon-reload"),
        lambda: True,  # its exit status is all that it tells
    )


def uninstall(host: Host) -> Iterator[Step]:
    """Yield the steps that take away what `install` brought; what people made of it stays.

    Raises:
        ReceiptWatcherError: it is the Debian package's.
    """
    if host.at(PACKAGE_LIST).exists():
        raise ReceiptWatcherError(
            "the Debian package brought the service; take it away with: apt remove receipt-watcher"
        )
    if host.at(_UNITS / UNIT).exists():
        yield Step(
            f"{UNIT} and {SOCKET} stopped and switched off, and each instance stopped",
            lambda: (
                not host.answers("systemctl", "is-enabled", UNIT) and not host.answers("systemctl", "is-active", UNIT)
            ),
            lambda: _stop(host),
        )
    for _, place in _shipped():
        yield _removal(host, place)
    for place in (*MANUAL.values(), _DROP_IN):
        yield _removal(host, place)
    yield _reload(host)
    if host.at(COMMAND).is_symlink() and host.at(COMMAND).readlink() == PROGRAM / "bin" / program.NAME:
        yield _removal(host, COMMAND)
    gone = host.at(PROGRAM)
    yield Step(f"{PROGRAM} removed", lambda: not gone.exists(), lambda: shutil.rmtree(gone))


def _stop(host: Host) -> None:
    host.run("systemctl", "disable", "--now", UNIT, SOCKET)
    host.run("systemctl", "stop", INSTANCES)


def kept(host: Host) -> list[str]:
    """Return what `uninstall` leaves, in words."""
    reasons = {
        SYSTEM_CONFIG_FILE.parent: "configuration and credentials",
        STATE: "the job log: what became of each receipt",
        RECEIPTS: "receipts",
    }
    found = [f"{path}: {why}" for path, why in reasons.items() if host.at(path).exists()]
    return found if host.ids() is None else [*found, f"the user {USER}, who owns them"]


def environment_of(host: Host) -> dict[str, str]:
    """Return what systemd adds to the service's environment, with the credentials as root sees them."""
    return {"STATE_DIRECTORY": str(STATE), "CREDENTIALS_DIRECTORY": str(host.at(CREDENTIALS))}


def what_keeps_it(host: Host) -> list[Problem]:
    """Return what is still to be set before the service can start."""
    try:
        config = load(host.at(SYSTEM_CONFIG_FILE), environment_of(host))
    except ConfigError as error:
        return error.problems
    file = str(SYSTEM_CONFIG_FILE)
    if urlsplit(str(config.n8n.webhook_url)).hostname == _EXAMPLE_HOST:
        right = "give the Production URL of your workflow's Webhook node"
        return [Problem(file, "n8n.webhook_url", "is still that of the example", right)]
    if (url := config.unreachable_callback_url()) is not None:
        wrong = f"N8N runs elsewhere and cannot call back at {url}"
        right = "set it to how N8N reaches this machine, and http.host to 0.0.0.0 or that address"
        return [Problem(file, "http.public_url", wrong, right)]
    return []


# --- the program and its units -------------------------------------------------------------------------------------


def _bring(host: Host, pause: Pause) -> Iterator[Step]:
    folder = host.at(PROGRAM)
    yield Step(
        f"the program in {PROGRAM}",
        lambda: program.is_current(folder),
        lambda: program.copy(folder, home=PROGRAM, before_swap=pause.begin),
    )
    yield _command(host)
    for source, place in _shipped():
        yield _copy(host, source, place)
    yield Step(f"the user {USER}", lambda: host.ids() is not None, lambda: host.run("systemd-sysusers", str(_SYSUSERS)))
    folders = [host.at(path) for path in (SYSTEM_CONFIG_FILE.parent / "credentials", RECEIPTS / "inbox")]
    yield Step(
        f"the folders of {_TMPFILES}",
        lambda: all(path.is_dir() for path in folders),
        lambda: host.run("systemd-tmpfiles", "--create", str(_TMPFILES)),
    )


def _command(host: Host) -> Step:
    link, target = host.at(COMMAND), PROGRAM / "bin" / program.NAME

    def make() -> None:
        if link.exists() and not link.is_symlink():
            raise ReceiptWatcherError(f"{COMMAND} is there and none of ours; move it away, and run this again")
        link.unlink(missing_ok=True)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)

    return Step(f"the command {COMMAND}", lambda: link.is_symlink() and link.readlink() == target, make)


def _shipped() -> list[tuple[Path, Path]]:
    """Return each file that belongs into the system's folders, and its place."""
    folder = program.shared_files()
    return [(source, place / source.name) for kind, place in _PLACES.items() for source in sorted(folder.glob(kind))]


def _copy(host: Host, source: Path, place: Path) -> Step:
    tell = ("journalctl", "--update-catalog") if source.suffix == ".catalog" else ()
    return _file(host, place, source.read_bytes(), *tell)


def _file(host: Host, place: Path, content: bytes, *tell: str) -> Step:
    """Return the step for a file of ours; `tell` is the command that takes note of it."""
    target = host.at(place)

    def write() -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        _replace(target, content, 0o644)
        if tell:
            host.run(*tell)

    return Step(str(place), lambda: target.is_file() and target.read_bytes() == content, write)


def _removal(host: Host, path: Path) -> Step:
    def remove() -> None:
        host.at(path).unlink()
        if path.parent.name.endswith(".d") and path.parent.parent == _UNITS and not any(host.at(path.parent).iterdir()):
            host.at(path.parent).rmdir()

    return Step(f"{path} removed", lambda: not os.path.lexists(host.at(path)), remove)


def _replace(path: Path, content: bytes, mode: int) -> None:
    """Write a file that is whole at each moment."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    new.touch(mode=mode)
    new.write_bytes(content)
    new.chmod(mode)
    new.rename(path)


# --- folders -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Spool:
    inbox: Path
    processing: Path
    done: Path
    failed: Path

    @property
    def parents(self) -> list[Path]:
        """One parent for all four, so that a move between them is one rename; else each alone."""
        folders = [self.inbox, self.processing, self.done, self.failed]
        parent = Path(os.path.commonpath(folders))
        return folders if parent in {Path("/"), Path("/home"), Path("/srv"), Path("/mnt")} else [parent]


def _spools(host: Host, inbox: Path | None) -> list[_Spool]:
    """Return the spools of the configuration that is there, else the one that is asked for."""
    file = host.at(SYSTEM_CONFIG_FILE)
    wanted = Path(os.path.normpath(inbox or RECEIPTS / "inbox"))
    if not file.exists():
        return [_Spool(wanted, *(wanted.with_name(folder.value) for folder in Folder))]
    spools = [
        _Spool(each.path, each.processing_dir, each.done_dir, each.failed_dir)
        for each in load(file, {"STATE_DIRECTORY": str(STATE)}).inboxes
    ]
    if inbox and wanted not in {spool.inbox for spool in spools}:
        raise ReceiptWatcherError(
            f"{SYSTEM_CONFIG_FILE} is there and has no inbox {wanted}; add «- path: {wanted}» below inboxes: there, "
            "then run this again without --inbox"
        )
    return spools


def _make_spool(host: Host, spool: _Spool) -> Iterator[Step]:
    """Yield the steps for its folders; one that is there stays as it is, since others may depend on its mode."""
    # 3: files get the folder's group, and nobody takes away what others dropped; the service, its owner, may.
    for path, mode in ((spool.inbox, 0o3770), (spool.processing, 0o700), (spool.done, 0o2750), (spool.failed, 0o2770)):
        yield _folder(host, path, mode, is_shared=path == spool.inbox)


def _folder(host: Host, path: Path, mode: int, *, is_shared: bool = False, by_root: bool = False) -> Step:
    folder = host.at(path)

    def make() -> None:
        folder.mkdir(parents=True)
        host.own(folder, mode, by_root=by_root)
        if is_shared:
            _let_group_read(folder)

    owner = "root" if by_root else USER
    return Step(f"the folder {path} (mode {mode:o}, {owner}:{USER})", folder.is_dir, make)


def _let_group_read(folder: Path) -> None:
    """Files that are made in it can be read by its group, whatever the umask of who makes them; see acl(5)."""
    header, everybody = struct.pack("<I", 2), 0xFFFFFFFF
    entries = ((0x01, 7), (0x04, 7), (0x20, 0))  # owner and group all, others nothing
    packed = header + b"".join(struct.pack("<HHI", tag, rights, everybody) for tag, rights in entries)
    try:
        os.setxattr(folder, "system.posix_acl_default", packed)
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:  # such as NFS: `check` says so when a file cannot be read
            raise


# --- the configuration ---------------------------------------------------------------------------------------------


def _configure(host: Host, spool: _Spool, webhook_url: str | None, public_url: str | None) -> Iterator[Step]:
    file = host.at(SYSTEM_CONFIG_FILE)

    def write() -> None:
        values: dict[str, object] = {
            "inboxes.0.path": str(spool.inbox),
            "callback.secret_token": new_token(),
            "http.local_role": "none",
        }
        if webhook_url:
            values["n8n.webhook_url"] = webhook_url
        if public_url:
            values["http.public_url"] = public_url
            if urlsplit(public_url).scheme == "http":  # no proxy is between N8N and us
                values["http.host"] = "0.0.0.0"  # noqa: S104 - that is asked for: N8N is to reach us
        _replace(file, example_yaml(values).encode(), 0o600)
        host.own(file, 0o640, by_root=True)

    yield _folder(host, SYSTEM_CONFIG_FILE.parent, 0o750, by_root=True)
    yield Step(f"the configuration {SYSTEM_CONFIG_FILE}, with a fresh callback token", file.exists, write)


def _admit(host: Host, spools: list[_Spool]) -> Iterator[Step]:
    """Yield what lets the unit's sandbox in where the receipts are."""
    outside = [path for spool in spools for path in spool.parents if not path.is_relative_to(RECEIPTS)]
    if not outside:
        return
    at_home = [path for path in outside if path.is_relative_to("/home")]
    lines = ["# Written by «receipt-watcher service install»: where the receipts are.", "[Service]"]
    lines += ["# Of the homes, it sees these folders alone.", "ProtectHome=tmpfs"] if at_home else []
    lines += [f"BindPaths={_quoted(path)}" for path in at_home]
    lines += [f"ReadWritePaths={_quoted(path)}" for path in outside if path not in at_home]
    yield _file(host, _DROP_IN, "\n".join([*lines, ""]).encode())


def _quoted(path: Path) -> str:
    """Return a path as a unit has it, where spaces and percent signs mean something; with - it need not be there."""
    escaped = "-" + str(path).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"' if " " in escaped or '"' in escaped else escaped
