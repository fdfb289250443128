"""Log lines: how they look, and where they go.

- `setup`: structlog's configuration
- `sentences`, `entries`: each event in words; its fields
- `journald`, `stream`: the journal's socket; a stream that may block

Every thread logs; none waits for the reader of a stream. A crash loses no line that was written.
"""
