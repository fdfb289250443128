"""The folders of one inbox: inbox, processing, done, failed, and every move between them.

What it promises: each move is one rename that is flushed, and overwrites nothing. A spool belongs to one installation.

- `folders`: the four folders and the moves
- `owner`, `start_counter`: whose a spool is; by which a restored job log is recognised
- `bindings`, `accepted_marks`: which folders are the spool's; what an admin accepted by a command
- `filing`: moves each file to where the job log says it belongs
- `reason_file`: the note beside a failed receipt
- `contents`, `rebuild`: what lies on disk; what a lost job log leaves
- `retention`: the only deletion, if it is switched on
- `route`: what belongs to one inbox

The thread of the inbox, the filing thread and uploads call it. A crash leaves a file in one of the four folders.
"""
