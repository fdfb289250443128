"""Receipts on the status page: lists of them, and each one.

- `lists`: all receipts, and those that failed
- `receipt`: one receipt, its life and its buttons
- `pictures`: first pages of receipts, kept for a day

HTTP's thread runs it, and threads beside it for what may wait.
"""
