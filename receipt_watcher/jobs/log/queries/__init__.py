"""What is asked of the job log. Nothing here changes it.

- `lookups`: jobs by their names, histories, counts
- `search`: receipts by what a person types, a page at a time

Any thread may call it.
"""
