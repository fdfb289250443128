"""Questions that the job log answers. Nothing here changes it.

- `lookups`: jobs by what they are: their id, their bytes, their state
- `files`: where their files are, which are to be moved, which are old
- `statistics`: how many jobs there are of which kind
- `file_names`: names as people type them
- `known_answers`: the last answers, until the log changes
- `search`: receipts by what a person types, a page at a time

Any thread may call it.
"""
