"""The values of options, the values derived from them, and their display."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from receipt_watcher.cli.documents.example import example_yaml
from receipt_watcher.config.secrets import redacted
from receipt_watcher.config.sections.inbox import Inbox
from receipt_watcher.config.sources.load import load
from receipt_watcher.errors import ConfigError

MINIMAL = "inboxes: [{path: /x/inbox}]\nn8n: {webhook_url: http://n8n/hook}\n"
SECRET = "Tr0ub4dor-and-3-horses"
HOME = {"HOME": "/home/admin"}


def written(folder: Path, text: str | bytes) -> Path:
    """Return a configuration file with this text."""
    path = folder / "watcher.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_two_lines_are_a_configuration(tmp_path: Path) -> None:
    """A folder and a URL are enough; the rest of the spool lies beside the inbox."""
    config = load(written(tmp_path, MINIMAL), HOME)
    inbox = config.inboxes[0]
    assert (inbox.name, inbox.path) == ("inbox", Path("/x/inbox"))
    assert inbox.processing_dir == Path("/x/processing")
    assert inbox.done_dir == Path("/x/done")
    assert inbox.failed_dir == Path("/x/failed")
    (branch,) = config.branches(inbox)
    assert branch.webhook_url == "http://n8n/hook"
    assert branch.duplicates == "skip"
    assert config.state_dir == Path("/home/admin/.local/state/receipt-watcher")
    assert config.database_path == config.state_dir / "receipts.db"


def test_an_inbox_overrides_what_holds_for_all(tmp_path: Path) -> None:
    """An inbox may have its own workflow and its own way with second copies."""
    inbox = "{path: /x/inbox, webhook_url: http://own/hook, duplicates: send}"
    config = load(written(tmp_path, f"inboxes: [{inbox}]\n"), HOME)
    (branch,) = config.branches(config.inboxes[0])
    assert branch.webhook_url == "http://own/hook"
    assert branch.duplicates == "send"


@pytest.mark.parametrize(
    ("options", "url"),
    [
        ("{}", "http://127.0.0.1:8123"),
        ("{port: 0}", "http://127.0.0.1:8123"),
        ("{host: receipts.office.lan, port: 80}", "http://receipts.office.lan:8123"),
        ("{host: 0.0.0.0}", "http://127.0.0.1:8123"),
        ("{host: '::'}", "http://127.0.0.1:8123"),
        ("{host: '::1'}", "http://[::1]:8123"),
        ("{host: 'fd00::2'}", "http://[fd00::2]:8123"),
        ("{host: '::', public_url: 'https://proxy/receipts/'}", "https://proxy/receipts"),
    ],
)
def test_n8n_is_told_a_url_that_can_be_opened(tmp_path: Path, options: str, url: str) -> None:
    """What the admin gave, else the address and the bound port; an address that means all of them is ours."""
    assert load(written(tmp_path, f"{MINIMAL}http: {options}"), HOME).public_url_for(8123) == url


def test_a_secret_shows_as_asterisks(tmp_path: Path) -> None:
    """`config show`, repr and str have asterisks for secrets, and for what URLs carry of them."""
    text = f"""
inboxes: [{{path: /x/inbox, webhook_url: "https://u:{SECRET}@n8n/x?token={SECRET}&{SECRET}"}}]
n8n: {{api_key: {SECRET}}}
callback: {{secret_token: {SECRET}}}
"""
    config = load(written(tmp_path, text), HOME)
    for shown in (repr(config), str(config), repr(config.inboxes), repr(config.n8n), json.dumps(redacted(config))):
        assert SECRET not in shown
    effective = json.loads(json.dumps(redacted(config)))
    assert effective["inboxes"][0]["webhook_url"] == "https://********@n8n/x?token=********&********"
    assert effective["n8n"]["api_key"] == effective["callback"]["secret_token"] == "********"
    assert config.callback.secret_token is not None
    assert config.callback.secret_token.get_secret_value() == SECRET


@pytest.mark.parametrize(
    ("folder", "name"),
    [("Receipts/inbox", "inbox"), ("Büro 2. OG", "buro-2-og"), ("領収書", "inbox"), ("--A__b--", "a-b")],
)
def test_an_inbox_is_named_after_its_folder(tmp_path: Path, folder: str, name: str) -> None:
    """A name that nobody gave follows from the folder, in the letters that a name may have."""
    path = written(tmp_path, f"inboxes: [{{path: 'x/{folder}'}}]\nn8n: {{webhook_url: http://n8n/x}}\n")
    assert load(path, HOME).inboxes[0].name == name


def test_a_certificate_that_is_not_checked_needs_no_authority(tmp_path: Path) -> None:
    """With verify_tls off an authority has no effect, so one of the two is a mistake."""
    text = "inboxes: [{path: in}]\nn8n: {webhook_url: https://n8n/x, ca_file: ca.pem, verify_tls: false}"
    with pytest.raises(ConfigError, match=r"n8n\.verify_tls: is false, so n8n\.ca_file has no effect"):
        load(written(tmp_path, text), HOME)


def test_paths_are_absolute_afterwards(tmp_path: Path) -> None:
    """A relative path starts at the file's folder, ~ is the home folder, .. goes up."""
    inboxes = "inboxes: [{path: in, done_dir: ~/done, failed_dir: ../failed}]\n"
    text = inboxes + "n8n: {webhook_url: http://n8n/x, ca_file: ca.pem}"
    config = load(written(tmp_path, text), HOME)
    inbox = config.inboxes[0]
    assert inbox.path == tmp_path / "in"
    assert inbox.done_dir == Path("/home/admin/done")
    assert inbox.failed_dir == Path(os.path.realpath(tmp_path.parent)) / "failed"
    assert config.n8n.ca_file == tmp_path / "ca.pem"


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"STATE_DIRECTORY": "/var/lib/a:/var/lib/b", "XDG_STATE_HOME": "/xdg"}, "/var/lib/a"),
        ({"XDG_STATE_HOME": "/xdg"}, "/xdg/receipt-watcher"),
        ({"XDG_STATE_HOME": "relative"}, "/home/admin/.local/state/receipt-watcher"),
        ({"STATE_DIRECTORY": ""}, "/home/admin/.local/state/receipt-watcher"),
    ],
)
def test_the_state_folder_is_where_systemd_or_the_desktop_say(
    tmp_path: Path, environ: dict[str, str], folder: str
) -> None:
    """The state folder follows systemd, then XDG, then the home folder; also where the key is there without a value."""
    assert load(written(tmp_path, MINIMAL), {**HOME, **environ}).state_dir == Path(folder)
    assert load(written(tmp_path, MINIMAL + "state_dir:\n"), {**HOME, **environ}).state_dir == Path(folder)


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("limits.max_file_mb", ["0", "-1", ".nan", ".inf", "true", "[]", "1,5"]),
        ("n8n.workers", ["0", "33", "1.5"]),
        ("http.port", ["-1", "65536"]),
        ("http.host", ["''"]),
        ("http.public_url", ["ftp://h", "http://", "http://h:99999", "'http://h h'", "'http://['"]),
        ("database.url", ["'sqlite:///'", "'sqlite:///:memory:'", "'sqlite:///~/a.db'", "receipts.db"]),
        ("inboxes.0.done_subfolder", ["/abs", "../up", "a/../b", "a//b", "'%'", "'%Q'", "'%%%'"]),
        ("inboxes.0.path", ["''", '"a\\0b"', "~no-such-user-here/x"]),
        ("inboxes.0.name", ["Office", "'a b'", "no", "''"]),
        ("n8n.api_key", ["''", "'a b'", "schlüssel", '"a\\n"']),
        ("n8n.hold_after", ["0", "-1", "1.5", "never"]),
        ("n8n.drain_per_minute", ["-1", ".inf", "fast"]),
    ],
)
def test_values_out_of_bounds_are_refused(tmp_path: Path, key: str, values: list[str]) -> None:
    """No number without sense, no path out of its folder, no URL that nobody can open."""
    for value in values:
        lines = example_yaml({key: "PLACEHOLDER"}).replace('"PLACEHOLDER"', value)
        with pytest.raises(ConfigError) as caught:
            load(written(tmp_path, lines), HOME)
        (problem,) = caught.value.problems
        assert problem.key == key.replace(".0.", "[0].")


def test_empty_values_count_as_unset(tmp_path: Path) -> None:
    """A section whose options are all commented out is as good as none."""
    minimal = load(written(tmp_path, MINIMAL), HOME)
    assert load(written(tmp_path, MINIMAL + "limits:\nlogging:\n  level:\n"), HOME) == minimal


def test_the_configuration_is_frozen(tmp_path: Path) -> None:
    """What was checked at start cannot change afterwards."""
    config = load(written(tmp_path, MINIMAL), HOME)
    with pytest.raises(ValidationError):
        config.inboxes[0].recursive = True
    assert isinstance(config.inboxes[0], Inbox)


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ("accept: imediately", "n8n.accept.mode"),
        ("accept: {}", "n8n.accept"),
        ("accept: []", "n8n.accept"),
        ("accept: {mode: auto, status: 200}", "n8n.accept"),
        ("accept: {status: 404}", "n8n.accept.status"),
        ("accept: {json_path: a..b}", "n8n.accept.json_path"),
        ("accept: {json_path: '$'}", "n8n.accept.json_path"),
        ("accept: {contains: 1}", "n8n.accept.contains"),
        ("accept: {jsonpath: a}", "n8n.accept.jsonpath"),
        ("deliver_when: always", "n8n.deliver_when"),
        ("deliver_when: {days: monday}", "n8n.deliver_when.days"),
        ("deliver_when: {days: []}", "n8n.deliver_when.days"),
        ("deliver_when: {hours: 7-19}", "n8n.deliver_when.hours"),
        ("deliver_when: {time_zone: Berlin}", "n8n.deliver_when.time_zone"),
        ("deliver_when: {timezone: Europe/Berlin}", "n8n.deliver_when.timezone"),
    ],
)
def test_groups_within_a_section_are_checked(tmp_path: Path, options: str, key: str) -> None:
    """A wrong rule or window is told by its own key, with what would be right; nothing is guessed."""
    text = f"inboxes: [{{path: /x/inbox}}]\nn8n: {{webhook_url: http://n8n/hook, {options}}}\n"
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, text), HOME)
    (problem,) = caught.value.problems
    assert problem.key == key
    assert problem.right


@pytest.mark.parametrize(
    ("days", "hours"), [("mon-fri", "07:00-19:00"), ("[mon, tue-fri]", "[07:00-19:00]"), ("MON-FRI", "7:00-19:00")]
)
def test_windows_may_be_lists(tmp_path: Path, days: str, hours: str) -> None:
    """Days and hours are a text or a list, and the window of a subfolder wins over the inbox's, which wins over all."""
    text = f"""
inboxes:
  - path: /x/inbox
    recursive: true
    deliver_when: {{days: {days}, hours: {hours}, time_zone: Europe/Berlin}}
    accept: respond
    routes: {{travel: {{deliver_when: {{}}, accept: any_2xx}}, other: "0f3c"}}
  - path: /y/inbox
    name: second
n8n: {{webhook_url: http://n8n/hook, deliver_when: {{days: sun}}}}
"""
    config = load(written(tmp_path, text), HOME)
    first, second = config.inboxes
    other, travel, own = config.branches(first)
    assert [branch.key for branch in (other, travel, own)] == ["inbox/other", "inbox/travel", "inbox"]
    window = own.window
    assert window is not None
    assert (window.days, window.hours) == (frozenset(range(5)), ((420, 1140),))
    assert other.window == window
    always, sunday = travel.window, config.branches(second)[0].window
    assert always is not None
    assert always.days == frozenset(range(7))
    assert sunday is not None
    assert sunday.days == {6}
    modes = [branch.accept.mode for branch in (own, travel, *config.branches(second))]
    assert modes == ["respond", "any_2xx", "auto"]
