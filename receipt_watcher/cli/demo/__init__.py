"""`demo`: the daemon and a stand-in for N8N, with receipts drawn for it.

- `demo`, `play`, `progress`: the command; its acts; its display
- `receipts`, `samples`: the choice of receipts; the drawing of each
- `stand_in`: the stand-in for N8N, which the tests use too
- `received_posts`: reads the posts that it gets
"""
