"""Notices that are to be sent; what failed lately and what is open for long, found at once."""

from typing import Any

STATEMENTS = (
    # A row for each channel, until it went out there; `due_at` is when it is tried next.
    """
    CREATE TABLE notice (
        notice_id TEXT NOT NULL,
        channel TEXT NOT NULL,
        kind TEXT NOT NULL,
        title TEXT NOT NULL,
        text TEXT NOT NULL,
        created_at DOUBLE PRECISION NOT NULL,
        due_at DOUBLE PRECISION NOT NULL,
        tries INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (notice_id, channel)
    )
    """,
    # In the words of the questions, or they are not used; in such words that the index of all states does not serve.
    """
    CREATE INDEX job_open ON job (created_at, inbox)
    WHERE state NOT IN ('success', 'failure', 'cancelled', 'duplicate')
    """,
    "CREATE INDEX job_failed ON job (completed_at) WHERE NOT (state <> 'failure')",
)


def up(_migrator: Any, db: Any) -> None:
    """Make room for notices."""
    for statement in STATEMENTS:
        db.execute_sql(statement)
