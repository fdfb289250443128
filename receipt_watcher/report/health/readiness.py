"""Whether the daemon is ready, as JSON for programs and as one line for people and old monitors.

What it promises: the same words in both. What fails makes it not ready; what is degraded does not: a receipt waits, and
nobody needs to come. Pure: no I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from receipt_watcher.system.display import printable

#: The public words for a check that fails, by the first word of its name: no path, no host, no words of others.
_PUBLIC_WORDS = {
    "stopping": "the daemon is stopping",
    "job_log": "the job log cannot be used",
    "disk": "a disk is full, read-only or away",
    "inbox": "the inbox cannot be used",
    "filing": "files cannot be filed",
    "wrong_token": "callbacks bear a wrong token",
    "blocked": "files need a person",
    "long_wait": "files wait for long",
    "stuck": "receipts are under way for long",
    "failed": "receipts failed",
    "balance": "log and folders disagree",
    "unrouted": "receipts belong to inboxes that are no longer configured",
}
_WHERE_MORE = "a viewer's token and receipt-watcher status tell more"


@dataclass(frozen=True, slots=True)
class Readiness:
    """Each check by name, with what is wrong or None; what works by halves; and what waits as it should.

    `troubles` are what a person should look at, though receipts are taken and filed.
    """

    checks: Mapping[str, str | None]
    degraded: Mapping[str, str]
    waiting: Mapping[str, str]
    troubles: Mapping[str, str] = field(default_factory=dict)

    @property
    def failing(self) -> dict[str, str]:
        """The checks that fail, with what is wrong."""
        return {name: wrong for name, wrong in self.checks.items() if wrong is not None}

    @property
    def is_ready(self) -> bool:
        """Whether receipts are taken and N8N is heard."""
        return not self.failing

    def without_details(self) -> Readiness:
        """Return what anybody may know: which checks fail, how many destinations are held, and what ran out."""
        checks = {name: None if wrong is None else _public_words(name) for name, wrong in self.checks.items()}
        held = [name for name in self.degraded if name.startswith("hold:")]  # by its host
        holds = {f"hold:{number}": "its receipts wait" for number, _ in enumerate(held, 1)}
        others = {name: why for name, why in self.degraded.items() if name not in held}
        troubles = {name: _public_words(name) for name in self.troubles}
        return Readiness(checks, holds | others, {}, troubles)

    def as_json(self) -> dict[str, object]:
        """Return the answer of `/health/ready` as JSON takes it."""
        degraded = {"degraded": dict(self.degraded)} if self.degraded else {}
        troubles = {"troubles": dict(self.troubles)} if self.troubles else {}
        if not self.is_ready:
            return {"status": "not ready", "failing": self.failing, **degraded, **troubles}
        waiting = {"waiting": dict(self.waiting)} if self.waiting else {}
        status = "degraded" if degraded else "ok"
        return {"status": status, "checks": sorted(self.checks), **degraded, **waiting, **troubles}

    def line(self) -> str:
        """Return one line for people, without its end."""
        kinds = {
            "not ready": self.failing,
            "degraded": self.degraded,
            "waiting": self.waiting,
            "troubles": self.troubles,
        }
        kind_texts = [
            f"{kind}: {'; '.join(f'{name}: {why}' for name, why in by_name.items())}"
            for kind, by_name in kinds.items()
            if by_name
        ]
        return printable(" | ".join(kind_texts if not self.is_ready else ["ok", *kind_texts]))


def _public_words(check: str) -> str:
    return f"{_PUBLIC_WORDS.get(check.partition(':')[0], 'it fails')}; {_WHERE_MORE}"
