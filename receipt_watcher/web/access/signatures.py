"""Signatures (HMAC-SHA256, RFC 2104) of tokens, sessions and links, and their comparison in constant time.

What it promises: one secret makes a key for each purpose, and none of these tells another one. Signatures are text that
goes into a URL, a header or a cookie as it is (base64url, RFC 4648, without padding). Pure; any thread may use it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac


def key_for(secret: str, purpose: bytes) -> bytes:
    """Make the key for one purpose from a secret that has several."""
    return hmac.digest(secret.encode(), purpose, hashlib.sha256)


def sign(key: bytes, text: str) -> str:
    """Sign a text, whatever is in it."""
    return base64url(hmac.digest(key, text.encode("utf-8", "backslashreplace"), hashlib.sha256))


def are_equal(one: str, other: str) -> bool:
    """Compare in constant time; of digests, since the comparison of two lengths would not be."""
    digests = [hashlib.sha256(text.encode("utf-8", "backslashreplace")).digest() for text in (one, other)]
    return hmac.compare_digest(*digests)


def base64url(content: bytes) -> str:
    """Return bytes as text, without padding."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode("ascii")


def bytes_of(text: str) -> bytes:
    """Return the bytes of such a text."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
