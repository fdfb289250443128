"""Indexes by which old jobs are found at once, however long the log is; so are the jobs of a day."""

from typing import Any

STATEMENTS = (
    # Nothing asks by this one since any path is found in job_stored.
    "DROP INDEX job_filed",
    "CREATE INDEX job_kept ON job (inbox, folder, completed_at) WHERE folder <> 'processing' AND removed_at IS NULL",
    "CREATE INDEX job_created ON job (created_at)",
)


def up(_migrator: Any, db: Any) -> None:
    """Exchange the indexes."""
    for statement in STATEMENTS:
        db.execute_sql(statement)
