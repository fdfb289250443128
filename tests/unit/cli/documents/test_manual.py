"""The manual has every command and option, in pages that are well formed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from receipt_watcher.cli import main
from receipt_watcher.cli.documents.json_schema import json_schema
from receipt_watcher.cli.documents.manual import command_page, file_page
from tests.unit.cli.typed_commands import Command, all_commands


def test_the_manual_has_everything(command: Command) -> None:
    """Each command and each option of the configuration is in the manual, in the words of its help."""
    page, options = (
        re.sub(r"\\(&|e|-)", lambda found: found[1].strip("&e"), command("man", name).out)
        for name in ("receipt-watcher", "watcher.yaml")
    )
    for words in {*all_commands(main.commands)} - {("service", "ready"), ("service", "reload")}:  # of package and unit
        assert f".SS {' '.join(words)} " in page
        assert f"receipt-watcher {' '.join(words)}" in page
    assert "Only files whose name is like this" in page
    for name, option in json_schema()["$defs"]["N8n"]["properties"].items():
        assert f".TP\n.B {name}\n{option['description']}" in options


@pytest.mark.parametrize(
    ("text", "name"), [(command_page(main.commands), "command"), (file_page(), "file")], ids=["1", "5"]
)
def test_the_manual_is_well_formed(text: str, name: str, tmp_path: Path) -> None:
    """Groff reads each page without a warning, and shows no trace of its own language."""
    groff = shutil.which("groff")
    if groff is None:
        pytest.skip("groff is not here")
    page = tmp_path / name
    page.write_text(text, "utf-8")
    shown = subprocess.run(
        [groff, "-ww", "-man", "-Tutf8", "-Kutf8", str(page)], capture_output=True, check=True, encoding="utf-8"
    )
    assert shown.stderr == ""
    assert "SEE" in re.sub("(.)\b.", r"\1", re.sub(r"\x1b\[[0-9;]*m", "", shown.stdout))
    assert "\\-" not in shown.stdout


def test_the_manual_into_a_folder(command: Command, tmp_path: Path) -> None:
    """All pages are written where a package wants them, by the names that man looks for."""
    said = command("man", "--to", str(tmp_path / "man"))
    assert said.code == 0
    assert sorted(path.name for path in (tmp_path / "man").iterdir()) == ["receipt-watcher.1", "watcher.yaml.5"]
