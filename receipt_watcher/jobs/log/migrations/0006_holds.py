"""Holds: how many failures came in a row before one begins, and when the last one ended."""

from typing import Any

STATEMENTS = (
    "ALTER TABLE destination ADD COLUMN misses INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE destination ADD COLUMN resumed_at DOUBLE PRECISION",
)


def up(_migrator: Any, db: Any) -> None:
    """Add both to what is known of a destination."""
    for statement in STATEMENTS:
        db.execute_sql(statement)
