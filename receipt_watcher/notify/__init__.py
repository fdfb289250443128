"""Notices that people get without asking: failures, outages, inboxes that are away.

What it promises: each thing is told once, and again when it is over. A notice that could not go out is kept.

- `watcher`, `told`, `settings`: finds news; the record of past notices; the kinds and times of notices
- `defects`, `waits`: news of what is wrong with ourselves; of what waits for too long
- `notices`, `sender`: the texts; sends the notices of the outbox
- `channels`: the ways to tell
- `heartbeat`: the dead man's switch

One thread sends. A crash leaves notices in the outbox of the job log.
"""
