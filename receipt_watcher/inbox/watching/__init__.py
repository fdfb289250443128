"""The files of an inbox, and when each has settled.

- `watch`: one inbox, by events or by polling
- `event_source`: by what new files are noticed, proven by a probe file
- `kernel_events`, `listing`: what inotify tells; what the folder shows
- `settling`: when a file has settled; pure
- `ignored`: names that are no receipts
- `unfinished`: names that say that a program still writes

The thread of the inbox runs it. Nothing is written.
"""
