"""Signatures by which N8N can tell that a message is ours: Standard Webhooks 1.0, scheme v1.

What it promises: the signature is base64 of HMAC-SHA256 over `id.timestamp.body`, the body being the very bytes that
are sent. With two secrets there are two signatures, the current one first, so that a receiver that knows either goes
on while the secret is changed. A body is taken in pieces, and none of it is kept.

Any thread may ask; nothing changes after it is made.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable, Sequence

from receipt_watcher.config.secrets import key_of

#: The answer, with 403, of the workflows that ship to a message without a proof that it is ours.
NOT_PROVEN = "The signature of this message is not proven"


class Signer:
    """Signs with the current secret and, where there is one, with the previous one."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._keys = [key_of(secret) for secret in secrets]

    def __bool__(self) -> bool:
        return bool(self._keys)

    def __repr__(self) -> str:
        return f"Signer({len(self._keys)} secrets)"

    def sign(self, message_id: str, timestamp: int, body: Iterable[bytes]) -> str:
        """Return what `webhook-signature` says of a message: a signature for each secret, with spaces between."""
        head = f"{message_id}.{timestamp}.".encode()
        signatures = [hmac.new(key, head, hashlib.sha256) for key in self._keys]
        for piece in body:
            for signature in signatures:
                signature.update(piece)
        return " ".join(f"v1,{base64.b64encode(signature.digest()).decode('ascii')}" for signature in signatures)
