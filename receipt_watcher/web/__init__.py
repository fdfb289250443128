"""The HTTP side: callbacks, the API, the status page, uploads, probes.

What it promises: a caller that is hostile or slow costs others nothing. A caller without the right is refused before a
body is read.

- `app`: the application: its middlewares in one list, errors
- `callback`, `probes`: verdicts of N8N; health and metrics
- `server`: connections, bodies and headers in bounds; uvicorn's thread
- `access`: callers and their rights
- `api`, `pages`, `files`, `uploads`: its parts
- `actions`, `problem`: retry, cancel, resume; the answer to a refused caller

One thread runs the event loop; what may wait runs in threads beside it. A crash loses what was not answered.
"""
