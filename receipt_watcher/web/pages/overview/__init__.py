"""The overview: the present state, holds, the last day.

- `page`: the page, its pulse, and its buttons
- `chart`: the drawing of the last day

HTTP's thread runs it, and threads beside it for what may wait.
"""
