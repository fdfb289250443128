"""Notices that people get without asking: failures, outages, inboxes that are away.

What it promises: each thing is told once, and again when it is over. A notice that could not go out is kept.

- `watcher`, `notices`: who is told what and when; the words
- `channels`: the ways to tell
- `heartbeat`: the dead man's switch

One thread sends. A crash leaves notices in the outbox of the job log.
"""
