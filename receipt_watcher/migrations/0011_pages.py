"""Lists for people: one page of a state or of an inbox is found at once, the last page like the first."""

from typing import Any

STATEMENTS = (
    # Expressions, so that no other question is answered by these instead of the small indexes that are made for it.
    "CREATE INDEX job_list_state ON job (state || '', job_id)",
    "CREATE INDEX job_list_inbox ON job (inbox || '', job_id)",
)


def up(_migrator: Any, db: Any) -> None:
    """Let lists of a state or an inbox be read in the order of their ids."""
    for statement in STATEMENTS:
        db.execute_sql(statement)
