"""Order of arrival: what is claimed, moved and recovered is found at once, however much waits."""

from typing import Any

STATEMENTS = (
    # Due times tell whether anything is due, the ids, which grow with time, what came first.
    "DROP INDEX job_queued",
    "CREATE INDEX job_queued ON job (branch, next_attempt_at) WHERE state = 'queued' AND move_due = 0",
    "CREATE INDEX job_order ON job (branch, job_id, next_attempt_at) WHERE state = 'queued' AND move_due = 0",
    # One inbox's moves, so that those of another that is away are not in the way.
    "DROP INDEX job_move_due",
    "CREATE INDEX job_move_due ON job (inbox, job_id) WHERE move_due = 1",
    # What a start compares with the folder processing/.
    "CREATE INDEX job_in_processing ON job (inbox, stored_path) WHERE folder = 'processing'",
)


def up(_migrator: Any, db: Any) -> None:
    """Bring the indexes of the second version up to this one."""
    for statement in STATEMENTS:
        db.execute_sql(statement)
