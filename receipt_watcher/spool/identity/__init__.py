"""The identity of a spool: which folders belong to it, and whose it is.

What it promises: two daemons never work on one spool, another folder in its place is not taken for it, and a job log
that was restored from a backup is recognised.

- `owner`: processing/.owner, by which one daemon has the spool
- `bindings`: which place each folder is, as the job log remembers it
- `start_counter`: by which a restored job log is recognised
- `accepted_marks`: what an admin accepted by a command

The thread of the inbox calls it, and commands that only look. A crash leaves the marks as they were, and the
next start asks.
"""
