"""Contradictions between options that are each right by themselves.

What it promises: `clashes` yields every such mistake with the keys that it is about (the one to change first), what
is wrong and what would be right, and raises nothing. Folders are compared by where they really are, so that a
symbolic link hides no clash; a folder that is not there yet counts by its name.

Called once at start, by `sources`, in its thread. The file system is only asked where links lead; nothing is
kept or written, so a crash leaves nothing behind.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

from receipt_watcher.config.options import Config
from receipt_watcher.config.sections.section import Key
from receipt_watcher.system.time_limit import within

#: Time limit for a share to resolve its folder. By taste: all other checks wait for it.
_ANSWER_SECONDS = 2.0


def clashes(config: Config) -> Iterator[tuple[tuple[Key, ...], str, str]]:
    """Yield what is wrong between options: their keys (to change is the first), what is wrong, what would be right."""
    for number, inbox in enumerate(config.inboxes):
        if not config.branches(inbox)[-1].webhook_url:
            keys: tuple[Key, ...] = (("n8n", "webhook_url"), ("inboxes", number, "webhook_url"))
            yield (
                keys,
                f"is missing, and inbox {inbox.name} has none of its own",
                "give the Webhook node's Production URL",
            )
            break
    for number, inbox in enumerate(config.inboxes):
        if inbox.routes and not inbox.recursive:
            keys = (("inboxes", number, "recursive"), ("inboxes", number, "routes"))
            yield keys, "is false, so the subfolders under routes are never watched", "set it to true"
    names = [inbox.name for inbox in config.inboxes]
    for number, name in enumerate(names):
        if (first := names.index(name)) != number:
            keys = (("inboxes", number, "name"), ("inboxes", first, "name"))
            yield keys, f'"{name}" is also the name of inboxes[{first}]', "give one of them another name"
    yield from _n8n_clashes(config)
    yield from _http_clashes(config)
    yield from _folder_clashes(config)
    yield from _state_clashes(config)


def _n8n_clashes(config: Config) -> Iterator[tuple[tuple[Key, ...], str, str]]:
    if config.n8n.backoff_max_seconds < config.n8n.backoff_initial_seconds:
        keys: tuple[Key, ...] = (("n8n", "backoff_max_seconds"), ("n8n", "backoff_initial_seconds"))
        yield keys, "is less than n8n.backoff_initial_seconds", "make it the larger of the two"
    token, previous = config.callback.secret_token, config.callback.previous_secret_token
    if token is not None and token == previous:
        keys = (("callback", "previous_secret_token"), ("callback", "secret_token"))
        yield keys, "is the same as callback.secret_token", "set it to the token before that, or remove it"
    signing, previous = config.n8n.signing_secret, config.n8n.previous_signing_secret
    if signing is not None and signing == previous:
        keys = (("n8n", "previous_signing_secret"), ("n8n", "signing_secret"))
        yield keys, "is the same as n8n.signing_secret", "set it to the secret before that, or remove it"
    if config.n8n.ca_file is not None and not config.n8n.verify_tls:
        keys = (("n8n", "verify_tls"), ("n8n", "ca_file"))
        yield keys, "is false, so n8n.ca_file has no effect", "remove verify_tls, or ca_file"


def _http_clashes(config: Config) -> Iterator[tuple[tuple[Key, ...], str, str]]:
    http = config.http
    if (http.tls_certificate is None) != (http.tls_key is None):
        missing, given = ("tls_key", "tls_certificate") if http.tls_certificate else ("tls_certificate", "tls_key")
        yield (("http", missing), ("http", given)), f"is missing, and http.{given} is set", "give both, or none"
    if http.uds is not None and http.public_url is None:
        keys: tuple[Key, ...] = (("http", "public_url"), ("http", "uds"))
        yield keys, "is missing, and with http.uds there is no port to make it of", "give the proxy's URL"
    if http.uds is not None and http.tls_certificate is not None:
        keys = (("http", "uds"), ("http", "tls_certificate"))
        yield keys, "is a socket for a proxy on this machine, which does TLS itself", "remove one of the two"


def _folder_clashes(config: Config) -> Iterator[tuple[tuple[Key, ...], str, str]]:
    """Yield each two folders of the spools that are the same or one in the other.

    Only done folders may share with done folders, and failed ones with failed ones. An inbox that lies in a folder of
    another spool is told once: its other folders lie there too, as its siblings.
    """
    roles = ("path", "processing_dir", "done_dir", "failed_dir")
    folders: list[tuple[tuple[str, int, str], str]] = [
        (("inboxes", number, role), _real(getattr(inbox, role)))
        for number, inbox in enumerate(config.inboxes)
        for role in roles
    ]
    told: set[tuple[int, int]] = set()
    for (one, first), (two, second) in itertools.combinations(folders, 2):
        if one[1] != two[1] and ((one[1], two[1]) in told or one[2] == two[2] in {"done_dir", "failed_dir"}):
            continue
        for key, folder, other, outer in ((two, second, one, first), (one, first, two, second)):
            if _lies_in(folder, outer):
                relation = "is also" if folder == outer else f"lies in {outer}, which is"
                change = key if key[2] != "path" or other[2] == "path" else other
                yield (
                    (key, other),
                    f"{folder} {relation} {dotted(other)}",
                    f"set {dotted(change)} to a folder of its own",
                )
                if key[2] == "path" and one[1] != two[1]:
                    told.add((one[1], two[1]))
                break


def _state_clashes(config: Config) -> Iterator[tuple[tuple[Key, ...], str, str]]:
    """Yield where the log or the state folder would be taken for receipts."""
    places: dict[Key, Path] = {("state_dir",): config.state_dir, ("database", "url"): config.database_path}
    if config.state_dir in config.database_path.parents:
        del places["database", "url"]
    for (key, place), (number, inbox) in itertools.product(places.items(), enumerate(config.inboxes)):
        if _lies_in(_real(place), _real(inbox.path)):
            other: Key = ("inboxes", number, "path")
            yield (key, other), f"{place} lies in {inbox.path}, which is {dotted(other)}", "put it elsewhere"


def _real(path: Path) -> str:
    """Return where a folder really is; one that cannot be asked, or does not answer, counts by its name."""
    try:
        return within(_ANSWER_SECONDS, lambda: os.path.realpath(path), path)
    except OSError:
        return os.path.normpath(path)


def _lies_in(inner: str, outer: str) -> bool:
    return inner == outer or inner.startswith(outer.rstrip("/") + "/")


def dotted(key: Key) -> str:
    """Return a key as it stands in messages: inboxes[0].path."""
    texts = (f"[{part}]" if isinstance(part, int) else f".{first_word(part)}" for part in key)
    return "".join(texts).removeprefix(".")


def first_word(name: object) -> str:
    """Return a key as it may be shown: in `{api_key:abc}` YAML takes a secret for a part of the key."""
    return str(name).partition(":")[0]
