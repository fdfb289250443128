"""The service on a real systemd; `python -m tests.real.systemd` runs more of it, for longer."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.fakes.daemons.process import REPOSITORY
from tests.real.systemd.machine import tree_is_there, why_impossible

#: Scenarios that take seconds; the rest is in the full run of the command.
_RUN = ("packaged", "killed", "misconfigured", "journalled")


def why_not() -> str:
    """Say why no machine is booted here; empty where one can be."""
    if absent := why_impossible():
        return absent
    return (
        "" if tree_is_there() else "there is no Debian to boot yet: python -m tests.real.systemd makes one, in a minute"
    )


@pytest.mark.long
@pytest.mark.systemd
@pytest.mark.timeout(400)
def test_a_real_systemd() -> None:
    """With a real systemd the package installs, kill -9 loses nothing, a mistake is told, the journal is right."""
    if reason := why_not():
        pytest.skip(reason)
    ran = subprocess.run(
        [sys.executable, "-m", "tests.real.systemd", "--only", *_RUN],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"0 of {len(_RUN)} scenarios failed" in ran.stdout
