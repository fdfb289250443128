"""Files as answers: downloads of a receipt, and links by which a workflow fetches one.

- `downloads`: the file of a receipt
- `links`, `fetching`: links that expire; finds and opens the file for who has one

HTTP's thread runs it. Nothing is written.
"""
