"""A command loads only what it needs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from receipt_watcher.jobs.log.job_log import JobLog
from tests.fakes.daemons.process import REPOSITORY
from tests.unit.cli.typed_commands import add


@pytest.mark.parametrize(
    ("words", "without"),
    [
        (("--help",), {"pydantic", "peewee", "structlog", "yaml", "httpx", "starlette", "PIL"}),
        (
            ("jobs",),
            {
                "httpx",
                "starlette",
                "uvicorn",
                "watchdog",
                "PIL",
                "apscheduler",
                "receipt_watcher.service.process.daemon",
            },
        ),
        (
            ("status",),
            {
                "httpx",
                "starlette",
                "uvicorn",
                "watchdog",
                "PIL",
                "apscheduler",
                "receipt_watcher.service.process.daemon",
            },
        ),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else "",
)
def test_only_what_is_needed_is_loaded(
    words: tuple[str, ...], without: set[str], config_file: Path, job_log: JobLog
) -> None:
    """A command that only looks does not load what only the daemon needs: that is what would take time."""
    add(job_log, "scan.pdf")
    program = (
        "import sys, atexit; sys.argv = ['receipt-watcher', *sys.argv[1:]];"
        "atexit.register(lambda: print(*sys.modules, file=sys.stderr));"
        "from receipt_watcher.cli.main import main; main()"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, *words],
        cwd=REPOSITORY,
        env=os.environ | {"RECEIPT_WATCHER_CONFIG": str(config_file)},
        capture_output=True,
        text=True,
        check=False,
    )
    loaded = set(ended.stderr.split())
    assert "click" in loaded
    assert loaded & without == set()
