"""receipt-watcher that waits for less: for a log that is locked, and between two looks at what failed.

`python -m tests.impatient run …` is the same program; nothing but these numbers differs.
"""

from __future__ import annotations

from receipt_watcher import cli, daemon, gate, logfile, loops

if __name__ == "__main__":
    logfile.BUSY_TIMEOUT_SECONDS = 1
    loops.TICK_SECONDS = daemon.PERIODIC_TASKS["check_log"] = 0.5
    gate.RETRY_SECONDS = 0.5
    cli.main()
