"""Files as answers: downloads of a receipt, and links by which a workflow fetches one.

- `downloads`: the file of a receipt
- `links`, `linked_file`: links that expire; the file for the owner of one
- `fetching`: finds and opens the file

HTTP's thread runs it. Nothing is written.
"""
