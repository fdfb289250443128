"""The days of retention are read, and nonsense is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from receipt_watcher.config.sections.retention import Retention
from receipt_watcher.config.sources.load import load
from receipt_watcher.errors import ConfigError


def configured(root: Path, text: str) -> Retention:
    """Return the section of a configuration file."""
    path = root / "watcher.yaml"
    path.write_text(f"inboxes: [{{path: {root}/inbox}}]\nn8n: {{webhook_url: http://127.0.0.1/w}}\n{text}")
    return load(path, {}).retention


def test_the_settings(tmp_path: Path) -> None:
    """Days are numbers, whole or not; what is left out, or empty, is kept for ever."""
    assert configured(tmp_path, "") == Retention()
    text = "retention: {done_days: 3650, failed_days: 1.5, log_days: null}"
    assert configured(tmp_path, text) == Retention(done_days=3650, failed_days=1.5)


@pytest.mark.parametrize("value", ["0", "0.0", "-0"])
def test_a_zero_is_a_mistake(tmp_path: Path, value: str) -> None:
    """A 0, which may mean «never» or «at once», is refused in words that say how to keep files for ever."""
    with pytest.raises(ConfigError) as caught:
        configured(tmp_path, f"retention: {{done_days: {value}}}")
    [problem] = caught.value.problems
    assert "keep for ever" in problem.wrong
    assert "leave the option out" in problem.right


@pytest.mark.parametrize("value", ["0.9", "-1", "36501", "yes", "true", "forever", '""', "[30]", "1h", ".inf", ".nan"])
def test_nonsense_is_a_mistake(tmp_path: Path, value: str) -> None:
    """Anything but a number of days from 1 on is refused, before a file is touched."""
    with pytest.raises(ConfigError) as caught:
        configured(tmp_path, f"retention: {{done_days: {value}}}")
    assert "a number of days from 1 to 36500" in caught.value.problems[0].right
