"""The demo finds each difference between what should have come and what came."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from receipt_watcher.cli.demo.play import clean_environment
from receipt_watcher.cli.demo.receipts import Outcome, Receipt, differences, find, in_a_word, leftovers, make_receipts
from receipt_watcher.jobs.job import Folder
from tests.unit.cli.demo.demo_run import ENDS


def as_expected(receipt: Receipt) -> Outcome:
    """Return what is found where a receipt ended as it should."""
    digest = receipt.sha256
    return Outcome(
        folders=("done/2026-11" if receipt.folder is Folder.DONE else "failed",),
        sha256=digest,
        has_note=receipt.folder is Folder.FAILED,
        status=receipt.status.value,
        reason=receipt.reason.value if receipt.reason else None,
        attempts=int(receipt.is_sent),
        uncounted_tries=2 if receipt.meets_outage else 0,
        copy_of=receipt.copy_of,
        arrived=(digest,) if receipt.is_sent else (),
    )


@pytest.fixture(scope="module")
def receipts() -> Mapping[str, Receipt]:
    """The receipts of the demo, by name."""
    return {receipt.name: receipt for receipt in make_receipts()}


def test_the_receipts_are_what_is_promised(receipts: Mapping[str, Receipt]) -> None:
    """There are ten, each with a name of its own and content of its own, except the copy."""
    assert {name: in_a_word(receipt.status, receipt.reason) for name, receipt in receipts.items()} == {
        name: word for name, (word, _) in ENDS.items()
    }
    assert len({receipt.content for receipt in receipts.values()}) == len(ENDS) - 1


def test_nothing_differs_where_all_is_as_it_should_be(receipts: Mapping[str, Receipt]) -> None:
    """A receipt that ended as it should has no difference."""
    assert [differences(receipt, as_expected(receipt)) for receipt in receipts.values()] == [[]] * len(ENDS)


@pytest.mark.parametrize(
    ("name", "planted", "told"),
    [
        ("hotel.pdf", {"folders": ("failed",)}, "folder should be: done, but is: failed"),
        ("hotel.pdf", {"folders": ("done/2026-11", "inbox")}, "folder should be: done, but is: done, inbox"),
        ("hotel.pdf", {"sha256": "0" * 64}, "content should be: unchanged, but is: changed"),
        ("hotel.pdf", {"status": "processing"}, "status should be: success, but is: processing"),
        ("hotel.pdf", {"has_note": True}, "note beside it should be: no, but is: yes"),
        ("hotel.pdf", {"attempts": 2}, "counted attempts should be: 1, but is: 2"),
        ("hotel.pdf", {"arrived": ()}, "arrival at N8N should be: once, unchanged, but is: none"),
        ("hotel.pdf", {"arrived": ("0",)}, "arrival at N8N should be: once, unchanged, but is: once, changed"),
        ("no-total.pdf", {"reason": None}, "reason should be: n8n_failure, but is: none"),
        ("cut-off.jpg", {"has_note": False}, "note beside it should be: yes, but is: no"),
        ("cut-off.jpg", {"arrived": ("0",)}, "arrival at N8N should be: none, but is: once, changed"),
        ("same-photo.jpg", {"copy_of": ""}, "original should be: phone-photo.jpg, but is: none"),
        ("in-outage.png", {"attempts": 2}, "counted attempts should be: 1, but is: 2"),
        ("in-outage.png", {"uncounted_tries": 0}, "waiting for N8N should be: yes, but is: no"),
    ],
)
def test_each_planted_difference_is_found(
    receipts: Mapping[str, Receipt], name: str, planted: dict[str, Any], told: str
) -> None:
    """Whatever differs from what should be is told in one sentence."""
    receipt = receipts[name]
    assert differences(receipt, replace(as_expected(receipt), **planted)) == [f"{name}: {told}"]


def test_a_second_arrival_is_found(receipts: Mapping[str, Receipt]) -> None:
    """A receipt that reached N8N twice is a difference, even unchanged."""
    receipt = receipts["hotel.pdf"]
    found = replace(as_expected(receipt), arrived=(receipt.sha256, receipt.sha256))
    assert differences(receipt, found) == [
        "hotel.pdf: arrival at N8N should be: once, unchanged, but is: 2 times, unchanged"
    ]
    assert found.why == "arrived 2 times, unchanged"


def test_what_is_found_is_what_is_on_disk(receipts: Mapping[str, Receipt], tmp_path: Path) -> None:
    """A receipt is looked for in all four folders, and its digest and note are read there."""
    receipt = receipts["cut-off.jpg"]
    for folder in ("failed", "processing/0192"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / receipt.name).write_bytes(receipt.content)
    (tmp_path / "failed" / f"{receipt.name}.reason.txt").touch()
    found = find(receipt, tmp_path, {}, {}, [])
    assert sorted(found.folders) == ["failed", "processing"]
    assert found.sha256 == receipt.sha256
    assert found.has_note
    assert found.status == "not seen"


def test_leftovers_are_found(tmp_path: Path) -> None:
    """Whatever is still in the inbox or in processing is told; the daemon's own hidden files are not."""
    for name in ("inbox/late.jpg", "processing/0192/scan.jpg", "processing/.owner", "done/scan.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert leftovers(tmp_path) == [
        "inbox/late.jpg should be gone, and is still there",
        "processing/0192 should be gone, and is still there",
    ]


def test_the_users_settings_stay_outside() -> None:
    """No setting of this program, of a service or of a proxy reaches the demo's daemon; everything else does."""
    kept = {"PATH": "/bin", "HOME": "/home/anna", "DATABASE_URL_OF_ANOTHER": "x", "no_proxy": "*"}
    dropped = dict.fromkeys(
        (
            *("RECEIPT_WATCHER_CONFIG", "RECEIPT_WATCHER_HTTP__PORT", "N8N_WEBHOOK_URL", "N8N_API_KEY"),
            *(
                "CALLBACK_SECRET_TOKEN",
                "CALLBACK_PREVIOUS_SECRET_TOKEN",
                "DATABASE_URL",
                "CREDENTIALS_DIRECTORY",
                "STATE_DIRECTORY",
            ),
            *("NOTIFY_SOCKET", "HTTP_PROXY", "https_proxy", "ALL_PROXY"),
        ),
        "x",
    )
    assert clean_environment(kept | dropped) == kept
