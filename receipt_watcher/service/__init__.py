"""The process: starts the parts, stops them, reloads, reports to systemd.

What it promises: a stop ends within its time and loses nothing; a refused reload changes nothing.

- `process`: the daemon, its supervisor, tasks and stages, signals, what a reload keeps
- `wiring`, `delivery_wiring`, `report_wiring`, `web_wiring`: build the parts: stages, delivery, reports, HTTP
- `daemon_parts`: the parts of one daemon
- `clients`, `loops`: the HTTP clients of a configuration; who does the rounds
- `once`: `run --once`
- `systemd`, `watchdog`: what systemd is told; its watchdog, fed by work
- `logging`: log lines

The main thread runs it. A crash leaves what the parts leave.
"""
