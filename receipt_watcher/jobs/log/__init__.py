"""The job log: every job, its history, holds and notices, in one database.

What it promises: one transaction for each change, durable when the call returns; no state but by a transition.

- `job_log`: the one object that everybody holds, with a part for each thing below
- `transitions`, `moves`: jobs and the events that change them; where their files are moved, and removed
- `histories`, `facts`: what happened to each job; facts about the installation
- `queries`: lookups, files, statistics, search; they change nothing
- `holds`, `manual_holds`: destinations that are held; what an admin holds
- `outbox`: notices until they went out
- `tables`, `columns`, `migrations`: the tables, how columns of a job are changed, and how the tables came to be
- `engine`: the file or server below: connection, backup, damage, locks

Any thread may call it; SQLite's connection is one for each thread. A crash leaves a log that the next start reads.
"""
