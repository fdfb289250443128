"""The settling of files, on a clock that only moves when told; no file is needed."""

from __future__ import annotations

import pytest

from receipt_watcher.inbox.wait_reasons import WaitReason
from receipt_watcher.inbox.watching.settling import PAUSES_SECONDS, Settled, Settler, Signature, Times

SETTLE = 2.0
PATIENCE = 60.0
SLOW = Times(settle_seconds=7.0, patience_seconds=90.0)
ALL = 1000


class Desk:
    """A settler with the files that it looks at, as signatures only."""

    def __init__(self) -> None:
        self.settler = Settler(lambda name: SLOW if name.startswith("slow/") else Times(SETTLE, PATIENCE))
        self.now = 100.0
        self.files: dict[str, Signature] = {}

    def put(self, name: str, size: int = 1, mtime_ns: int = 10**9, inode: int = 1, *, told: bool = True) -> None:
        """Put a file there or change it; `told` says whether an event tells of it."""
        self.files[name] = Signature(size, mtime_ns, inode)
        if told:
            self.settler.touched(name, self.files[name], self.now)

    def scan(self) -> None:
        """See all files that are there."""
        for name, signature in self.files.items():
            self.settler.seen(name, signature, self.now)

    def given_out(self, seconds: float, limit: int = ALL) -> list[Settled]:
        """Let seconds pass, and return what has settled."""
        self.now += seconds
        return self.settler.settled(self.now, self.files.get, limit)

    def after(self, seconds: float, limit: int = ALL) -> list[str]:
        """Let seconds pass, and return the names of what has settled."""
        return [settled.relative for settled in self.given_out(seconds, limit)]

    def park(self, name: str, why: WaitReason) -> float:
        """Put a file there, let it settle, take it back for a reason, and return for how long it is left alone."""
        self.put(name)
        [settled] = self.given_out(SETTLE)
        self.settler.park(settled, why, "detail", self.now)
        return self.settler.parked[name].until - self.now


@pytest.fixture
def desk() -> Desk:
    """A settler that has seen nothing yet."""
    return Desk()


# --- settling ---


@pytest.mark.parametrize("told", [True, False])
def test_a_file_settles_after_the_settle_time(desk: Desk, *, told: bool) -> None:
    """A file is reported when nothing changed for the settle time, not before, and only once."""
    desk.put("a", told=told)
    desk.scan()
    assert desk.after(SETTLE - 0.01) == []
    assert desk.after(0.01) == ["a"]
    assert desk.after(SETTLE) == []
    assert len(desk.settler) == 0


def test_a_slow_copy_is_reported_when_it_is_whole(desk: Desk) -> None:
    """Twenty pieces with pauses just under the settle time: nothing is reported until the last has settled."""
    for piece in range(1, 21):
        desk.put("a", size=piece)
        assert desk.after(SETTLE - 0.01) == []
    assert desk.after(0.01) == ["a"]


def test_a_slow_copy_without_events_is_reported_when_it_is_whole(desk: Desk) -> None:
    """The same where only scans tell: each change that a scan sees starts the settle time again."""
    for piece in range(1, 21):
        desk.put("a", size=piece, told=False)
        desk.scan()
        assert desk.after(SETTLE - 0.01) == []
    assert desk.after(0.01) == ["a"]


@pytest.mark.parametrize(
    "change", [{"size": 2}, {"mtime_ns": 2 * 10**9}, {"inode": 2}], ids=["other size", "other time", "other inode"]
)
def test_a_change_that_nobody_told_is_found_at_the_last_moment(desk: Desk, change: dict[str, int]) -> None:
    """Size, time and inode are read afresh before a file is reported: a lost event does not make it half."""
    desk.put("a")
    desk.put("a", **change, told=False)
    assert desk.after(SETTLE) == []
    assert desk.after(SETTLE - 0.01) == []
    assert desk.after(0.01) == ["a"]


def test_an_event_without_a_visible_change_counts(desk: Desk) -> None:
    """A writer within the same tick of the file system's clock is believed by its event alone."""
    desk.put("a")
    assert desk.after(SETTLE / 2) == []
    desk.put("a")
    assert desk.after(SETTLE / 2) == []
    assert desk.after(SETTLE / 2) == ["a"]


def test_a_scan_without_a_change_does_not_start_again(desk: Desk) -> None:
    """However often a file is seen unchanged, its settle time runs on."""
    desk.put("a")
    for _ in range(9):
        desk.scan()
        assert desk.after(SETTLE / 10) == []
    assert desk.after(SETTLE / 10 + 0.001) == ["a"]


def test_an_old_time_is_no_proof(desk: Desk) -> None:
    """With cp -p and rsync a file has a time long past while it is written: only what we observed counts."""
    desk.put("a", mtime_ns=10**9)
    assert desk.after(0) == []
    assert desk.after(SETTLE) == ["a"]


def test_a_file_that_is_gone_is_forgotten(desk: Desk) -> None:
    """A file that was removed before it settled is not reported, and leaves nothing to wait for."""
    desk.put("a")
    del desk.files["a"]
    assert desk.after(SETTLE) == []
    assert desk.settler.next_due() is None
    desk.put("b")
    desk.settler.gone("b")
    desk.settler.gone("b")
    assert desk.after(SETTLE) == []


def test_a_file_that_comes_again_is_reported_again(desk: Desk) -> None:
    """Scanners count from one again: the same name is a new file once the first was taken."""
    desk.put("a")
    assert desk.after(SETTLE) == ["a"]
    desk.put("a", inode=2)
    assert desk.after(SETTLE) == ["a"]


def test_a_file_that_is_still_there_is_found_again_by_the_scan(desk: Desk) -> None:
    """What was reported but not taken is not forgotten for ever: the next scan begins with it anew."""
    desk.put("a")
    assert desk.after(SETTLE) == ["a"]
    desk.scan()
    assert desk.after(SETTLE) == ["a"]


def test_so_many_at_once_and_the_rest_next_time(desk: Desk) -> None:
    """Of many that have settled the longest unchanged come first, no more than asked for; none is lost."""
    for number in range(5):
        desk.put(f"{number}")
    desk.put("1", size=2)
    assert desk.after(SETTLE, limit=2) == ["0", "2"]
    assert desk.after(0, limit=2) == ["3", "4"]
    assert desk.after(0, limit=2) == ["1"]
    assert desk.after(0, limit=2) == []


def test_it_is_known_when_to_look_next(desk: Desk) -> None:
    """The time of the next decision is known, so that nobody has to look before."""
    assert desk.settler.next_due() is None
    desk.put("a")
    desk.now += 1
    desk.put("b")
    assert desk.settler.next_due() == desk.now - 1 + SETTLE
    desk.put("slow/c")
    assert desk.settler.next_due() == desk.now - 1 + SETTLE
    [settled] = desk.given_out(SETTLE - 1)
    desk.settler.park(settled, WaitReason.OPEN, "", desk.now)
    assert desk.settler.next_due() == desk.now + PAUSES_SECONDS[WaitReason.OPEN][0]


# --- empty files ---


def test_an_empty_file_is_waited_for(desk: Desk) -> None:
    """Some writers create a file seconds before they fill it: empty, it waits for the patience, and is then told."""
    desk.put("a", size=0)
    assert desk.after(SETTLE) == []
    assert desk.settler.parked["a"].why is WaitReason.EMPTY
    assert desk.settler.next_due() == 100.0 + PATIENCE
    for _ in range(5):
        desk.scan()
        assert desk.after(1) == []
    assert desk.after(PATIENCE - SETTLE - 5 - 0.01) == []
    assert desk.after(0.01) == ["a"]
    assert desk.settler.parked == {}


@pytest.mark.parametrize("told", [True, False])
def test_an_empty_file_that_is_filled_settles_as_any_other(desk: Desk, *, told: bool) -> None:
    """Content ends the wait: the file is reported a settle time after it, event or not."""
    desk.put("a", size=0)
    assert desk.after(SETTLE) == []
    desk.put("a", size=7, told=told)
    desk.scan()
    assert desk.settler.parked == {}
    assert desk.after(SETTLE - 0.01) == []
    assert desk.after(0.01) == ["a"]


def test_content_in_the_last_moment_of_patience_is_not_cut(desk: Desk) -> None:
    """A file that is filled just as the patience with it ends has its settle time all the same."""
    desk.put("a", size=0)
    assert desk.after(SETTLE) == []
    desk.put("a", size=7, told=False)
    assert desk.after(PATIENCE - SETTLE) == []
    assert desk.after(SETTLE - 0.01) == []
    assert desk.after(0.01) == ["a"]


def test_an_empty_file_holds_up_nobody(desk: Desk) -> None:
    """While an empty file waits, those behind it settle in their time."""
    desk.put("a", size=0)
    desk.put("b")
    assert desk.after(SETTLE) == ["b"]


def test_a_file_of_1970_is_waited_for(desk: Desk) -> None:
    """A modification time in second 0 is what rsync leaves on a torso; after the patience the file is given out."""
    desk.put("a", mtime_ns=0)
    desk.put("b", mtime_ns=999_999_999)
    desk.put("c", mtime_ns=10**9)
    desk.put("d", mtime_ns=-1)
    assert desk.after(SETTLE) == ["c", "d"]
    assert {parked.why for parked in desk.settler.parked.values()} == {WaitReason.UNDATED}
    desk.settler.gone("b")
    [settled] = desk.given_out(PATIENCE - SETTLE)
    assert (settled.relative, settled.is_overdue) == ("a", True)


def test_a_time_stamp_of_the_future_does_no_harm(desk: Desk) -> None:
    """What a file says of itself is only compared with what it said before."""
    desk.put("a", mtime_ns=2**62)
    assert desk.after(SETTLE - 0.01) == []
    assert desk.after(0.01) == ["a"]


# --- files that are taken back ---


@pytest.mark.parametrize("why", [WaitReason.OPEN, WaitReason.PLACEHOLDER, WaitReason.IMMOVABLE])
def test_pauses_double_up_to_their_longest(desk: Desk, why: WaitReason) -> None:
    """A file that could not be taken is left alone, whatever scans see, for longer each time, and without end."""
    first, longest = PAUSES_SECONDS[why]
    assert desk.park("a", why) == first
    expected = first
    for _ in range(12):
        desk.scan()
        pause = desk.settler.parked["a"].until - desk.now
        assert desk.after(pause - 0.01) == []
        [settled] = desk.given_out(0.02)
        desk.settler.park(settled, why, "", desk.now)
        expected = min(longest, expected * 2)
        assert desk.settler.parked["a"].until - desk.now == pytest.approx(expected)
    assert desk.settler.parked["a"].looks == 13


@pytest.mark.parametrize("why", [WaitReason.INCOMPLETE, WaitReason.UNREADABLE])
def test_patience_ends(desk: Desk, why: WaitReason) -> None:
    """What is not whole is given out as it is when it has not changed for the patience, and not before."""
    desk.park("a", why)
    overdue: list[float] = []
    while not overdue:
        until = desk.settler.parked["a"].until
        assert until <= 100.0 + PATIENCE
        [settled] = desk.given_out(until - desk.now)
        if settled.is_overdue:
            overdue.append(desk.now)
        else:
            desk.settler.park(settled, why, "", desk.now)
    assert overdue == [100.0 + PATIENCE]


def test_a_file_that_cannot_be_read_after_its_patience_is_no_busy_loop(desk: Desk) -> None:
    """A disk that does not give a file which is overdue is asked again after a pause, never at once."""
    desk.put("a")
    [settled] = desk.given_out(PATIENCE)
    assert settled.is_overdue
    desk.settler.park(settled, WaitReason.UNREADABLE, "", desk.now)
    assert desk.settler.parked["a"].until > desk.now


@pytest.mark.parametrize("told", [True, False])
def test_a_parked_file_that_changes_settles_anew(desk: Desk, *, told: bool) -> None:
    """Who mends the file, or goes on writing it, need not wait for the pause to end."""
    desk.park("a", WaitReason.IMMOVABLE)
    desk.put("a", mtime_ns=2 * 10**9, told=told)
    desk.scan()
    assert desk.settler.parked == {}
    assert desk.after(SETTLE - 0.01) == []
    assert desk.after(0.01) == ["a"]


def test_a_parked_file_that_goes_is_forgotten(desk: Desk) -> None:
    """A file that somebody removed is waited for no more."""
    desk.park("a", WaitReason.OPEN)
    del desk.files["a"]
    assert desk.after(PATIENCE) == []
    assert desk.settler.parked == {}
    assert desk.settler.next_due() is None


def test_each_parking_is_told(desk: Desk) -> None:
    """Whoever listens hears why each file waits."""
    desk.park("a", WaitReason.OPEN)
    desk.put("b", size=0)
    desk.settler.gone("a")
    desk.after(SETTLE)
    assert [(name, seen.why) for name, seen in desk.settler.newly_parked()] == [
        ("a", WaitReason.OPEN),
        ("b", WaitReason.EMPTY),
    ]
    assert desk.settler.newly_parked() == []


def test_growth_is_remembered(desk: Desk) -> None:
    """By how much a file grew since it was first seen, and when that was, outlives each change and each parking."""
    desk.put("a", size=10)
    desk.after(1)
    desk.put("a", size=70)
    [settled] = desk.given_out(SETTLE)
    desk.settler.park(settled, WaitReason.INCOMPLETE, "", desk.now)
    desk.put("a", size=75)
    [(name, seen)] = desk.settler.waiting()
    assert (name, seen.first_seen_at, seen.first_size, seen.signature.size) == ("a", 100.0, 10, 75)


def test_subfolders_have_their_own_times(desk: Desk) -> None:
    """A slow scanner's subfolder settles in its own time and holds up nobody, first come or not."""
    desk.put("slow/a")
    desk.put("b")
    desk.put("slow/c", size=0)
    assert desk.after(SETTLE) == ["b"]
    assert desk.after(SLOW.settle_seconds - SETTLE - 0.01) == []
    assert desk.after(0.01) == ["slow/a"]
    assert desk.after(SLOW.patience_seconds - SLOW.settle_seconds) == ["slow/c"]


def test_what_was_parked_comes_before_what_still_settles(desk: Desk) -> None:
    """A file whose pause has ended is given out although a younger one still settles."""
    pause = desk.park("parked", WaitReason.OPEN)
    desk.now += pause - 0.1
    desk.put("younger")
    assert desk.after(0.1) == ["parked"]
    assert desk.after(SETTLE) == ["younger"]


def test_a_moved_file_is_known_by_size_and_time() -> None:
    """On another file system a file has another inode; its size and its time still tell that it is the same."""
    signature = Signature(10, 1_700_000_000_000_000_000, 7)
    assert not signature.is_unallocated
    assert signature.is_same_content(signature._replace(inode=8, is_unallocated=True))
    assert not signature.is_same_content(signature._replace(size=11))
    assert not signature.is_same_content(signature._replace(mtime_ns=signature.mtime_ns + 1))
