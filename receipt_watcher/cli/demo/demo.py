"""`receipt-watcher demo`: the real daemon carries ten receipts to a stand-in for N8N, before one's eyes.

In a temporary folder it starts `receipt-watcher run` as a process of its own and drops freshly drawn receipts into
its inbox: good ones, a slowly written one, a copy, broken ones, one that N8N rejects, one while N8N is down. What
is shown, and compared at the end, is read from the folders, the daemon's log and API, and what the stand-in got.

It promises to end within a minute and a stop; 0 means that each receipt ended as it should. Ctrl-C and
SIGTERM stop the daemon and remove the folder, which otherwise stays only with --keep or when something differed. It
runs in the main thread; one more writes the slow receipt. A kill -9 leaves the daemon and the folder behind.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click

from receipt_watcher.cli.demo.play import DemoDaemon, Play, Stop, StoppedError, TroubleError
from receipt_watcher.cli.demo.progress import INBOX, Journeys, ProgressRow, encodable, result_table, size_of, view_for
from receipt_watcher.cli.demo.receipts import (
    Outcome,
    Receipt,
    answer_for,
    differences,
    find,
    in_a_word,
    leftovers,
    make_receipts,
)
from receipt_watcher.cli.demo.stand_in import StandIn
from receipt_watcher.system.state_dir import new_token

_TEXT_WIDTH = 100
_TITLES = ("file", "what it was", "should end", "did end", "folder", "why")
_INTRODUCTION = """\
The real receipt-watcher now carries ten receipts to N8N, and files each by N8N's answer.
Some of them are meant to fail, so that you see what happens then.
The N8N here is a stand-in, a small program in its place; nothing leaves this computer.
The folders inbox, processing, done and failed are in {root}
"""
_NEXT_STEP = """
The next step, with your own folder and your own N8N:
  {program} init DIR
  then set the address of your N8N workflow in DIR/watcher.yaml
  {program} check --config DIR/watcher.yaml
  {program} run --config DIR/watcher.yaml"""


def run_demo(*, keep: bool) -> int:
    """Show it all; return 0 where each receipt ended as it should, else 1."""
    started_at = time.monotonic()
    stop = Stop()
    with _stopping_on_signals(stop):
        try:
            root = Path(tempfile.mkdtemp(prefix="receipt-watcher-demo-")).resolve()
        except OSError as error:
            click.echo(f"receipt-watcher: no temporary folder can be made ({error})", err=True)
            return 1
        try:
            return _run_in(root, stop, started_at, keep=keep)
        except BrokenPipeError:  # nobody reads on, as in `… | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1


def _run_in(root: Path, stop: Stop, started_at: float, *, keep: bool) -> int:
    stays = keep
    try:
        troubles = _show(root, stop)
        stays = keep or bool(troubles)
    except StoppedError:
        troubles = ["it was stopped before the end, and the daemon with it"]
    except BrokenPipeError:
        raise
    except OSError as error:
        troubles, stays = [f"it could not begin: {error}"], True
    finally:
        if not stays:
            shutil.rmtree(root, ignore_errors=True)
    _print_end(root, troubles, time.monotonic() - started_at, stays=stays)
    return 1 if troubles else 0


@contextlib.contextmanager
def _stopping_on_signals(stop: Stop) -> Iterator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        if before[number] is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, lambda *_: stop.ask())
    try:
        yield
    finally:
        for number, action in before.items():
            signal.signal(number, action)


def _show(root: Path, stop: Stop) -> list[str]:
    """Introduce, perform, and tell what became of each receipt; return what is not as it should be."""
    _introduce(root)
    (root / INBOX).mkdir()
    receipts, token, troubles = make_receipts(), new_token(), list[str]()
    rows = [ProgressRow(receipt.name, receipt.what, len(receipt.content)) for receipt in receipts]
    view = view_for(sys.stdout, rows, os.environ, time.monotonic())
    with (
        StandIn(token, behave=answer_for(receipts)) as n8n,
        DemoDaemon(root, n8n.webhook_url, token) as daemon,
        ThreadPoolExecutor(1) as writers,
        contextlib.closing(view),
    ):
        play = Play(root, n8n, daemon, Journeys(rows, view), stop)
        try:
            play.start()
            play.perform(receipts, writers)
        except (TroubleError, OSError) as error:
            troubles.append(str(error))
        jobs = play.jobs()
        if (code := daemon.stop()) and not troubles:
            troubles.append(f"the daemon ended with code {code} when it was stopped")
        if play.recorded > len(receipts):
            troubles.append(f"the daemon recorded {play.recorded} jobs for {len(receipts)} receipts")
    if not play.has_started:
        return troubles
    originals = {job["job_id"]: name for name, job in jobs.items()}
    outcomes = [find(receipt, root, jobs.get(receipt.name, {}), originals, n8n.deliveries) for receipt in receipts]
    _print_results(receipts, outcomes)
    for receipt, end in zip(receipts, outcomes, strict=True):
        troubles += differences(receipt, end)
    return troubles + leftovers(root)


# --- what is said before and after -------------------------------------------------------------------------------


def _introduce(root: Path) -> None:
    for paragraph in _INTRODUCTION.format(root=root).splitlines():
        _print_wrapped(paragraph)
    _print("")


def _print_results(receipts: Sequence[Receipt], outcomes: Sequence[Outcome]) -> None:
    records = [
        (
            receipt.name,
            receipt.what,
            in_a_word(receipt.status, receipt.reason),
            in_a_word(end.status, end.reason),
            ", ".join(end.folders) or "nowhere",
            end.why,
        )
        for receipt, end in zip(receipts, outcomes, strict=True)
    ]
    _print("\nWhat happened:\n")
    for line in result_table(_TITLES, records, _width()):
        _print(line)


def _print_end(root: Path, troubles: Sequence[str], seconds: float, *, stays: bool) -> None:
    if troubles:
        _print(f"\nNot everything went as it should, after {seconds:.1f} s:")
        for trouble in troubles:
            _print(f"  {trouble}")
    else:
        _print(f"\nAll receipts ended as they should, in {seconds:.1f} s.")
        _print_wrapped("Beside each file in failed is a note that says what happened and what to do: <file>.reason.txt")
    if stays:
        _print_wrapped(f"The demo's folder stays: {root}; the daemon's log is daemon.log in it.")
    else:
        _print_wrapped(f"The demo's folder was {root}; it is removed (--keep keeps it).")
    if not troubles:
        _print(_NEXT_STEP.format(program=_program()))


def _program() -> str:
    """Return how this program is called: by its name, or by its path where a shell would not find it."""
    name = "receipt-watcher"
    script, on_path = Path(sys.executable).with_name(name), shutil.which(name)
    if not script.exists():
        return f"{shlex.quote(sys.executable)} -m receipt_watcher"
    if on_path and script.samefile(on_path):
        return name
    return shlex.quote(os.path.relpath(script) if script.is_relative_to(Path.cwd()) else str(script))


def _width() -> int | None:
    """Return the terminal's width; None where the output goes elsewhere."""
    return size_of(sys.stdout).columns if sys.stdout.isatty() else None


def _print_wrapped(text: str) -> None:
    width = min(_width() or _TEXT_WIDTH, _TEXT_WIDTH)
    _print(textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False))


def _print(text: str) -> None:
    click.echo(encodable(text, sys.stdout.encoding))
