"""A folder of the spool goes away, on a mount of its own or under another name, and comes back; seen from outside."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from receipt_watcher.cli.demo.stand_in import Behaviour, StandIn
from receipt_watcher.jobs.job import Folder
from receipt_watcher.jobs.states import State
from tests.conftest import TOKEN
from tests.fakes.daemons.process import RunningDaemon, jpegs, wait_until
from tests.fakes.mounts import Mounts

Fate = tuple[State, Folder, bool]  # state, folder, and whether the file is still to be moved

DONE: Fate = (State.SUCCESS, Folder.DONE, False)
FAILED: Fate = (State.FAILURE, Folder.FAILED, False)
CALLED: Fate = (State.PROCESSING, Folder.PROCESSING, False)
QUEUED: Fate = (State.QUEUED, Folder.PROCESSING, False)
TO_BE_FILED: Fate = (State.SUCCESS, Folder.PROCESSING, True)


@pytest.fixture
def mounts() -> Iterator[Mounts]:
    """A mount namespace of its own."""
    try:
        namespace = Mounts()
    except OSError as error:
        pytest.skip(str(error.strerror))
    with namespace:
        yield namespace


class Offices(RunningDaemon):
    """A daemon with three inboxes; of the spool of each another folder goes away, by which the inbox is named."""

    def __init__(self, root: Path, n8n: StandIn, prefix: Sequence[str] = ()) -> None:
        self.roots = {folder: root / f"office-{folder}" for folder in Folder}
        self.contents = iter(jpegs(30))
        self.verdicts: dict[str, str | None] = {}
        n8n.behave = lambda delivery: Behaviour(verdict=self.verdicts[delivery.filename])
        inboxes = [
            {"name": folder.value, "path": str(place / "inbox"), "settle_seconds": 0.2}
            for folder, place in self.roots.items()
        ]
        for place in self.roots.values():
            (place / "inbox").mkdir(parents=True)
        super().__init__(root, n8n.webhook_url, TOKEN, changes={"inboxes": inboxes}, prefix=prefix)

    def put(self, name: str, verdict: str | None) -> None:
        """Drop a receipt into each inbox that gets this verdict, or none from N8N."""
        for folder, place in self.roots.items():
            self.verdicts[f"{folder}-{name}"] = verdict
            (place / "whole").write_bytes(next(self.contents))
            (place / "whole").rename(place / "inbox" / f"{folder}-{name}")

    def fates(self, name: str) -> list[Fate]:
        """Return how far a receipt has come in each inbox."""
        found = [job for job in self.recorded() if job.filename == f"{job.inbox}-{name}"]
        return [(job.state, job.folder, job.move_due) for job in found]

    def wait_for(self, name: str, fate: Fate) -> None:
        """Wait until a receipt has come so far in each inbox."""
        wait_until(lambda: self.fates(name) == [fate] * 3, f"{name}: {fate}")

    def tell(self, name: str, status: str) -> None:
        """Call back for a receipt of each inbox."""
        for folder in self.roots:
            assert self.call(self.job(f"{folder}-{name}").job_id, {"status": status}, TOKEN).status_code == 200

    def wait_away(self, times: int) -> None:
        """Wait until each inbox was said so often to be unavailable, for a reason that names the folder."""
        wait_until(lambda: self.count("inbox.unavailable") == times * 3, "all are unavailable")
        for told in self.events("inbox.unavailable"):
            assert str(self.roots[Folder(told["inbox"])] / told["inbox"]) in told["why"]


def go_away_and_come_back(
    daemon: Offices, move: Callable[[Path, Path], object], beneath: Callable[[Path], list[Path]]
) -> None:
    """Let folders go away while receipts wait for N8N and for callbacks; restart; bring them back."""
    daemon.put("first.jpg", "success")
    daemon.put("second.jpg", "failure")
    daemon.wait_for("first.jpg", DONE)
    daemon.wait_for("second.jpg", FAILED)
    daemon.put("answered.jpg", None)
    daemon.put("refused.jpg", None)
    daemon.wait_for("answered.jpg", CALLED)
    daemon.wait_for("refused.jpg", CALLED)
    assert daemon.run("hold", "n8n").returncode == 0
    daemon.put("waiting.jpg", "success")
    daemon.wait_for("waiting.jpg", QUEUED)
    for folder, place in daemon.roots.items():
        move(place / folder, place / "aside")
    assert daemon.run("resume", "n8n").returncode == 0
    daemon.tell("answered.jpg", "success")
    daemon.tell("refused.jpg", "failure")
    daemon.wait_away(1)
    daemon.put("late.jpg", "success")
    assert daemon.terminate() == 0
    daemon.start()
    daemon.wait_away(2)
    assert daemon.fates("waiting.jpg") == [QUEUED] * 3
    assert daemon.fates("answered.jpg") == [TO_BE_FILED] * 3
    assert daemon.fates("late.jpg") == []
    assert [found for folder, place in daemon.roots.items() for found in beneath(place / folder)] == []
    for folder, place in daemon.roots.items():
        move(place / "aside", place / folder)
    for name in ("waiting.jpg", "answered.jpg", "late.jpg"):
        daemon.wait_for(name, DONE)
    daemon.wait_for("refused.jpg", FAILED)
    assert daemon.events("file.missing") == []


def test_mounts_go_away_and_come_back(tmp_path: Path, n8n: StandIn, mounts: Mounts) -> None:
    """Nothing fails, nothing is written beneath a mount point, and a restart meanwhile makes no difference."""
    daemon = Offices(tmp_path, n8n, mounts.prefix)
    for folder, place in daemon.roots.items():
        (place / "aside").mkdir()
        (place / folder).mkdir()
        mounts.mount_memory(place / folder)

    def move(source: Path, target: Path) -> None:
        assert mounts.run("mount", "--move", str(source), str(target)) == ""

    with daemon:  # seen from outside of the namespace, a path is what lies beneath the mount
        go_away_and_come_back(daemon, move, lambda path: list(path.iterdir()))


def test_folders_get_another_name_and_their_own_again(tmp_path: Path, n8n: StandIn) -> None:
    """No folder is made in the place of one that was used: it would be in the way of the one that comes back."""
    with Offices(tmp_path, n8n) as daemon:
        go_away_and_come_back(daemon, Path.rename, lambda path: [path] * path.exists())
