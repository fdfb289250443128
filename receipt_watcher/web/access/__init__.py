"""Who asks, and what the caller may.

- `callers`: tokens, sessions and local callers
- `callback_tokens`, `jwt`, `sessions`: tokens of callbacks; other issuers' tokens; who is signed in
- `wrong_tokens`: callers without a right token

HTTP's thread runs it. Nothing is written.
"""
