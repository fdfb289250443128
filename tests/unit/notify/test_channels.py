"""The channels: what arrives at the far side, what is said when it does not, and what is never said."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from receipt_watcher.cli.demo.stand_in import StandIn
from receipt_watcher.config.options import Config
from receipt_watcher.config.secrets import secrets_of
from receipt_watcher.config.sections.notify import Notify
from receipt_watcher.delivery.destinations.http_client import Outbound
from receipt_watcher.errors import ConfigError, NotToldError
from receipt_watcher.notify.channels import Channel
from receipt_watcher.notify.channels.apprise_url import AppriseChannel
from receipt_watcher.notify.channels.registry import channels_of
from receipt_watcher.notify.channels.webhook import WebhookChannel
from receipt_watcher.notify.notices import Kind, Notice, example_notice
from tests.conftest import TOKEN
from tests.fakes.daemons.process import RunningDaemon
from tests.fakes.http_listener import Listener

SECRET = "xyzzy-plugh-0123"
NOTICE = Notice(Kind.HELD, "N8N is on hold, receipts wait", "Seit 14:05 «503» & <b>\n\nüäö → scan_0042.pdf\n  *two*")

KINDS: dict[str, Callable[[str, Outbound], Channel]] = {
    "webhook": lambda address, outbound: WebhookChannel(f"http://{address}/{SECRET}?key={SECRET}", outbound),
    "apprise": lambda address, _: AppriseChannel(f"json://user:{SECRET}@{address}/{SECRET}"),
}


@pytest.fixture(scope="module", autouse=True)
def apprise_has_its_thread() -> None:
    """Apprise keeps a thread for the life of the process; it is no leak of the test that comes first."""
    with Listener() as listener:
        AppriseChannel(f"json://{listener.address}").send(NOTICE, "id-0")


@pytest.fixture
def outbound() -> Iterator[Outbound]:
    """A client with a short patience."""
    with Outbound(timeout_seconds=5, connections=1) as outbound:
        yield outbound


@pytest.mark.parametrize("kind", KINDS)
def test_a_notice_arrives_as_it_was_written(kind: str, outbound: Outbound) -> None:
    """Each channel brings title and text whole, whatever characters they hold."""
    with Listener() as listener:
        KINDS[kind](listener.address, outbound).send(NOTICE, "id-1")
    (heard,) = listener.heard
    content = json.loads(heard.body)
    assert content["title"] == NOTICE.title
    assert content.get("text", content.get("message")) == NOTICE.text


def test_what_a_webhook_is_sent(outbound: Outbound) -> None:
    """A plain webhook gets JSON with the kind, and the id by which it can tell a repetition."""
    with Listener() as listener:
        KINDS["webhook"](listener.address, outbound).send(NOTICE, "id-1")
    (heard,) = listener.heard
    assert heard.path == f"/{SECRET}?key={SECRET}"
    assert json.loads(heard.body) == {"id": "id-1", "kind": "held", "title": NOTICE.title, "text": NOTICE.text}
    assert (heard.headers["content-type"], heard.headers["idempotency-key"]) == ("application/json", "id-1")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", [302, 404, 500])
def test_what_is_not_taken_is_told(kind: str, status: int, outbound: Outbound) -> None:
    """An answer other than 2xx is no success."""
    with Listener(lambda _: status) as listener:
        channel = KINDS[kind](listener.address, outbound)
        with pytest.raises(NotToldError, match=str(status)):
            channel.send(NOTICE, "id-1")


@pytest.mark.parametrize("kind", KINDS)
def test_a_far_side_that_is_not_there(kind: str, outbound: Outbound) -> None:
    """A refused connection is said as such, without options that are N8N's."""
    with Listener() as listener:
        address = listener.address
    with pytest.raises(NotToldError, match=r"(?i)connection") as raised:
        KINDS[kind](address, outbound).send(NOTICE, "id-1")
    assert "n8n" not in str(raised.value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_name_without_the_secret(
    kind: str, outbound: Outbound, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """A channel is named by how, not where; two are told apart; and nothing writes its URL anywhere."""
    with Listener(lambda _: 500) as listener:
        channel = KINDS[kind](listener.address, outbound)
        with pytest.raises(NotToldError):
            channel.send(NOTICE, "id-1")
        other = KINDS[kind](listener.address.replace("127.0.0.1", "localhost"), outbound)
    assert channel.name.startswith(("http://********#", "json://********#"))
    assert channel.name != other.name
    assert SECRET not in channel.name + "".join(capfd.readouterr()) + caplog.text


def test_each_channel_once(outbound: Outbound) -> None:
    """A URL that is written twice is told once."""
    settings = Notify.model_validate({"urls": "json://a/b json://a/b json://a/c", "webhook_url": "http://a/b"})
    assert len(channels_of(settings, outbound)) == 3


def test_a_url_that_apprise_does_not_know() -> None:
    """A URL that nobody can send to is a mistake of the configuration, told without the URL."""
    with pytest.raises(ConfigError, match=r"notify\.urls") as raised:
        AppriseChannel(f"smoke-signals://{SECRET}/hill")
    assert SECRET not in str(raised.value)


def test_apprise_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra a channel of apprise is refused in words that say what to install."""
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(ConfigError, match=r"pip install 'receipt-watcher\[notify\]'"):
        AppriseChannel("json://127.0.0.1/")


def test_all_secrets_are_known() -> None:
    """Whatever is secret in the configuration is known to what masks it, also inside a list."""
    config = Config.model_validate(
        {
            "inboxes": [{"path": "/x/inbox"}],
            "n8n": {"webhook_url": "http://n8n/hook", "api_key": "a-key-of-mine"},
            "callback": {"secret_token": TOKEN},
            "notify": {"urls": ["json://a/b", "ntfy://c"], "webhook_url": "http://d/e", "heartbeat_url": "http://f/g"},
        }
    )
    assert secrets_of(config) == {"a-key-of-mine", TOKEN, "json://a/b", "ntfy://c", "http://d/e", "http://f/g"}


# --- the command ---------------------------------------------------------------------------------------------------


def test_the_command_tests_each_channel(tmp_path: Path, n8n: StandIn) -> None:
    """`notify --test` sends one to each channel and says of each whether it went; the secrets stay out of it."""
    with Listener(lambda heard: 200 if "good" in heard.path else 500) as listener:
        changes = {
            "notify": {
                "urls": [f"json://{listener.address}/good/{SECRET}", f"json://{listener.address}/bad/{SECRET}"],
                "webhook_url": f"http://{listener.address}/good/{SECRET}",
                "quiet_hours": "00:00-23:59",
            }
        }
        daemon = RunningDaemon(tmp_path, n8n.webhook_url, TOKEN, changes=changes)
        tested = daemon.run("notify", "--test", "--json")
        listed = daemon.run("notify")
        checked = daemon.run("check")
    said = json.loads(tested.stdout)
    assert [row["ok"] for row in said] == [True, False, True]
    assert "500" in said[1]["said"]
    assert tested.returncode == 1
    assert [json.loads(heard.body)["title"] for heard in listener.heard] == [example_notice().title] * 3
    assert listed.returncode == 0, listed.stderr
    assert listed.stdout.count("no notices wait") == 3
    assert "notices go to json://********#" in checked.stdout
    for found in (tested, listed, checked):
        assert SECRET not in found.stdout + found.stderr


def test_the_command_without_channels(tmp_path: Path, n8n: StandIn) -> None:
    """Where no channel is configured, that is said, and is no success."""
    found = RunningDaemon(tmp_path, n8n.webhook_url, TOKEN).run("notify", "--test")
    assert found.returncode == 1
    assert "No channel is configured" in found.stderr


def test_a_wrong_channel_is_told_at_start(tmp_path: Path, n8n: StandIn) -> None:
    """The daemon does not start with a channel that nobody could ever be told by."""
    daemon = RunningDaemon(tmp_path, n8n.webhook_url, TOKEN, changes={"notify": {"urls": ["smoke://x-y-z"]}})
    for command in ("run", "check", "notify"):
        found = daemon.run(command)
        assert found.returncode == (1 if command == "check" else 2)
        assert "smoke://********" in found.stdout + found.stderr
        assert "x-y-z" not in found.stdout + found.stderr


def test_whatever_apprise_raises_is_a_mistake_of_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    """A channel whose plugin fails while it is loaded is told by its masked name, without its URL."""

    def break_down(*_: object) -> bool:
        raise RuntimeError("ntfy://s3cret-topic cannot be parsed")

    monkeypatch.setattr("apprise.Apprise.add", break_down)
    with pytest.raises(ConfigError, match=r"apprise cannot load ntfy://\*+#[0-9a-f]{6} \(RuntimeError\)") as caught:
        AppriseChannel("ntfy://s3cret-topic")
    assert "s3cret" not in str(caught.value)
