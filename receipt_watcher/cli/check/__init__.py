"""`check`: whether the configuration, the folders and N8N are as they should be.

- `check`: all checks without sending anything, in their order
- `findings`: what a check finds
- `inboxes`, `retention`: folders and their files; what retention would remove
- `n8n`, `callback`: whether N8N answers; whether it can call back and fetch files
- `live`: a round trip through N8N
- `proxies`: through which proxy each URL is reached
"""
