"""`check`: whether the configuration, the folders and N8N are as they should be.

- `check`: all checks without sending anything
- `live`: a round trip through N8N
- `proxies`: through which proxy each URL is reached
"""
