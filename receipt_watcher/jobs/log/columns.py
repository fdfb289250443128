"""Change columns of a job; only the parts of the job log do it, and `Jobs.advance` alone writes a state."""

from __future__ import annotations

from collections.abc import Mapping

from receipt_watcher.jobs.log.engine.sqlite import Database, marks
from receipt_watcher.jobs.states import State


def change_columns(database: Database, job_id: str, values: Mapping[str, object], *states: State) -> int:
    """Change columns of one job, where it is in one of `states` (none: in any); return how many rows that was."""
    columns = ", ".join(f"{name} = ?" for name in values)
    guard = f" AND state IN ({marks(states)})" if states else ""
    return database.change(f"UPDATE job SET {columns} WHERE job_id = ?{guard}", *values.values(), job_id, *states)  # noqa: S608
