"""The process: one daemon after the other, by reloads.

- `supervisor`: starts, reloads and stops daemons
- `daemon`: puts all parts together
- `held_resources`: what a reload keeps: lock, port, HTTP's thread
- `signals`, `reload_answer`: signals; what became of a reload

The main thread runs it. A crash leaves what the parts leave.
"""
