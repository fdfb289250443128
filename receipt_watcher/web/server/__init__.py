"""Connections, headers and bodies in bounds, and the thread that serves them.

- `thread`, `relay`, `tls`: uvicorn in a thread of its own; one application after another; certificates
- `accepting`, `admission`: accepts and counts; chooses the connection that is closed for the next
- `connections`, `bodies`, `headers`: each connection, body and header in bounds
- `targets`, `counting`: targets in absolute form; counts requests and their outcomes

`connections` subclasses uvicorn's H11Protocol, `thread` its Server: tested with uvicorn 0.54.0.
HTTP's thread runs it. Nothing is written.
"""
