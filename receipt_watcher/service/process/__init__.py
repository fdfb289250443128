"""The process: one daemon after the other, by reloads.

- `supervisor`: starts, reloads and stops daemons
- `daemon`: starts all parts of one daemon, and stops them
- `openings`: opens the inboxes, and watches over file systems that hang
- `stages`, `tasks`: the loops of the stages; the table of periodic work
- `deadline_clock`: keeps deadlines right when the clock jumps or the daemon is away
- `log_rescue`: writes the job log anew if it was deleted
- `progress`, `status_report`: what systemd's watchdog and `systemctl status` are told
- `held_resources`: what a reload keeps: lock, port, HTTP's thread
- `signals`, `reload_answer`: signals; what became of a reload

The main thread runs it. A crash leaves what the parts leave.
"""
