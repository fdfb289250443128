"""`check`: whether the configuration, the folders and N8N are as they should be.

- `check`: all checks without sending anything, in their order
- `findings`: the findings of a check
- `inboxes`, `retention`: folders and their files; the files that retention would remove
- `n8n`, `callback`: whether N8N answers; whether it can call back and fetch files
- `live`, `hold`: a round trip through N8N; the end of a hold when it has shown that callbacks arrive
- `proxies`: the proxy for each URL
"""
