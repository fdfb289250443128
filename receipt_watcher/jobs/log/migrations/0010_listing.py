"""Lists of jobs by inbox and state, page by page, as quick at the end of a million as at their beginning."""

from typing import Any


def up(_migrator: Any, db: Any) -> None:
    """Let each page of a list begin where the page before it ended."""
    db.execute_sql("CREATE INDEX job_listing ON job (inbox, state, job_id)")
