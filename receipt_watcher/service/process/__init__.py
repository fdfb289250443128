"""The process: one daemon after the other, by reloads.

- `supervisor`: runs one daemon after the other
- `launcher`: builds and starts daemons, and says so to systemd
- `reload`: has a daemon with a new configuration take the place of the one before
- `daemon`: starts all parts of one daemon, and stops them
- `openings`: opens the inboxes, and watches over file systems that hang
- `stages`, `tasks`: the loops of the stages; the table of periodic work
- `deadline_clock`: keeps deadlines right when the clock jumps or the daemon is away
- `log_rescue`: writes the job log anew if it was deleted
- `progress`: the reports to systemd's watchdog and `systemctl status`
- `held_resources`: the resources that a reload keeps: lock, port, HTTP's thread
- `signals`: the signals that the main thread waits for

The main thread runs it. A crash leaves what the parts leave.
"""
