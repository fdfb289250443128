"""N8N: what is sent to it, what its answers mean, and the workflows that ship.

- `webhook`: the request of a job
- `answers`: which answer is an acceptance
- `workflows`, `nodes`, `extraction_schema`: the workflows, the nodes of n8n, what a model is asked for

Workers call `webhook` and `answers`; commands call the rest.
"""
