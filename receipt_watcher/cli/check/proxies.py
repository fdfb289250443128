"""Say for `check` how each configured URL is reached: directly or through which proxy, and which setting decided it.

Nothing is connected to. A URL that is a secret is told by its option's name.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from receipt_watcher.config.options import Config
from receipt_watcher.config.proxies import OPTION
from receipt_watcher.config.sections.http import is_loopback


@dataclass(frozen=True, slots=True)
class ProxyLine:
    """One thing to say; `advice` is empty if all is well."""

    what: str
    advice: str = ""


def lines_of_proxies(config: Config) -> Iterator[ProxyLine]:
    """Yield how each URL is reached, the servers of N8N first, and what is wrong with NO_PROXY."""
    proxies = config.proxies()
    for name, url in _named_urls(config):
        choice = proxies.choice_for(url)
        told = f"{name} is reached {choice.in_words}"
        is_detour = choice.url is not None and is_loopback(urlsplit(url).hostname or "")
        advice = f"add {urlsplit(url).hostname} to NO_PROXY, or set {OPTION}: none: it is this machine"
        yield ProxyLine(told, advice if is_detour else "")
    for variable, entry in proxies.meaningless_exceptions():
        yield ProxyLine(
            f"{variable}: {entry!r} is no host, address or network, and matches nothing",
            "write a host such as n8n.office.lan, an address, or a network such as 10.0.0.0/8",
        )


def _named_urls(config: Config) -> Iterator[tuple[str, str]]:
    named: dict[str, str] = {}
    for url in config.webhook_urls():
        parts = urlsplit(url)
        named.setdefault(f"N8N at {parts.scheme}://{parts.netloc.rpartition('@')[2]}", url)
    yield from named.items()
    notify, jwt = config.notify, config.http.jwt
    for name, secret in (("webhook_url", notify.webhook_url), ("heartbeat_url", notify.heartbeat_url)):
        if secret is not None:
            yield f"notify.{name}", secret.get_secret_value()
    if jwt is not None and jwt.jwks_url is not None:
        yield "http.jwt.jwks_url", jwt.jwks_url
    if config.n8n.payload == "link":
        yield "http.public_url, for the test whether files can be fetched,", config.public_url_for(config.http.port)
