"""Retention: when a job's file was removed."""

from typing import Any

STATEMENTS = (
    "ALTER TABLE job ADD COLUMN removed_at DOUBLE PRECISION",
    # Which jobs name one file in done/ or failed/; which have none any more.
    "CREATE INDEX job_filed ON job (stored_path) WHERE folder <> 'processing'",
    "CREATE INDEX job_removed ON job (job_id) WHERE removed_at IS NOT NULL",
)


def up(_migrator: Any, db: Any) -> None:
    """Bring the schema of the second version up to this one."""
    for statement in STATEMENTS:
        db.execute_sql(statement)
