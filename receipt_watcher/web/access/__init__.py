"""The caller of a request, and what the caller may do.

- `authorization`: who calls, and whether the caller has the right
- `api_tokens`, `callback_tokens`: tokens of the API; tokens of callbacks
- `jwt`, `sessions`: other issuers' tokens; who is signed in
- `signatures`: how tokens, sessions and links are signed, and compared
- `wrong_tokens`: callers without a right token

HTTP's thread runs it. Nothing is written.
"""
