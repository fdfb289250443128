"""Files that are no receipt go to failed/ with a reason, and N8N is sent what it can parse."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pikepdf

from receipt_watcher.cli.demo import samples
from receipt_watcher.cli.demo.stand_in import StandIn
from receipt_watcher.jobs.reasons import Reason
from tests.scenarios.one_office import assert_arrived, office


def pdf(pages: int, **options: Any) -> bytes:
    """Return a PDF of empty pages."""
    written, document = io.BytesIO(), pikepdf.new()
    for _ in range(pages):
        document.add_blank_page()
    document.save(written, **options)
    return written.getvalue()


def bad_files() -> dict[str, tuple[bytes, Reason]]:
    """Return files of each kind that is refused, by name, with the reason."""
    whole = samples.jpeg(1)
    return {
        "words.jpg": (b"These are only words.\n" * 10, Reason.UNSUPPORTED_TYPE),
        "empty.pdf": (b"", Reason.EMPTY),
        "truncated.jpg": (whole[: len(whole) * 2 // 3], Reason.INCOMPLETE),
        "broken.pdf": (pdf(pages=0), Reason.BROKEN),
        "encrypted.pdf": (pdf(1, encryption=pikepdf.Encryption(owner="owner", user="user")), Reason.ENCRYPTED),
        "large.jpg": (samples.jpeg(2, 600_000), Reason.TOO_LARGE),
        "wide.gif": (samples.bmp(3), Reason.TOO_MANY_PIXELS),
    }


def test_bad_files(tmp_path: Path, n8n: StandIn) -> None:
    """Each kind of bad file ends in failed/ with its reason in the log and beside it; a good one goes through."""
    bad = bad_files()
    changes = {"limits": {"max_file_mb": 0.5, "max_megapixels": 0.2}}
    good = samples.jpeg(9)
    with office(tmp_path, n8n, inbox={"patience_seconds": 0.3}, changes=changes) as daemon:
        for name, (content, _) in bad.items():
            daemon.drop(name, content)
        daemon.wait_quiet(len(bad))
        daemon.drop("good.jpg", good)
        daemon.wait_quiet(len(bad) + 1)
        assert {name: daemon.job(name).reason for name in bad} == {name: reason for name, (_, reason) in bad.items()}
        for name, (content, reason) in bad.items():
            assert (daemon.failed / name).read_bytes() == content
            note = (daemon.failed / f"{name}.reason.txt").read_text()
            assert reason.meaning in note
            assert reason.advice in note
    assert [delivery.content for delivery in n8n.deliveries] == [good]


def test_json_that_n8n_would_not_take(tmp_path: Path, n8n: StandIn) -> None:
    """A receipt that is too large as JSON is not posted; its note advises multipart, with which a retry succeeds."""
    content = samples.jpeg(1, 100_000)
    with office(tmp_path, n8n, changes={"n8n": {"max_json_mb": 0.05}}) as daemon:
        daemon.drop("scan.jpg", content)
        daemon.wait_quiet(1)
        assert daemon.job("scan.jpg").reason is Reason.TOO_LARGE_FOR_JSON
        assert "multipart" in (daemon.failed / "scan.jpg.reason.txt").read_text()
        assert n8n.deliveries == []
        assert daemon.terminate() == 0
        daemon.environment["RECEIPT_WATCHER_N8N__PAYLOAD"] = "multipart"
        assert daemon.run("retry", "scan.jpg").returncode == 0
        daemon.start()
        assert_arrived(daemon, n8n, [content])
