"""Question and answer arrive whole between daemon and examiner, and no nonsense is believed."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pytest

from receipt_watcher.config.sections.limits import Limits
from receipt_watcher.examine import worker as examiner
from receipt_watcher.examine.judge import _KINDS
from receipt_watcher.examine.result import (
    ACCEPTED_MIME_TYPES,
    MAX_DIGEST_BYTES,
    READY,
    FileLimits,
    Judgement,
    Refusal,
    failed,
    judged,
    question,
    read_answer,
    read_question,
    troubled,
)
from receipt_watcher.jobs.reasons import EXAMINATION_REASONS, Reason
from tests.unit.examine.examiner_processes import LIMITS
from tests.unit.examine.test_judge import sample

# --- the words between the two ---


def test_what_is_asked_arrives() -> None:
    """A question is read as it was asked, whatever the bytes of the name."""
    for name in ("scan.jpg", "caf\udce9.jpg", "a\nb", "é" * 127):
        assert read_question(question(name, FileLimits(1, 2**40))) == (name, FileLimits(1, 2**40))


def test_what_is_answered_arrives() -> None:
    """Each answer is read as it was given; a long one is cut."""
    for judgement in (
        Judgement(5, "image/jpeg", None),
        Judgement(0, None, Refusal(Reason.EMPTY, "The file has 0 bytes.")),
        Judgement(2**40, "text/plain", Refusal(Reason.TOO_LARGE, "«Grüße»")),
    ):
        assert read_answer(judged(judgement)) == judgement
    trouble = read_answer(troubled(OSError(errno.EIO, "Input/output error")))
    assert isinstance(trouble, OSError)
    assert (trouble.errno, trouble.strerror) == (errno.EIO, "Input/output error")
    assert read_answer(failed(ValueError("no\nsuch"))) == "ValueError('no\\nsuch')"
    assert len(failed(ValueError("x" * 10_000))) < 1000


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        READY,
        b"judged",
        b"judged\x005\0image/svg+xml\0\0",  # accepted, but of no kind that passes
        b"judged\x005\0\0\0",
        b"judged\x00-5\0image/jpeg\0\0",
        b"judged\x001e9\0image/jpeg\0\0",
        b"judged\0" + b"9" * 5000 + b"\0image/jpeg\0\0",
        b"judged\x005\0image/jpeg\0unexaminable\0why",  # only the daemon says so
        b"judged\x005\0image/jpeg\0n8n_failure\0why",
        b"judged\x005\0image/jpeg\0broken\0\x1b[2J",
        b"judged\x005\0image/\xff\0broken\0why",
        b"judged\x005\0image/jpeg\0broken\0why\0and more",
        b"troubled\0none\0why",
        b"troubled\x00123456\0why",
        b"troubled\x005\0a\nb",
        b"failed\0\x07",
    ],
)
def test_no_nonsense_is_believed(answer: bytes) -> None:
    """What no sound examiner says is a ValueError, and nothing else."""
    with pytest.raises(ValueError):  # noqa: PT011 - whatever its text
        read_answer(answer)


def test_the_tables_agree() -> None:
    """The kinds and the sizes that the two sides speak of are the same."""
    assert _KINDS.keys() == ACCEPTED_MIME_TYPES
    largest_mb = next(rule.le for rule in Limits.model_fields["max_file_mb"].metadata if hasattr(rule, "le"))
    assert largest_mb * 1024 * 1024 == MAX_DIGEST_BYTES
    assert Reason.UNEXAMINABLE in EXAMINATION_REASONS


# --- the examiner itself, in this process ---


def test_an_examiner_answers_until_the_channel_closes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It answers each question about the file that came with it, and holds no file open in between."""
    (tmp_path / "scan.jpg").write_bytes(sample("jpeg"))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    monkeypatch.setattr(examiner, "_limit_cpu", lambda _seconds: None)
    number = os.dup(ours.fileno())  # a place of its own in this process
    monkeypatch.setattr(examiner, "FILE_DESCRIPTOR", number)
    with ours, theirs, (tmp_path / "scan.jpg").open("rb") as file:
        for _ in range(2):
            socket.send_fds(ours, [question("scan.jpg", LIMITS)], [file.fileno()])
            assert examiner._answer_one(theirs, 1)
            assert read_answer(ours.recv(4096)) == Judgement(len(sample("jpeg")), "image/jpeg", None)
            assert os.fstat(number).st_ino != os.fstat(file.fileno()).st_ino
        ours.close()
        assert not examiner._answer_one(theirs, 1)
    os.close(number)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.ESTALE, "Stale file handle"), (errno.ESTALE, "Stale file handle")),
        (ImportError("libheif"), (errno.EIO, "ImportError('libheif')")),
        (ValueError("no"), "ValueError('no')"),
    ],
)
def test_an_examiner_says_what_went_wrong(
    error: Exception, expected: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's trouble and a defect of ours are told apart."""

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(examiner, "judge", fail)
    with (tmp_path / "scan.jpg").open("wb+") as file:
        monkeypatch.setattr(examiner, "FILE_DESCRIPTOR", file.fileno())
        found = read_answer(next(iter(examiner._answer(question("scan.jpg", LIMITS)))))
    assert ((found.errno, found.strerror) if isinstance(found, OSError) else found) == expected
