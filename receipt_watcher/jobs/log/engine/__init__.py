"""The database of the job log: its connection, its backup, what is wrong with it.

What it promises: an error of the database is told in the same words everywhere, and whether it will pass.

- `sqlite`: the database: transactions, queries, whether its file still is there
- `turns`: whose turn it is, and transactions that share one commit
- `connection`: the connection, its migrations, and what is wrong with it
- `log_files`: the file and those that SQLite keeps beside it
- `errors`: what SQLite's errors mean
- `backup`: a copy while the log is in use, or in the place of a file that was deleted
- `locked`: another program keeps the file locked: since when, and how long a caller waits
- `last_closed`: whether the file is the one that the last daemon left

Any thread may call it.
"""
