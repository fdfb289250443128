"""Callers of requests, and their rights.

- `authorization`: the caller, and whether the caller has the right
- `api_tokens`, `callback_tokens`: tokens of the API; tokens of callbacks
- `jwt`, `sessions`: tokens of an identity provider; people who are signed in
- `signatures`: signs tokens, sessions and links, and compares
- `wrong_tokens`, `rates`: callers without a right token; requests a minute of a right one

HTTP's thread runs it. Nothing is written.
"""
