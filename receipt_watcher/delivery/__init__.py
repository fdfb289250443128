"""Sends each job to its destination, and takes its verdict.

What it promises: a job is claimed before it is sent, and one that may have been booked is never sent again unasked.

- `worker`: claims and sends
- `claims`: the job that may be claimed now, or the time until which nothing may go out
- `queues`: the queue of each destination, as the job log has it
- `outcomes`: the consequences of each outcome
- `pauses`: the pauses before retries and probes
- `callbacks`: verdicts that come by a callback
- `deadlines`: jobs without one: sent again, or given up
- `kept_callbacks`: callbacks that the job log could not take
- `naming`: the public names of destinations, and which branches go to one
- `pace`: the speed at which a queue drains
- `destinations`: the requests to each, and the meaning of its answers

Each worker has a thread; callbacks come in HTTP's. A crash leaves a claim, which the next start settles.
"""
