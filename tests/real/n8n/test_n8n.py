"""The daemon and a real n8n; `python -m tests.real.n8n` runs more of it, for longer."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.fakes.daemons.process import REPOSITORY
from tests.real.n8n.server import why_absent

#: Scenarios that cost one restart of n8n at most; the rest is in the full run of the command.
_RUN = (
    "no_effect",
    "all_kinds",
    "looked_at",
    "repeated",
    "throw",
    "extracted",
    "killed",
    "by_link",
    "signatures",
    "forged",
)


@pytest.mark.n8n
@pytest.mark.timeout(400)
@pytest.mark.skipif(bool(why_absent()), reason=why_absent() or "n8n is there")
def test_a_real_n8n() -> None:
    """With a real n8n and the workflows that ship every receipt ends right: all kinds, repeats, errors, a kill."""
    ran = subprocess.run(
        [sys.executable, "-m", "tests.real.n8n", "--receipts", "16", "--only", *_RUN],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "every receipt ended right" in ran.stdout
    assert ", 0 of them twice" in ran.stdout
