from __future__ import annotations

import ast
import itertools
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from click import Group

from receipt_watcher.cli.main import commands
from receipt_watcher.config.fields import known_keys
from receipt_watcher.config.options import Config
from tests.docs_tables import README, written
from tests.test_layout import LISTS, PACKAGE, paths_of

REPOSITORY = README.parent
TEXT = README.read_text("utf-8")

#: Words that begin a clause which says what something is only by its end.
RELATIVE_WORDS = re.compile(r"(What|Who|Whose|Whoever|Whatever|Where|How|Which)\b")


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


def test_every_module_is_in_the_man_page_of_its_package() -> None:
    """The `__init__` of a package names each module and folder beside it, and none that is gone."""
    for path in PACKAGE.rglob("__init__.py"):
        man_page = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
        beside = {entry.stem for entry in path.parent.iterdir() if not entry.name.startswith("_")}
        if path.parent == PACKAGE or path.parent.name in LISTS:
            continue
        named = {
            name
            for line in man_page.splitlines()
            if line.startswith("- ")
            for name in re.findall("`([a-z0-9_]+)`", line.partition(":")[0])
        }
        assert named == beside - LISTS | (named & LISTS), path.parent


def summaries(path: Path) -> Iterator[str]:
    """Yield the beginning of each docstring and of each `#:` comment of a module."""
    source = path.read_text("utf-8")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield (ast.get_docstring(node) or "").partition("\n")[0]
    lines = ["", *(line.strip() for line in source.splitlines())]
    for before, line in itertools.pairwise(lines):
        if line.startswith("#:") and not before.startswith("#:"):
            yield line.removeprefix("#:").strip()


def test_summaries_begin_with_their_subject() -> None:
    """No docstring or comment of a name begins with a relative clause, such as «What the others wait for»."""
    wrong = {
        (name, summary)
        for name, path in paths_of(PACKAGE).items()
        for summary in summaries(path)
        if RELATIVE_WORDS.match(summary)
    }
    assert wrong == set()


def test_all_summaries_are_seen(tmp_path: Path) -> None:
    """The test sees the summaries that it judges: of modules, classes and functions, and the first line of comments."""
    path = tmp_path / "module.py"
    path.write_text(
        '"""A."""\n\n#: B\n#: b\nNAME = 1\n\n\nclass C:\n    """C.\n\n    c"""\n\n    def d(self):\n        """D."""\n'
    )
    assert sorted(summaries(path)) == ["A.", "B", "C.", "D."]


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
