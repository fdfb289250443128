"""The demo's receipts: how each should end, what is found of it afterwards, and where the two differ.

`make_receipts` draws them, always the same, and `answer_for` is what the stand-in does with them. `find` reads the
folders, a job of the API and what reached the stand-in; `differences` and `leftovers` say in sentences what is not as
it should be. Nothing is written; any thread may call them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from receipt_watcher.cli.demo import samples
from receipt_watcher.cli.demo.progress import INBOX, reason_in_words
from receipt_watcher.cli.demo.received_posts import ReceivedPost
from receipt_watcher.cli.demo.stand_in import Behaviour, succeed_if_intact
from receipt_watcher.jobs.job import Folder
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import State
from receipt_watcher.spool.reason_file import note_path

_READING_SECONDS = 0.7  # by taste: long enough to be seen in the table
_ENDS = {State.SUCCESS.value: "success", State.DUPLICATE.value: "copy", State.FAILURE.value: "refused"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """One receipt of the demo, and how it should end."""

    name: str
    what: str
    content: bytes
    status: State = State.SUCCESS
    reason: Reason | None = None
    copy_of: str = ""
    is_slow: bool = False
    meets_outage: bool = False

    @property
    def sha256(self) -> str:
        """The digest that it must have wherever it arrives."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def folder(self) -> Folder:
        """The folder in which it should be filed."""
        return Folder.FAILED if self.status is State.FAILURE else Folder.DONE

    @property
    def is_sent(self) -> bool:
        """Return whether N8N should get it."""
        return self.status is State.SUCCESS or self.reason is Reason.N8N_FAILURE


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The actual end of a receipt, as folders, job log and stand-in show it."""

    folders: tuple[str, ...] = ()
    sha256: str = ""
    has_note: bool = False
    status: str = "not seen"
    reason: str | None = None
    message: str | None = None
    attempts: int = 0
    uncounted_tries: int = 0
    copy_of: str = ""
    arrived: tuple[str, ...] = ()

    @property
    def why(self) -> str:
        """The explanation of its end, in few words."""
        if self.copy_of:
            return f"copy of {self.copy_of}"
        if self.uncounted_tries:
            return f"held, {self.attempts} attempt{'' if self.attempts == 1 else 's'} counted"
        if self.reason is None and self.arrived:
            return f"arrived {_arrivals(self.arrived, self.sha256)}"
        return reason_in_words(self.reason, self.message)


def make_receipts() -> list[Receipt]:
    """Draw the receipts, in the order in which they are dropped."""
    photo, failure = samples.jpeg(1), State.FAILURE
    cut_off, text = samples.jpeg(6)[:-4000], b"Dear colleague\nThe receipt follows by post.\n"
    return [
        _receipt("phone-photo.jpg", "a photo (JPEG)", photo),
        _receipt("slow-scan.jpg", "written in pieces", samples.jpeg(2), is_slow=True),
        _receipt("web-shop.png", "a screenshot (PNG)", samples.png(3)),
        _receipt("three-pages.tif", "three pages (TIFF)", samples.tiff(4)),
        _receipt("hotel.pdf", "a document (PDF)", samples.pdf(5)),
        _receipt("same-photo.jpg", "the first one again", photo, status=State.DUPLICATE, copy_of="phone-photo.jpg"),
        _receipt("cut-off.jpg", "its end is missing", cut_off, status=failure, reason=Reason.INCOMPLETE),
        _receipt("not-a-photo.jpg", "a text in disguise", text, status=failure, reason=Reason.UNSUPPORTED_TYPE),
        _receipt("no-total.pdf", "N8N will reject it", samples.pdf(7), status=failure, reason=Reason.N8N_FAILURE),
        _receipt("in-outage.png", "comes in an outage", samples.png(8), meets_outage=True),
    ]


def _receipt(name: str, what: str, content: bytes, **expected: Any) -> Receipt:
    return Receipt(name=name, what=what, content=content, **expected)


def answer_for(receipts: Sequence[Receipt]) -> Callable[[ReceivedPost], Behaviour]:
    """Return what the stand-in does: it reads for a moment, and rejects what it should reject."""
    rejected = {receipt.name for receipt in receipts if receipt.reason is Reason.N8N_FAILURE}

    def answer(delivery: ReceivedPost) -> Behaviour:
        behaviour = replace(succeed_if_intact(delivery), callback_delay_seconds=_READING_SECONDS)
        if delivery.filename in rejected:
            return replace(behaviour, verdict="failure", message="no total found")
        return behaviour

    return answer


def in_a_word(status: str, reason: str | None) -> str:
    """Return how a receipt ended, in a word."""
    return "rejected" if reason == Reason.N8N_FAILURE else _ENDS.get(status, status)


def find(
    receipt: Receipt,
    root: Path,
    job: Mapping[str, Any],
    originals: Mapping[str, str],
    deliveries: Sequence[ReceivedPost],
) -> Outcome:
    """Look for a receipt in the four folders, in its job, and among what N8N got; `originals` are names by job id."""
    paths = [  # not by rglob, which fails when a folder of a job goes while it looks
        Path(place, receipt.name)
        for folder in (INBOX, *Folder)
        for place, _, names in os.walk(root / folder)
        if receipt.name in names
    ]
    outcome = Outcome(
        folders=tuple(_folder_in_words(path.parent.relative_to(root)) for path in paths),
        sha256=hashlib.sha256(paths[0].read_bytes()).hexdigest() if paths else "",
        has_note=any(note_path(path).is_file() for path in paths),
        arrived=tuple(delivery.sha256 for delivery in deliveries if delivery.filename == receipt.name),
    )
    if not job:
        return outcome
    return replace(
        outcome,
        **{name: job[name] for name in ("status", "reason", "message", "attempts")},
        uncounted_tries=sum(not delivery["counted"] for delivery in job["deliveries"]),
        copy_of=originals.get(job["duplicate_of"], ""),
    )


def _folder_in_words(folder: Path) -> str:
    return folder.parts[0] if folder.parts[0] == Folder.PROCESSING else str(folder)  # job ids help nobody here


def differences(receipt: Receipt, outcome: Outcome) -> list[str]:
    """Compare how a receipt ended with how it should have; return a sentence for each difference."""
    digest = receipt.sha256
    facts: list[tuple[str, str, str]] = [
        ("status", receipt.status.value, outcome.status),
        ("reason", receipt.reason.value if receipt.reason else "none", outcome.reason or "none"),
        ("folder", receipt.folder.value, ", ".join(folder.split("/")[0] for folder in outcome.folders) or "none"),
        ("content", "unchanged", "unchanged" if outcome.sha256 == digest else "changed" if outcome.sha256 else "gone"),
        ("note beside it", _yes(is_so=receipt.folder is Folder.FAILED), _yes(is_so=outcome.has_note)),
        ("original", receipt.copy_of or "none", outcome.copy_of or "none"),
        ("arrival at N8N", "once, unchanged" if receipt.is_sent else "none", _arrivals(outcome.arrived, digest)),
        ("counted attempts", str(int(receipt.is_sent)), str(outcome.attempts)),
        ("waiting for N8N", _yes(is_so=receipt.meets_outage), _yes(is_so=outcome.uncounted_tries > 0)),
    ]
    return [
        f"{receipt.name}: {what} should be: {should}, but is: {real}" for what, should, real in facts if should != real
    ]


def _yes(*, is_so: bool) -> str:
    return "yes" if is_so else "no"


def _arrivals(digests: Sequence[str], expected: str) -> str:
    if not digests:
        return "none"
    times = "once" if len(digests) == 1 else f"{len(digests)} times"
    return f"{times}, {'unchanged' if {*digests} == {expected} else 'changed'}"


def leftovers(root: Path) -> list[str]:
    """Return a sentence for each thing that is still in the inbox or in processing."""
    folders = [folder for folder in (root / INBOX, root / Folder.PROCESSING) if folder.is_dir()]
    left = [path for folder in folders for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    return [f"{path.relative_to(root)} should be gone, and is still there" for path in left]
