"""A table fits its terminal, and a pipe gets all of it."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from receipt_watcher.cli.table import columns_of, padded, widths_of
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.states import State
from tests.fakes.daemons.process import REPOSITORY
from tests.unit.cli.typed_commands import Command, add


@given(st.text(), st.integers(1, 60))
def test_a_cell_has_its_width(text: str, width: int) -> None:
    """Whatever a name is made of, its cell takes the columns that it should, and is whole where it fits."""
    cell = padded(text, width)
    assert columns_of(cell) == width
    if columns_of(text) <= width:
        assert cell.startswith(text)
    else:
        assert "…" in cell


@given(st.lists(st.tuples(*[st.text(max_size=40)] * 6), min_size=1, max_size=5), st.integers(1, 300))
def test_a_table_fits(rows: list[tuple[str, ...]], room: int) -> None:
    """A table is as wide as its terminal at the most, unless that is too narrow for anybody; in a file it is whole."""
    whole = widths_of(rows, None)
    assert whole == [max(columns_of(row[index]) for row in rows) for index in range(6)]
    fitted = widths_of(rows, room)
    assert all(width <= before for width, before in zip(fitted, whole, strict=True))
    least = [whole[0], whole[1], min(whole[2], 6), min(whole[3], 10), min(whole[4], 8), min(whole[5], 18)]
    assert sum(fitted) + 10 <= max(room, sum(least) + 10)


def typed_at_terminal(config: Path, columns: int, **variables: str) -> str:
    """Return what `jobs` prints at a terminal of so many columns."""
    ours, theirs = pty.openpty()
    environment = (
        os.environ | {"RECEIPT_WATCHER_CONFIG": str(config), "COLUMNS": str(columns), "TERM": "xterm"} | variables
    )
    with subprocess.Popen(
        [sys.executable, "-m", "receipt_watcher", "jobs"], cwd=REPOSITORY, env=environment, stdout=theirs
    ) as process:
        os.close(theirs)
        found = b""
        with contextlib.suppress(OSError):  # EIO: the other side has closed
            while chunk := os.read(ours, 65536):
                found += chunk
        os.close(ours)
    assert process.returncode == 0
    return found.decode().replace("\r\n", "\n")


def test_a_terminal(config_file: Path, job_log: JobLog) -> None:
    """At a terminal the table fits and is coloured, unless NO_COLOR is set; the job's id is cut so that it names it."""
    job_id = add(job_log, f"{'a-long-name-' * 9}.pdf", State.FAILURE)
    plain = typed_at_terminal(config_file, 80, NO_COLOR="1")
    assert "\x1b" not in plain
    _, line = plain.splitlines()
    assert columns_of(line) <= 80
    assert job_id.startswith(line.split()[-1])
    assert "…" in line
    coloured = typed_at_terminal(config_file, 80)
    assert "\x1b[31m" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain


def test_a_pipe_gets_all(command: Command, job_log: JobLog) -> None:
    """In a file or a pipe nothing is cut or coloured."""
    job_id = add(job_log, f"{'a-long-name-' * 9}.pdf")
    said = command("jobs")
    assert f"{'a-long-name-' * 9}.pdf" in said.out
    assert job_id in said.out
    assert "\x1b" not in said.out
