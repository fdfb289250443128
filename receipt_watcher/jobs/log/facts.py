"""Facts about the installation, such as when it was last alive: each has a name, a type and a text form, stated here.

What it promises: the names and text forms stay as they are, since logs of older versions have them. Nobody else spells
a name: callers use `log.facts.alive_at.get()` or `log.facts.inbox_started.of("office").put(3)`.

Any thread may call it. A crash leaves a fact as it was or as it became.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from receipt_watcher.jobs.log.engine.sqlite import Database

Value = TypeVar("Value")

#: The facts that tell a log from a backup of it: how many starts there were, in all and on each spool.
_COUNTER = "log_counter"
_SPOOL_COUNTER = "spool_counter:"

#: This is run on a backup, which is behind the log that it was made of from the beginning: nothing has to be written to
#: that log, which a crash could prevent, or the rights of whoever makes the backup.
COUNT_DOWN = (
    "UPDATE fact SET value = CAST(CAST(value AS INTEGER) - 1 AS TEXT)"  # noqa: S608 - our own names
    f" WHERE name = '{_COUNTER}' OR (name >= '{_SPOOL_COUNTER}' AND name < '{_SPOOL_COUNTER}~')"
)


class FactTable:
    """The table of facts, by name and text; callers outside use the typed `Facts`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, name: str) -> str | None:
        """Return the text that was kept under a name, or None."""
        rows = self._database.select("SELECT value FROM fact WHERE name = ?", name)
        return str(rows[0][0]) if rows else None

    def put(self, name: str, value: str) -> None:
        """Keep a text under a name."""
        self._database.change(
            "INSERT INTO fact (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            name,
            value,
        )

    def replace(self, prefix: str, old: str, new: str) -> None:
        """Put one id for another in the facts whose names begin so."""
        statement = "UPDATE fact SET value = replace(value, ?, ?) WHERE name >= ? AND name < ? AND instr(value, ?) > 0"
        self._database.change(statement, old, new, prefix, f"{prefix}~", old)

    def forget(self, prefix: str, below: str) -> None:
        """Remove the facts whose names begin so and whose texts are smaller."""
        self._database.change(
            "DELETE FROM fact WHERE name >= ? AND name < ? AND value < ?", prefix, f"{prefix}~", below
        )


class Fact(Generic[Value]):
    """One fact: its name, how its text is read, and how it is written."""

    def __init__(
        self, table: FactTable, name: str, read: Callable[[str], Value], write: Callable[[Value], str]
    ) -> None:
        self.name = name
        self._table = table
        self._read = read
        self._write = write

    def get(self) -> Value | None:
        """Return the value that was kept, or None.

        Raises:
            ValueError: the text is none that this version writes.
        """
        text = self._table.get(self.name)
        return None if text is None else self._read(text)

    def put(self, value: Value) -> None:
        """Keep a value in place of the one before."""
        self._table.put(self.name, self._write(value))


class FactsByKey(Generic[Value]):
    """Facts of one kind, one for each key, such as the name of an inbox."""

    def __init__(
        self, table: FactTable, prefix: str, read: Callable[[str], Value], write: Callable[[Value], str]
    ) -> None:
        self.prefix = prefix
        self._table = table
        self._read = read
        self._write = write

    def of(self, key: str) -> Fact[Value]:
        """Return the fact of one key."""
        return Fact(self._table, self.prefix + key, self._read, self._write)

    def replace(self, old: str, new: str) -> None:
        """Put one id for another in the texts of all keys."""
        self._table.replace(self.prefix, old, new)

    def forget(self, below: str) -> None:
        """Remove the facts whose texts are smaller."""
        self._table.forget(self.prefix, below)


class Facts:
    """The facts in the job log. Times are in Unix seconds."""

    def __init__(self, database: Database) -> None:
        self.table = table = FactTable(database)
        #: When the daemon was last alive while a deadline ran.
        self.alive_at = Fact(table, "alive_at", float, repr)
        #: The version of the program that was started on this log last.
        self.version = Fact(table, "version", str, str)
        #: The number of starts; which of them noticed a restored log; the last one on each spool, by its processing/.
        self.starts = Fact(table, _COUNTER, _number, str)
        self.restored_at_start = Fact(table, "log_restored", _number, str)
        self.starts_of_spool = FactsByKey(table, _SPOOL_COUNTER, _number, str)
        #: The number of files that were there at the first start of an inbox, by its name.
        self.inbox_started = FactsByKey(table, "inbox_started:", int, str)
        #: The place of an inbox, by its name, and of each other folder, by its path; objects that `Bindings` makes.
        self.inbox_place = FactsByKey[dict[str, Any]](table, "inbox_place:", json.loads, json.dumps)
        self.folder_place = FactsByKey[dict[str, Any]](table, "folder_place:", json.loads, json.dumps)
        #: That what lay in a processing/ was recovered, by its path, since an inbox may be renamed.
        self.spool_recovered = FactsByKey[str](table, "spool_recovered:", str, str)
        #: The jobs of an inbox whose files are being removed, by its name.
        self.removing = FactsByKey[list[str]](table, "removing:", str.split, " ".join)
        #: The time by which retention counts days.
        self.believed_time = Fact(table, "believed_time", float, repr)
        #: The database that an upload named, by its job, if it is not its branch's.
        self.upload_database = FactsByKey[str](table, "database:", str, str)
        #: The job that an Idempotency-Key stands for; the text begins with the time, by which old ones are forgotten.
        self.upload = FactsByKey[str](table, "upload:", str, str)
        #: By whom a refusal of the examination was overruled, by the job's id; "" once it is retried without force.
        self.overruled = FactsByKey[str](table, "overruled:", str, str)
        #: The branches whose receipts are sent once, as of the last start.
        self.sends_once = Fact[set[str]](table, "sends_once", _set_of, lambda keys: json.dumps(sorted(keys)))
        #: The sessions that were signed out, and when each would have ended.
        self.sessions_ended = Fact[dict[str, int]](table, "sessions_ended", json.loads, json.dumps)
        #: The last callback for a made-up receipt of `check --live`.
        self.rehearsal = Fact[dict[str, Any]](table, "rehearsal", json.loads, json.dumps)
        #: The result of the last balance; an object that `LastBalance` makes.
        self.balance = Fact[Any](table, "balance", json.loads, json.dumps)
        #: The state of the notices that people were sent; the text is `Told`'s.
        self.told = Fact(table, "told", str, str)


def _number(text: str) -> int:
    return int(text) if text.lstrip("-").isdecimal() else 0


def _set_of(text: str) -> set[str]:
    return set(json.loads(text or "[]"))
