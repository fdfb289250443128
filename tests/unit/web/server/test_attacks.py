"""Fuzzing and all attacks at once keep nobody out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.properties.attacks import attack
from tests.properties.fuzz_http import faults_in, fuzz


def test_fuzz_for_some_seconds(tmp_path: Path) -> None:
    """The short form of `tests.properties.fuzz_http`."""
    assert fuzz(6, 1, tmp_path) == []


@pytest.mark.parametrize(
    "names",
    [
        ["query_parameters", "cookies_of_backslashes", "trickling_uploads", "event_streams", "many_connections"],
        ["silent_tls"],
    ],
    ids=["plain", "tls"],
)
def test_attacks_keep_nobody_out(tmp_path: Path, names: list[str]) -> None:
    """The short form of `tests.properties.attacks`: callbacks and pages are answered, and the bounds hold."""
    wrong, _slow = attack(names, 0.5, tmp_path)
    assert wrong == []


def test_the_fuzz_sees_faults(tmp_path: Path) -> None:
    """Errors, tracebacks and lines that are no JSON are what the fuzz looks for."""
    log = tmp_path / "daemon.log"
    fine = json.dumps({"event": "a", "level": "warning"})
    bad = [
        json.dumps({"event": "b", "level": "error"}),
        json.dumps({"level": "info", "x": "Traceback"}),
        "Task exception",
    ]
    log.write_text("\n".join([fine, *bad, fine]) + "\n")
    assert faults_in(log) == bad
