"""The job log: every job, its history, holds and notices, in one database.

What it promises: one transaction for each change, durable when the call returns; no state but by a transition.

- `transitions`: the job log that everybody holds: jobs, their changes, moves of their files
- `queries`: what is asked of it, and search
- `holds`, `manual_holds`: destinations that are held; what an admin holds
- `outbox`: notices until they went out
- `tables`, `migrations`: columns, and how they came to be
- `engine`: the file or server below: connection, backup, damage, locks

Any thread may call it; SQLite's connection is one for each thread. A crash leaves a log that the next start reads.
"""
