"""An index for the balance, which asks for each file of each spool to which job it belongs."""

from typing import Any


def up(_migrator: Any, db: Any) -> None:
    """Let the log find a job by where its file is."""
    db.execute_sql("CREATE INDEX job_stored ON job (stored_path)")
