"""Journal entries made from log lines: a sentence, a priority, and each field by itself.

What it promises: MESSAGE is one line of printable text, with the traceback of an error in the lines below; all other
fields are printable too, so that no name steers the terminal of who reads them. `journalctl RECEIPT_JOB=…` finds
each line about a job. Where there is no journal the same becomes lines with the priority in front (sd-daemon(3)).

Pure; any thread may call it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from receipt_watcher.service.logging.events import SENTENCES
from receipt_watcher.service.logging.sentences import message_id, sentence_of
from receipt_watcher.system.display import printable

_PRIORITIES = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}

#: Fields with a name of the journal, or one that admins know better; all others become RECEIPT_<NAME>.
_NAMES = {
    "pathname": "CODE_FILE",
    "lineno": "CODE_LINE",
    "func_name": "CODE_FUNC",
    "logger": "LOGGER",
    "job_id": "RECEIPT_JOB",
    "filename": "RECEIPT_FILE",
    "attempts": "RECEIPT_ATTEMPT",
    "exception": "RECEIPT_TRACEBACK",
}
_LONGEST_NAME = 64  # the journal's rule
_SYSTEM_DAEMON = "3"


def entry_of(event: Mapping[str, Any]) -> dict[str, str]:
    """Return the fields of an entry; `event` has its name, or a library's words, as `event`."""
    name = str(event.get("event", ""))
    entry = {
        "MESSAGE": "\n".join([message_of(name, event), *_lines(event.get("exception"))]),
        "PRIORITY": str(_PRIORITIES.get(event.get("level", ""), 6)),
        "SYSLOG_IDENTIFIER": "receipt-watcher",
        "SYSLOG_FACILITY": _SYSTEM_DAEMON,
    }
    if "logger" not in event:
        entry["RECEIPT_EVENT"] = printable(name)
    if name in SENTENCES:
        entry["MESSAGE_ID"] = message_id(name)
    for field, value in event.items():
        if field not in ("event", "level") and value is not None:
            entry.setdefault(_field_name(field), "\n".join(_lines(value) if field == "exception" else [_text(value)]))
    return entry


def message_of(name: str, event: Mapping[str, Any]) -> str:
    """Return the one line that says an event; a library's words bear its name in front."""
    sentence = sentence_of(name, event)
    if sentence is not None:
        return sentence
    library = event.get("logger")
    return printable(name if library is None else f"{library}: {name}")


def line_of(entry: Mapping[str, str]) -> str:
    """Return an entry as lines for systemd to read from stderr; what cannot be a field there stands at the end."""
    prefix = f"<{entry['PRIORITY']}>"
    first, *trace = entry["MESSAGE"].split("\n")
    marks = [entry[name] for name in ("RECEIPT_EVENT", "RECEIPT_JOB") if entry.get(name)]
    if marks:
        first += f" [{', '.join(marks)}]"
    return "\n".join(prefix + line for line in (first, *trace))


def _field_name(field: str) -> str:
    """Return what the journal takes for a name: capitals, digits and underscores, and not too many."""
    known = _NAMES.get(field)
    return known or ("RECEIPT_" + re.sub("[^A-Z0-9_]", "_", field.upper()))[:_LONGEST_NAME]


def _text(value: Any) -> str:
    return printable(str(value))


def _lines(value: Any) -> list[str]:
    return [] if value is None else [printable(line) for line in str(value).split("\n")]
