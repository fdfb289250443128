"""Whether the daemon is ready, as JSON for programs and as one line for people and old monitors.

What it promises: the same words in both. What fails makes it not ready; what is degraded does not: a receipt waits, and
nobody needs to come. Pure: no I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from receipt_watcher.sentences import printable


@dataclass(frozen=True, slots=True)
class Readiness:
    """Each check by name, with what is wrong or None; what works by halves; and what waits as it should."""

    checks: Mapping[str, str | None]
    degraded: Mapping[str, str]
    waiting: Mapping[str, str]

    @property
    def failing(self) -> dict[str, str]:
        """The checks that fail, with what is wrong."""
        return {name: wrong for name, wrong in self.checks.items() if wrong is not None}

    @property
    def is_ready(self) -> bool:
        """Whether receipts are taken and N8N is heard."""
        return not self.failing

    def as_json(self) -> dict[str, object]:
        """Return it for programs."""
        degraded = {"degraded": dict(self.degraded)} if self.degraded else {}
        if not self.is_ready:
            return {"status": "not ready", "failing": self.failing, **degraded}
        waiting = {"waiting": dict(self.waiting)} if self.waiting else {}
        return {"status": "degraded" if degraded else "ok", "checks": sorted(self.checks), **degraded, **waiting}

    def line(self) -> str:
        """Return it for people, without an end of line."""
        kinds = {"not ready": self.failing, "degraded": self.degraded, "waiting": self.waiting}
        parts = [
            f"{kind}: {'; '.join(f'{name}: {said}' for name, said in found.items())}"
            for kind, found in kinds.items()
            if found
        ]
        return printable(" | ".join(parts if not self.is_ready else ["ok", *parts]))
