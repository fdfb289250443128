"""The shared token, the one before it and the token of each job let in what they should."""

from __future__ import annotations

import hmac
import re
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from receipt_watcher.cli.demo.stand_in import Behaviour, StandIn
from receipt_watcher.config.sections.callback import Callback
from receipt_watcher.config.sources.load import load
from receipt_watcher.errors import ConfigError
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.states import State
from receipt_watcher.spool.folders import Spool
from receipt_watcher.web.access.callback_tokens import CallbackTokens, TokenWorth
from receipt_watcher.web.access.wrong_tokens import LIMIT_TRIES
from tests.conftest import TOKEN, FakeClock
from tests.fakes.daemons.process import RunningDaemon, jpegs, wait_until
from tests.unit.web.callback_site import AUTHENTIC, Site, assert_problem
from tests.unit.web.server.hostile_site import OLD_TOKEN, call

# --- tokens --------------------------------------------------------------------------------------------------------


def test_each_token_has_its_standing() -> None:
    """The secret token and the one before it are good for every job."""
    tokens = CallbackTokens(TOKEN, OLD_TOKEN)
    assert tokens.judge("a", [TOKEN]) is TokenWorth.RIGHT
    assert tokens.judge("a", [OLD_TOKEN]) is TokenWorth.PREVIOUS
    assert tokens.for_job("a") is None
    for given_tokens in ([], [""], ["x"], [TOKEN, TOKEN], [TOKEN, "x"], [f"{TOKEN},{TOKEN}"], [TOKEN + " "]):
        assert tokens.judge("a", given_tokens) is TokenWorth.WRONG
    assert CallbackTokens(TOKEN).judge("a", [""]) is TokenWorth.WRONG  # no previous token is not an empty one


def test_a_jobs_token_is_good_for_that_job() -> None:
    """It is good for its job alone, fits a header, tells nothing of the secret, and the shared one is good no more."""
    tokens = CallbackTokens(TOKEN, OLD_TOKEN, per_job=True)
    own, other = tokens.for_job("a"), tokens.for_job("b")
    assert own is not None
    assert other is not None
    assert re.fullmatch("[A-Za-z0-9_-]{43}", own)
    assert [tokens.judge("a", [text]) for text in (own, other)] == [TokenWorth.RIGHT, TokenWorth.WRONG]
    assert [tokens.judge("a", [text]) for text in (TOKEN, OLD_TOKEN)] == [TokenWorth.SHARED, TokenWorth.SHARED]
    assert tokens.for_job("a") == CallbackTokens(TOKEN, per_job=True).for_job("a")
    assert "token" not in repr(tokens).replace("Tokens", "")


def test_a_jobs_token_outlives_changes() -> None:
    """Made under the previous secret it is still good, and so it is after per_job_tokens was switched off."""
    own = CallbackTokens(OLD_TOKEN, per_job=True).for_job("a") or ""
    assert CallbackTokens(TOKEN, OLD_TOKEN, per_job=True).judge("a", [own]) is TokenWorth.PREVIOUS
    assert CallbackTokens(OLD_TOKEN).judge("a", [own]) is TokenWorth.RIGHT
    assert CallbackTokens(TOKEN, per_job=True).judge("a", [own]) is TokenWorth.WRONG


def test_a_jobs_token_stays_what_it_is() -> None:
    """A newer version makes the same one, or receipts that are at N8N during an update could not be concluded."""
    assert CallbackTokens(TOKEN, per_job=True).for_job("a") == "Ssuwa8LbwHW7ynf4DrBI8RMCBX-Vg3enoZt4ub9YxTc"


@pytest.mark.parametrize("per_job", [False, True])
@given(text=st.text(), job_id=st.text())
def test_no_other_text_is_a_token(text: str, job_id: str, *, per_job: bool) -> None:
    """Whatever else comes, it is wrong, and nothing fails."""
    tokens = CallbackTokens(TOKEN, OLD_TOKEN, per_job=per_job)
    assert tokens.judge(job_id, [text]) is TokenWorth.WRONG


def test_every_token_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Right or wrong, of any length, as many values of one length are compared: the time tells nothing."""
    seen: list[tuple[int, int]] = []
    compare = hmac.compare_digest

    def noted(one: bytes, other: bytes) -> bool:
        seen.append((len(one), len(other)))
        return compare(one, other)

    monkeypatch.setattr(hmac, "compare_digest", noted)
    tokens = CallbackTokens(TOKEN, OLD_TOKEN, per_job=True)
    for text in (TOKEN, OLD_TOKEN, tokens.for_job("a") or "", "", "x", "y" * 5000):
        tokens.judge("a", [text])
        assert seen == [(32, 32)] * 4
        seen.clear()


# --- who comes with a wrong one ------------------------------------------------------------------------------------


def test_the_token_before_is_good_and_told(site: Site) -> None:
    """While the token is changed both conclude; the log says that N8N still sends the old one."""
    (job,) = site.accepted()
    with capture_logs() as lines:
        assert call(site, job.job_id, {"X-Callback-Token": OLD_TOKEN}).status_code == 200
    assert site.job(job).state is State.SUCCESS
    assert "callback.previous_token" in [line["event"] for line in lines]
    assert OLD_TOKEN not in str(lines)


def test_the_shared_token_says_what_to_send(log: JobLog, spool: Spool, clock: FakeClock) -> None:
    """Where each job has its own, the shared one is answered 401 in words, however often, and concludes nothing."""
    tokens = CallbackTokens(TOKEN, per_job=True)
    site = Site(log, clock, spool, tokens)
    site.heard()
    first, second = (site.accepted()[0] for _ in range(2))
    for _ in range(LIMIT_TRIES + 1):
        problem = assert_problem(call(site, first.job_id, AUTHENTIC), 401)
    assert "callback_token" in problem["detail"]
    assert site.job(first).state is State.PROCESSING
    own = {"X-Callback-Token": tokens.for_job(first.job_id) or ""}
    assert call(site, second.job_id, own).status_code == 401
    assert site.job(second).state is State.PROCESSING
    assert call(site, first.job_id, own).status_code == 200
    assert site.job(first).state is State.SUCCESS


@pytest.mark.parametrize("payload", ["json", "multipart"])
def test_each_job_has_its_token(payload: str, tmp_path: Path, n8n: StandIn) -> None:
    """With per_job_tokens N8N gets a token with each receipt, by which it is concluded; the shared one does nothing."""
    changes = {"callback": {"per_job_tokens": True}, "n8n": {"payload": payload}}
    with RunningDaemon(tmp_path, n8n.webhook_url, TOKEN, changes=changes) as daemon:
        for number, content in enumerate(jpegs(3)):
            daemon.drop(f"{number}.jpg", content)
        daemon.wait_quiet(3)
        sent = {delivery.callback_token for delivery in n8n.deliveries}
        assert len(sent) == 3
        assert {job.state for job in daemon.recorded()} == {State.SUCCESS}
        n8n.behave = lambda _: Behaviour(callback_token=TOKEN)
        daemon.drop("shared.jpg", jpegs(1, 9)[0])
        wait_until(lambda: daemon.count("callback.shared_token"), "the shared token is refused")
        # The callback may overtake our own note that N8N took it; had it concluded, this would never come.
        wait_until(lambda: daemon.job("shared.jpg").state is State.PROCESSING, "it is accepted, and no more")
        assert not any(token in daemon.log_file.read_text() for token in sent)


def test_shared_tokens_are_sent_alone(tmp_path: Path, n8n: StandIn) -> None:
    """Without per_job_tokens the payload has no token."""
    with RunningDaemon(tmp_path, n8n.webhook_url, TOKEN) as daemon:
        daemon.drop("scan.jpg", jpegs(1)[0])
        daemon.wait_quiet(1)
    assert [delivery.callback_token for delivery in n8n.deliveries] == [""]


def test_the_token_is_changed_without_losing_a_callback(tmp_path: Path, n8n: StandIn) -> None:
    """After a restart with a new token, N8N's callback under the old one still concludes."""
    n8n.token = OLD_TOKEN
    hang = threading.Event()
    n8n.behave = lambda _: Behaviour(callback_delay_seconds=0.0 if hang.is_set() else 3600)
    with RunningDaemon(tmp_path, n8n.webhook_url, OLD_TOKEN) as daemon:
        daemon.drop("scan.jpg", jpegs(1)[0])
        wait_until(lambda: daemon.count("job.accepted"), "it is accepted")
        daemon.terminate()
        daemon.environment = {"CALLBACK_SECRET_TOKEN": TOKEN, "CALLBACK_PREVIOUS_SECRET_TOKEN": OLD_TOKEN}
        daemon.start()
        job_id = daemon.job("scan.jpg").job_id
        assert daemon.call(job_id, {"status": "success"}, OLD_TOKEN).status_code == 200
        assert daemon.call(job_id, {"status": "success"}, TOKEN).status_code == 200
        assert daemon.call(job_id, {"status": "success"}, OLD_TOKEN + "x").status_code == 401
        daemon.wait_quiet(1)


def test_two_tokens_must_differ(tmp_path: Path) -> None:
    """A previous token that is the present one is a mistake: it was not changed."""
    file = tmp_path / "watcher.yaml"
    file.write_text(
        "inboxes: [{path: /a}]\nn8n: {webhook_url: http://n8n/webhook/r}\n"
        f'callback: {{secret_token: "{TOKEN}", previous_secret_token: "{TOKEN}"}}\n'
    )
    with pytest.raises(ConfigError, match=r"callback\.previous_secret_token: is the same as callback\.secret_token"):
        load(file, {})
    assert TOKEN not in repr(Callback(secret_token=TOKEN, previous_secret_token=TOKEN + "x"))  # type: ignore[arg-type]
