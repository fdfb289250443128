"""Receipts that come by HTTP.

- `receive`: takes one in
- `reception`, `form`: streams a form to disk; the form as it comes
- `placement`, `idempotency`: the inbox for one; calls that are repeated
- `places`: places, of which no caller may take all

HTTP's thread and one for each upload run it. A crash leaves a part in the state folder, which the next start removes.
"""
