"""Notices to people about receipts that wait or fail."""

from __future__ import annotations

from datetime import tzinfo
from typing import Annotated, Literal, get_args

from pydantic import BeforeValidator, Field

from receipt_watcher.config.schedule import Window, read_zone, window_of
from receipt_watcher.config.sections.section import Section
from receipt_watcher.config.values import (
    ChannelUrls,
    DayHours,
    LongSeconds,
    SecretUrl,
    TimeOfDay,
    ZoneName,
    split_at_commas,
)

#: The subjects of notices; the daily summary has an option of its own.
NoticeKind = Literal["holds", "failures", "inboxes", "stuck", "balance"]


class Notify(Section):
    """Notices to people about receipts that wait or fail; all are off until a channel is named."""

    urls: ChannelUrls = Field(
        default=(),
        description="Channels by apprise: mail, Slack, Teams, ntfy, …; pip install 'receipt-watcher[notify]'.",
    )
    webhook_url: SecretUrl | None = Field(
        default=None, description="A plain webhook: each notice is posted there as JSON; needs nothing more."
    )
    kinds: Annotated[
        tuple[NoticeKind, ...], BeforeValidator(split_at_commas, json_schema_input_type=str | list[NoticeKind])
    ] = Field(default=get_args(NoticeKind), description="What notices are about; leave out what you need not hear of.")
    after_seconds: LongSeconds = Field(
        default=60, description="How long a trouble lasts until it is told, and failures are gathered into one notice."
    )
    throttle_minutes: float = Field(
        default=15, ge=0, le=10080, description="The least time between two notices of the same kind."
    )
    stuck_after_minutes: float = Field(
        default=240, ge=1, le=100000, description="A receipt that is older, and that no hold explains, is told of."
    )
    quiet_hours: DayHours | None = Field(
        default=None, description='When nothing is sent, such as "22:00-07:00"; what is still so is told at their end.'
    )
    daily_summary_at: TimeOfDay | None = Field(
        default=None, description='When a summary of the day is sent, such as "08:00"; by default never.'
    )
    time_zone: ZoneName | None = Field(
        default=None, description="The office's clock, such as Europe/Berlin; by default the machine's."
    )
    heartbeat_url: SecretUrl | None = Field(
        default=None,
        description="A dead man's switch such as healthchecks.io: pings while all is well, /fail where not.",
    )
    heartbeat_minutes: float = Field(
        default=5, ge=1, le=1440, description="How often the heartbeat is sent, if each inbox was scanned since."
    )

    @property
    def quiet(self) -> Window | None:
        """The quiet hours of every day, ready to be asked."""
        return window_of("mon-sun", self.quiet_hours, self.time_zone or "") if self.quiet_hours else None

    @property
    def zone(self) -> tzinfo | None:
        """The office's time zone; None for the machine's own."""
        return read_zone(self.time_zone) if self.time_zone else None
