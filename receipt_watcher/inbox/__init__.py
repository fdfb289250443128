"""One inbox: what lies in it, when it has settled, how it becomes a job.

What it promises: no file is taken before it is whole, each is taken once, and the reason why one waits can be told.

- `gate`: one inbox, open while its folders are there
- `watching`: what lies in it, and when it has settled
- `take_in`, `recording`, `recovery`: examine and move; record; what a start or a crash left in processing/
- `duplicates`, `turns`: which job a file belongs to; folder and uploads in turn
- `wait_reasons`, `state`, `status_file`: why a file waits; what is known of it; the same, as a file in the inbox

Each inbox has a thread. A crash leaves a file in inbox/ or processing/, and a row or none; the next start decides.
"""
