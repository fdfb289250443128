"""The job log against the folders: whether every receipt that came is somewhere, once.

- `balance`, `findings`: the comparison, and its findings
- `folders`, `lookup`: the folders that it looks at; the files of jobs in them
- `daily`, `last_result`: the daemon's own; what it came to
- `csv_export`: the accountant's list

A command or the daemon's task runs it. Nothing but the last result is written.
"""
