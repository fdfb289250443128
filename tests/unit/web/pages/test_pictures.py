"""Pictures of receipts: drawn from every kind by a process of its own, kept for a day, and never a hostile file's."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from receipt_watcher.cli.demo import samples
from receipt_watcher.examine.examiners import Bounds, Examiners
from receipt_watcher.examine.preview import HEIGHT, WIDTH, draw
from receipt_watcher.examine.result import ACCEPTED_MIME_TYPES, PreviewQuestion
from receipt_watcher.jobs.job import Job
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.spool.folders import Spool
from receipt_watcher.web.files.fetching import Fetching
from receipt_watcher.web.pages.receipts.pictures import KEPT_BYTES, KEPT_SECONDS, Pictures
from tests.conftest import FakeClock
from tests.fakes.daemons import hostile_examiner
from tests.fakes.daemons.process import digest
from tests.unit.delivery.test_callbacks import Concluding

KINDS: dict[str, Callable[[int], bytes]] = {
    "image/jpeg": samples.jpeg,
    "image/png": samples.png,
    "image/tiff": samples.tiff,
    "image/gif": samples.gif,
    "image/bmp": samples.bmp,
    "image/webp": samples.webp,
    "image/heic": samples.heic,
    "application/pdf": samples.pdf,
}
MOST = 100_000_000
BOUNDS = Bounds(cpu_seconds=20, memory_bytes=1024**3)


def drawn(content: bytes, mime_type: str, max_pixels: int = MOST) -> Image.Image | None:
    """Draw a file here, and open what comes of it."""
    picture = draw(io.BytesIO(content), PreviewQuestion(mime_type, max_pixels))
    return Image.open(io.BytesIO(picture), formats=["JPEG"]) if picture else None


def saved(image: Image.Image, plugin: str, **options: object) -> bytes:
    """Return a picture as a file."""
    written = io.BytesIO()
    image.save(written, plugin, **options)
    return written.getvalue()


# --- drawing -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mime_type", KINDS)
def test_each_kind_is_drawn(mime_type: str) -> None:
    """Every kind that is accepted has a picture: a JPEG within its bounds."""
    picture = drawn(KINDS[mime_type](1), mime_type)
    assert picture is not None
    assert 100 < picture.width <= WIDTH
    assert 100 < picture.height <= HEIGHT


def test_no_kind_is_forgotten() -> None:
    """A kind that is accepted from now on needs a picture, too; HEIF is drawn as HEIC is."""
    assert KINDS.keys() | {"image/heif"} == ACCEPTED_MIME_TYPES


def test_a_picture_is_upright() -> None:
    """A phone that was held upright says so beside its picture; it is drawn as it was seen."""
    lying = Image.new("RGB", (900, 300), "white")
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = drawn(saved(lying, "JPEG", exif=exif), "image/jpeg")
    assert picture is not None
    assert picture.height == 3 * picture.width


def test_what_is_transparent_is_white() -> None:
    """What shows nothing on paper is drawn on paper, not on black."""
    picture = drawn(saved(Image.new("RGBA", (50, 50), (0, 0, 0, 0)), "PNG"), "image/png")
    assert picture is not None
    assert picture.getpixel((25, 25)) == (255, 255, 255)


@pytest.mark.parametrize("image", [Image.new(mode, (60, 40)) for mode in ("1", "L", "P", "I;16", "CMYK")])
def test_every_way_to_keep_pixels_is_drawn(image: Image.Image) -> None:
    """Black and white, grey, with a palette, deep, or for print: it is a picture."""
    assert drawn(saved(image, "TIFF"), "image/tiff") is not None


@pytest.mark.parametrize(
    ("content", "mime_type"),
    [
        (b"", "image/jpeg"),
        (b"<svg onload='alert(1)'/>", "image/svg+xml"),
        (b"<html>", "text/html"),
        (samples.png(1), "image/jpeg"),
        (samples.jpeg(1)[:200], "image/jpeg"),
        (samples.pdf(1)[:500], "application/pdf"),
        (b"%PDF-1.4\n%%EOF", "application/pdf"),
    ],
)
def test_what_cannot_be_drawn_has_no_picture(content: bytes, mime_type: str) -> None:
    """What is none of the kinds, or not what it claims to be, has no picture, and raises nothing."""
    assert drawn(content, mime_type) is None


def test_what_is_too_large_has_no_picture() -> None:
    """More pixels than are allowed are not even decoded."""
    assert drawn(samples.png(1), "image/png", max_pixels=1000) is None


def test_nothing_else_comes_along() -> None:
    """The picture is made anew from pixels: where a photo was taken stays in its file."""
    exif = Image.Exif()
    exif[0x010E] = "a secret place"
    content = saved(Image.new("RGB", (90, 90)), "JPEG", exif=exif, comment=b"a secret comment")
    assert b"a secret" in content
    assert b"a secret" not in draw(io.BytesIO(content), PreviewQuestion("image/jpeg", MOST))


# --- in a process of its own -----------------------------------------------------------------------------------------


def test_an_examiner_draws(tmp_path: Path) -> None:
    """The picture comes whole from the other process."""
    path = tmp_path / "scan.jpg"
    path.write_bytes(samples.jpeg(1))
    with Examiners(BOUNDS, kept=0) as examiners, path.open("rb") as file:
        picture = examiners.draw(file.fileno(), "image/jpeg", MOST)
    assert picture == draw(io.BytesIO(samples.jpeg(1)), PreviewQuestion("image/jpeg", MOST))


@pytest.fixture
def hostile_examiners() -> Iterator[Examiners]:
    """Examiners at which a file can do whatever it likes."""
    with Examiners(replace(BOUNDS, cpu_seconds=1, hang_seconds=0.5), module=hostile_examiner.MODULE, kept=0) as found:
        yield found


@pytest.mark.parametrize(
    "deed",
    [
        "segfault",
        "abort",
        "allocate",
        "loop",
        "sleep",
        "leave",
        "killed",
        "garble",
        "flood",
        "lie",
        "stumble",
        "lack",
        "draw_svg",
        "draw_much",
        "draw_half",
    ],
)
def test_a_hostile_file_has_no_picture(hostile_examiners: Examiners, tmp_path: Path, deed: str) -> None:
    """Whatever a file does to the one that draws it, it has no picture, and the next one is drawn."""
    bad, good = tmp_path / "bad.jpg", tmp_path / "good.jpg"
    bad.write_text(deed)
    good.write_bytes(samples.jpeg(1))
    with bad.open("rb") as file:
        assert hostile_examiners.draw(file.fileno(), "image/jpeg", MOST) is None
    with good.open("rb") as file:
        assert hostile_examiners.draw(file.fileno(), "image/jpeg", MOST)


# --- kept ----------------------------------------------------------------------------------------------------------


class Gallery(Concluding):
    """Receipts with their files, and their pictures."""

    def __init__(self, log: JobLog, clock: FakeClock, spool: Spool, folder: Path, examiners: Examiners) -> None:
        super().__init__(log, clock, spool)
        self.folder = folder
        self.thumbnails = Pictures(
            folder, Fetching(log.lookups.get, self.routes), examiners, max_pixels=MOST, clock=self.clock
        )

    def put(self, content: bytes, **fields: object) -> Job:
        """Record a receipt with a file."""
        known: dict[str, object] = {"sha256": digest(content), "size": len(content), "mime_type": "image/jpeg"}
        [job] = self.record(1, "office", **(known | fields))
        self.path_of(job).write_bytes(content)
        return job

    def path_of(self, job: Job) -> Path:
        """Return where a receipt's file is."""
        return self.routes[0].path_of(job)

    @property
    def kept(self) -> list[str]:
        """The names of the pictures that are kept."""
        return sorted(path.name for path in self.folder.iterdir()) if self.folder.exists() else []


@pytest.fixture
def gallery(log: JobLog, clock: FakeClock, spool: Spool, tmp_path: Path) -> Iterator[Gallery]:
    """No pictures yet."""
    with Examiners(BOUNDS, kept=0) as examiners:
        yield Gallery(log, clock, spool, tmp_path / "pictures", examiners)


def test_a_picture_is_drawn_once(gallery: Gallery) -> None:
    """The second who asks gets the one that was kept, whatever became of the file."""
    job = gallery.put(samples.jpeg(1))
    first = gallery.thumbnails.picture_of(job)
    assert first is not None
    assert gallery.kept == [f"{job.sha256}.jpg"]
    gallery.path_of(job).unlink()
    assert gallery.thumbnails.picture_of(job) == first


def test_a_file_that_cannot_be_drawn_is_not_tried_again(gallery: Gallery) -> None:
    """What has no picture costs one process, not one for each look."""
    job = gallery.put(b"no picture at all")
    assert gallery.thumbnails.picture_of(job) is None
    gallery.path_of(job).unlink()  # a second try would raise
    assert gallery.thumbnails.picture_of(job) is None
    assert gallery.kept == []


def test_another_file_in_its_place_is_not_drawn(gallery: Gallery) -> None:
    """What is shown for a receipt is the receipt."""
    job = gallery.put(samples.jpeg(1))
    gallery.path_of(job).write_bytes(samples.jpeg(2) + b"more")
    with pytest.raises(FileNotFoundError):
        gallery.thumbnails.picture_of(job)


@pytest.mark.parametrize(
    "changes",
    [
        {"reason": Reason.UNEXAMINABLE},
        {"reason": Reason.UNSUPPORTED_TYPE},
        {"mime_type": "image/svg+xml"},
        {"mime_type": None},
        {"sha256": None},
        {"removed_at": 1.0},
    ],
)
def test_what_did_not_pass_or_is_gone_is_never_drawn(gallery: Gallery, changes: dict[str, object]) -> None:
    """A file that the examination refused is not opened for a picture, nor shown after retention removed it."""
    job = gallery.put(samples.jpeg(1))
    assert gallery.thumbnails.picture_of(replace(job, **changes)) is None  # type: ignore[arg-type]


def test_pictures_are_removed_after_a_day(gallery: Gallery) -> None:
    """A picture does not outlive its receipt for long; half a one, which a crash left, goes as well."""
    gallery.thumbnails.picture_of(gallery.put(samples.jpeg(1)))
    gallery.clock.advance(KEPT_SECONDS - 1)
    gallery.thumbnails.trim()
    assert len(gallery.kept) == 1
    gallery.clock.advance(1)
    gallery.thumbnails.trim()
    assert gallery.kept == []


def test_pictures_have_a_bounded_room(gallery: Gallery) -> None:
    """When they are too many, the oldest go."""
    gallery.folder.mkdir()
    for number in range(3):
        path = gallery.folder / f"{number}.jpg"
        with path.open("wb") as file:
            file.truncate(KEPT_BYTES // 2)
        gallery.clock.advance(1)
        os.utime(path, (gallery.clock.now, gallery.clock.now))
    gallery.thumbnails.trim()
    assert gallery.kept == ["1.jpg", "2.jpg"]


def test_without_a_folder_there_is_nothing_to_trim(gallery: Gallery) -> None:
    """Nobody looked at a picture yet."""
    gallery.thumbnails.trim()
    assert gallery.kept == []


def test_a_disk_that_is_full_costs_nothing_but_the_keeping(gallery: Gallery) -> None:
    """The picture is shown all the same."""
    gallery.folder.write_text("no folder")
    assert gallery.thumbnails.picture_of(gallery.put(samples.jpeg(1)))
