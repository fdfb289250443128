"""Which channels there are: a new way to tell a person gets its line here."""

from __future__ import annotations

from receipt_watcher.channels import Channel
from receipt_watcher.channels.apprise_url import AppriseChannel
from receipt_watcher.channels.webhook import WebhookChannel
from receipt_watcher.config import Notify
from receipt_watcher.outbound import Outbound

#: How long a channel may take to answer.
LIMIT_SECONDS = 10.0


def channels_of(settings: Notify, outbound: Outbound) -> list[Channel]:
    """Return the channels that are configured, each once.

    Raises:
        ConfigError: one cannot be used as it is written.
    """
    found: list[Channel] = [AppriseChannel(url.get_secret_value()) for url in settings.urls]
    if settings.webhook_url is not None:
        found.append(WebhookChannel(settings.webhook_url.get_secret_value(), outbound))
    return list({channel.name: channel for channel in found}.values())
