"""Commands as they are typed, and jobs for them to work on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import Event, State
from tests.conftest import make_job

API_KEY = "the-key-that-nobody-may-read"
WEBHOOK = "http://127.0.0.1:9/webhook/receipts"


@dataclass(frozen=True)
class Said:
    """The exit code and output of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Return what it printed as JSON."""
        return json.loads(self.out)


Command = Callable[..., Said]


def add(log: JobLog, name: str, state: State = State.QUEUED, age_seconds: float = 0.0) -> str:
    """Put a job into the log that came to a state by legal steps, and return its id."""
    now = time.time() - age_seconds
    job = log.jobs.insert(make_job(now, filename=name, relative_path=Path(name)))
    steps = {
        State.QUEUED: [],
        State.DELIVERING: [Event.CLAIM],
        State.PROCESSING: [Event.CLAIM, Event.ACCEPT],
        State.SUCCESS: [Event.SUCCEED],
        State.FAILURE: [Event.FAIL],
        State.CANCELLED: [Event.CANCEL],
    }
    for event in steps[state]:
        changes = {"reason": Reason.N8N_FAILURE, "message": "The supplier is unknown."} if event is Event.FAIL else {}
        assert log.jobs.advance(job.job_id, event, now, **changes) is not None
    return job.job_id


def state_of(log: JobLog, job_id: str) -> State:
    """Return how a job stands."""
    job = log.lookups.get(job_id)
    assert job is not None
    return job.state


def all_commands(group: click.Group, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words of each command that does something."""
    for name, found in group.commands.items():
        if isinstance(found, click.Group):
            yield from all_commands(found, (*above, name))
        else:
            yield (*above, name)
