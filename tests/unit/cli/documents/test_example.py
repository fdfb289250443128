"""The example file, and that each option is in it and can be set."""

from __future__ import annotations

import json
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic.fields import FieldInfo

from receipt_watcher.cli.documents.example import example_yaml
from receipt_watcher.config.options import Config
from receipt_watcher.config.secrets import redacted
from receipt_watcher.config.sections.inbox import Subfolder
from receipt_watcher.config.sections.section import Section
from receipt_watcher.config.sources.load import load
from tests.fakes.daemons.process import REPOSITORY

EXAMPLE = REPOSITORY / "watcher.example.yaml"
MINIMAL = "inboxes: [{path: /x/inbox}]\nn8n: {webhook_url: http://n8n/hook}\n"
SECRET = "Tr0ub4dor-and-3-horses"
SIGNING_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
HASH = "sha256:" + "0" * 64
HOME = {"HOME": "/home/admin"}


def written(folder: Path, text: str | bytes) -> Path:
    """Return a configuration file with this text."""
    path = folder / "watcher.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def options(
    section: type[Section] = Config, above: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], FieldInfo]]:
    """Walk the models, without a word of the code under test: every option that is no section."""
    hints = typing.get_type_hints(section)
    for name, field in section.model_fields.items():
        kind: Any = hints[name]
        if typing.get_origin(kind) is tuple and isinstance(typing.get_args(kind)[0], type(Section)):
            yield from options(typing.get_args(kind)[0], (*above, name, "0"))
        elif isinstance(kind, type) and issubclass(kind, Section):
            yield from options(kind, (*above, name))
        else:
            yield (*above, name), field


ALL_OPTIONS = list(options())
OPTION_NAMES = [".".join(key) for key, _ in ALL_OPTIONS]

#: Options that a subfolder leaves to its inbox.
NONE: dict[str, object] = dict.fromkeys(name for name in Subfolder.model_fields if name != "webhook_url")

#: Options that a rule about answers leaves open.
RULE: dict[str, object] = dict.fromkeys(("status", "json_path", "contains"))

#: Other options that must be set for an option to make sense.
NEEDED = {
    "inboxes.0.routes": {"INBOXES__0__RECURSIVE": "true"},
    "http.tls_certificate": {"HTTP__TLS_KEY": "/k"},
    "http.tls_key": {"HTTP__TLS_CERTIFICATE": "/c"},
    "http.uds": {"HTTP__PUBLIC_URL": "http://x"},
}

#: A value other than the default for each option, as text, and as `redacted` shows it.
OTHER: dict[str, tuple[str, object]] = {
    "inboxes.0.path": ("/other/in", "/other/in"),
    "inboxes.0.name": ("office", "office"),
    "inboxes.0.notion_database_id": ("0123", "0123"),
    "inboxes.0.upload_database": ("any", "any"),
    "inboxes.0.webhook_url": ("http://other/hook", "http://other/hook"),
    "inboxes.0.accept": ("respond", {"mode": "respond"} | RULE),
    "inboxes.0.remembers_jobs": ("true", True),
    "inboxes.0.deliver_when": ('{"days": "sat, sun"}', {"days": "sat, sun", "hours": "00:00-24:00", "time_zone": ""}),
    "inboxes.0.recursive": ("true", True),
    "inboxes.0.observer": ("polling", "polling"),
    "inboxes.0.poll_seconds": ("7", 7),
    "inboxes.0.scan_seconds": ("8", 8),
    "inboxes.0.settle_seconds": ("0.5", 0.5),
    "inboxes.0.patience_seconds": ("9", 9),
    "inboxes.0.duplicates": ("send", "send"),
    "inboxes.0.routes": ('{"travel": {"webhook_url": "http://x/y"}}', {"travel": {"webhook_url": "http://x/y"} | NONE}),
    "inboxes.0.ignore_packs": ("hidden, nas", ["hidden", "nas"]),
    "inboxes.0.ignore": ("*.bak, a b/", ["*.bak", "a b/"]),
    "inboxes.0.processing_dir": ("/other/p", "/other/p"),
    "inboxes.0.done_dir": ("/other/d", "/other/d"),
    "inboxes.0.failed_dir": ("/other/f", "/other/f"),
    "inboxes.0.status_file": ("true", True),
    "inboxes.0.done_subfolder": ("%Y", "%Y"),
    "n8n.webhook_url": ("https://other/hook", "https://other/hook"),
    "n8n.api_key": ("key", "********"),
    "n8n.signing_secret": (SIGNING_SECRET, "********"),
    "n8n.previous_signing_secret": (SIGNING_SECRET, "********"),
    "n8n.payload": ("multipart", "multipart"),
    "n8n.link_seconds": ("3", 3),
    "n8n.max_json_mb": ("3", 3),
    "n8n.timeout_seconds": ("3", 3),
    "n8n.workers": ("3", 3),
    "n8n.max_attempts": ("3", 3),
    "n8n.backoff_initial_seconds": ("3", 3),
    "n8n.backoff_max_seconds": ("33", 33),
    "n8n.hold_after": ("1", 1),
    "n8n.probe_max_seconds": ("33", 33),
    "n8n.drain_per_minute": ("7.5", 7.5),
    "n8n.accept": ('{"status": 202}', {"mode": None} | RULE | {"status": 202}),
    "n8n.remembers_jobs": ("true", True),
    "n8n.deliver_when": ('{"hours": "22:00-06:00"}', {"days": "mon-sun", "hours": "22:00-06:00", "time_zone": ""}),
    "n8n.proxy": ("http://u:p@proxy:3128", "http://********@proxy:3128"),
    "n8n.verify_tls": ("false", False),
    "n8n.ca_file": ("/ca.pem", "/ca.pem"),
    "callback.secret_token": (SECRET, "********"),
    "callback.previous_secret_token": (SECRET, "********"),
    "callback.per_job_tokens": ("true", True),
    "callback.deadline_seconds": ("3", 3),
    "callback.max_resends": ("3", 3),
    "http.host": ("0.0.0.0", "0.0.0.0"),
    "http.port": ("0", 0),
    "http.public_url": ("http://receipts/", "http://receipts"),
    "http.tokens": (f'{{"anna": {{"role": "viewer", "hash": "{HASH}"}}}}', {"anna": {"role": "viewer", "hash": HASH}}),
    "http.requests_per_minute": ("600", 600),
    "http.local_role": ("none", "none"),
    "http.hsts_days": ("365", 365),
    "http.session_hours": ("1.5", 1.5),
    "http.jwt": (
        '{"issuer": "https://id", "audience": "rw", "jwks_file": "/k.json"}',
        {
            "issuer": "https://id",
            "audience": "rw",
            "jwks_file": "/k.json",
            "jwks_url": None,
            "role_claim": "roles",
            "roles": {},
        },
    ),
    "http.cors_origins": ("https://a, https://b:1", ["https://a", "https://b:1"]),
    "http.tls_certificate": ("/other/cert", "/other/cert"),
    "http.tls_key": ("/other/key", "/other/key"),
    "http.uds": ("/other/socket", "/other/socket"),
    "http.root_path": ("/receipts", "/receipts"),
    "http.trusted_proxies": ("10.0.0.1, ::1", ["10.0.0.1", "::1"]),
    "state_dir": ("/other/state", "/other/state"),
    "duplicates": ("fail", "fail"),
    "database.url": ("sqlite:////other/log.db", "sqlite:////other/log.db"),
    "limits.max_file_mb": ("3", 3),
    "limits.max_megapixels": ("3", 3),
    "limits.examination_seconds": ("3", 3),
    "limits.examination_mb": ("300", 300),
    "limits.backlog_files": ("0", 0),
    "limits.min_free_mb": ("3", 3),
    "limits.stop_timeout_seconds": ("3", 3),
    "retention.done_days": ("3650", 3650),
    "retention.failed_days": ("1.5", 1.5),
    "retention.log_days": ("1", 1),
    "notify.urls": ("json://host/a ntfy://topic", ["********", "********"]),
    "notify.webhook_url": ("https://other/hook", "********"),
    "notify.kinds": ("holds, stuck", ["holds", "stuck"]),
    "notify.after_seconds": ("3", 3),
    "notify.throttle_minutes": ("0", 0),
    "notify.stuck_after_minutes": ("3", 3),
    "notify.quiet_hours": ("22:00-07:00", "22:00-07:00"),
    "notify.daily_summary_at": ("08:00", "08:00"),
    "notify.time_zone": ("Europe/Berlin", "Europe/Berlin"),
    "notify.heartbeat_url": ("https://other/ping", "********"),
    "notify.heartbeat_minutes": ("3", 3),
    "metrics.textfile": ("/other/receipts.prom", "/other/receipts.prom"),
    "logging.level": ("debug", "debug"),
    "logging.format": ("json", "json"),
}


def at(tree: object, dotted: str) -> object:
    """Return what is at a dotted key."""
    for part in dotted.split("."):
        tree = tree[int(part)] if isinstance(tree, list) else typing.cast("dict[str, object]", tree)[part]
    return tree


def test_the_example_is_what_the_models_say() -> None:
    """watcher.example.yaml is generated; after a change of an option it is written anew."""
    assert EXAMPLE.read_text("utf-8") == example_yaml()


def test_the_example_gives_the_defaults(tmp_path: Path) -> None:
    """The example can be used as it is, and changes no default."""
    minimal = "inboxes: [{path: /srv/receipts/inbox}]\nn8n: {webhook_url: https://n8n.example.com/webhook/receipts}\n"
    assert load(EXAMPLE, HOME) == load(written(tmp_path, minimal), HOME)


@pytest.mark.parametrize(("key", "field"), ALL_OPTIONS, ids=OPTION_NAMES)
def test_the_example_has_every_option(key: tuple[str, ...], field: FieldInfo) -> None:
    """Each option is in the example: its description above it, its default, or commented out where there is none."""
    text, name = EXAMPLE.read_text("utf-8"), key[-1]
    assert field.description
    assert f"# {field.description}\n" in text
    if field.examples:
        assert at(yaml.safe_load(text), ".".join(key)) == field.examples[0]
    elif field.default_factory or field.default is None:
        assert f"# {name}: …" in text
    else:
        default = list(field.default) if isinstance(field.default, tuple) else field.default
        assert at(yaml.safe_load(text), ".".join(key)) == default


def test_init_fills_the_example_in(tmp_path: Path) -> None:
    """What the admin answers takes the placeholders' places, however odd the characters."""
    odd = "a'b\"c: #{x}-0123456789"
    values = {
        "inboxes.0.path": "/srv/Büro: 1 #2/in",
        "inboxes.1.path": "/y/second",
        "inboxes.1.notion_database_id": "0123",
        "n8n.webhook_url": "http://n8n:5678/webhook/r",
        "callback.secret_token": odd.replace(" ", ""),
        "n8n.workers": 2,
        "http.public_url": None,
    }
    config = load(written(tmp_path, example_yaml(values)), HOME)
    assert [str(inbox.path) for inbox in config.inboxes] == ["/srv/Büro: 1 #2/in", "/y/second"]
    assert config.inboxes[1].notion_database_id == "0123"
    assert config.n8n.workers == 2
    assert config.callback.secret_token is not None
    assert config.callback.secret_token.get_secret_value() == odd.replace(" ", "")


def test_init_knows_its_options() -> None:
    """A value for an option that does not exist is a mistake in the program, and is not dropped."""
    with pytest.raises(ValueError, match=r"n8n\.retries"):
        example_yaml({"n8n.retries": 3})


@pytest.mark.parametrize("name", OPTION_NAMES)
@pytest.mark.parametrize("source", ["variable", "file"])
def test_every_option_can_be_set(tmp_path: Path, name: str, source: str) -> None:
    """Each option has its variable, RECEIPT_WATCHER_ and the key in capitals, and its place in the file."""
    text, shown = OTHER[name]
    is_group = text.startswith("{")
    needed = {f"RECEIPT_WATCHER_{other}": value for other, value in NEEDED.get(name, {}).items()}
    if source == "variable":
        environ = {"RECEIPT_WATCHER_" + name.replace(".", "__").upper(): text}
        config = load(written(tmp_path, MINIMAL), {**HOME, **environ, **needed})
    else:
        values = {name: json.loads(text) if is_group else text}
        config = load(written(tmp_path, example_yaml(values)), {**HOME, **needed})
    assert at(redacted(config), name) == shown
    assert at(redacted(load(written(tmp_path, MINIMAL), HOME)), name) != shown


def test_the_table_of_other_values_is_whole() -> None:
    """A new option needs a line in the table above, so that nobody forgets how it is set."""
    assert sorted(OTHER) == sorted(OPTION_NAMES)
