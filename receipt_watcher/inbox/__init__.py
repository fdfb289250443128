"""One inbox: what lies in it, when it has settled, how it becomes a job.

What it promises: no file is taken before it is whole, each is taken once, and the reason why one waits can be told.

- `gate`, `opening`: one inbox, open while its folders are there; how it is opened
- `watching`: its files, and when each has settled
- `take_in`, `recording`, `recovery`: examine and move; record; what a start or a crash left in processing/
- `duplicates`: which job a file belongs to
- `turns`: folder and uploads in turn, and by when the file system must answer
- `observer`, `state`: what is known of an inbox, made after each round; the value that all screens read
- `wait_reasons`, `status_file`: why a file waits; the state as a file in the inbox

Each inbox has a thread. A crash leaves a file in inbox/ or processing/, and a row or none; the next start decides.
"""
