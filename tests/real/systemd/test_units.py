"""The unit files: what systemd itself says of them, and that the two services are one."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from receipt_watcher.config.options import Config
from receipt_watcher.config.secrets import secrets_of
from receipt_watcher.config.sections.section import Section
from receipt_watcher.config.sources.load import load
from receipt_watcher.config.sources.merged import NOT_SET_CREDENTIAL, SHORT_NAMES
from tests.fakes.daemons.process import REPOSITORY

UNITS = REPOSITORY / "systemd"
SERVICE = UNITS / "receipt-watcher.service"
INSTANCE = UNITS / "receipt-watcher@.service"
PROGRAM = "/opt/receipt-watcher/bin/receipt-watcher"
MOST_EXPOSURE = 1.5
STRICT_EXPOSURE = 0.9


def analysed(*arguments: str) -> str:
    """Return what systemd-analyze says, on both streams."""
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False, timeout=60)
    return done.stdout + done.stderr


def installed(folder: Path, unit: Path, name: str) -> Path:
    """Return a copy of a unit whose program is there."""
    copy = folder / name
    copy.write_text(unit.read_text("utf-8").replace(PROGRAM, sys.executable), "utf-8")
    return copy


def exposure(unit: Path) -> float:
    """Return how much of ten systemd finds exposed."""
    said = analysed("security", "--offline=yes", "--no-pager", str(unit))
    (figure,) = re.findall(r"Overall exposure level for \S+ ([0-9.]+)", said)
    return float(figure)


@pytest.mark.parametrize("unit", [SERVICE, INSTANCE], ids=lambda unit: unit.name)
def test_the_exposure_is_small(tmp_path: Path, unit: Path) -> None:
    """Both services are rated at 1.5 or lower, of ten."""
    assert exposure(installed(tmp_path, unit, "receipt-watcher.service")) <= MOST_EXPOSURE


def test_systemd_has_nothing_to_say(tmp_path: Path) -> None:
    """Neither service nor the socket has a line that systemd does not know, or does not like."""
    installed(tmp_path, SERVICE, "receipt-watcher.service")
    socket = installed(tmp_path, UNITS / "receipt-watcher.socket", "receipt-watcher.socket")
    instance = installed(tmp_path, INSTANCE, "receipt-watcher@north.service")
    said = analysed("verify", "--man=no", str(tmp_path / "receipt-watcher.service"), str(instance), str(socket))
    about_ours = [line for line in said.splitlines() if "receipt-watcher" in line]
    assert about_ours == []


@pytest.mark.parametrize("drop_in", sorted((UNITS / "drop-ins").iterdir()), ids=lambda path: path.name)
def test_drop_ins_fit(tmp_path: Path, drop_in: Path) -> None:
    """Each example of a drop-in is understood, and leaves the exposure where it is."""
    service = installed(tmp_path, SERVICE, "receipt-watcher.service")
    service.write_text(service.read_text("utf-8").replace("[Install]", f"{drop_in.read_text('utf-8')}\n[Install]"))
    said = analysed("verify", "--man=no", str(service))
    assert [line for line in said.splitlines() if "receipt-watcher" in line] == []
    assert exposure(service) <= (STRICT_EXPOSURE if drop_in.name == "strict.conf" else MOST_EXPOSURE)


def test_no_limit_of_starts_closes_the_port() -> None:
    """Neither an admin's restarts nor callbacks that wait are counted: at a limit systemd closes the socket's port."""
    for unit in (SERVICE, INSTANCE):
        assert "StartLimitIntervalSec=0" in directives(unit)
    assert "TriggerLimitIntervalSec=0" in directives(UNITS / "receipt-watcher.socket")


@pytest.mark.parametrize("limit", ["LimitNOFILE=", "CPUQuota=", "MemoryHigh=", "Nice="])
def test_each_limit_is_decided(limit: str) -> None:
    """Each limit that an admin looks for is set below a comment, or a comment says why it is left out."""
    lines = SERVICE.read_text("utf-8").splitlines()
    set_at = [number for number, line in enumerate(lines) if line.startswith(limit)]
    assert all(lines[number - 1].startswith("#") for number in set_at)
    assert set_at or any(line.startswith("#") and limit in line for line in lines)


def directives(unit: Path) -> list[str]:
    """Return the lines of a unit that are no comments."""
    return [line for line in unit.read_text("utf-8").splitlines() if line and not line.startswith("#")]


def test_an_instance_is_the_service_under_another_name() -> None:
    """The unit for several instances differs from the other one in the names of its places only."""
    named = [
        line.replace(" (%i)", "")
        .replace("%i.yaml", "watcher.yaml")
        .replace("receipt-watcher-%i", "receipt-watcher")
        .replace("credentials/%i/", "credentials/")
        for line in directives(INSTANCE)
    ]
    assert named == directives(SERVICE)


def secret_names() -> set[str]:
    """Return the names of the credential files that hold secrets, from the options themselves."""
    found = set()
    for name, (section, option) in SHORT_NAMES.items():
        model = Config.model_fields[str(section)].annotation
        assert isinstance(model, type)
        assert issubclass(model, Section)
        if "SecretStr" in str(model.model_fields[str(option)]):
            found.add(name.lower())
    return found


def test_each_secret_is_a_credential() -> None:
    """The service hands each option that is secret over as a credential file, and starts without it, too."""
    lines = directives(SERVICE)
    loaded = {line.partition("=")[2].partition(":")[0] for line in lines if line.startswith("LoadCredential=")}
    optional = {line.partition("=")[2].partition(":")[0] for line in lines if line.startswith("SetCredential=")}
    assert loaded == optional == secret_names()
    assert {"n8n_api_key", "callback_secret_token", "n8n_signing_secret", "notify_urls"} <= loaded


def test_a_credential_that_is_not_there_is_no_secret(tmp_path: Path) -> None:
    """What the unit has stand for a missing credential counts as none, and the default is used."""
    stand_ins = [line.partition(":")[2] for line in directives(SERVICE) if line.startswith("SetCredential=")]
    assert set(stand_ins) == {NOT_SET_CREDENTIAL}
    for name in secret_names():
        (tmp_path / name).write_text(NOT_SET_CREDENTIAL)
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path), "RECEIPT_WATCHER_INBOXES__0__PATH": "/srv/receipts/inbox"}
    config = load(None, environ | {"N8N_WEBHOOK_URL": "http://127.0.0.1:9/webhook/receipts"})
    assert secrets_of(config) == set()
