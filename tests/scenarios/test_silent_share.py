"""A share that does not answer delays neither the other inboxes nor a start, a stop or a reload."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from receipt_watcher.cli.demo.stand_in import StandIn
from tests.fakes.daemons.process import REPOSITORY, wait_until
from tests.fakes.mounts import Mounts
from tests.scenarios.torn_inboxes import STRAY, Away, Offices, Silent, put

PATIENCE = 60.0  # for commands, which have time limits of their own


def test_whoever_asks_a_silent_share_waits(tmp_path: Path, mounts: Mounts) -> None:
    """What these tests rest on: a silent share keeps who asks waiting, until it is killed or the share speaks."""
    share = Silent(tmp_path, "share", mounts)
    put(share.inside / "scan.jpg", STRAY)
    assert mounts.run("cmp", str(share.inside / "scan.jpg"), str(share.path / "scan.jpg")) == ""
    assert mounts.run("cmp", str(share.inside / "scan.jpg"), str(share.path)) != ""
    share.tear()
    listing, looking = (subprocess.Popen([*mounts.prefix, tool, str(share.path)]) for tool in ("ls", "stat"))
    for waiting in (listing, looking):
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(0.5)
    looking.kill()
    assert looking.wait(PATIENCE) == -signal.SIGKILL
    share.give_back()
    assert listing.wait(PATIENCE) == 0


@pytest.mark.long
def test_a_start_does_not_wait_for_a_silent_share(tmp_path: Path, n8n: StandIn, mounts: Mounts) -> None:
    """A share that hangs at the start delays no other inbox and no command, and is watched as soon as it answers."""
    way = Silent(tmp_path, "office", mounts)
    way.tear()
    with contextlib.closing(Offices(tmp_path, n8n, way, prefix=mounts.prefix)) as daemon:
        daemon.put(way)
        daemon.start(wait=False)
        wait_until(lambda: daemon.told("inbox.watched", "desk"), "the desk is watched")
        with asked(daemon, "check", "status") as answers:
            wait_until(lambda: daemon.count("daemon.started"), "the daemon starts")
            daemon.put(daemon.desk)
            daemon.wait_delivered(daemon.desk)
            daemon.wait_away()
            check, status = answers()
        assert_checked(check, way)
        assert_looked(status, way)
        way.give_back()
        daemon.wait_back()
        daemon.put(way)
        daemon.assert_all_well(absences=1, returns=1)


@pytest.mark.long
def test_a_stop_does_not_wait_for_a_silent_share(tmp_path: Path, n8n: StandIn, mounts: Mounts) -> None:
    """SIGTERM ends the daemon in its time though a share hangs; the next start finds what came meanwhile."""
    way = Silent(tmp_path, "office", mounts)
    with Offices(tmp_path, n8n, way, prefix=mounts.prefix, limits={"stop_timeout_seconds": 1}) as daemon:
        daemon.put(way)
        daemon.wait_delivered()
        way.tear()
        daemon.put(way)
        daemon.wait_away()
        assert daemon.terminate() == 0
        way.give_back()
        daemon.start()
        daemon.assert_all_well(absences=1, returns=0)


@pytest.mark.long
def test_a_reload_while_a_share_falls_silent(tmp_path: Path, n8n: StandIn, mounts: Mounts) -> None:
    """A thread that hangs through a reload gives its spool back when the share answers, and the inbox goes on."""
    way = Silent(tmp_path, "office", mounts)
    with Offices(tmp_path, n8n, way, prefix=mounts.prefix, limits={"stop_timeout_seconds": 1}) as daemon:
        settings = yaml.safe_load(daemon.config_file.read_text())
        settings["n8n"]["timeout_seconds"] = 4  # for so long a reload waits for it, so that it is known to hang
        daemon.config_file.write_text(yaml.safe_dump(settings))
        assert daemon.terminate() == 0
        daemon.start()
        daemon.put(way)
        daemon.wait_delivered()
        way.tear()
        assert daemon.process is not None
        daemon.process.send_signal(signal.SIGHUP)
        wait_until(lambda: daemon.count("configuration.reloaded"), "the next daemon runs")
        daemon.put(way)
        daemon.put(daemon.desk)
        daemon.wait_delivered(daemon.desk)
        way.give_back()
        daemon.wait_delivered()
        wait_until(lambda: daemon.failing() == {}, "all is well")
        assert daemon.terminate() == 0


@contextlib.contextmanager
def asked(daemon: Offices, *commands: str) -> Iterator[Callable[[], list[Any]]]:
    """Run commands at the same time; what is yielded waits for them and returns what each said is wrong, as JSON."""
    running = [
        subprocess.Popen(daemon.command(command, "--json"), stdout=subprocess.PIPE, cwd=REPOSITORY)
        for command in commands
    ]

    def answers() -> list[Any]:
        said = [json.loads(one.communicate(timeout=PATIENCE)[0]) for one in running]
        assert [one.returncode for one in running] == [1] * len(running)
        return said

    try:
        yield answers
    finally:
        for one in running:
            one.kill()
            one.communicate()


def assert_checked(findings: Sequence[Mapping[str, str]], way: Away) -> None:
    """See that `check` found what is wrong with this inbox, and looked at the desk all the same."""
    wrong = [found["what"] for found in findings if found["level"] == "error" and way.name in found["what"]]
    assert wrong, findings
    for what in wrong:
        way.assert_named(what)
    assert any(re.fullmatch(r"inbox desk: \d files wait", found["what"]) for found in findings), findings


def assert_looked(status: Mapping[str, Any], way: Away) -> None:
    """See that `status` found what is wrong with this inbox, and looked at the desk all the same."""
    desk, office = status["inboxes"]
    assert (desk["name"], desk["trouble"]) == ("desk", None)
    assert desk["waiting"] in {0, 1}  # one is just passing through
    assert (office["name"], office["waiting"]) == (way.name, None)
    way.assert_named(office["trouble"])
