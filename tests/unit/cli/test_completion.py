"""A shell completes commands, options and the ids of jobs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from receipt_watcher.jobs.log.job_log import JobLog
from tests.fakes.daemons.process import REPOSITORY
from tests.unit.cli.typed_commands import Command, add


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script(shell: str, command: Command, tmp_path: Path) -> None:
    """What is printed is a script for that shell, which the shell itself reads without a word."""
    said = command("completion", shell)
    assert said.code == 0
    assert "_RECEIPT_WATCHER_COMPLETE" in said.out
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not here")
    script = tmp_path / "script"
    script.write_text(said.out)
    checked = subprocess.run([program, "-n", str(script)], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("receipt-watcher zz", set()),
        ("receipt-watcher ho", {"hold"}),
        ("receipt-watcher show scan_", {"scan_1.pdf", "scan_2.pdf"}),
        ("receipt-watcher jobs --inbox o", {"office"}),
        ("receipt-watcher jobs --status can", {"cancelled"}),
        ("receipt-watcher hold ", {"office", "n8n", "127.0.0.1"}),
        ("receipt-watcher completion z", {"zsh"}),
    ],
)
def test_completion(line: str, expected: set[str], config_file: Path, job_log: JobLog) -> None:
    """Commands, words, inboxes and files are offered, by what is typed already."""
    for name in ("scan_1.pdf", "scan_2.pdf", "photo.jpg"):
        add(job_log, name)
    assert completed(line, config_file) == expected


def completed(line: str, config: Path) -> set[str]:
    """Return what a shell is offered at the end of a line."""
    asked = {
        "_RECEIPT_WATCHER_COMPLETE": "bash_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split(" ")) - 1),
    }
    ended = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; sys.argv = ['receipt-watcher']; from receipt_watcher.cli.main import main; main()",
        ],
        cwd=REPOSITORY,
        env=os.environ | {"RECEIPT_WATCHER_CONFIG": str(config)} | asked,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stderr == ""
    return {found.partition(",")[2] for found in ended.stdout.splitlines() if found}


def test_completion_of_ids_and_of_nothing(config_file: Path, job_log: JobLog) -> None:
    """Ids are completed; where the configuration is wrong, nothing is offered and nothing is said."""
    job_id = add(job_log, "scan.pdf")
    assert completed(f"receipt-watcher retry {job_id[:4]}", config_file) == {job_id}
    config_file.write_text("inboxes: wrong\n")
    assert completed("receipt-watcher retry ", config_file) == set()
    assert completed("receipt-watcher jobs --inbox ", config_file) == set()
