"""Facts about the installation, such as when it was last alive, kept under a name.

Any thread may call it. A crash leaves a fact as it was or as it became.
"""

from __future__ import annotations

from receipt_watcher.jobs.log.engine.sqlite import Database
from receipt_watcher.jobs.log.tables import FactRow

#: By which name the log knows the version of the program that was started on it last.
VERSION_FACT = "version"

#: The facts that tell a log from a backup of it: how many starts there were, in all and on each spool.
COUNTER_FACT = "log_counter"
SPOOL_COUNTER_FACT = "spool_counter:"

#: What is run on a backup, which is behind the log that it was made of from the beginning: nothing has to be written to
#: that log, which a crash could prevent, or the rights of whoever makes the backup.
COUNT_DOWN = (
    "UPDATE fact SET value = CAST(CAST(value AS INTEGER) - 1 AS TEXT)"  # noqa: S608 - our own names
    f" WHERE name = '{COUNTER_FACT}' OR (name >= '{SPOOL_COUNTER_FACT}' AND name < '{SPOOL_COUNTER_FACT}~')"
)


class Facts:
    """The facts in the job log."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, name: str) -> str | None:
        """Return a fact that was kept, or None."""
        with self._database.reading():
            row = FactRow.get_or_none(FactRow.name == name)
            return None if row is None else str(row.value)

    def keep(self, name: str, value: str) -> None:
        """Keep a fact under a name."""
        with self._database.transaction():
            FactRow.insert(name=name, value=value).on_conflict(
                conflict_target=[FactRow.name], update={FactRow.value: value}
            ).execute()

    def replace(self, prefix: str, old: str, new: str) -> None:
        """Put one id for another in the facts whose names begin so."""
        statement = "UPDATE fact SET value = replace(value, ?, ?) WHERE name >= ? AND name < ? AND instr(value, ?) > 0"
        self._database.change(statement, old, new, prefix, f"{prefix}~", old)

    def forget(self, prefix: str, below: str) -> None:
        """Remove the facts whose names begin so and whose values are smaller."""
        self._database.change(
            "DELETE FROM fact WHERE name >= ? AND name < ? AND value < ?", prefix, f"{prefix}~", below
        )
