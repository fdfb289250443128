"""Scenarios of a service on a machine with a real systemd; each returns its line of the summary."""

from __future__ import annotations

from tests.fakes.daemons.process import wait_until
from tests.real.systemd.office import COMMAND, CONFIG, SPOOL, UNIT, Office


class Waiting(Exception):  # noqa: N818 - it is none
    """The scenario needs a part of the program that is not there yet."""


def installed_by_command(office: Office) -> str:
    """`service install` from an environment in a home folder; again; receipts; `service uninstall`."""
    run = office.machine.run
    command = "/home/anna/env/bin/receipt-watcher"
    run("mkdir", "-p", "/home/anna")
    run("cp", "-r", "/mnt/share/env", "/home/anna/env")
    run("sed", "-i", "1s|/mnt/share|/home/anna|", command)
    tried = run(command, "service", "install", "--dry-run").stdout
    assert "to do   the program in /opt/receipt-watcher\n" in tried
    assert not office.machine.path("/opt/receipt-watcher").exists()
    assert not office.machine.path(CONFIG).exists()
    first = run("sh", "-c", 'umask 077; exec "$0" service install', command).stdout
    assert "is so" not in first.replace("is so   the folder /", ""), first  # which tmpfiles.d made
    assert f"then: systemctl start {UNIT}" in first  # it has no webhook yet, and says so
    assert not office.is_active()
    office.add_scanner()
    office.configure()
    again = run(command, "service", "install").stdout
    assert {line[:30] for line in again.splitlines() if line.startswith("done")} == {
        "done    systemd reads its unit",
        f"done    {UNIT} started"[:30],
    }, again
    assert "check   ok       state_dir /var/lib/receipt-watcher: files can be made" in again
    assert f"state   {UNIT}: active (running), enabled, " in again
    office.wait_done(office.scan(3))
    replaced = _replaced_while_it_runs(office, command)
    gone = run(command, "service", "uninstall").stdout
    assert "kept    /var/lib/receipt-watcher: the job log" in gone
    for path in ("/opt/receipt-watcher", f"/etc/systemd/system/{UNIT}", "/usr/local/bin/receipt-watcher"):
        assert not office.machine.path(path).exists(), path
    assert not office.is_active()
    assert office.places() == {name: ["done"] for name in office.dropped}
    return (
        f"service install: {len(first.splitlines())} steps, 3 receipts; {replaced}; uninstall left what is not its own"
    )


def _replaced_while_it_runs(office: Office, command: str) -> str:
    """Install another program over the one that runs: in vain at first, then well."""
    run, before = office.machine.run, office.property("MainPID")
    module = "/site-packages/receipt_watcher/__init__.py"
    run("sh", "-c", f"file=$(echo /home/anna/env/lib/python3*{module}); echo '# of another version' >>$file")
    run("mount", "--bind", "/opt/receipt-watcher", "/opt/receipt-watcher")  # so that nothing takes its place
    assert run(command, "service", "install", check=False).returncode != 0
    run("umount", "--lazy", "/opt/receipt-watcher")  # whose program runs again by now
    second = office.property("MainPID")
    assert (office.is_active(), second != before) == (True, True)
    office.wait_done(office.scan(2))
    cursor = office.cursor()
    said = run(command, "service", "install").stdout
    assert f"is so   {UNIT} started" in said, said
    assert (office.is_active(), office.property("MainPID") != second) == (True, True)
    installed = run("sh", "-c", f"cat /opt/receipt-watcher/lib/python3*{module}").stdout
    assert installed.endswith("# of another version\n")
    [stopped] = office.since(cursor, RECEIPT_EVENT="daemon.stopped")
    [started] = office.since(cursor, RECEIPT_EVENT="daemon.started")
    assert stopped["_PID"] == second != started["_PID"]
    office.wait_done(office.scan(2))
    return "replaced while it ran, in vain and well, and ran again"


def packaged(office: Office) -> str:
    """The Debian package goes on with what is there, enabled and started; receipts go through."""
    is_new = not office.machine.path(CONFIG).exists()
    said = office.install_package("1.0")
    if is_new:
        assert "n8n.webhook_url: is still that of the example" in said
        assert not office.is_active()
        office.add_scanner()
        office.configure()
        office.systemctl("start", UNIT)
    assert office.is_active(), said
    assert office.systemctl("is-enabled", UNIT) == "enabled"
    office.wait_done(office.scan(20))
    jobs = office.ask("jobs", "--limit", "1000")
    assert len(jobs) == len(office.dropped)  # those of before, too: the job log stayed
    return f"package installed, enabled, started; 20 receipts in done/, {len(jobs)} in the job log"


def rebooted(office: Office) -> str:
    """After a boot it is there by itself, and takes what came meanwhile."""
    office.systemctl("stop", UNIT)
    names = office.scan(5)
    office.machine.shut_down()
    office.machine.boot()
    office.start_n8n()
    office.wait_done(names)
    assert office.is_active()
    return "booted again: started by itself, 5 waiting receipts in done/"


def killed(office: Office) -> str:
    """Under kill -9 with one receipt in flight: systemd starts it anew, and that receipt is sent once more."""
    office.configure({"callback": {"deadline_seconds": 2}, "n8n": {"timeout_seconds": 60}})
    office.restart()
    office.n8n_does("hang")
    [name] = office.scan(1)
    wait_until(lambda: office.times_sent(name) == 1, "it is in flight")
    before = int(office.property("NRestarts"))
    office.systemctl("kill", "--signal=KILL", UNIT)
    others = office.scan(4)
    office.n8n_does("answer")
    office.wait_done([name, *others])
    assert int(office.property("NRestarts")) == before + 1
    assert office.times_sent(name) == 2
    assert [office.times_sent(other) for other in others] == [1, 1, 1, 1]
    return "kill -9 with one in flight: started anew by systemd; that one sent again under its id, 4 others once"


def stopped_while_n8n_hangs(office: Office) -> str:
    """A stop while N8N hangs ends in time, by itself, and loses nothing."""
    office.configure({"callback": {"deadline_seconds": 2}, "limits": {"stop_timeout_seconds": 3}})
    office.restart()
    office.n8n_does("hang")
    names = office.scan(3)
    wait_until(lambda: any(office.times_sent(name) for name in names), "one is in flight")
    office.systemctl("stop", UNIT)
    result = office.property("Result")
    assert result == "success", result
    office.n8n_does("answer")
    office.systemctl("start", UNIT)
    office.wait_done(names)
    return "stop while N8N hangs: ended by itself (Result=success), 3 receipts went on after the start"


def misconfigured(office: Office) -> str:
    """A broken configuration: not started over and over, and the reason is one line."""
    office.configure({"n8n": {"webhook_url": "n8n.office.lan"}})
    cursor = office.cursor()
    office.systemctl("restart", UNIT, check=False)
    wait_until(lambda: office.property("ActiveState") == "failed", "it has failed")
    assert office.property("NRestarts") == "0"
    assert office.property("ExecMainStatus") == "2"
    [reason] = [entry["MESSAGE"] for entry in office.since(cursor) if "n8n.webhook_url" in entry["MESSAGE"]]
    assert "is no URL" in reason
    office.configure()
    office.restart()
    office.wait_done(office.scan(1))
    return f"broken configuration: not started again; «{office.words_of(reason)[:100]}»"


def hanging(office: Office) -> str:
    """An event loop that is blocked on purpose: the watchdog ends the daemon, and systemd starts it anew."""
    office.configure()
    office.drop_in(
        "WatchdogSec=4",
        "ExecStart=",
        f"ExecStart=/opt/receipt-watcher/bin/python3 -I /mnt/share/hanging.py run --config {CONFIG}",
    )
    office.restart()
    office.wait_done(office.scan(1))
    cursor, before = office.cursor(), int(office.property("NRestarts"))
    office.machine.run("touch", "/run/receipt-watcher/block")
    wait_until(lambda: int(office.property("NRestarts")) > before, "it was ended and started anew", 60)
    wait_until(office.is_active, "it is up again")
    names = office.scan(2)
    office.wait_done(names)
    withheld = office.since(cursor, RECEIPT_EVENT="watchdog.withheld")
    assert withheld
    said = [entry["MESSAGE"] for entry in office.since(cursor)]
    assert "Fatal Python error: Aborted" in said  # and below it the stacks
    assert any("hanging.py" in line or "asyncio" in line for line in said if line.startswith("  File "))
    office.drop_in()
    office.restart()
    return f"event loop blocked: «{withheld[0]['MESSAGE']}»; ended by the watchdog, started anew, went on"


def reloaded(office: Office) -> str:
    """A reload takes a new inbox in, without a new process; one of a broken file changes nothing and says why."""
    office.configure()
    office.restart()
    before = office.property("MainPID")
    second = f"{SPOOL}/second"
    for folder in ("inbox", "processing", "done", "failed"):
        office.machine.run("install", "-d", "-o", "receipts", "-g", "receipts", "-m", "3770", f"{second}/{folder}")
    office.machine.run("setfacl", "--default", "--modify", "u::rwx,g::rwx,o::-", f"{second}/inbox")
    quick = {"settle_seconds": 0.2, "patience_seconds": 1}
    inboxes = [
        {"path": f"{SPOOL}/inbox", "name": "office", **quick},
        {"path": f"{second}/inbox", "name": "second", **quick},
    ]
    names = office.scan(20)
    office.configure({"inboxes": inboxes})
    first = office.cursor()
    office.systemctl("reload", UNIT)
    assert office.since(first, RECEIPT_EVENT="configuration.reloaded")  # it was waited for
    office.wait_done(office.scan(3, f"{second}/inbox"), second)
    office.wait_done(names)
    office.configure({"inboxes": [{"path": "nowhere", "colour": "red"}]})
    cursor = office.cursor()
    assert office.machine.run("systemctl", "reload", UNIT, check=False).returncode != 0
    assert any("colour" in entry["MESSAGE"] for entry in office.since(cursor))
    office.wait_done(office.scan(2, f"{second}/inbox"), second)
    assert office.property("MainPID") == before
    told = [entry.get("RECEIPT_EVENT") for entry in office.since(first)]
    assert not {"daemon.started", "daemon.stopped"} & set(told)
    assert [office.times_sent(name) for name in names] == [1] * len(names)
    status = office.property("StatusText")
    office.configure()
    office.restart()
    return (
        f"reload: a new inbox, no new process, 20 receipts sent once; a broken file: systemctl fails, «{status[:60]}»"
    )


def with_credentials(office: Office) -> str:
    """A credential reaches N8N; one whose file is missing stops nothing."""
    key = "/etc/receipt-watcher/credentials/n8n_api_key"
    office.configure()
    office.machine.path(key).write_text("the-key-of-this-office\n")
    office.machine.path(key).chmod(0o600)
    office.restart()
    office.wait_done(office.scan(1))
    assert office.deliveries()[-1]["key"] == "the-key-of-this-office"
    office.machine.path(key).unlink()
    office.restart()
    office.wait_done(office.scan(1))
    assert office.deliveries()[-1]["key"] == ""
    return "credentials: a key of root's, mode 600, reached N8N; without its file the service starts, too"


def two_instances(office: Office) -> str:
    """An instance beside the service: its own configuration, state and receipts."""
    spool, unit = f"{SPOOL}/north", "receipt-watcher@north.service"
    for folder in ("inbox", "processing", "done", "failed"):
        office.machine.run("install", "-d", "-o", "receipts", "-g", "receipts", "-m", "3770", f"{spool}/{folder}")
    office.machine.run("setfacl", "--default", "--modify", "u::rwx,g::rwx,o::-", f"{spool}/inbox")
    file = "/etc/receipt-watcher/north.yaml"
    office.machine.run("cp", "--preserve", CONFIG, file)
    quick = {"settle_seconds": 0.2, "patience_seconds": 1}
    office.configure({"inboxes": [{"path": f"{spool}/inbox", "name": "north", **quick}], "http": {"port": 8001}}, file)
    office.systemctl("start", unit)
    both = office.scan(5), office.scan(5, f"{spool}/inbox")
    office.wait_done(both[0])
    office.wait_done(both[1], spool)
    assert office.is_active(unit)
    assert office.machine.path("/var/lib/receipt-watcher-north/receipts.db").exists()
    office.systemctl("stop", unit)
    office.machine.path(file).unlink()
    return "two instances: 5 receipts each, with a state of its own each"


def mounted_late(office: Office) -> str:
    """An inbox on a mount that comes late, goes, and comes again: the other one works, and its receipts go on."""
    spool, device = f"{SPOOL}/share", "/var/lib/device"
    run = office.machine.run
    run("mkdir", spool, device)
    run("install", "-d", "-o", "receipts", "-g", "receipts", "-m", "3770", f"{device}/inbox")
    run("setfacl", "--default", "--modify", "u::rwx,g::rwx,o::-", f"{device}/inbox")
    for folder in ("processing", "done", "failed"):
        run("install", "-d", "-o", "receipts", "-g", "receipts", "-m", "770", f"{device}/{folder}")
    quick = {"settle_seconds": 0.2, "patience_seconds": 1, "scan_seconds": 2}
    inboxes = [
        {"path": f"{SPOOL}/inbox", "name": "office", **quick},
        {"path": f"{spool}/inbox", "name": "share", **quick},
    ]
    office.configure({"inboxes": inboxes})
    office.restart()
    office.wait_done(office.scan(1))
    run("mount", "--bind", device, spool)
    office.wait_done(office.scan(3, f"{spool}/inbox"), spool)
    office.n8n_does("down")
    names = office.scan(2, f"{spool}/inbox")
    wait_until(lambda: all(office.places(spool).get(name) == ["processing"] for name in names), "they are taken in")
    cursor = office.cursor()
    run("umount", "--lazy", spool)
    wait_until(
        lambda: office.since(cursor, RECEIPT_EVENT="inbox.unavailable", RECEIPT_INBOX="share"), "the journal says so"
    )
    office.n8n_does("answer")
    office.wait_done(office.scan(1))
    run("mount", "--bind", device, spool)
    office.wait_done(names, spool)
    run("umount", "--lazy", spool)
    office.configure()
    office.restart()
    return (
        "an inbox on a mount that came late, went and came again: 5 receipts there, none lost, the other inbox worked"
    )


def journalled(office: Office) -> str:
    """The journal has a few lines for each receipt, with fields, priorities and an explanation for each kind."""
    office.configure()
    office.restart()
    cursor = office.cursor()
    [name] = office.scan(1)
    office.wait_done([name])
    wait_until(lambda: office.since(cursor, RECEIPT_EVENT="job.concluded"), "it is written down")
    lines = office.since(cursor, RECEIPT_FILE=name)
    assert [line["RECEIPT_EVENT"] for line in lines] == ["job.recorded", "job.concluded"]
    [job] = [job for job in office.ask("jobs", "--limit", "1") if job["filename"] == name]
    for line in lines:
        assert (line["RECEIPT_FILE"], line["RECEIPT_INBOX"], line["RECEIPT_JOB"]) == (name, "office", job["job_id"])
        assert line["PRIORITY"] == "6"
        assert line["CODE_FILE"].endswith(".py")
        assert name in line["MESSAGE"]
    assert lines[1]["RECEIPT_STATUS"] == "success"
    explained = office.machine.run(
        "journalctl", "--catalog", f"MESSAGE_ID={lines[1]['MESSAGE_ID']}", "--lines=1"
    ).stdout
    assert "What to do:" in explained
    office.n8n_does("down")
    office.scan(1)
    wait_until(lambda: office.since(cursor, RECEIPT_EVENT="destination.held"), "N8N is held")
    assert office.since(cursor, PRIORITY="4")
    office.n8n_does("answer")
    wait_until(lambda: office.since(cursor, RECEIPT_EVENT="destination.resumed"), "N8N is back")
    return f"journal: 2 lines a receipt, such as «{lines[1]['MESSAGE']}»; explained by journalctl -x"


def upgraded(office: Office) -> str:
    """An upgrade with a backlog: stopped, replaced, started; what waits goes out afterwards, once."""
    office.configure({"callback": {"deadline_seconds": 5}})
    office.restart()
    office.n8n_does("down")
    names = office.scan(60)
    wait_until(lambda: office.deliveries() and office.deliveries()[-1]["mode"] == "down", "N8N was asked in vain")
    before = office.property("MainPID")
    office.install_package("1.1")
    assert office.is_active()
    assert office.property("MainPID") != before
    assert office.machine.run("dpkg-query", "-W", "-f", "${Version}", "receipt-watcher").stdout == "1.1"
    assert not list(office.machine.path(f"{SPOOL}/done").rglob(names[0]))
    office.n8n_does("answer")
    office.wait_done(names)
    assert sorted(job["filename"] for job in office.ask("jobs", "--limit", "60")) == names
    return "package upgraded with 60 receipts waiting: started anew, all in done/"


def _installed_again(office: Office) -> None:
    """Remove it and install it again: it is as it was, running where it was enabled, else not."""
    run, instance = office.machine.run, "receipt-watcher@north.service"
    run("cp", "--preserve", CONFIG, "/etc/receipt-watcher/north.yaml")
    folder = f"{SPOOL}/north"
    for name in ("inbox", "processing", "done", "failed"):
        run("install", "-d", "-o", "receipts", "-g", "receipts", "-m", "3770", f"{folder}/{name}")
    quick = {"settle_seconds": 0.2, "patience_seconds": 1}
    changes = {"inboxes": [{"path": f"{folder}/inbox", "name": "north", **quick}], "http": {"port": 8001}}
    office.configure(changes, "/etc/receipt-watcher/north.yaml")
    office.systemctl("enable", "--now", instance)
    run("apt-get", "remove", "-y", "receipt-watcher")
    assert not office.is_active()
    assert not office.is_active(instance)
    office.install_package("1.1")
    assert office.is_active()
    assert office.is_active(instance)
    assert office.systemctl("is-enabled", UNIT) == "enabled"
    office.wait_done(office.scan(2))
    office.systemctl("stop", UNIT)
    office.install_package("1.2")
    assert not office.is_active()  # an upgrade starts what ran, and nothing else
    assert office.is_active(instance)
    office.systemctl("disable", UNIT)
    office.systemctl("disable", "--now", instance)
    run("apt-get", "remove", "-y", "receipt-watcher")
    office.install_package("1.2")
    assert not office.is_active()
    assert not office.is_active(instance)
    assert office.systemctl("is-enabled", UNIT, check=False) == "disabled"
    office.systemctl("enable", "--now", UNIT)
    office.machine.path("/etc/receipt-watcher/north.yaml").unlink()


def purged(office: Office) -> str:
    """Removed, and purged: the job log stays until the admin says otherwise; receipts always."""
    run = office.machine.run
    _installed_again(office)
    run("apt-get", "remove", "-y", "receipt-watcher")
    assert not office.is_active()
    assert office.machine.path(CONFIG).exists()
    assert not office.machine.path("/opt/receipt-watcher").exists()
    said = run("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "purge", "-y", "receipt-watcher")
    assert "The job log stays in /var/lib/receipt-watcher" in said.stdout + said.stderr
    assert not office.machine.path(CONFIG).exists()
    assert office.machine.path("/var/lib/receipt-watcher/receipts.db").exists()
    office.install_package("1.1")
    run("sh", "-c", "echo receipt-watcher receipt-watcher/remove-job-log boolean true | debconf-set-selections")
    run("env", "DEBIAN_FRONTEND=noninteractive", "dpkg", "--purge", "receipt-watcher")
    assert not office.machine.path("/var/lib/receipt-watcher").exists()
    spools = (SPOOL, f"{SPOOL}/second", f"{SPOOL}/north", "/var/lib/device")
    found = [name for spool in spools for name, places in office.places(spool).items() for _ in places]
    assert sorted(found) == sorted(office.dropped)
    assert COMMAND.startswith("/opt/receipt-watcher/")
    return f"removed and back as it was; purged: the job log only by a yes, {len(office.dropped)} receipts all there"
