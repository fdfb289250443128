"""The job log as everybody holds it: one object with a part for each thing that is kept.

What it promises: what `JobLog` names below is all that reads or writes the database; each part says what it promises.

Any thread may call it. A crash leaves whole transactions or none.
"""

from __future__ import annotations

from pathlib import Path

from receipt_watcher.jobs.log.engine.backup import Backup
from receipt_watcher.jobs.log.engine.sqlite import Database
from receipt_watcher.jobs.log.facts import COUNT_DOWN, Facts
from receipt_watcher.jobs.log.histories import Histories
from receipt_watcher.jobs.log.holds import Holds
from receipt_watcher.jobs.log.manual_holds import ManualHolds
from receipt_watcher.jobs.log.moves import Moves
from receipt_watcher.jobs.log.outbox import Outbox
from receipt_watcher.jobs.log.queries.files import Files
from receipt_watcher.jobs.log.queries.lookups import Lookups
from receipt_watcher.jobs.log.queries.search import Search
from receipt_watcher.jobs.log.queries.statistics import Statistics
from receipt_watcher.jobs.log.transitions import Jobs


class JobLog:
    """The job log of one database; `read_only` needs no right to write it, and never migrates it."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.database = Database(path, read_only=read_only)
        self.backup = Backup(self.database, COUNT_DOWN)
        self.facts = Facts(self.database)
        self.lookups = Lookups(self.database)
        self.files = Files(self.database, self.lookups, self.facts)
        self.statistics = Statistics(self.database, self.lookups)
        self.histories = Histories(self.database)
        self.jobs = Jobs(self.database, self.lookups, self.files, self.histories, self.facts)
        self.moves = Moves(self.database, self.lookups, self.files, self.histories, self.facts)
        self.holds = Holds(self.database)
        self.manual_holds = ManualHolds(self.database)
        self.outbox = Outbox(self.database)
        self.search = Search(self.database, self.lookups, self.histories, self.statistics)
