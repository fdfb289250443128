"""Scenarios of an admin with a service over the years, on a machine with a real systemd; as in `scenarios`."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.fakes.daemons.process import REPOSITORY, wait_until
from tests.real.systemd.office import SPOOL, TOKEN, UNIT, Office

SOCKET = "receipt-watcher.socket"
_HELD = f"/run/systemd/system/{UNIT}.d/zzz-upgrade.conf"


def pasted(office: Office) -> str:
    """The README's lines for an installation by hand, pasted under a narrow umask, end in a service that runs."""
    run = office.machine.run
    block = re.search(r"By hand it is, as root and in a clone:\n\n```sh\n(.*?)```", _readme(), re.DOTALL)
    assert block is not None
    lines = block[1].replace(
        "python3 -m venv /opt/receipt-watcher && /opt/receipt-watcher/bin/pip install .",  # there is no network
        "cp -r /mnt/share/env /opt/receipt-watcher; sed -i '1s|/mnt/share/env|/opt/receipt-watcher|' "
        "/opt/receipt-watcher/bin/receipt-watcher",
    )
    assert "pip" not in lines
    shutil.copytree(REPOSITORY / "systemd", office.machine.path("/var/tmp/clone/systemd"))
    office.machine.path("/var/tmp/clone/block").write_text(lines)
    said = run("sh", "-c", "cd /var/tmp/clone && umask 077 && exec sh <block")
    assert office.is_active(), said.stdout + said.stderr
    assert office.systemctl("is-enabled", UNIT) == "enabled"
    office.add_scanner()
    office.configure()
    office.restart()
    office.wait_done(office.scan(2))
    run("/usr/local/bin/receipt-watcher", "service", "uninstall")
    run(
        "sh",
        "-c",
        "userdel scanner; userdel receipts; rm -r /etc/receipt-watcher /srv/receipts /var/lib/receipt-watcher",
    )
    office.dropped.clear()
    return f"the README's {len(block[1].splitlines())} lines by hand, pasted: enabled, runs, 2 receipts in done/"


def _readme() -> str:
    return (REPOSITORY / "README.md").read_text("utf-8")


def strict(office: Office) -> str:
    """With the stricter drop-in all goes on: receipts, a reload, the balance, an examiner's bounds."""
    office.configure()
    place = f"/etc/systemd/system/{UNIT}.d"
    office.machine.run("mkdir", "-p", place)
    shutil.copy(REPOSITORY / "systemd/drop-ins/strict.conf", office.machine.path(f"{place}/strict.conf"))
    office.systemctl("daemon-reload")
    rated = office.machine.run("systemd-analyze", "security", "--no-pager", UNIT, check=False).stdout
    [exposure] = re.findall(r"Overall exposure level for \S+ ([0-9.]+)", rated)
    cursor = office.cursor()
    office.restart()
    names = office.scan(20)
    office.wait_done(names)
    office.systemctl("reload", UNIT)
    office.wait_done(office.scan(5))
    wait_until(lambda: office.since(cursor, RECEIPT_EVENT="balance.checked"), "the balance is made")
    warnings = [entry for entry in office.since(cursor) if int(entry["PRIORITY"]) <= 4]
    # What it finds is of inboxes of other scenarios, which are not configured any more.
    wrong = [entry["MESSAGE"] for entry in warnings if entry.get("RECEIPT_EVENT") != "balance.disagrees"]
    assert not wrong, wrong
    assert float(exposure) <= 0.9, exposure
    office.machine.path(f"{place}/strict.conf").unlink()
    office.systemctl("daemon-reload")
    office.restart()
    return f"strict drop-in: rated {exposure}; 25 receipts, a reload and the balance, without a warning"


def idle(office: Office) -> str:
    """With nothing to do, no file of the state folder or of the spool is written for two minutes."""
    office.configure()
    office.restart()
    office.wait_done(office.scan(1))
    mark, told = "/run/idle-since", office.machine.path("/run/receipt-watcher/inboxes/office.scanned")
    wait_until(lambda: office.ask("status")["inboxes"][0]["scanned_at"], "the scan is told")
    began = told.stat().st_mtime
    wait_until(lambda: told.stat().st_mtime > began, "all that a start brings is over", 90)
    office.machine.run("touch", mark)
    wait_until(lambda: told.stat().st_mtime >= began + 180, "two more scans are told", 240)
    written = office.machine.run("find", "/var/lib/receipt-watcher", SPOOL, "-newer", mark).stdout.split()
    assert not written, written
    return "idle: two minutes, in which the inbox was scanned and nothing written to state folder or spool"


@contextmanager
def _port_held(office: Office) -> Iterator[None]:
    """Have systemd hold the port, as the README says."""
    office.configure({"http": {"public_url": "http://127.0.0.1:8000"}})
    office.systemctl("stop", UNIT)
    office.systemctl("enable", "--now", SOCKET)
    office.systemctl("start", UNIT)
    yield
    office.systemctl("disable", "--now", SOCKET)
    office.configure()
    office.restart()


@contextmanager
def _called(office: Office) -> Iterator[dict[str, object]]:
    """Call a job back without a pause meanwhile; what is yielded has the outcome afterwards."""
    [name] = office.scan(1)
    office.wait_done([name])
    [job] = [job for job in office.ask("jobs", "--limit", "1") if job["filename"] == name]
    share = office.machine.share
    shutil.copy(Path(__file__).with_name("calling.py"), share)
    for file in ("enough", "called.json", "calls"):
        (share / file).unlink(missing_ok=True)
    url = f"http://127.0.0.1:8000/api/v1/jobs/{job['job_id']}/callback"
    python = ("/mnt/share/env/bin/python3", "-I", "/mnt/share/calling.py")
    office.machine.run("systemd-run", "--unit=caller", "--collect", *python, TOKEN, url)
    outcome: dict[str, object] = {}
    _wait_for_calls(office)
    yield outcome
    _wait_for_calls(office)
    (share / "enough").touch()
    wait_until((share / "called.json").exists, "the callers have ended", 150)
    outcome.update(json.loads((share / "called.json").read_text()))


def _wait_for_calls(office: Office) -> None:
    calls = office.machine.share / "calls"

    def number() -> int:
        return int(calls.read_text() or 0) if calls.exists() else 0

    before = number()
    wait_until(lambda: number() >= before + 20, "callbacks are answered", 150)


def upgraded_under_callbacks(office: Office) -> str:
    """An upgrade with the socket unit under a stream of callbacks: all answered, no start amid the unpacking."""
    with _port_held(office):
        cursor = office.cursor()
        with _called(office) as outcome:
            office.install_package("1.1")
            assert not office.machine.path(_HELD).exists()
        assert not outcome["wrong"], outcome
        assert office.is_active()
        assert office.property("NRestarts") == "0"
        started = office.since(cursor, RECEIPT_EVENT="daemon.started")
        assert len(started) == 1, started
        office.wait_done(office.scan(3))
    return (
        f"package upgraded with the socket unit amid callbacks: {outcome['answered']} answered 200, none lost, one "
        f"after {outcome['longest_seconds']:.1f} s, the longest; one start"
    )


def _broken(office: Office, script: str) -> str:
    """Return a package whose script of that name fails, once all before it has been done."""
    package = office.package("1.2")
    made = f"/var/tmp/broken-{script}.deb"
    steps = (
        f"rm -rf /var/tmp/broken; dpkg-deb -R {package} /var/tmp/broken; cd /var/tmp/broken/DEBIAN; "
        + {"preinst": "echo 'exit 1' >>preinst", "postinst": "sed -i '2i exit 1' postinst"}[script]
        + f"; dpkg-deb --root-owner-group -Znone --build /var/tmp/broken {made} >/dev/null; rm -r /var/tmp/broken"
    )
    office.machine.run("sh", "-euc", steps)
    return made


def upgrade_failed(office: Office) -> str:
    """An upgrade that fails: what ran goes on; one that is cut off, and then a boot: it runs, and dpkg can go on."""
    run, install = office.machine.run, ("env", "DEBIAN_FRONTEND=noninteractive", "dpkg", "-i")
    with _port_held(office):
        with _called(office) as outcome:
            assert run(*install, _broken(office, "preinst"), check=False).returncode != 0
        assert not outcome["wrong"], outcome
        assert office.is_active()
        assert not office.machine.path(_HELD).exists()
        assert run("dpkg-query", "-W", "-f", "${Version}", "receipt-watcher").stdout == "1.1"
        office.wait_done(office.scan(2))
        assert run(*install, _broken(office, "postinst"), check=False).returncode != 0
        assert office.machine.path(_HELD).exists()  # its postinst did nothing, as where the power fails
        names = office.scan(2)
        office.machine.shut_down()
        office.machine.boot()
        office.start_n8n()
        office.wait_done(names)
        assert office.is_active()
        assert not office.machine.path(_HELD).exists()
        before = office.property("MainPID")
        office.install_package("1.2")
        assert (office.is_active(), office.property("MainPID") != before) == (True, True)
        assert office.is_active(SOCKET)
        office.wait_done(office.scan(2))
    answered = outcome["answered"]
    return f"failed upgrade: {answered} callbacks meanwhile, none lost; cut off, then a boot: runs, and dpkg goes on"


def restarted_often(office: Office) -> str:
    """Eight restarts by an admin, then starts that fail: none is refused, and the port stays open."""
    with _port_held(office):
        for _ in range(8):
            office.systemctl("restart", UNIT)
        assert office.is_active()
        office.configure({"n8n": {"webhook_url": "n8n.office.lan"}})
        office.systemctl("restart", UNIT, check=False)
        with _calling_once(office):
            wait_until(lambda: office.starts_failed() >= 3, "the waiting call has it started, in vain", 60)
            assert office.systemctl("is-active", SOCKET) == "active"
            office.configure({"http": {"public_url": "http://127.0.0.1:8000"}})
        wait_until(office.is_active, "it is up, by the call that waited, without an admin")
        office.wait_done(office.scan(2))
    return "eight restarts in a row, then failing starts by a waiting call: the port stayed open, the call was answered"


@contextmanager
def _calling_once(office: Office) -> Iterator[None]:
    """Have a call wait meanwhile, that must be answered afterwards."""
    url = "http://127.0.0.1:8000/health/live"
    script = f"import urllib.request as u; print(u.urlopen('{url}', timeout=120).status, flush=True)"
    file = office.machine.share / "answered"
    file.unlink(missing_ok=True)
    office.machine.run(
        *("systemd-run", "--unit=once", "--collect", "--property=StandardOutput=file:/mnt/share/answered"),
        *("/mnt/share/env/bin/python3", "-I", "-c", script),
    )
    yield
    wait_until(lambda: file.exists() and file.read_text() == "200\n", "the call is answered", 60)
