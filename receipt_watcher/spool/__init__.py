"""The folders of one inbox: inbox, processing, done, failed, and every move between them.

What it promises: each move is one rename that is flushed, and overwrites nothing. A spool belongs to one installation.

- `paths`: where the four folders are
- `presence`: whether they are still the folders that were opened
- `folders`: opening the spool, and the moves
- `processing`: what lies in processing/ and has no row
- `identity`: which folders are the spool's, and whose it is
- `filing`: moves each file to where the job log says it belongs
- `failure_notes`, `reason_file`: what the note beside a failed receipt says; the note as a file
- `contents`, `rebuild`: what lies on disk; what a lost job log leaves
- `retention`: the only deletion, if it is switched on
- `route`: what belongs to one inbox

The thread of the inbox, the filing thread and uploads call it. A crash leaves a file in one of the four folders.
"""
