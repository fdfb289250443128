"""Signatures by which N8N can tell that a message is ours: Standard Webhooks 1.0, scheme v1.

What it promises: the signature is base64 of HMAC-SHA256 over `id.timestamp.body`, the body being the very bytes that
are sent. With two secrets there are two signatures, the current one first, so that a receiver that knows either goes
on while the secret is changed. A body is taken in pieces, and none of it is kept.

Any thread may ask; nothing changes after it is made.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Sequence

#: What a secret begins with; behind it stands base64 of the key. The standard asks for a key of 24 to 64 bytes.
PREFIX = "whsec_"
#: What the workflows that ship answer, with 403, to a message that they cannot tell to be ours.
NOT_PROVEN = "The signature of this message is not proven"
_KEY_BYTES = range(24, 65)


def key_of(secret: str) -> bytes:
    """Return the key that a secret stands for.

    Raises:
        ValueError: it is no secret of the standard.
    """
    if not secret.startswith(PREFIX):
        raise ValueError(f"it does not begin with {PREFIX}")
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error as error:
        raise ValueError(f"what stands behind {PREFIX} is no base64") from error
    if len(key) not in _KEY_BYTES:
        raise ValueError(f"its key has {len(key)} bytes, not {_KEY_BYTES[0]} to {_KEY_BYTES[-1]}")
    return key


def text_key_of(secret: str) -> str:
    """Return the key of a secret as text, for a tool that takes no bytes, such as n8n's Crypto node.

    Raises:
        ValueError: it is no secret of the standard, or its key is no text.
    """
    key = key_of(secret).decode("latin-1")
    if not (key.isascii() and key.isprintable()):
        raise ValueError("its key is no text")
    return key


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
