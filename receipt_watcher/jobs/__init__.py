"""The life of a job: states, events, reasons, verdicts. Pure, but for the job log in `log`.

What it promises: a state changes only as the table of transitions allows.

- `job`: a job, where its file belongs, its id, its pauses
- `states`, `reasons`: states and what leads from one to another; why a job ended
- `verdict`, `wrapped_verdict`: what N8N reports of a job; what its nodes wrap that in
- `codes`: what every code that people read is made from
- `json_view`: a job as the API and `--json` show it
- `log`: the job log, the only writer of a state

Any thread may call it.
"""
