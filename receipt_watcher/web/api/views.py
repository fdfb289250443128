"""Destinations as an answer shows them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from receipt_watcher.config.secrets import masked, without_path
from receipt_watcher.delivery.destinations.reachability import Reachability
from receipt_watcher.jobs.json_view import iso_time
from receipt_watcher.jobs.log.holds import DestinationState
from receipt_watcher.jobs.log.manual_holds import ManualHold, hand_hold_view


def hold_view(
    name: str,
    standing: DestinationState,
    inboxes: Sequence[str],
    by_hand: ManualHold | None,
    *,
    now: float,
    shows_path: bool,
) -> dict[str, Any]:
    """Return how a destination stands, as JSON takes it; the path of a webhook is for admins only."""
    message = standing.hold_message if standing.is_held else None
    path = urlsplit(standing.url).path
    if message is not None and not shows_path and len(path) > 1:
        message = message.replace(path, "/…")
    return {
        "destination": name,
        "url": masked(standing.url) if shows_path else without_path(standing.url),
        "held": standing.is_held,
        "kind": standing.hold_kind.value if standing.hold_kind else None,
        "since": iso_time(standing.held_since),
        "message": message,
        "next_probe_at": iso_time(standing.next_probe_at(now)),
        "inboxes": list(inboxes),
        "by_hand": hand_hold_view(by_hand),
    }


def reachability_view(name: str, reachability: Reachability) -> dict[str, Any]:
    """Return whether a destination is there, as JSON takes it."""
    milliseconds = None if reachability.seconds is None else round(reachability.seconds * 1000, 1)
    return {"destination": name, "ok": reachability.is_there, "said": reachability.words, "milliseconds": milliseconds}
