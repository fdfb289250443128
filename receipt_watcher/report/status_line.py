"""What the service does now, in one line for `systemctl status`. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from urllib.parse import urlsplit


def in_one_line(
    waiting: int,
    at_n8n: int,
    held: Mapping[str, float | None],
    unavailable: Iterable[str],
    time_of: Callable[[float], str],
) -> str:
    """Return what waits, what is out, which destinations (URL, since when) are on hold, and which inboxes are away."""
    parts = [f"{waiting} waiting", f"{at_n8n} at N8N"]
    hosts: dict[str, float | None] = {}
    for url, since in held.items():
        hosts.setdefault(urlsplit(url).hostname or "N8N", since)
    parts += [
        f"{host} on hold" + ("" if since is None else f" since {time_of(since)}") for host, since in hosts.items()
    ]
    parts += [f"inbox {name} unavailable" for name in unavailable]
    return ", ".join(parts)
