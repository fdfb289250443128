"""The process: starts the parts, stops them, reloads, reports to systemd.

What it promises: a stop ends within its time and loses nothing; a refused reload changes nothing.

- `process`: the daemon, its supervisor, tasks and stages, signals, the resources that a reload keeps
- `wiring`, `delivery_wiring`, `report_wiring`, `web_wiring`: build the parts: stages, delivery, reports, HTTP
- `daemon_parts`: the parts of one daemon
- `clients`, `loops`: the HTTP clients of a configuration; the threads of stages and periodic tasks
- `once`: `run --once`
- `systemd`, `watchdog`: messages to systemd; its watchdog, fed by work
- `logging`: log lines

The main thread runs it. A crash leaves what the parts leave.
"""
