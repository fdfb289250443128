"""Reports: read only, for people and for other programs.

What it promises: nothing here changes anything, and the same question has one answer wherever it is asked.

- `status`, `status_line`, `overview`: `status`; a line for systemd; the running daemon
- `health`, `readiness`: the checks; how they are told
- `explain`, `file_causes`: why a receipt is not done yet
- `metrics`, `metrics_file`, `monitoring`: what Prometheus is told; the same as a file; dashboard and alert rules
- `closed_windows`: what waits for a delivery window
- `balance`: the job log against the folders

Commands and HTTP's threads call it.
"""
