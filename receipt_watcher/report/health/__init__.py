"""Health of one installation: what is wrong, in one list for all screens, and the answer of `/health/ready`.

What it promises: each trouble is made in one place, so status, page, share, systemd's line, notices and health agree.

- `configuration`: the running daemon's configuration beside that of a command
- `troubles`: the list, each trouble with its kind and its words
- `held`, `stuck`: the destinations that are held; receipts and files that wait for too long
- `checks`, `readiness`: the checks of `/health/ready`; its answer

Any thread may call it; it writes nothing.
"""
