"""The scripts of the Debian package start, stop and remove what they should."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.fakes.daemons.process import REPOSITORY


def test_a_purge_leaves_receipts_wherever_they_are(tmp_path: Path) -> None:
    """A yes to the question removes the job log and what is ours beside it, and no folder that somebody made there."""
    state, configured = tmp_path / "state", tmp_path / "etc"
    kept = [state / "office/inbox/scan.jpg", state / "inboxes/north/scan.pdf", state / "done/2026-11/scan.jpg"]
    gone = [state / name for name in ("receipts.db", "receipts.db-wal", "callback_token", "lock", ".hidden")]
    gone += [state / "inboxes/office.json", state / "pictures/1.jpg", state / "uploads/1/receiving"]
    for path in (*kept, *gone, configured / "watcher.yaml"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    confmodule = tmp_path / "confmodule"
    confmodule.write_text("db_input() { :; }; db_go() { :; }; db_get() { RET=true; }; db_purge() { :; }\n")
    script = (REPOSITORY / "systemd/debian/postrm").read_text()
    places = {"/var/lib/receipt-watcher": state, "/etc/receipt-watcher": configured, "/opt/": tmp_path / "opt"}
    for place, instead in (places | {"/usr/share/debconf/confmodule": confmodule}).items():
        script = script.replace(place, str(instead))
    for _ in range(2):
        ended = subprocess.run(["sh", "-c", script, "postrm", "purge"], capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr
        assert sorted(path for path in state.rglob("*") if path.is_file()) == sorted(kept)
        assert not configured.exists()
        assert f"What is none of ours stays in {state}." in ended.stderr
    for path in kept:
        path.unlink()
    for folder in sorted((each for each in state.rglob("*")), reverse=True):
        folder.rmdir()
    subprocess.run(["sh", "-c", script, "postrm", "purge"], capture_output=True, check=True)
    assert not state.exists()


#: Commands that the package's script runs: each notes its arguments; systemctl and was-enabled say yes.
FAKES = ("systemd-sysusers", "systemd-tmpfiles", "journalctl", "deb-systemd-helper", "deb-systemd-invoke", "systemctl")


@pytest.mark.parametrize(
    ("words", "ran", "started"),
    [
        (
            ["configure", ""],
            None,
            ["receipt-watcher.socket", "receipt-watcher@north.service", "receipt-watcher.service"],
        ),
        (
            ["configure", "1.0"],
            None,
            ["receipt-watcher.socket", "receipt-watcher@north.service", "receipt-watcher.service"],
        ),
        (["configure", "1.0"], "receipt-watcher@north.service\n", ["receipt-watcher@north.service"]),
        (["configure", "1.0"], "", []),
        (["configure", "1.0"], "\n", []),
        (["abort-upgrade", "1.1"], "receipt-watcher.service\n", ["receipt-watcher.service"]),
        (["abort-upgrade", "1.1"], None, []),
    ],
)
def test_the_package_starts_what_was_on(tmp_path: Path, words: list[str], ran: str | None, started: list[str]) -> None:
    """New, or after a removal, it starts what is enabled; after an upgrade what ran, and nothing else."""
    noted, fakes, wants = tmp_path / "noted", tmp_path / "bin", tmp_path / "etc" / "multi-user.target.wants"
    for folder in (fakes, wants, tmp_path / "system"):
        folder.mkdir(parents=True)
    for name in (*FAKES, "receipt-watcher"):
        (fakes / name).write_text(f'#!/bin/sh\necho {name} "$@" >>{noted}\n')
        (fakes / name).chmod(0o755)
    for unit in ("receipt-watcher.socket", "receipt-watcher@north.service"):
        (wants / unit).symlink_to("/lib/systemd/system/gone")
    upgrade = tmp_path / "upgrade"
    if ran is not None:
        upgrade.write_text(ran)
    script = (REPOSITORY / "systemd/debian/postinst").read_text()
    places = {"/run/receipt-watcher.upgrade": upgrade, "/run/systemd/system": tmp_path / "system"}
    for place, instead in (
        places | {"/etc/systemd/system": tmp_path / "etc", "/opt/receipt-watcher/bin": fakes}
    ).items():
        script = script.replace(place, str(instead))
    environment = {"PATH": f"{fakes}:{os.environ['PATH']}"}
    subprocess.run(["sh", "-c", script, "postinst", *words], env=environment, check=True, capture_output=True)
    lines = noted.read_text().splitlines()
    assert [line.split()[-1] for line in lines if " start " in line] == started
    assert ("deb-systemd-helper enable receipt-watcher.service" in lines) == (words[0] == "configure")
    assert not upgrade.exists()


def test_scripts_that_do_the_same_have_the_same_words() -> None:
    """Dpkg runs each script alone, so two of them hold what another one has, too, word for word."""

    def shared(name: str) -> str:
        text = (REPOSITORY / "systemd/debian" / name).read_text()
        return text.partition("\n# --- the same")[2].partition("\n# ---\n")[0]

    assert shared("prerm") == shared("preinst") != ""
    assert shared("postinst") == shared("postrm") != ""


class Scripts:
    """The package's scripts on a machine that is a folder; systemctl notes its words, and lists what is active."""

    def __init__(self, root: Path, active: str) -> None:
        self.root, self.noted = root, root / "noted"
        self.held = [root / f"run/systemd/system/receipt-watcher{at}.service.d/zzz-upgrade.conf" for at in ("", "@")]
        self._bin = root / "bin"
        for folder in (self._bin, root / "run/systemd/system", root / "etc"):
            folder.mkdir(parents=True, exist_ok=True)
        for name in (*FAKES, "receipt-watcher"):
            lines = ("#!/bin/sh", f'echo {name} "$@" >>{self.noted}', '[ "$2" != install ] || exit 2', "")
            (self._bin / name).write_text("\n".join(lines))
            (self._bin / name).chmod(0o755)
        lists = f'[ "$1" != list-units ] || echo "{active} loaded active running"\n' if active else ""
        (self._bin / "systemctl").write_text(f'#!/bin/sh\necho systemctl "$@" >>{self.noted}\n{lists}')

    def run(self, script: str, *words: str) -> list[str]:
        """Run one, and return what it had systemctl do."""
        self.noted.unlink(missing_ok=True)
        text = (REPOSITORY / "systemd/debian" / script).read_text()
        for place in ("/run/systemd/system", "/run/receipt-watcher.upgrade", "/etc/systemd/system"):
            text = text.replace(place, f"{self.root}{place}")
        text = text.replace("/opt/receipt-watcher/bin", str(self._bin))
        environment = {"PATH": f"{self._bin}:{os.environ['PATH']}"}
        subprocess.run(["sh", "-c", text, script, *words], env=environment, check=True, capture_output=True)
        lines = self.noted.read_text().splitlines() if self.noted.exists() else []
        done = [line.removeprefix("systemctl ") for line in lines if line.startswith("systemctl ")]
        return [line for line in done if "list-units" not in line]

    @property
    def is_held(self) -> bool:
        """Return whether a start only waits; of both units, or of none."""
        [held] = {path.exists() for path in self.held}
        return held


SERVICE = "receipt-watcher.service"


@pytest.mark.parametrize("last", ["postinst configure 1.0", "postinst abort-upgrade 1.1", "postrm abort-upgrade 1.1"])
def test_a_start_amid_an_upgrade_only_waits(tmp_path: Path, last: str) -> None:
    """From prerm on a start runs nothing of the program, until the upgrade is over, or was given up; then it runs."""
    scripts = Scripts(tmp_path, SERVICE)
    assert scripts.run("prerm", "upgrade", "1.1") == ["daemon-reload", f"restart {SERVICE}"]
    assert scripts.is_held
    for path in scripts.held:
        assert "ExecStart=\nExecStart=/bin/sleep infinity\n" in path.read_text()
    assert scripts.run("preinst", "upgrade", "1.0") == ["daemon-reload", f"restart {SERVICE}"]
    assert scripts.run(*last.split()) == ["daemon-reload", f"stop {SERVICE}", f"start {SERVICE}"]
    assert not scripts.is_held


def test_an_older_version_does_not_hold(tmp_path: Path) -> None:
    """What an older prerm noted is started, and the new preinst holds what that one only stopped."""
    scripts = Scripts(tmp_path, "")
    (tmp_path / "run/receipt-watcher.upgrade").write_text(f"{SERVICE}\n")
    assert scripts.run("preinst", "upgrade", "1.0") == ["daemon-reload"]
    assert scripts.is_held
    assert scripts.run("postinst", "configure", "1.0") == ["daemon-reload", f"start {SERVICE}"]
    assert not scripts.is_held


def test_after_a_boot_amid_an_upgrade_what_runs_runs_anew(tmp_path: Path) -> None:
    """When dpkg goes on after a boot, which forgot all that was held, what was started meanwhile is started anew."""
    scripts = Scripts(tmp_path, SERVICE)
    assert scripts.run("postinst", "configure", "1.0") == ["daemon-reload", f"stop {SERVICE}", f"start {SERVICE}"]


def test_a_mistake_in_the_configuration_keeps_no_package_half_installed(tmp_path: Path) -> None:
    """Where the program refuses the configuration, the package is configured all the same, and what ran is started."""
    scripts = Scripts(tmp_path, SERVICE)
    scripts.run("prerm", "upgrade", "1.1")
    assert scripts.run("postinst", "configure", "1.0")[-1] == f"start {SERVICE}"
    assert "receipt-watcher service install --packaged" in scripts.noted.read_text()


def test_a_removal_stops_the_socket_first(tmp_path: Path) -> None:
    """The socket, which would start the service again, is stopped before it; nothing is held or noted afterwards."""
    scripts = Scripts(tmp_path, SERVICE)
    assert scripts.run("prerm", "remove") == ["stop receipt-watcher.socket", f"stop {SERVICE}"]
    assert not scripts.is_held
    assert not (tmp_path / "run/receipt-watcher.upgrade").exists()


def test_an_upgrade_is_told_from_an_installation(tmp_path: Path) -> None:
    """What is noted of an upgrade is there in an upgrade where nothing ran, too, and in no installation."""
    upgrade = tmp_path / "upgrade"
    script = (REPOSITORY / "systemd/debian/preinst").read_text().replace("/run/receipt-watcher.upgrade", str(upgrade))
    script = script.replace("/run/systemd/system", str(tmp_path)).replace("/etc/systemd/system", str(tmp_path))
    subprocess.run(["sh", "-c", script, "preinst", "install", "1.0"], check=True)
    assert not upgrade.exists()
    upgrade.write_text("receipt-watcher.service")
    subprocess.run(["sh", "-c", script, "preinst", "upgrade", "1.0"], check=True)
    assert upgrade.read_text() == "receipt-watcher.service"
    upgrade.unlink()
    subprocess.run(["sh", "-c", script, "preinst", "upgrade", "1.0"], check=True)
    assert upgrade.read_text() == ""


@pytest.mark.parametrize(
    ("word", "active", "noted"),
    [
        ("upgrade", ["receipt-watcher.service"], "receipt-watcher.service\n"),
        ("upgrade", [], "\n"),
        ("remove", ["receipt-watcher.service"], None),
    ],
)
def test_what_ran_is_noted_before_it_is_stopped(
    tmp_path: Path, word: str, active: list[str], noted: str | None
) -> None:
    """Before an upgrade it is noted what runs, also that nothing does: dpkg-reconfigure starts nothing, either."""
    upgrade, fake = tmp_path / "upgrade", tmp_path / "systemctl"
    lines = "".join(f"{unit} loaded active running\\n" for unit in active)
    fake.write_text(f'#!/bin/sh\n[ "$1" != list-units ] || printf "{lines}"\n')
    fake.chmod(0o755)
    script = (REPOSITORY / "systemd/debian/prerm").read_text().replace("/run/receipt-watcher.upgrade", str(upgrade))
    script = script.replace("/run/systemd/system", str(tmp_path))
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    subprocess.run(["sh", "-c", script, "prerm", word, "1.0"], env=environment, check=True)
    assert (upgrade.read_text() if upgrade.exists() else None) == noted
