"""Receipts that come by HTTP.

- `receive`: takes one in
- `reception`, `form`: streams a form to disk; the form as it comes
- `placement`, `idempotency`: which inbox one is for; calls that are repeated
- `places`: what no caller may take all of

HTTP's thread and one for each upload run it. A crash leaves a part in the state folder, which the next start removes.
"""
