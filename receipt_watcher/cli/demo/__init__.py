"""`demo`: the daemon and a stand-in for N8N, with receipts that are drawn for it.

- `demo`, `play`, `progress`: the command; what happens; what is shown
- `receipts`, `samples`: which receipts; how they are drawn
- `stand_in`: the stand-in for N8N, which the tests use too
- `received_posts`: what is posted to it, read
"""
