"""The options in words, and watcher.example.yaml, which is written from the models.

What it promises: `example_yaml` has every option with its description, its default and its bounds; `load` takes it
as it is, and it changes no default. Values that are given take the examples' places, quoted so that YAML reads them
back as they were; one for an option that does not exist is a ValueError, never dropped. `rule_of` says what an
option may be, in the same words for the example and for messages.

Any thread may call it: pure functions over the models. Nothing is read or written here (whoever calls writes the
file), so a crash leaves nothing behind.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping

import yaml
from pydantic.fields import FieldInfo

from receipt_watcher.config.fields import known_keys, model_of, rule_of
from receipt_watcher.config.options import Config
from receipt_watcher.config.sections.inbox import Inbox

_EXAMPLE_HEAD = """\
# receipt-watcher: every option with its default. Those with … have none, or follow from others.
# Each can also be set in the environment, for example RECEIPT_WATCHER_N8N__WORKERS=8."""


def example_yaml(values: Mapping[str, object] | None = None) -> str:
    """Return a commented file with every option; `values` (`n8n.api_key`, `inboxes.0.path`) replace its examples."""
    given = {key: value for key, value in (values or {}).items() if value is not None}
    known = {".".join(map(str, key)) for key in known_keys(Config)}
    if wrong := [key for key in given if re.sub(r"^inboxes\.\d+\.", "inboxes.0.", key) not in known]:
        raise ValueError(f"no such option: {', '.join(wrong)}")
    blocks = [_EXAMPLE_HEAD]
    for name, field in Config.model_fields.items():
        section = model_of(field)
        if section is None:
            blocks.append("\n".join(_option_lines("", name, field, given)))
        elif section is Inbox:
            numbers = sorted({0} | {int(key.split(".")[1]) for key in given if key.startswith("inboxes.")})
            items = [_inbox_lines(f"inboxes.{number}.", given) for number in numbers]
            blocks.append(f"# {field.description}\n{name}:\n" + "\n\n".join(items))
        else:
            lines = [_option_lines(f"{name}.", *option, given, "  ") for option in section.model_fields.items()]
            blocks.append("\n".join([f"# {field.description}", f"{name}:", *itertools.chain(*lines)]))
    return "\n\n".join(blocks) + "\n"


def _inbox_lines(prefix: str, given: Mapping[str, object]) -> str:
    lines = [_option_lines(prefix, *option, given, "    ") for option in Inbox.model_fields.items()]
    comment, first, *others = itertools.chain(*lines)
    return "\n".join([comment.replace("    ", "  ", 1), first.replace("    ", "  - ", 1), *others])


def _option_lines(
    prefix: str, name: str, field: FieldInfo, given: Mapping[str, object], indent: str = ""
) -> tuple[str, str]:
    default = field.default if field.default_factory is None else None
    value = given.get(prefix + name, field.examples[0] if field.examples else default)
    text = f"# {name}: …" if value is None else f"{name}: {_scalar(value)}"
    rule = rule_of(name, field)
    beside = f"  # {rule}" if re.match("one of|a number|a whole", rule) else ""
    return f"{indent}# {field.description}", f"{indent}{text}{beside}"


def _scalar(value: object) -> str:
    """Return `value` as YAML; only words and paths that nothing can misread go without quotes."""
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)  # JSON is YAML
    if isinstance(value, tuple):
        return f"[{', '.join(_scalar(item) for item in value)}]"
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    text = str(value)
    plain = re.fullmatch(r"[a-z/](?:[\w/.:-]*[\w/.-])?", text, re.ASCII)
    if plain and text not in {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}:
        return text
    return yaml.safe_dump(text, default_style='"', allow_unicode=True, width=10**9).strip()
