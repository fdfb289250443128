"""The status page: its routes, what it shows, its words in two languages.

- `routes`, `base`: the routes of all pages; who may see one, and what a button is answered
- `overview`, `receipts`, `upload`, `sign_in`: the pages
- `viewmodels`, `rendering`, `texts`: what is shown, pure; templates; words

What it promises: every page works without a script, in English and in German, and loads nothing from elsewhere.
HTTP's thread runs it, and threads beside it for what may wait.
"""
