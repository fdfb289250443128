"""Secrets: hidden in everything that is shown, and made and parsed for tokens and signatures.

What it promises: a secret shows as asterisks, and so do user, password and query of an address. Pure; any thread may
call it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, SecretStr

MASK = "********"


def secrets_of(options: object) -> set[str]:
    """Return every secret that is configured, for what must not hold one."""
    match options:
        case SecretStr():
            return {options.get_secret_value()}
        case BaseModel():
            return {secret for name in type(options).model_fields for secret in secrets_of(getattr(options, name))}
        case tuple():
            return {secret for item in options for secret in secrets_of(item)}
    return set()


def redacted(options: BaseModel) -> dict[str, object]:
    """Return effective options as JSON takes them, with asterisks for everything secret."""
    return {name: _shown(getattr(options, name)) for name in type(options).model_fields}


def plain(options: BaseModel) -> dict[str, object]:
    """Return effective options as `redacted` does, but with their secrets: for comparisons, never for a person."""
    return {name: _plain(getattr(options, name)) for name in type(options).model_fields}


def _plain(value: object) -> object:
    match value:
        case BaseModel():
            return plain(value)
        case tuple():
            return [_plain(item) for item in value]
        case dict():
            return {name: _plain(item) for name, item in value.items()}
        case SecretStr():
            return value.get_secret_value()
        case Path():
            return str(value)
    return value


def _shown(value: object) -> object:
    match value:
        case BaseModel():
            return redacted(value)
        case tuple():
            return [_shown(item) for item in value]
        case dict():
            return {name: _shown(item) for name, item in value.items()}
    return _shown_alone(value)


def _shown_alone(value: object) -> object:
    match value:
        case SecretStr():
            return MASK
        case Path():
            return str(value)
        case str() if ":" in value:
            return masked(value)
    return value


def without_paths(text: str, *known: Path) -> str:
    """Return a text without absolute paths, for callers who shall not learn where things lie.

    `known` are folders that it may name: their names may have blanks, by which a path is not seen to go on.
    """
    for path in sorted(map(str, known), key=len, reverse=True):
        text = text.replace(path, "…")
    return re.sub(r"(?<![\w/.:])/(?!/)[^\s;,()\"']+", "…", text)


def without_path(url: str) -> str:
    """Return where a URL leads, but not its path: whoever knows that of a webhook may post to it."""
    parts = urlsplit(masked(url))
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/…"


def masked(url: str) -> str:
    """Return `url` with asterisks before its @ and in its query; rather too many, since it may be malformed."""
    base, mark, query = url.partition("?")
    base = re.sub(r"^([^/]*//)?.*@", rf"\1{MASK}@", base, flags=re.DOTALL)
    return (
        base
        + mark
        + "&".join(re.sub(r"^([^=]*=)?.+", rf"\1{MASK}", part, flags=re.DOTALL) for part in query.split("&"))
    )


#: Shorter texts are no secrets: they occur in any text.
_SECRET_CHARACTERS = 4

#: A part of a URL looks like a secret if it has this length and a digit, or if it is longer than any word.
_WORD_CHARACTERS = 8

_LONG_CHARACTERS = 20


def without_secrets(text: str, secrets: Iterable[str], *, every_part: bool = False) -> str:
    """Return a text with asterisks for each secret, and for each part of a secret URL that looks like one.

    `every_part` is for texts that may quote a URL: each word of it goes. In a notice that would take out «receipts».
    """
    hidden = {part for secret in secrets for part in (secret, *_parts_of(secret, every_part=every_part))}
    for part in sorted(hidden, key=len, reverse=True):
        if len(part) >= _SECRET_CHARACTERS:
            text = text.replace(part, MASK)
    return text


def _parts_of(secret: str, *, every_part: bool) -> Iterator[str]:
    if "://" not in secret:
        return
    host = urlsplit(secret).hostname if secret.startswith("http") else None
    for part in re.split(r"[/?&=@:#,]", secret.split("://", 1)[1]):
        is_telling = len(part) >= _LONG_CHARACTERS or (len(part) >= _WORD_CHARACTERS and re.search(r"\d", part))
        if part.lower() != host and (every_part or is_telling):
            yield part
            yield unquote(part)


#: The prefix of a signing secret; base64 of the key follows. The standard asks for a key of 24 to 64 bytes.
PREFIX = "whsec_"


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


_SCHEME = "sha256:"


#: The name in a job's history of callers on this machine without a token.
LOCAL_NAME = "this machine"


def new_secret() -> str:
    """Return a fresh token."""
    return f"rw_{secrets.token_urlsafe(32)}"


def hash_of(secret: str) -> str:
    """Return the hash of a token, for the configuration.

    `new_secret` makes tokens of 32 random bytes, which cannot be guessed: one round of SHA-256 is enough.
    """
    return _SCHEME + hashlib.sha256(secret.encode("utf-8", "backslashreplace")).hexdigest()


def is_hash(text: str) -> bool:
    """Return whether a text may be a token's hash."""
    return re.fullmatch(f"{_SCHEME}[0-9a-f]{{64}}", text) is not None


def is_token_name(text: str) -> bool:
    """Return whether a text may be a token's name."""
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._@ -]{0,39}", text) is not None and text.lower() != LOCAL_NAME
