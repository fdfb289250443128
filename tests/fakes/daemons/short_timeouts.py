"""receipt-watcher that waits for less: for a log that is locked, and between two looks at what failed.

`python -m tests.fakes.daemons.short_timeouts run …` is the same program; nothing but these numbers differs.
"""

from __future__ import annotations

from receipt_watcher.cli import main
from receipt_watcher.inbox import gate
from receipt_watcher.jobs.log.engine import connection
from receipt_watcher.service import loops
from receipt_watcher.service.process import tasks

if __name__ == "__main__":
    connection.BUSY_TIMEOUT_SECONDS = 1
    loops.TICK_SECONDS = tasks.PERIODIC_TASKS["check_log"] = 0.5
    gate.RETRY_SECONDS = 0.5
    main.main()
