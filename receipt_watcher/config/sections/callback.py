"""The callback: what tells N8N apart from others, and how long its word is waited for."""

from __future__ import annotations

from pydantic import Field

from receipt_watcher.config.sections.section import Section
from receipt_watcher.config.values import LongSeconds, Token


class Callback(Section):
    """N8N's word on what became of a receipt."""

    secret_token: Token | None = Field(
        default=None, description="N8N sends it as X-Callback-Token; by default one is made and kept in state_dir."
    )
    previous_secret_token: Token | None = Field(
        default=None, description="The token before secret_token: as good as that one, until it is taken out here."
    )
    per_job_tokens: bool = Field(
        default=False,
        description="Whether each receipt goes out with a callback_token of its own; the shared token is refused then.",
    )
    deadline_seconds: LongSeconds = Field(default=900, description="How long the callback for a receipt is waited for.")
    max_resends: int = Field(
        default=1, ge=0, le=100, description="How often a receipt without a callback is sent again, under the same id."
    )
