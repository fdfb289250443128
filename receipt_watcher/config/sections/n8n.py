"""The workflow that receipts are sent to."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from receipt_watcher.config.proxies import ENVIRONMENT
from receipt_watcher.config.sections.section import Section
from receipt_watcher.config.sections.sending import Acceptance, DeliverWhen
from receipt_watcher.config.values import (
    AbsolutePath,
    LongSeconds,
    Mebibytes,
    ProxyChoice,
    Seconds,
    Secret,
    SigningSecret,
    Url,
)
from receipt_watcher.system.display import MEBIBYTE


class N8n(Section):
    """The workflow that receipts are sent to."""

    webhook_url: Url | None = Field(
        default=None,
        description="The Production URL of the workflow's Webhook node.",
        examples=["https://n8n.example.com/webhook/receipts"],
    )
    api_key: Secret | None = Field(default=None, description="Sent as X-N8N-Api-Key; better kept in a credential file.")
    signing_secret: SigningSecret | None = Field(
        default=None, description="Signs what is sent (webhook-signature of Standard Webhooks), so that N8N can tell."
    )
    previous_signing_secret: SigningSecret | None = Field(
        default=None, description="The one before signing_secret: both sign, until it is taken out here."
    )
    payload: Literal["json", "multipart", "auto", "link"] = Field(
        default="json",
        description="How a file travels: base64 in JSON; as it is in a form; JSON while that is small enough, else a "
        "form (auto); or N8N fetches it by a link.",
    )
    max_json_mb: Mebibytes = Field(
        default=16, description="Larger JSON is not posted: n8n answers it with an error 500."
    )
    link_seconds: LongSeconds = Field(
        default=3600, description="With payload link: for how long N8N may fetch the file by the link that it was sent."
    )
    timeout_seconds: Seconds = Field(default=60, description="How long an answer is waited for.")
    workers: int = Field(default=4, ge=1, le=32, description="How many receipts are sent at the same time.")
    max_attempts: int = Field(
        default=8,
        ge=1,
        le=1000,
        description="How often a receipt may fail while others pass; an outage counts for none.",
    )
    backoff_initial_seconds: LongSeconds = Field(default=5, description="The first wait after a failure; it doubles.")
    backoff_max_seconds: LongSeconds = Field(default=900, description="The longest wait between two attempts.")
    hold_after: int = Field(
        default=3, ge=1, le=1000, description="After so many failures of N8N's own in a row all receipts wait for it."
    )
    probe_max_seconds: LongSeconds | None = Field(
        default=None,
        description="The longest wait between two looks whether N8N is back; by default as backoff_max_seconds.",
    )
    drain_per_minute: float = Field(
        default=0,
        ge=0,
        le=1000000,
        description="How fast what has waited is sent when N8N is back; 0 is as fast as it takes it.",
    )
    accept: Acceptance | None = Field(
        default=None,
        description="Which answer accepts: auto, immediately, last_node, respond, any_2xx, or a rule; by default auto.",
    )
    remembers_jobs: bool = Field(
        default=False,
        description="Whether the workflow books no job_id twice, as those that ship do; with last_node and respond a "
        "receipt whose answer is lost is then sent again.",
    )
    deliver_when: DeliverWhen | None = Field(
        default=None, description="When receipts are sent; outside of it they wait. By default always."
    )
    proxy: ProxyChoice = Field(
        default=ENVIRONMENT,
        description="How N8N is reached: by HTTP_PROXY, HTTPS_PROXY and NO_PROXY (environment), directly (none), or "
        "through the proxy at a URL.",
    )
    verify_tls: bool = Field(default=True, description="Whether certificates are checked; rather set ca_file.")
    ca_file: AbsolutePath | None = Field(default=None, description="The certificate of a private authority (PEM).")

    @property
    def max_json_bytes(self) -> int:
        """The largest JSON that is posted."""
        return int(self.max_json_mb * MEBIBYTE)
