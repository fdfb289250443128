"""The time for which concluded receipts are kept."""

from __future__ import annotations

from pydantic import Field

from receipt_watcher.config.sections.section import Section
from receipt_watcher.config.values import Days


class Retention(Section):
    """The only deletion there is, off by default: the time for which concluded receipts are kept."""

    done_days: Days | None = Field(
        default=None, description="When files in done are removed, from the verdict on; by default never."
    )
    failed_days: Days | None = Field(
        default=None, description="When files in failed are removed, with their notes; by default never."
    )
    log_days: Days | None = Field(
        default=None, description="When a job's history is removed; its digest and verdict stay. By default never."
    )
