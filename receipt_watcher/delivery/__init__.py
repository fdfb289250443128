"""Sends each job to its destination, and hears what became of it.

What it promises: a job is claimed before it is sent, and one that may have been booked is never sent again unasked.

- `worker`: claims and sends
- `claims`: which job may be claimed now, or until when nothing may go out
- `queues`: the queue of each destination, as the job log has it
- `outcomes`: what follows from each outcome
- `pauses`: how long a retry waits
- `callbacks`: verdicts that come by a callback
- `deadlines`: what happens if none comes
- `kept_callbacks`: callbacks that the job log could not take
- `naming`: what destinations are called, and which branches go to one
- `pace`: how fast a queue drains
- `destinations`: what is sent, and what an answer means

Each worker has a thread; callbacks come in HTTP's. A crash leaves a claim, which the next start settles.
"""
