"""N8N's side inside the machine: the stand-in on port 5678, told how to behave by the file `mode` beside this one.

Runs from a copy of the program, so it imports nothing of the tests. Each delivery is a JSON line on standard output.

answer: takes it and calls back.  mute: takes it and never calls back.  hang: never answers.  down: 503.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
from pathlib import Path

from receipt_watcher.cli.demo.received_posts import ReceivedPost
from receipt_watcher.cli.demo.stand_in import Behaviour, StandIn, succeed_if_intact

_MODE = Path(__file__).with_name("mode")
_NEVER = threading.Event()


def behave(delivery: ReceivedPost) -> Behaviour:
    """Write the delivery down, and do what the mode says."""
    mode = _MODE.read_text().strip()
    told = {
        "job_id": delivery.job_id,
        "sha256": delivery.sha256,
        "mode": mode,
        "key": delivery.headers.get("x-n8n-api-key", ""),
    }
    print(json.dumps(told), flush=True)  # noqa: T201
    if mode == "hang":
        return Behaviour(hang=_NEVER)
    if mode == "down":
        return Behaviour(status=503, verdict=None)
    return Behaviour(verdict=None) if mode == "mute" else succeed_if_intact(delivery)


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    with StandIn(sys.argv[1], None, behave, 5678):
        signal.sigwait({signal.SIGTERM})
        _NEVER.set()
