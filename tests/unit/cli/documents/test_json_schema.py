"""The JSON schema takes what the program takes, and explains each option."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from receipt_watcher.cli.documents.json_schema import json_schema
from receipt_watcher.config.sources.load import load
from tests.fakes.daemons.process import REPOSITORY
from tests.unit.cli.typed_commands import WEBHOOK, Command


def test_the_schema_takes_what_the_program_takes(tmp_path: Path) -> None:
    """The example is valid, as are the short forms; unknown options, wrong words and numbers out of bounds are not."""
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    example = yaml.safe_load((REPOSITORY / "watcher.example.yaml").read_text())
    short = {
        "inboxes": [
            {"path": "/srv/inbox", "accept": "any_2xx", "ignore": "*.bak", "recursive": True, "routes": {"a": "0f3c"}}
        ],
        "n8n": {"webhook_url": WEBHOOK, "accept": {"status": 202}, "deliver_when": {"days": ["mon", "tue"]}},
        "notify": {"urls": "ntfys://ntfy.example.com/x", "quiet_hours": "22:00-07:00", "kinds": ["holds"]},
    }
    for number, right in enumerate((example, short)):
        jsonschema.validate(right, schema)
        path = tmp_path / f"{number}.yaml"
        path.write_text(json.dumps(right))
        load(path, {})
    inboxes = [{"path": "/srv/inbox"}]
    mistakes: tuple[dict[str, object], ...] = (
        {},
        {"inboxes": []},
        {"inboxes": inboxes, "n8n": {"webook_url": WEBHOOK}},
        {"inboxes": inboxes, "n8n": {"payload": "xml"}},
        {"inboxes": inboxes, "n8n": {"workers": 0}},
        {"inboxes": [{"path": "/srv/inbox", "accept": "sometimes"}]},
    )
    for wrong in mistakes:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)


def test_the_schema_explains(command: Command) -> None:
    """Each option has its description, for who hovers over it."""
    schema = command("config", "schema").json
    for section in (schema, *schema["$defs"].values()):
        assert all(option.get("description") for option in section["properties"].values())
