"""The API: the table of its operations, what they take and give, and what does them.

- `operations`, `schemas`: the table; the models
- `endpoints`, `events`: what answers; the stream of events

HTTP's thread runs it, and threads beside it for what may wait.
"""
