"""The API: the table of its operations, their inputs and answers, and the code behind each.

- `operations`, `openapi`, `schemas`: the table; the table as OpenAPI; the models
- `endpoints`, `events`: answers calls; the stream of events
- `inputs`, `views`: the inputs of a call, checked; destinations in an answer

HTTP's thread runs it, and threads beside it for what may wait.
"""
