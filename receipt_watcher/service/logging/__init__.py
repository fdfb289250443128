"""Log lines: how they look, and where they go.

- `setup`: structlog's configuration
- `events`, `receipt_events`, `service_events`, `event_words`: every event, with its words
- `sentences`, `entries`: an event as one sentence; its fields
- `journald`, `stream`: the journal's socket; a stream that may block

Every thread logs; none waits for the reader of a stream. A crash loses no line that was written.
"""
