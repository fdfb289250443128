"""Subfolders with settings of their own, revisions, and conflict copies."""

from typing import Any

STATEMENTS = (
    "ALTER TABLE job ADD COLUMN branch TEXT NOT NULL DEFAULT ''",
    "UPDATE job SET branch = inbox",
    "ALTER TABLE job ADD COLUMN revision_of TEXT REFERENCES job (job_id)",
    "ALTER TABLE job ADD COLUMN original_path BLOB",
    "ALTER TABLE job ADD COLUMN conflict_of TEXT REFERENCES job (job_id)",
    # What is claimed, counted and expired is so by branch from now on.
    "DROP INDEX job_queued",
    "DROP INDEX job_delivering",
    "DROP INDEX job_processing",
    "CREATE INDEX job_queued ON job (branch, next_attempt_at) WHERE state = 'queued'",
    "CREATE INDEX job_delivering ON job (branch) WHERE state = 'delivering'",
    "CREATE INDEX job_processing ON job (branch, deadline_at) WHERE state = 'processing'",
    "CREATE INDEX job_path ON job (inbox, relative_path)",
    "CREATE INDEX job_conflicts ON job (inbox, original_path) WHERE original_path IS NOT NULL",
)


def up(_migrator: Any, db: Any) -> None:
    """Bring the schema of the first version up to this one."""
    for statement in STATEMENTS:
        db.execute_sql(statement)
