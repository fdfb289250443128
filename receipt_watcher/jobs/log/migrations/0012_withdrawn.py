"""Drop the indexes of 0011_pages, which was withdrawn before a release: logs of those days are carried over."""

from typing import Any

STATEMENTS = ("DROP INDEX IF EXISTS job_list_state", "DROP INDEX IF EXISTS job_list_inbox")


def up(_migrator: Any, db: Any) -> None:
    """Leave such a log with the schema of every other one."""
    for statement in STATEMENTS:
        db.execute_sql(statement)
