"""The manual, made from what `--help` says and from the options themselves: receipt-watcher(1), watcher.yaml(5).

What it promises: pages in the form of man(7) that groff and mandoc read without a warning, and no second source of any
sentence. Pure: nothing is read or written.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import click
from pydantic.fields import FieldInfo

from receipt_watcher import __version__
from receipt_watcher.config.fields import model_of, rule_of
from receipt_watcher.config.options import Config
from receipt_watcher.config.sections.section import Section

_EXIT_CODES = {
    "0": "All is fine.",
    "1": "Something is wrong with the receipts or the system; it says what.",
    "2": "The command line or the configuration cannot be used.",
}
_FILES = {
    "/etc/receipt-watcher/watcher.yaml": "The configuration of the service; see watcher.yaml(5).",
    "/var/lib/receipt-watcher": "The job log, the callback token and the lock of the service.",
}
_VARIABLES = {
    "RECEIPT_WATCHER_CONFIG": "The configuration file, where --config names none.",
    "RECEIPT_WATCHER_…": "Any option, with __ between its levels, such as RECEIPT_WATCHER_N8N__WORKERS=8.",
    "CREDENTIALS_DIRECTORY": "Where systemd keeps the service's credentials, such as n8n_api_key.",
    "STATE_DIRECTORY": "Where state_dir is by default.",
    "NO_COLOR": "Where it is set, nothing is coloured.",
}


def command_page(root: click.Command) -> str:
    """Return receipt-watcher(1)."""
    return _text(_command_lines(root))


def file_page() -> str:
    """Return watcher.yaml(5)."""
    return _text(_file_lines())


def _command_lines(root: click.Command) -> Iterator[str]:
    summary, *rest = _paragraphs(root.help or "")
    yield from _head("receipt-watcher", 1, "General Commands Manual", summary)
    yield from (".SH SYNOPSIS", ".B receipt\\-watcher", ".I COMMAND", "[\\fIOPTION\\fR]\\.\\|.\\|.", ".SH DESCRIPTION")
    yield from (_escaped(text) for text in rest)
    yield ".SH COMMANDS"
    context = click.Context(root, info_name="receipt-watcher")
    for words, command in _commands(root):
        yield from _one_command(words, command, context)
    yield from (".SH EXIT STATUS", *_entries(_EXIT_CODES))
    yield from (".SH FILES", *_entries(_FILES))
    yield from (".SH ENVIRONMENT", *_entries(_VARIABLES))
    yield from (".SH SEE ALSO", ".BR watcher.yaml (5),", ".BR journalctl (1),", ".BR systemctl (1)")


def _commands(group: click.Command, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in sorted(group.commands.items()) if isinstance(group, click.Group) else ():
        if isinstance(command, click.Group):
            yield from _commands(command, (*above, name))
        elif not command.hidden:
            yield (*above, name), command


def _one_command(words: tuple[str, ...], command: click.Command, root: click.Context) -> Iterator[str]:
    context = click.Context(command, info_name=" ".join(words), parent=root)
    pieces = " ".join(command.collect_usage_pieces(context))
    yield f".SS {_escaped(' '.join(words))} {_escaped(pieces)}"
    for number, paragraph in enumerate(_paragraphs(command.help or "")):
        if number:
            yield ".PP"
        yield from _lines_of(paragraph)
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context) if isinstance(parameter, click.Option) else None
        if record is not None and parameter.name != "help":
            yield from (".TP", f".B {_escaped(record[0])}", _escaped(record[1]) or "\\&")


def _lines_of(paragraph: str) -> Iterator[str]:
    """Yield a paragraph, an example as it is typed, and one that click does not wrap (backspace) line by line."""
    if paragraph.startswith("Example: "):
        yield from ("Example:", ".IP", ".EX", _escaped(paragraph.removeprefix("Example: ")), ".EE")
    elif paragraph.startswith("\b"):
        yield from (".EX", *(_escaped(line) for line in paragraph.lstrip("\b\n").splitlines()), ".EE")
    else:
        yield _escaped(" ".join(paragraph.split()))


def _file_lines() -> Iterator[str]:
    yield from _head("watcher.yaml", 5, "File Formats Manual", "what receipt-watcher is configured by")
    yield ".SH DESCRIPTION"
    yield _escaped(
        "A file of YAML. Unknown options are mistakes, and all mistakes are told at once. Each option can also be set "
        "in the environment, such as RECEIPT_WATCHER_N8N__WORKERS=8; secrets may come from systemd's credentials, too. "
        "The environment wins over credentials, those over the file, the file over the defaults."
    )
    groups = {name: field for name, field in Config.model_fields.items() if model_of(field)}
    yield ".SH OPTIONS"
    for name, field in Config.model_fields.items():
        if name not in groups:
            yield from _option(name, field)
    known: set[type[Section]] = set()
    for name, field in sorted(groups.items(), key=lambda group: group[0] != "n8n"):  # what it has, inboxes refer to
        yield from _group(name, field, known)
    yield from (".SH EXAMPLE", ".EX", *map(_escaped, _EXAMPLE.splitlines()), ".EE")
    yield from (".SH SEE ALSO", ".BR receipt\\-watcher (1)", ".PP", "Every option with its default:", ".IP", ".EX")
    yield from (_escaped("receipt-watcher config example"), ".EE")


_EXAMPLE = """\
inboxes:
  - path: /srv/receipts/inbox
n8n:
  webhook_url: https://n8n.example.com/webhook/receipts"""


def _group(name: str, field: FieldInfo, known: set[type[Section]]) -> Iterator[str]:
    """Yield a section, and after it those within it; each kind once."""
    section = model_of(field)
    if section is None or section in known:
        return
    known.add(section)
    yield from (f".SH {_escaped(name)}", _escaped(field.description or ""))
    for each, option in section.model_fields.items():
        yield from _option(each, option)
    for each, option in section.model_fields.items():
        yield from _group(f"{name}.{each}", option, known)


def _option(name: str, field: FieldInfo) -> Iterator[str]:
    default = field.default if field.default_factory is None and not field.is_required() else None
    shown = "" if default in (None, "", ()) or model_of(field) else f" The default is {_plain(default)}."
    yield from (".TP", f".B {_escaped(name)}", _escaped(f"{field.description} Give {rule_of(name, field)}.{shown}"))


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _head(name: str, section: int, volume: str, summary: str) -> Iterator[str]:
    yield f'.TH {_escaped(name).upper()} {section} "" "receipt\\-watcher {__version__}" "{volume}"'
    yield ".nh"  # a name that is broken cannot be copied
    yield from (".SH NAME", f"{_escaped(name)} \\- {_escaped(_as_name(summary))}")


def _as_name(summary: str) -> str:
    return summary[:1].lower() + summary[1:].rstrip(".")


def _entries(texts: dict[str, str]) -> Iterator[str]:
    for name, text in texts.items():
        yield from (".TP", f".B {_escaped(name)}", _escaped(text))


def _paragraphs(text: str) -> list[str]:
    return [paragraph.strip(" \n") for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(text)) if paragraph.strip()]


def _escaped(text: str) -> str:
    """Return text that roff takes as it is: no control lines, no escapes, and hyphens that can be copied."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text.startswith((".", "'")) else text


def _text(lines: Iterator[str]) -> str:
    return "\n".join(lines) + "\n"
