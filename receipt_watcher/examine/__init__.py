"""Whether a file is whole, what it is, and whether a reader can open it.

What it promises: a file that breaks a reader breaks a process of its own and nothing else. Each question has an answer
within its limits of time and memory, or an error that says whose fault it is.

- `examiners`, `pool`, `queue`, `process`: what callers ask; how many processes there are; who is next; one of them
- `worker`: such a process, started as `python -m receipt_watcher.examine.worker`
- `judge`, `formats`: kind, whole, readable; one module for each accepted format
- `libraries`: what Pillow, pillow-heif and PDFium say of a header
- `preview`: draws the first page
- `result`: what the daemon and a worker say to each other

Any thread asks; each waits for its own answer. A crash leaves no process: a worker ends with its parent.
"""
