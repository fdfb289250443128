"""The ways to tell a person. One file per way; `registry` builds those that are configured.

A channel sends one notice, or raises NotToldError with the reason; nothing it does holds up a receipt. It is called by
the thread of the notices, or by a command, and keeps nothing on disk. Its name tells it apart in the log and in the
outbox, from one start to the next, without what is secret about it.

- `apprise_url`, `webhook`: a URL of Apprise; a webhook
- `registry`: builds those that are configured
"""

from __future__ import annotations

import hashlib
from typing import Protocol

from receipt_watcher.config.secrets import MASK
from receipt_watcher.notify.notices import Notice


class Channel(Protocol):
    """One way to tell a person."""

    @property
    def name(self) -> str:
        """Return what it is called, such as tgram://********#3fa9c1."""

    def send(self, notice: Notice, notice_id: str) -> None:
        """Send a notice; the same one may come again under its id, when nobody knows whether it had gone out.

        Raises:
            NotToldError: it was not sent.
        """


def name_of(scheme: str, url: str) -> str:
    """Return what a channel is called: how, without where, and six hex digits that tell it from the next one."""
    return f"{scheme}://{MASK}#{hashlib.sha256(url.encode()).hexdigest()[:6]}"


def reason_of(error: Exception) -> str:
    """Return what the HTTP client says without the options of N8N, which are not this channel's."""
    text = str(error).replace("n8n.timeout_seconds", "the time limit")
    return text.replace("; for a private authority set n8n.ca_file", "")
