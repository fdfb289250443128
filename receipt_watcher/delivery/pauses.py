"""The pauses before a job's next try and a destination's next probe. Pure, but for the jitter."""

from __future__ import annotations

import random
from dataclasses import dataclass

from receipt_watcher.jobs.job import Job, backoff_seconds
from receipt_watcher.jobs.log.holds import DestinationState


@dataclass(frozen=True, slots=True)
class DeliverySettings:
    """The patience of delivery: seconds, and numbers of tries; `drain_per_minute` 0 is as fast as it goes."""

    max_attempts: int
    backoff_initial_seconds: float
    backoff_max_seconds: float
    callback_deadline_seconds: float
    workers: int
    hold_after: int
    probe_max_seconds: float
    drain_per_minute: float


class Pauses:
    """Computes the pauses before retries, in seconds."""

    def __init__(self, settings: DeliverySettings, jitter: random.Random) -> None:
        self._settings = settings
        self._jitter = jitter

    def before_probe(self, state: DestinationState) -> float:
        """Return how long the next probe of a destination waits: the pauses double."""
        initial = self._settings.backoff_initial_seconds
        return backoff_seconds(state.probes + 1, initial, self._settings.probe_max_seconds, self._jitter)

    def after_failures(self, count: int) -> float:
        """Return how long to wait after so many failures in a row: the pauses double."""
        settings = self._settings
        return backoff_seconds(count, settings.backoff_initial_seconds, settings.backoff_max_seconds, self._jitter)

    def of_job(self, job: Job, before: DestinationState, after: DestinationState, now: float) -> float:
        """Return how long a job waits by itself after a failure that holds nobody yet.

        Where others passed since its last failure, twice as long as since then: the pauses double, and nothing has to
        be counted for it.
        """
        if job.destination_failed_at is None or not others_passed(job, before):
            return self.after_failures(after.misses)
        return within_bounds(2 * (now - job.destination_failed_at) * self._jitter.uniform(0.5, 1.0), self._settings)


def others_passed(job: Job, state: DestinationState) -> bool:
    """Return whether the destination works but for this job: it took another one after it had failed this one."""
    failed_at = job.destination_failed_at
    return failed_at is not None and not state.is_held and (state.accepted_at or 0.0) > failed_at


def while_unreadable(job: Job, settings: DeliverySettings, now: float) -> float:
    """Return how long a job waits whose file cannot be read now.

    Half the age of the job: the pauses double, as a backoff does, and nothing has to be counted for it.
    """
    return within_bounds((now - job.created_at) / 2, settings)


def within_bounds(pause_seconds: float, settings: DeliverySettings) -> float:
    """Return a pause that is no shorter than the first one of a backoff, and no longer than its last."""
    return min(max(pause_seconds, settings.backoff_initial_seconds), settings.backoff_max_seconds)
