"""The whole configuration, and what follows from it.

What it promises: an option is a field of one of the `sections`, and nothing else; the messages (`sources`) and
watcher.example.yaml (`example`) are made from these models. A `Config` is frozen, each of its values is
within its bounds (`values`), and each path in it is absolute; what holds between options is checked by `consistency`. A
secret shows as asterisks wherever it is shown: in repr, in str and in `redacted`.

The models are filled once at start, by one thread (`sources`); then any thread may read, since nothing changes.
No folder has to exist yet. Nothing is written, so a crash leaves nothing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field

from receipt_watcher.config.branches import Branch, branches_of
from receipt_watcher.config.proxies import Proxies
from receipt_watcher.config.sections.callback import Callback
from receipt_watcher.config.sections.database import DatabaseOptions
from receipt_watcher.config.sections.http import Http, is_loopback
from receipt_watcher.config.sections.inbox import Duplicates, Inbox
from receipt_watcher.config.sections.limits import Limits
from receipt_watcher.config.sections.monitoring import Logging, Metrics
from receipt_watcher.config.sections.n8n import N8n
from receipt_watcher.config.sections.notify import Notify
from receipt_watcher.config.sections.retention import Retention
from receipt_watcher.config.sections.section import Section
from receipt_watcher.config.sections.sending import ANSWERING_MODES
from receipt_watcher.config.values import AbsolutePath


def default_state_dir(environ: Mapping[str, str]) -> str:
    """Return the state folder where no source sets one: systemd's, else the desktop's."""
    given, shared = environ.get("STATE_DIRECTORY", "").split(":")[0], environ.get("XDG_STATE_HOME", "")
    # The XDG specification has relative paths ignored.
    return given or f"{shared if shared.startswith('/') else '~/.local/state'}/receipt-watcher"


class Config(Section):
    """The whole configuration."""

    inboxes: tuple[Inbox, ...] = Field(min_length=1, description="The folders to watch; each - begins an inbox.")
    n8n: N8n = Field(default=N8n(), description=N8n.__doc__)
    callback: Callback = Field(default=Callback(), description=Callback.__doc__)
    http: Http = Field(default=Http(), description=Http.__doc__)
    state_dir: AbsolutePath = Field(
        default_factory=lambda: Path(default_state_dir(os.environ)).expanduser(),
        description="Job log, token and lock; by default $STATE_DIRECTORY, else the XDG state folder.",
    )
    duplicates: Duplicates = Field(
        default="skip",
        description="A second copy of the same bytes is filed with the first (skip), sent too, or failed.",
    )
    database: DatabaseOptions = Field(default=DatabaseOptions(), description=DatabaseOptions.__doc__)
    limits: Limits = Field(default=Limits(), description=Limits.__doc__)
    retention: Retention = Field(default=Retention(), description=Retention.__doc__)
    notify: Notify = Field(default=Notify(), description=Notify.__doc__)
    metrics: Metrics = Field(default=Metrics(), description=Metrics.__doc__)
    logging: Logging = Field(default=Logging(), description=Logging.__doc__)

    @property
    def database_path(self) -> Path:
        """The job log's file."""
        return self.state_dir / self.database.url.removeprefix("sqlite:///")

    def signing_secrets(self) -> tuple[str, ...]:
        """Return what receipts are signed with: the current secret and the one before, where they are set."""
        secrets = (self.n8n.signing_secret, self.n8n.previous_signing_secret)
        return tuple(secret.get_secret_value() for secret in secrets if secret is not None)

    def branches(self, inbox: Inbox) -> tuple[Branch, ...]:
        """Return what applies in an inbox: to its subfolders, the innermost first, and at last to the inbox itself."""
        return branches_of(inbox, self.n8n, self.duplicates)

    def all_branches(self) -> list[Branch]:
        """Return what applies in each inbox and then in its subfolders, in the order of the file."""
        return [
            branch
            for inbox in self.inboxes
            for branch in sorted(self.branches(inbox), key=lambda branch: ["", *inbox.routes].index(branch.subfolder))
        ]

    def webhook_urls(self) -> list[str]:
        """Return every URL that receipts are sent to, each once."""
        return list(dict.fromkeys(branch.webhook_url for branch in self.all_branches()))

    def proxies(self) -> Proxies:
        """Return the rules by which a URL is reached, as the environment is now."""
        return Proxies(self.n8n.proxy, self.webhook_urls(), dict(os.environ))

    def branches_to(self, url: str) -> list[str]:
        """Return whose receipts go to a URL, as the job log names them: inboxes, and subfolders with their own."""
        branches = (branch for inbox in self.inboxes for branch in self.branches(inbox))
        return [branch.key for branch in branches if branch.webhook_url == url]

    def unreachable_callback_url(self) -> str | None:
        """Return the URL that callbacks are asked for at if it is this machine's own, and N8N runs elsewhere.

        A workflow that answers with the verdict calls nobody back.
        """
        public_url = self.public_url_for(self.http.port)
        calling = (
            branch.webhook_url
            for branch in self.all_branches()
            if self.n8n.payload == "link" or branch.accept.mode not in ANSWERING_MODES
        )
        is_elsewhere = any(not is_loopback(urlsplit(url).hostname or "") for url in calling)
        return public_url if is_elsewhere and is_loopback(urlsplit(public_url).hostname or "") else None

    def public_url_for(self, port: int) -> str:
        """Return how N8N reaches us, without a slash at the end; `port` is the bound one, since http.port may be 0."""
        host = "127.0.0.1" if self.http.host in {"0.0.0.0", "::"} else self.http.host  # noqa: S104  (not bound here)
        scheme = "https" if self.http.tls_certificate else "http"
        return self.http.public_url or f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
