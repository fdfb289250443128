"""The execution of N8N that had a receipt."""

from typing import Any


def up(_migrator: Any, db: Any) -> None:
    """Let a job keep the id of the execution that N8N named last."""
    db.execute_sql("ALTER TABLE job ADD COLUMN execution_id TEXT")
