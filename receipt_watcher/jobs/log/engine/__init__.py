"""What the job log is kept in: its connection, its backup, what is wrong with it.

What it promises: an error of the database is told in the same words everywhere, and whether it will pass.

- `sqlite`: the file, its connections, grouped commits, backup
- `locked`: another program keeps the file locked: since when, and how long a caller waits
- `last_closed`: whether the file is the one that the last daemon left

Any thread may call it.
"""
