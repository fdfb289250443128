"""The texts of notices, word for word: read them as the office worker, and as the admin."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receipt_watcher.config.secrets import MASK, without_secrets
from receipt_watcher.jobs.job import Job
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import State
from receipt_watcher.notify.notices import NAMED, Away, Day, Defect, Hold, Kind, Notice, Wording, example_notice
from receipt_watcher.report.health.stuck import Stuck
from tests.conftest import make_job

NOW = datetime(2026, 11, 20, 15, 40, tzinfo=UTC).timestamp()  # 16:40 in Berlin
HOUR, DAY = 3600.0, 86400.0
WORDS = Wording(NOW, ZoneInfo("Europe/Berlin"))
HOLD = Hold("n8n.example.com", ("office",), NOW - 2 * HOUR - 35 * 60, "503: Service Unavailable", 12)
AWAY = Away("office", "/srv/receipts/inbox", NOW - 15 * 60, "/srv/receipts/inbox is not there; mount the share")


def failed(name: str = "scan_0042.pdf", reason: Reason = Reason.ENCRYPTED, **changes: object) -> Job:
    """Return a failed receipt."""
    return make_job(NOW - HOUR, state=State.FAILURE, filename=name, reason=reason, completed_at=NOW - HOUR, **changes)


NOTICES: dict[str, tuple[Notice, str]] = {
    "held": (
        WORDS.held([HOLD]),
        """\
N8N is on hold, receipts wait

N8N at n8n.example.com is on hold since 14:05: 503: Service Unavailable
Inbox: office. 12 receipts are waiting.

Nothing is lost, and nothing needs to be scanned again: receipts are taken in as ever, wait, and go out by themselves \
when N8N is back. You are told then.

What to do (admin): see to what N8N says above; receipt-watcher status shows the rest.""",
    ),
    "held, two of them since yesterday": (
        WORDS.held(
            [
                Hold("n8n.example.com", ("office", "travel"), NOW - DAY, "no connection: refused", 1),
                Hold("other.example.com", ("archive",), NOW - 60, "401: the header-auth credential differs", 0),
            ]
        ),
        """\
N8N is on hold, receipts wait

N8N at n8n.example.com is on hold since 2026-11-19 16:40: no connection: refused
Inboxes: office, travel. 1 receipt is waiting.

N8N at other.example.com is on hold since 16:39: 401: the header-auth credential differs
Inbox: archive. No receipts are waiting.

Nothing is lost, and nothing needs to be scanned again: receipts are taken in as ever, wait, and go out by themselves \
when N8N is back. You are told then.

What to do (admin): see to what N8N says above; receipt-watcher status shows the rest.""",
    ),
    "resumed": (
        WORDS.resumed([Hold("n8n.example.com", ("office",), NOW - 60 * HOUR, "503", 500, NOW - 60)]),
        """\
N8N is back

N8N at n8n.example.com takes receipts again since 16:39. It was on hold since 2026-11-18 04:40 (2 days 11 hours).
Inbox: office. 500 receipts waited and go out now, in order of arrival.

What to do: nothing.""",
    ),
    "failed": (
        WORDS.failed([failed()], {"office": "/srv/receipts/failed"}),
        """\
1 receipt needs a person

It did not get through to N8N, or N8N could not book it:

scan_0042.pdf (inbox office)
  The document asks for a password.
  → Save it without a password and drop it in again.

The file is kept, with a note beside it, in:
  /srv/receipts/failed

To try again, when it is mended: move it from there back into its inbox.""",
    ),
    "failed, many": (
        WORDS.failed(
            [
                failed("a\nb.pdf", Reason.N8N_FAILURE, message="The supplier\nis unknown."),
                failed("lunch.jpg", Reason.NO_CALLBACK, inbox="travel"),
                *(failed(f"scan_{number}.pdf") for number in range(20)),
            ],
            {"office": "/srv/receipts/failed", "travel": "/srv/travel/failed"},
        ),
        """\
22 receipts need a person

They did not get through to N8N, or N8N could not book them:

a\\nb.pdf (inbox office)
  The N8N workflow reported a failure. «The supplier is unknown.»
  → Read its message; mend the cause; then retry or drop the file in again.

lunch.jpg (inbox travel)
  N8N took the receipt but never reported back in time.
  → Look at the executions in N8N, and whether it can reach the callback URL; then retry or mark it delivered.

"""
        + "".join(
            f"scan_{number}.pdf (inbox office)\n  The document asks for a password.\n"
            "  → Save it without a password and drop it in again.\n\n"
            for number in range(8)
        )
        + """\
… and 12 more; receipt-watcher jobs --status failure names them.

The files are kept, each with a note beside it, in:
  /srv/receipts/failed
  /srv/travel/failed

To try again, when it is mended: move them from there back into their inbox.""",
    ),
    "inbox away": (
        WORDS.inboxes_away([AWAY]),
        """\
The inbox office is unavailable

Nothing is taken from the inbox office since 16:25: /srv/receipts/inbox is not there; mount the share
Folder: /srv/receipts/inbox

Nothing is lost: files that lie there stay there, untouched, and all other inboxes go on. You are told when it is back.

What to do (admin): mend what is said above; the inbox opens again by itself.""",
    ),
    "inbox back": (
        WORDS.inboxes_back([Away("office", "/srv/receipts/inbox", NOW - 15 * 60, "", NOW)]),
        """\
The inbox office is back

Receipts are taken from the inbox office again since 16:40. It was unavailable since 16:25 (15 minutes).

What to do: nothing.""",
    ),
    "trouble": (
        WORDS.defects([Defect("inbox office: files cannot be filed: done/ is full", NOW - 15 * 60)]),
        """\
receipt-watcher needs its admin

Since 16:25: inbox office: files cannot be filed: done/ is full

Nothing is lost, and nothing needs to be scanned again. You are told when it is over.

What to do (admin): fix what is said above; receipt-watcher status shows the rest.""",
    ),
    "trouble over": (
        WORDS.defects_over([Defect("inbox office: files cannot be filed: done/ is full", NOW - 15 * 60, NOW)]),
        """\
receipt-watcher works again

Over since 16:40, begun at 16:25: inbox office: files cannot be filed: done/ is full

What to do: nothing.""",
    ),
    "blocked": (
        WORDS.blocked(
            [Stuck("scan.pdf", "office", NOW - 60, "The service may not read it.", "chmod 640", needs_a_person=True)]
        ),
        """\
1 file needs a person to be taken

scan.pdf (inbox office), since 16:39
  The service may not read it.
  → chmod 640

Nothing of it is lost. What to do (admin): receipt-watcher explain NAME says more.""",
    ),
    "stuck": (
        WORDS.stuck(
            [
                Stuck("scan.pdf", "office", NOW - 5 * HOUR, "A program has it open for writing.", "Close it."),
                Stuck("b.jpg", "office", NOW - 4 * HOUR, "N8N has it, but has not reported back.", "Look at N8N."),
            ],
            240,
        ),
        """\
2 receipts are waiting for longer than 4 hours

scan.pdf (inbox office), since 11:40
  A program has it open for writing.
  → Close it.

b.jpg (inbox office), since 12:40
  N8N has it, but has not reported back.
  → Look at N8N.

Nothing of it is lost. What to do (admin): receipt-watcher explain NAME says more.""",
    ),
    "disagrees": (
        WORDS.disagrees(3, ["missing: done/2026-11/scan.pdf", "altered: done/2026-11/b.jpg"]),
        """\
The balance disagrees about 3 files

The daily balance found that the job log and the folders disagree about 3 files:

  missing: done/2026-11/scan.pdf
  altered: done/2026-11/b.jpg

… and 1 more; receipt-watcher balance names them.

Somebody, or something, moved, changed or deleted them. What to do (admin): receipt-watcher balance says what each \
finding means, and what to do. You are told again only when there are more, or others.""",
    ),
    "summary": (
        WORDS.summary(
            Day(
                NOW - DAY,
                NOW,
                dict.fromkeys(State, 0)
                | {State.SUCCESS: 38, State.DUPLICATE: 1, State.FAILURE: 1, State.QUEUED: 1, State.PROCESSING: 2},
                [failed()],
                7,
                [HOLD],
                [AWAY],
            )
        ),
        """\
Receipts of the day: 43 received, 1 failed

From 2026-11-19 16:40 to 16:40:

  received:         43
  went through:     38
  copies of others: 1
  failed:           1
  cancelled:        0
  on their way:     3

With those of before, 7 are on their way.

N8N at n8n.example.com is on hold since 14:05: 503: Service Unavailable

The inbox office is unavailable since 16:25: /srv/receipts/inbox is not there; mount the share

Failed in this time:

scan_0042.pdf (inbox office)
  The document asks for a password.
  → Save it without a password and drop it in again.""",
    ),
    "summary of a quiet day": (
        WORDS.summary(Day(NOW - DAY, NOW, dict.fromkeys(State, 0) | {State.SUCCESS: 2}, [], 0, [], [])),
        """\
Receipts of the day: 2 received, none failed

From 2026-11-19 16:40 to 16:40:

  received:         2
  went through:     2
  copies of others: 0
  failed:           0
  cancelled:        0
  on their way:     0

What to do: nothing.""",
    ),
    "test": (
        example_notice(),
        """\
This is a test

Notices of receipt-watcher arrive here.

Nothing is wrong. What to do: nothing.""",
    ),
}


@pytest.mark.parametrize("name", NOTICES)
def test_the_words_of_a_notice(name: str) -> None:
    """Each kind says what happened, since when, to what, and what to do, in exactly these words."""
    notice, expected = NOTICES[name]
    assert f"{notice.title}\n\n{notice.text}" == expected


def test_each_kind_is_read_here() -> None:
    """No kind of notice is sent whose words nobody has read."""
    assert {notice.kind for notice, _ in NOTICES.values()} == set(Kind)


def test_what_came_late_says_so() -> None:
    """A notice that could not be sent for a while says when it was written."""
    assert WORDS.late("N8N is back", NOW - DAY) == (
        "(Written at 2026-11-19 16:40; it could not be sent before.)\n\nN8N is back"
    )


def test_long_lists_are_counted() -> None:
    """A notice names ten files at the most, and says how many there are."""
    notice = WORDS.stuck([Stuck(f"{number}.pdf", "office", NOW, "", "") for number in range(1000)], 60)
    assert notice.text.count(".pdf") == NAMED
    assert "… and 990 more" in notice.text
    assert len(WORDS.failed([failed(message="x" * 9999)] * 50, {}).text) < 6000


# --- secrets -------------------------------------------------------------------------------------------------------


SECRETS = ["Tr0ub4dor-and-3-horses", "https://hooks.lan/services/T0000AAAA/xyzzy%2Bplugh/receipts?token=abcdef12"]


def test_no_secret_is_told() -> None:
    """A secret is masked wherever it stands, and what of a URL looks like one; the words of the office are not."""
    text = "Bearer Tr0ub4dor-and-3-horses; 2 receipts to /services/T0000AAAA?token=abcdef12"
    assert without_secrets(text, SECRETS) == f"Bearer {MASK}; 2 receipts to /services/{MASK}?token={MASK}"
    assert without_secrets(f"<{SECRETS[1]}>", SECRETS) == f"<{MASK}>"


def test_no_part_of_a_url_is_told_in_an_error() -> None:
    """Where a library may quote the URL that it failed at, each of its parts is masked, but for the host."""
    text = "hooks.lan refused /services/xyzzy+plugh/receipts"
    assert without_secrets(text, SECRETS, every_part=True) == f"hooks.lan refused /{MASK}/{MASK}/{MASK}"


@given(secret=st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), min_size=16), around=st.text())
def test_a_secret_in_any_text(secret: str, around: str) -> None:
    """Whatever stands around it, a secret is not in what is told."""
    assert secret not in without_secrets(f"{around}{secret}{around}", [secret]).replace(MASK, "")
