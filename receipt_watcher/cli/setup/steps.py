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

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from receipt_watcher.cli.setup import program
from receipt_watcher.cli.setup.configuration import configuration_steps
from receipt_watcher.cli.setup.files import Step, copy_step, file_step, folder_step, removal_step
from receipt_watcher.cli.setup.host import Host, Pause
from receipt_watcher.cli.setup.places import (
    COMMAND,
    DROP_IN,
    INSTANCES,
    MANUAL,
    PACKAGE_LIST,
    PROGRAM,
    RECEIPTS,
    SHIPPED,
    SOCKET,
    STATE,
    SYSUSERS,
    TMPFILES,
    UNIT,
    UNITS,
    USER,
)
from receipt_watcher.cli.setup.spools import folder_steps, sandbox_steps, spools_of
from receipt_watcher.config.sources.load import SYSTEM_CONFIG_FILE
from receipt_watcher.errors import ReceiptWatcherError

_SHOWN = tuple(f"--property={name}" for name in ("ActiveState", "SubState", "UnitFileState", "StatusText"))


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
        yield from _program_steps(host, pause)
        for page, text in manual.items():
            yield file_step(host, MANUAL[page], text.encode())
    spools = spools_of(host, inbox)
    for spool in spools:
        yield from folder_steps(host, spool)
    yield from configuration_steps(host, spools[0], *urls)
    yield from sandbox_steps(host, spools)
    if not is_packaged:
        yield folder_step(host, STATE, 0o700)  # systemd would make it; `check` looks at it before
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
    if host.at(UNITS / UNIT).exists():
        yield Step(
            f"{UNIT} and {SOCKET} stopped and switched off, and each instance stopped",
            lambda: (
                not host.answers("systemctl", "is-enabled", UNIT) and not host.answers("systemctl", "is-active", UNIT)
            ),
            lambda: _stop(host),
        )
    for _, place in _shipped():
        yield removal_step(host, place)
    for place in (*MANUAL.values(), DROP_IN):
        yield removal_step(host, place)
    yield _reload(host)
    if host.at(COMMAND).is_symlink() and host.at(COMMAND).readlink() == PROGRAM / "bin" / program.NAME:
        yield removal_step(host, COMMAND)
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
    kept_paths = [f"{path}: {why}" for path, why in reasons.items() if host.at(path).exists()]
    return kept_paths if host.ids() is None else [*kept_paths, f"the user {USER}, who owns them"]


# --- the program and its units -------------------------------------------------------------------------------------


def _program_steps(host: Host, pause: Pause) -> Iterator[Step]:
    folder = host.at(PROGRAM)
    yield Step(
        f"the program in {PROGRAM}",
        lambda: program.is_current(folder),
        lambda: program.copy(folder, home=PROGRAM, before_swap=pause.begin),
    )
    yield _command(host)
    for source, place in _shipped():
        yield copy_step(host, source, place)
    yield Step(f"the user {USER}", lambda: host.ids() is not None, lambda: host.run("systemd-sysusers", str(SYSUSERS)))
    folders = [host.at(path) for path in (SYSTEM_CONFIG_FILE.parent / "credentials", RECEIPTS / "inbox")]
    yield Step(
        f"the folders of {TMPFILES}",
        lambda: all(path.is_dir() for path in folders),
        lambda: host.run("systemd-tmpfiles", "--create", str(TMPFILES)),
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
    return [(source, place / source.name) for kind, place in SHIPPED.items() for source in sorted(folder.glob(kind))]


# --- folders -------------------------------------------------------------------------------------------------------


# --- the configuration ---------------------------------------------------------------------------------------------
