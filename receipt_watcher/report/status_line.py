"""The status line of the service for `systemctl status`. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping


def in_one_line(
    waiting: int,
    at_n8n: int,
    held: Mapping[str, float | None],
    unavailable: Iterable[str],
    time_of: Callable[[float], str],
    *,
    troubles: Iterable[str] = (),
) -> str:
    """Return what waits, what is out, which destinations (name, since when) are on hold, and what else is wrong."""
    clauses = [f"{waiting} waiting", f"{at_n8n} at N8N"]
    clauses += [
        f"{name} on hold" + ("" if since is None else f" since {time_of(since)}") for name, since in held.items()
    ]
    clauses += [f"inbox {name} unavailable" for name in unavailable]
    return ", ".join([*clauses, *troubles])
