"""Sends each job to its destination, and hears what became of it.

What it promises: a job is claimed before it is sent, and one that may have been booked is never sent again unasked.

- `worker`: claims and sends
- `callbacks`: verdicts and deadlines
- `kept_callbacks`: callbacks that the job log could not take
- `pace`: how fast a queue drains
- `destinations`: what is sent, and what an answer means

Each worker has a thread; callbacks come in HTTP's. A crash leaves a claim, which the next start settles.
"""
