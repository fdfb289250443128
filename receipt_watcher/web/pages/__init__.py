"""The status page: its routes, what it shows, its words in two languages.

- `receipts`, `sign_in`: the routes
- `viewmodels`, `chart`, `rendering`, `texts`: what is shown, pure; the drawing of a day; templates; words
- `pictures`: first pages of receipts, kept for a day

HTTP's thread runs it, and threads beside it for what may wait.
"""
