"""The status page: its routes, its contents, its words in two languages.

- `routes`, `base`: the routes of all pages; the rights to see one, and the answers to buttons
- `overview`, `receipts`, `upload`, `sign_in`: the pages
- `viewmodels`, `rendering`, `texts`: the contents, pure; templates; words

What it promises: every page works without a script, in English and in German, and loads nothing from elsewhere.
HTTP's thread runs it, and threads beside it for what may wait.
"""
