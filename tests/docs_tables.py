"""Texts that are made from the code: tables of the README, and the catalogue of `journalctl -x`.

`python -m tests.docs_tables` writes them anew; tests compare them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from receipt_watcher.config.roles import roles_with
from receipt_watcher.inbox.wait_reasons import WaitReason
from receipt_watcher.inbox.watching.ignored import PACKS
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import TRANSITIONS, State
from receipt_watcher.report.balance.findings import Finding
from receipt_watcher.service.logging.events import SENTENCES
from receipt_watcher.service.logging.sentences import catalog
from receipt_watcher.service.process.tasks import PERIODIC_TASKS
from receipt_watcher.web.api.operations import OPERATIONS, Operation
from tests.fakes.daemons.crash_at_point import BOUNDARIES
from tests.test_layout import ORDER, PACKAGE

README = Path(__file__).parent.parent / "README.md"
CATALOG = README.parent / "systemd" / "receipt-watcher.catalog"

_TASKS = {
    "follow_clock": "sees that the clock was set or the machine slept, and moves all that is still to come along",
    "check_log": "writes the job log anew where it was deleted under us; sees whether it can be written again",
    "expire": "sends again, or gives up, what no callback came for by its deadline",
    "settle_claims": "writes down outcomes that the job log did not take; gives up claims whose outcome is lost",
    "supervise": "says so when the file system under an inbox answers nothing, which its own thread cannot",
    "note_alive": "remembers that deadlines are running, so that time when we were away does not count",
    "log_wrong_tokens": "logs wrong tokens that were counted since the last line about their address",
    "report_status": "reports in a line, for `systemctl status`, what is done now; proves that the log answers",
    "renew_certificate": "reads http.tls_certificate anew where it was renewed",
    "trim_pictures": "removes the status page's pictures of receipts after a day, and what is too much of them",
    "end_idle_examiners": "ends examiners that have had nothing to do for a minute",
}


def tables() -> dict[str, list[str]]:
    """Return the rows of each table, by the name in the comment above it."""
    return {
        "transitions": [
            f"| {event} | {', '.join(state for state in State if state in transition.sources)} | {transition.target} "
            f"| {transition.when} |"
            for event, transition in TRANSITIONS.items()
        ],
        "periodic tasks": [
            f"| `{name}` | {seconds:g} s | {_TASKS[name]} |" for name, seconds in PERIODIC_TASKS.items()
        ],
        "reasons": [f"| `{reason}` | {reason.meaning} | {reason.advice} |" for reason in Reason],
        "findings": [f"| `{finding}` | {finding.meaning} | {finding.advice} |" for finding in Finding],
        "waits": [f"| `{wait}` | {wait.meaning} | {wait.advice} |" for wait in WaitReason],
        "ignore packs": [
            f"| `{pack}` | {', '.join(f'`{_visible(pattern)}`' for pattern in patterns)} |"
            for pack, patterns in PACKS.items()
        ],
        "events": [f"| `{event}` | {sentence.meaning} | {sentence.advice} |" for event, sentence in SENTENCES.items()],
        "api": [
            f"| `{each.method} {each.path}` | {_roles(each)} | {each.summary} `curl {each.curl}` |"
            for each in OPERATIONS.values()
        ],
        "packages": [f"| `{name}` | {summary} |" for name, summary in _packages()],
        "crashes": [f"| {name} | {' | '.join(_parts(text))} |" for name, text in BOUNDARIES.items()],
    }


def _packages() -> Iterator[tuple[str, str]]:
    """Yield each package and the first line of its man page, in the order of imports, a folder before what is in it."""
    for package in ORDER.split():
        for path in sorted((PACKAGE / package).rglob("__init__.py")):
            man_page = ast.get_docstring(ast.parse(path.read_text("utf-8")))
            yield str(path.parent.relative_to(PACKAGE)), (man_page or "").partition("\n")[0]


def _roles(operation: Operation) -> str:
    return "anybody" if operation.right is None else ", ".join(roles_with(operation.right))


def _visible(pattern: str) -> str:
    return pattern.replace("\r", "␍")


def _parts(text: str) -> tuple[str, ...]:
    found = re.fullmatch(r"On disk: (.+?) In the log: (.+?) Recovery: (.+)", text)
    if found is None:
        raise ValueError(f"not of the form of the crash table: {text}")
    return found.groups()


def written(text: str) -> str:
    """Return the README with its tables made anew."""
    for name, rows in tables().items():
        pattern = re.compile(rf"(<!-- table: {name} -->\n\|[^\n]+\n\|[-|]+\n)(?:[|@][^\n]*\n)*")
        found = pattern.search(text)
        if found is None:
            raise ValueError(f"the README has no table «{name}»")
        text = text[: found.end(1)] + "\n".join(rows) + "\n" + text[found.end() :]
    return text


if __name__ == "__main__":
    README.write_text(written(README.read_text("utf-8")), "utf-8")
    CATALOG.write_text(catalog(), "utf-8")
