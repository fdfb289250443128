"""Reports: read only, for people and for other programs.

What it promises: nothing here changes anything, and the same question has one answer wherever it is asked.

- `status`, `status_line`, `overview`: `status`; a line for systemd; the running daemon
- `health`: what is wrong, in one list for all screens; the answer of `/health/ready`
- `explain`, `file_causes`: why a receipt is not done yet
- `metrics`, `http_counts`, `metrics_file`: the page for Prometheus; its counters of requests; the same as a file
- `monitoring`: dashboard and alert rules
- `closed_windows`: what waits for a delivery window
- `balance`: the job log against the folders

Commands and HTTP's threads call it.
"""
