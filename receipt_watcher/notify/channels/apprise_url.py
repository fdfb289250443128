"""Channels by the URLs of apprise: mail, Slack, Teams, ntfy, Telegram, and a hundred more.

What it promises: apprise is loaded where a URL is configured, and not before; a URL that it does not know, or that it
is not installed, is a mistake of the configuration and said at start. What apprise logs stays in here, since it may
hold the URL: its warnings become the reason, and whoever shows that takes the secrets out.
"""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING

from receipt_watcher.errors import ConfigError, NotToldError, Problem
from receipt_watcher.notify.channels import name_of
from receipt_watcher.notify.notices import Notice

if TYPE_CHECKING:
    from apprise import Apprise


class AppriseChannel:
    """Sends to one URL of apprise."""

    def __init__(self, url: str) -> None:
        """Take a URL.

        Raises:
            ConfigError: apprise is not installed, or does not know such a URL.
        """
        self.name = name_of(url.partition("://")[0].lower(), url)
        self._apprise = _loaded(url, self.name)

    def send(self, notice: Notice, notice_id: str) -> None:  # noqa: ARG002 - apprise has no place for an id
        """Send a notice.

        Raises:
            NotToldError: apprise says that it did not go out.
        """
        from apprise import LogCapture, NotifyFormat  # noqa: PLC0415 - see the module's text

        with LogCapture(level=logging.WARNING, fmt="%(message)s") as captured:  # type: ignore[no-untyped-call]
            is_sent = self._apprise.notify(notice.text, notice.title, body_format=NotifyFormat.TEXT)
            why = " ".join(captured.getvalue().split())
        if not is_sent:
            raise NotToldError(why or "apprise does not say why")


def _loaded(url: str, name: str) -> Apprise:
    try:
        from apprise import Apprise  # noqa: PLC0415 - see the module's text

        logging.getLogger("apprise").propagate = False
        channel = Apprise()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it loads all its plugins now, and what they load warns of this and that
            is_known = channel.add(url)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "apprise":
            advice = "pip install 'receipt-watcher[notify]', or take the URL out; notify.webhook_url needs nothing more"
            raise _mistake("apprise, which sends to them, is not installed", advice) from error
        wrong = f"apprise cannot load {name} ({type(error).__name__})"  # its words may hold the URL
        raise _mistake(wrong, "compare it with https://github.com/caronc/apprise/wiki, and update apprise") from error
    if not is_known:
        advice = "look up how it is written: https://github.com/caronc/apprise/wiki"
        raise _mistake(f"{name} is no URL that apprise knows", advice)
    return channel


def _mistake(wrong: str, right: str) -> ConfigError:
    return ConfigError([Problem("configuration", "notify.urls", wrong, right)])
