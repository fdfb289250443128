"""N8N: what is sent to it, what its answers mean, and the workflows that ship.

- `webhook`: the request of a job
- `answers`: which answer is an acceptance
- `workflows`: the workflows as n8n exports them, one file each

Workers call `webhook` and `answers`; commands call the rest.
"""
