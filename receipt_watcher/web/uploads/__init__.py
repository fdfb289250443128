"""Receipts that come by HTTP.

- `receive`, `form`: takes one in; the form as it comes
- `places`: what no caller may take all of

HTTP's thread and one for each upload run it. A crash leaves a part in the state folder, which the next start removes.
"""
