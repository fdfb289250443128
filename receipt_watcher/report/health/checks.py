"""The checks of `/health/ready` and of the metrics, each with a name.

What it promises: a check fails if receipts are not taken, not recorded or not filed, or soon will not be: an inbox
that is away, a job log that fails, a disk that is read-only or has less room than limits.min_free_mb, files that cannot
be filed. A destination that is held fails nothing: its receipts wait, and it is degraded. An answer takes seconds at
the most, even if a file system does not answer. No words of N8N are in it: anybody may ask.

Any thread may call it; it writes nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from receipt_watcher.delivery.naming import DestinationNames
from receipt_watcher.errors import JobLogError
from receipt_watcher.inbox.gate import Gate
from receipt_watcher.jobs.json_view import iso_time
from receipt_watcher.jobs.log.holds import Holds
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.spool.filing import Filing
from receipt_watcher.system.disk import trouble_of_disk
from receipt_watcher.system.time_limit import within

#: The disks of one spool may take so long to say how much room they have.
ANSWER_SECONDS = 2.0


class Health:
    """The checks of one daemon; `state_folders` hold the job log and what is beside it."""

    def __init__(
        self,
        log: JobLog,
        holds: Holds,
        gates: Sequence[Gate],
        filing: Filing,
        names: DestinationNames,
        *,
        state_folders: Iterable[Path],
        min_free_mb: float,
        stopping: threading.Event,
        output_trouble: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._log = log
        self._holds = holds
        self._gates = gates
        self._filing = filing
        self._state_folders = tuple(dict.fromkeys(state_folders))
        self._min_free_mb = min_free_mb
        self._stopping = stopping
        self._output_trouble = output_trouble
        self._names = names
        self._asking = threading.Lock()
        self._unanswered: set[str] = set()  # whose disks were asked, and have not answered yet

    def checks(self) -> dict[str, str | None]:
        """Return each check by name, with what is wrong, or None."""
        checks: dict[str, str | None] = {"stopping": "the daemon is stopping" if self._stopping.is_set() else None}
        checks["job_log"] = self._trouble_of_log()
        checks["disk:state_dir"] = self._trouble_of_disks(self._state_folders)
        for gate in self._gates:
            name, folders = gate.route.name, gate.route.spool.folders
            not_open = None if gate.route.is_ready else "it is not open yet; the log says what keeps it"
            away = gate.state.unavailable or not_open
            checks[f"inbox:{name}"] = away
            is_away = gate.state.unavailable is not None  # then that is the trouble
            checks[f"filing:{name}"] = None if is_away else self._filing.troubles.get(name)
            checks[f"disk:{name}"] = (
                None if away else self._asked(name, (folders.processing, folders.done, folders.failed))
            )
        return checks

    def degraded(self) -> dict[str, str]:
        """Return what is degraded, by name: held destinations, folders without events, log lines that are lost."""
        watches = {
            f"watch:{gate.route.name}": gate.watch.source.degraded for gate in self._gates if gate.route.is_ready
        }
        causes = {**watches, "log_output": self._output_trouble()}
        return self._held() | {name: why for name, why in causes.items() if why is not None}

    def _held(self) -> dict[str, str]:
        try:
            states = {name: self._holds.of(url) for url, name in self._names.by_url.items()}
        except JobLogError:  # a check says so
            return {}
        return {
            f"hold:{name}": f"held since {iso_time(state.held_since)}, its receipts wait; status says why"
            for name, state in states.items()
            if state.is_held
        }

    def _trouble_of_log(self) -> str | None:
        try:
            self._log.database.prove_writable()
        except Exception as error:  # noqa: BLE001 - whatever the database raises, the answer is «not ready»
            return str(error)
        return self._log.database.trouble

    def _asked(self, name: str, folders: Sequence[Path]) -> str | None:
        """Ask the disks of a spool, which may never answer: then they are not asked again until they have."""

        def ask() -> str | None:
            trouble = self._trouble_of_disks(folders)
            self._unanswered.discard(name)
            return trouble

        with self._asking:
            if name not in self._unanswered:
                self._unanswered.add(name)
                try:
                    return within(ANSWER_SECONDS, ask, folders[0])
                except TimeoutError:
                    pass
                except OSError as error:  # no thread can be started
                    self._unanswered.discard(name)
                    return str(error.strerror)
        return f"the disk of {folders[0]}, of done or of failed does not answer; is its server there?"

    def _trouble_of_disks(self, folders: Iterable[Path]) -> str | None:
        troubles = (trouble_of_disk(folder, self._min_free_mb) for folder in folders)
        return next((trouble for trouble in troubles if trouble is not None), None)
