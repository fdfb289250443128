"""The API: the table of its operations, what they take and give, and what does them.

- `operations`, `openapi`, `schemas`: the table; the table as OpenAPI; the models
- `endpoints`, `events`: what answers; the stream of events
- `inputs`, `views`: what a call says, checked; how destinations look in an answer

HTTP's thread runs it, and threads beside it for what may wait.
"""
