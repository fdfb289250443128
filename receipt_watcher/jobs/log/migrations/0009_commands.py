"""Indexes for an admin's questions: jobs by state, inbox and file name, without their rows; holds by hand."""

from typing import Any

STATEMENTS = (
    # Ids grow with time: a listing, the newest first, reads this from its end, and rows only where it names them.
    "CREATE INDEX job_listed ON job (job_id, state, inbox, filename)",
    # An inbox by its name (kind 'inbox'), or a destination by its URL (kind 'destination').
    """
    CREATE TABLE hand_hold (
        kind TEXT NOT NULL,
        name TEXT NOT NULL,
        since DOUBLE PRECISION NOT NULL,
        why TEXT NOT NULL,
        PRIMARY KEY (kind, name)
    )
    """,
)


def up(_migrator: Any, db: Any) -> None:
    """Make both."""
    for statement in STATEMENTS:
        db.execute_sql(statement)
