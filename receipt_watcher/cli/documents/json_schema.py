"""watcher.yaml as a JSON Schema, for editors: what they offer, explain and underline while somebody writes.

What it promises: each option with its description, default and bounds; what the program takes, the schema takes. What
holds between options, only `load` knows. Pure: nothing is read or written.
"""

from __future__ import annotations

from typing import Any

from receipt_watcher.config.options import Config


def json_schema() -> dict[str, Any]:
    """Return the schema."""
    schema = Config.model_json_schema()
    _drop_titles(schema)
    for section in (schema, *schema["$defs"].values()):
        _let_be_empty(section, schema["$defs"])
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "watcher.yaml", **schema}


def _let_be_empty(section: dict[str, Any], groups: dict[str, Any]) -> None:
    """Let an option have no value, as where all that is indented below it is commented out: then it has its default."""
    for name, option in section["properties"].items():
        if name in section.get("required", []) or {"type": "null"} in option.get("anyOf", []):
            continue
        if "$ref" in option:
            group = groups[option["$ref"].rpartition("/")[2]]
            section["properties"][name] = {
                "anyOf": [{"$ref": option["$ref"]}, {"type": "null"}],
                "description": option.get("description") or group["description"],
            }
            continue
        told = {key: option.pop(key) for key in ("description", "default", "examples") if key in option}
        section["properties"][name] = {"anyOf": [option, {"type": "null"}], **told}


def _drop_titles(part: Any) -> None:
    """Leave out the names that pydantic makes of names: they say nothing new. An option may be called title."""
    if isinstance(part, dict):
        if isinstance(part.get("title"), str):
            del part["title"]
        for inner in part.values():
            _drop_titles(inner)
    elif isinstance(part, list):
        for inner in part:
            _drop_titles(inner)
