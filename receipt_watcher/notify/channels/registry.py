"""The list of channels: each new kind of channel gets its line here."""

from __future__ import annotations

from receipt_watcher.config.sections.notify import Notify
from receipt_watcher.delivery.destinations.http_client import Outbound
from receipt_watcher.notify.channels import Channel
from receipt_watcher.notify.channels.apprise_url import AppriseChannel
from receipt_watcher.notify.channels.webhook import WebhookChannel

#: Time limit for a channel's answer.
LIMIT_SECONDS = 10.0


def channels_of(settings: Notify, outbound: Outbound) -> list[Channel]:
    """Return the channels that are configured, each once.

    Raises:
        ConfigError: one cannot be used as it is written.
    """
    channels: list[Channel] = [AppriseChannel(url.get_secret_value()) for url in settings.urls]
    if settings.webhook_url is not None:
        channels.append(WebhookChannel(settings.webhook_url.get_secret_value(), outbound))
    return list({channel.name: channel for channel in channels}.values())
