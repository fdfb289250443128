"""The job log."""

from __future__ import annotations

from pydantic import Field

from receipt_watcher.config.sections.section import Section
from receipt_watcher.config.values import LogUrl


class DatabaseOptions(Section):
    """The job log."""

    url: LogUrl = Field(
        default="sqlite:///receipts.db",
        description="A file in state_dir, or with four slashes a whole path; on a local disk.",
    )
