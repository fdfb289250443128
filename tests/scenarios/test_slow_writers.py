"""Writers that pause for longer than the settle time: nothing is taken half, with events and with polling."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import itertools
import os
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path

import pytest
from PIL import Image

from receipt_watcher.cli.demo import samples
from receipt_watcher.cli.demo.received_posts import ReceivedPost
from receipt_watcher.cli.demo.stand_in import StandIn
from receipt_watcher.examine.judge import FileLimits, examine
from receipt_watcher.jobs.job import Folder
from tests.conftest import TOKEN
from tests.fakes.daemons.process import RunningDaemon, assert_consistent, digest, wait_until

SETTLE_SECONDS = 2.0
SHORTEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.05, 3.0
DEADLINE_SECONDS = 40.0
LONG_AGO = 1_000_000_000

#: The options that ask for each mode.
MODES: dict[str, dict[str, object]] = {
    "native": {"observer": "native"},
    "polling": {"observer": "polling", "poll_seconds": 0.5},
}

Piece = tuple[bytes, float]  # what is written, and how long the writer then pauses
Write = Callable[[Path, Sequence[Piece]], None]


# --- receipts ------------------------------------------------------------------------------------------------------


def picture(seed: int) -> Image.Image:
    """Return a picture that does not compress to nothing."""
    return Image.frombytes("L", (220, 320), random.Random(seed).randbytes(220 * 320))


def saved(pages: Sequence[Image.Image], plugin: str) -> bytes:
    """Return a document of these pages."""
    written = io.BytesIO()
    pages[0].save(written, plugin, save_all=True, append_images=pages[1:])
    return written.getvalue()


def jpeg(seed: int) -> bytes:
    """Return a JPEG of 120 kB."""
    return samples.jpeg(seed, 120_000)


def png(seed: int) -> bytes:
    """Return a PNG of some 70 kB."""
    return saved([picture(seed)], "PNG")


def pdf(seed: int) -> bytes:
    """Return a PDF of three scanned pages."""
    return saved([Image.open(io.BytesIO(samples.jpeg(3 * seed + page))) for page in range(3)], "PDF")


def tiff(seed: int, pages: int = 3) -> bytes:
    """Return a TIFF of some 70 kB a page."""
    return saved([picture(3 * seed + page) for page in range(pages)], "TIFF")


KINDS = {"jpg": jpeg, "png": png, "pdf": pdf, "tif": tiff}

#: The rest that a writer which pauses before the end has to write: the end marker, or the last directory's end.
LAST_BYTES = {"jpg": 2, "png": 12, "pdf": 5, "tif": 32}


# --- writers -------------------------------------------------------------------------------------------------------


def in_pieces(content: bytes, seed: int) -> list[Piece]:
    """Cut a file at random places, with pauses between, one of which is longer than the settle time."""
    chance = random.Random(seed)
    cuts = [0, *sorted(chance.sample(range(1024, len(content) - 1024), chance.randint(3, 6))), len(content)]
    pauses = [chance.uniform(SHORTEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS) for _ in cuts[2:]]
    pauses[chance.randrange(len(pauses))] = LONGEST_PAUSE_SECONDS
    pieces = [content[start:end] for start, end in itertools.pairwise(cuts)]
    return list(zip(pieces, [*pauses, 0.0], strict=True))


def with_one_handle(path: Path, pieces: Sequence[Piece]) -> None:
    """Open the file once, and close it when it is whole."""
    pace = threading.Event()
    with path.open("xb", buffering=0) as file:
        for piece, pause in pieces:
            file.write(piece)
            pace.wait(pause)


def reopened(path: Path, pieces: Sequence[Piece]) -> None:
    """Open the file anew for each piece, and have it closed in between."""
    pace = threading.Event()
    for piece, pause in pieces:
        with path.open("ab", buffering=0) as file:
            file.write(piece)
        pace.wait(pause)


def with_an_old_time(path: Path, pieces: Sequence[Piece]) -> None:
    """Set the time of the original, long ago, after each piece, as copying programs do at the end."""
    pace = threading.Event()
    with path.open("xb", buffering=0) as file:
        for piece, pause in pieces:
            file.write(piece)
            os.utime(file.fileno(), (LONG_AGO, LONG_AGO))
            pace.wait(pause)


WRITERS: dict[str, Write] = {
    "one-handle": with_one_handle,
    "reopened": reopened,
    "old-time": with_an_old_time,
    "end-last": reopened,
}


def page_by_page(path: Path, states: Sequence[bytes]) -> None:
    """Add page after page to a TIFF that is well-formed in between, and keep it open all along.

    Each time, and once more before it is closed, the file must still be where it is being written.
    """
    pace = threading.Event()
    with path.open("xb", buffering=0) as file:
        for before, state in itertools.pairwise([b"", *states]):
            os.pwrite(file.fileno(), state[len(before) :], len(before))
            os.pwrite(file.fileno(), state[: len(before)], 0)  # the last page's pointer to the next one
            pace.wait(LONGEST_PAUSE_SECONDS)
            assert path.stat().st_ino == os.fstat(file.fileno()).st_ino


def knows_writer(file: RawIOBase) -> bool:
    """Return whether the file system can tell that this file is open for writing, wherever the file is now."""
    with Path(f"/proc/self/fd/{file.fileno()}").open("rb") as reader:
        try:
            fcntl.fcntl(reader, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        except OSError as error:
            return error.errno == errno.EAGAIN
    return False


# --- what came of it -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of all the files of one inbox, when the daemon has ended."""

    daemon: RunningDaemon
    writers: Mapping[str, Future[None]]
    contents: Mapping[str, bytes]
    deliveries: Sequence[ReceivedPost]


def begin(pool: ThreadPoolExecutor, inbox: Path, first_seed: int) -> tuple[dict[str, Future[None]], dict[str, bytes]]:
    """Let all writers begin in an inbox; return them, and what each writes, by file name."""
    futures, contents = {}, {}
    for seed, (suffix, writer) in enumerate(itertools.product(KINDS, WRITERS), first_seed):
        name = f"{writer}.{suffix}"
        content = contents[name] = KINDS[suffix](seed)
        pieces = in_pieces(content, seed)
        if writer == "end-last":
            cut = len(content) - LAST_BYTES[suffix]
            pieces = [(content[:cut], LONGEST_PAUSE_SECONDS), (content[cut:], 0.0)]
        futures[name] = pool.submit(WRITERS[writer], inbox / name, pieces)
    with (inbox.parent / "probe").open("xb", buffering=0) as file:
        if knows_writer(file):
            states = [tiff(first_seed, pages) for pages in (1, 2, 3)]
            contents["page-by-page.tif"] = states[-1]
            futures["page-by-page.tif"] = pool.submit(page_by_page, inbox / "page-by-page.tif", states)
    return futures, contents


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """All writers at once, in an inbox of each mode; and what came of them, by mode."""
    with contextlib.ExitStack() as stack:
        n8n = stack.enter_context(StandIn(token=TOKEN))
        daemons = {
            mode: stack.enter_context(
                RunningDaemon(
                    tmp_path_factory.mktemp(mode),
                    n8n.webhook_url,
                    TOKEN,
                    inbox={"name": mode, "settle_seconds": SETTLE_SECONDS, "patience_seconds": 600, **options},
                )
            )
            for mode, options in MODES.items()
        }
        with ThreadPoolExecutor(64) as pool:
            begun = {mode: begin(pool, daemon.inbox, 100 * n) for n, (mode, daemon) in enumerate(daemons.items(), 1)}
        with contextlib.suppress(AssertionError):  # each test says what is missing
            wait_until(
                lambda: all(daemon.is_quiet(len(begun[mode][1])) for mode, daemon in daemons.items()),
                "all are done",
                DEADLINE_SECONDS,
            )
        deliveries = n8n.deliveries
    return {
        mode: Outcome(daemon, *begun[mode], [delivery for delivery in deliveries if delivery.inbox == mode])
        for mode, daemon in daemons.items()
    }


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("suffix", KINDS)
@pytest.mark.parametrize("mode", MODES)
def test_a_slow_file_arrives_once_and_whole(outcomes: dict[str, Outcome], mode: str, suffix: str, writer: str) -> None:
    """However it is written, and with pauses longer than the settle time: one delivery, of the whole file."""
    outcome, name = outcomes[mode], f"{writer}.{suffix}"
    outcome.writers[name].result()
    arrived = [delivery.sha256 for delivery in outcome.deliveries if delivery.filename == name]
    assert arrived == [digest(outcome.contents[name])]


@pytest.mark.parametrize("mode", MODES)
def test_a_tiff_that_grows_by_pages_while_it_is_open(outcomes: dict[str, Outcome], mode: str) -> None:
    """A TIFF that is well-formed after each page stays where it is until it is closed, then it is sent once, whole."""
    outcome, name = outcomes[mode], "page-by-page.tif"
    if name not in outcome.contents:
        pytest.skip("this file system cannot tell that a file is open for writing")
    outcome.writers[name].result()
    arrived = [delivery.sha256 for delivery in outcome.deliveries if delivery.filename == name]
    assert arrived == [digest(outcome.contents[name])]


@pytest.mark.parametrize("mode", MODES)
def test_nothing_else_arrives(outcomes: dict[str, Outcome], mode: str) -> None:
    """All receipts are in done/ and nothing else is anywhere, above all no torn copy."""
    outcome = outcomes[mode]
    assert outcome.daemon.is_quiet(len(outcome.contents))
    jobs = assert_consistent(outcome.daemon, outcome.deliveries, outcome.contents.values())
    assert {job.folder for job in jobs.values()} == {Folder.DONE}


@pytest.mark.parametrize("mode", MODES)
def test_an_old_time_is_kept(outcomes: dict[str, Outcome], mode: str) -> None:
    """A file that a copying program gave the time of its original has that time in done/ too."""
    daemon = outcomes[mode].daemon
    times = {path.name: path.stat().st_mtime for path in daemon.files(daemon.done) if path.stem == "old-time"}
    assert times == dict.fromkeys((f"old-time.{suffix}" for suffix in KINDS), LONG_AGO)


@pytest.mark.parametrize("mode", MODES)
def test_the_mode_is_the_one_asked_for(outcomes: dict[str, Outcome], mode: str) -> None:
    """Each inbox was watched in the way that it is tested for."""
    assert [line["mode"] for line in outcomes[mode].daemon.events("inbox.watched")] == [mode]


# --- the samples ---------------------------------------------------------------------------------------------------


def is_whole(path: Path, content: bytes) -> bool:
    """Return whether the examination finds nothing wrong with such a file."""
    path.write_bytes(content)
    examination = examine(path, FileLimits(10**9, 10**9))
    return examination.refusal is None and not examination.doubt


def test_pages_of_a_tiff_hide_that_more_will_come(tmp_path: Path) -> None:
    """Each state of the TIFF that grows is a well-formed file: only its open handle tells that it is not whole."""
    assert all(is_whole(tmp_path / "state.tif", tiff(1, pages)) for pages in (1, 2, 3))


@pytest.mark.parametrize("suffix", KINDS)
def test_samples_are_whole_only_with_their_end(tmp_path: Path, suffix: str) -> None:
    """Each sample is as large as a real receipt, and visibly incomplete without its last bytes."""
    content = KINDS[suffix](1)
    assert 50_000 < len(content) < 300_000
    assert is_whole(tmp_path / f"whole.{suffix}", content)
    assert not is_whole(tmp_path / f"torso.{suffix}", content[: -LAST_BYTES[suffix]])
