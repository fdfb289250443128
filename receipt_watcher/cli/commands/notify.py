"""The report of `receipt-watcher notify`: the channels, the notices that wait for each, and the result of a test.

A test is sent at once, quiet hours or not, and leaves no trace in the job log; the daemon may run.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from receipt_watcher.config.options import Config
from receipt_watcher.config.secrets import secrets_of, without_secrets
from receipt_watcher.errors import NotToldError
from receipt_watcher.jobs.job import new_job_id
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.notify.channels import Channel
from receipt_watcher.notify.channels.registry import channels_of
from receipt_watcher.notify.notices import example_notice
from receipt_watcher.service.clients import notice_client


@dataclass(frozen=True, slots=True)
class ChannelReport:
    """The report on one channel."""

    channel: str
    is_fine: bool
    words: str


@contextmanager
def _channels(config: Config) -> Iterator[list[Channel]]:
    with notice_client(config) as outbound:
        yield channels_of(config.notify, outbound)


def send_tests(config: Config) -> list[ChannelReport]:
    """Send a test to each channel.

    Raises:
        ConfigError: one cannot be used as it is written.
    """
    with _channels(config) as channels:
        return [_tested(channel, config) for channel in channels]


def _tested(channel: Channel, config: Config) -> ChannelReport:
    try:
        channel.send(example_notice(), new_job_id(time.time()))
    except NotToldError as error:
        why = without_secrets(str(error), secrets_of(config), every_part=True)
        return ChannelReport(channel.name, is_fine=False, words=f"not sent: {why}")
    return ChannelReport(channel.name, is_fine=True, words="sent; look whether it arrived")


def waiting(config: Config, log: JobLog | None) -> list[ChannelReport]:
    """Return how many notices wait for each channel; `log` is None before the first start.

    Raises:
        ConfigError: one cannot be used as it is written.
    """
    queued = log.outbox.queued() if log is not None else []
    with _channels(config) as channels:
        return [
            ChannelReport(name, is_fine=not any(one.tries for one in own), words=_waiting(len(own)))
            for name, own in ((each.name, [one for one in queued if one.channel == each.name]) for each in channels)
        ]


def _waiting(count: int) -> str:
    return "1 notice waits" if count == 1 else f"{count or 'no'} notices wait"
