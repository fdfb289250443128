"""What may be shown of the options: nothing that is secret.

What it promises: a secret is asterisks, and so is what stands before the @ and in the query of an address. Pure; any
thread may call it.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import BaseModel, SecretStr

MASK = "********"


def secrets_of(options: object) -> set[str]:
    """Return every secret that is configured, for what must not hold one."""
    match options:
        case SecretStr():
            return {options.get_secret_value()}
        case BaseModel():
            return {found for name in type(options).model_fields for found in secrets_of(getattr(options, name))}
        case tuple():
            return {found for item in options for found in secrets_of(item)}
    return set()


def redacted(options: BaseModel) -> dict[str, object]:
    """Return effective options as JSON takes them, with asterisks for everything secret."""
    return {name: _shown(getattr(options, name)) for name in type(options).model_fields}


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
