from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from click import Group

from receipt_watcher.cli.documents.example import known_keys
from receipt_watcher.cli.main import commands
from receipt_watcher.config.options import Config
from tests.docs_tables import README, written

REPOSITORY = README.parent
TEXT = README.read_text("utf-8")


def test_tables_say_what_the_code_says() -> None:
    """The tables of transitions, tasks, reasons and crashes are those of the code; `tests.docs_tables` writes them."""
    assert written(TEXT) == TEXT


def test_every_log_line_is_explained() -> None:
    """Each event that the code logs is in the README, and each that the README explains is logged."""
    source = "\n".join(path.read_text("utf-8") for path in (REPOSITORY / "receipt_watcher").rglob("*.py"))
    logged = set(re.findall(r'(?:logger\.[a-z]+|level)\(\s*"([a-z]+\.[a-z_]+)"', source))
    logged |= set(re.findall(r'^    [A-Z][a-z]+: "(job\.[a-z]+)",$', source, re.MULTILINE))
    families = "|".join({name.split(".")[0] for name in logged})
    explained = set(
        re.findall(
            rf"`((?:{families})\.(?!yaml|secret|previous_secret|per_job|deadline|api|public|webhook|payload|max)[a-z_]+)`",
            TEXT,
        )
    )
    assert len(logged) > 20
    options = {".".join(str(part) for part in key) for key in known_keys(Config)}
    assert explained - options == logged


def test_every_command_is_listed() -> None:
    """The table of commands names every command there is."""
    assert isinstance(commands, Group)
    for name in commands.commands:
        assert re.search(rf"^\| .*`{name}[ `]", TEXT, re.MULTILINE), name


def test_every_module_is_in_the_page_about_the_code() -> None:
    """Whoever reads the page about the code finds each module there."""
    page = TEXT.split("## The code in one page")[1]
    named = set(re.findall(r"`([a-z…]+)/?`", page))
    for path in (REPOSITORY / "receipt_watcher").glob("[!_]*.py"):
        assert path.stem in named or path.stem.startswith("demo"), path.stem


@pytest.mark.parametrize("heading", ["Try it", "Test it"])
def test_one_command_each(heading: str) -> None:
    """To try it and to test it takes one command, on one line."""
    block = TEXT.split(f"## {heading}")[1].split("```sh\n")[1].split("```")[0]
    assert len(block.strip().splitlines()) == 1


def test_links_lead_somewhere() -> None:
    """Each file that the README links to is there."""
    for target in re.findall(r"\]\(([^)#:]+)\)", TEXT):
        assert (REPOSITORY / target).exists(), target


def test_ci_calls_the_test_command() -> None:
    """CI takes the command from the README itself, so that the two cannot differ."""
    script = (REPOSITORY / ".ci" / "run").read_text("utf-8")
    extraction = next(line for line in script.splitlines() if line.startswith("command=$("))
    shown = subprocess.run(
        ["bash", "-c", f'{extraction}; echo "$command"'], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout
    assert shown.startswith("python3 -m venv")
    assert "pytest" in shown
    assert Path(REPOSITORY / "pyproject.toml").exists()
