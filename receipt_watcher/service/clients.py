"""Make the HTTP clients of a configuration: the one that talks to N8N, and the one that notices go out by.

What it promises: all of them choose proxies by the same rules, and each URL that is configured can be used from the
start, or a ConfigError says why not.
"""

from __future__ import annotations

import threading

from receipt_watcher.config.options import Config
from receipt_watcher.delivery.destinations.http_client import Outbound
from receipt_watcher.notify.channels.registry import LIMIT_SECONDS


def n8n_client(
    config: Config, *, timeout_seconds: float, connections: int, stopping: threading.Event | None = None
) -> Outbound:
    """Make the client for N8N, which also fetches the keys of http.jwt.

    Raises:
        ConfigError: an option or a variable of the environment keeps it from being made.
    """
    jwt = config.http.jwt
    return Outbound(
        timeout_seconds=timeout_seconds,
        connections=connections,
        proxies=config.proxies(),
        urls=[*config.webhook_urls(), *([jwt.jwks_url] if jwt and jwt.jwks_url else [])],
        verify_tls=config.n8n.verify_tls,
        ca_file=str(config.n8n.ca_file or ""),
        stopping=stopping,
    )


def notice_client(config: Config, stopping: threading.Event | None = None) -> Outbound:
    """Make the client for notify.webhook_url and notify.heartbeat_url.

    Raises:
        ConfigError: an option or a variable of the environment keeps it from being made.
    """
    urls = (config.notify.webhook_url, config.notify.heartbeat_url)
    return Outbound(
        timeout_seconds=LIMIT_SECONDS,
        connections=1,
        proxies=config.proxies(),
        urls=[url.get_secret_value() for url in urls if url is not None],
        stopping=stopping,
    )
