"""Limits that keep one bad file or mistake from doing harm."""

from __future__ import annotations

from pydantic import Field

from receipt_watcher.config.sections.section import Section
from receipt_watcher.config.values import Mebibytes, Seconds
from receipt_watcher.system.display import MEBIBYTE


class Limits(Section):
    """Limits that keep one bad file or mistake from doing harm."""

    max_file_mb: Mebibytes = Field(default=50, description="Larger files are failed.")
    max_megapixels: float = Field(
        default=250, ge=0.01, le=10000, description="Larger pictures are failed: they fill memory."
    )
    examination_seconds: int = Field(
        default=10, ge=1, le=25, description="How long one file may be computed on; such a file is tried twice."
    )
    examination_mb: int = Field(
        default=1024, ge=256, le=65536, description="How much memory the program that examines receipts may take."
    )
    backlog_files: int = Field(
        default=200,
        ge=0,
        le=10000000,
        description="More old files at the very first start wait for the command accept-backlog.",
    )
    min_free_mb: float = Field(
        default=100,
        ge=0,
        le=1000000,
        description="With less room on a disk of a spool or of state_dir, /health/ready says 503; 0 for never.",
    )
    stop_timeout_seconds: Seconds = Field(
        default=20, description="How long a stop waits for receipts that are being sent."
    )

    @property
    def max_file_bytes(self) -> int:
        """The largest file that is not failed."""
        return int(self.max_file_mb * MEBIBYTE)

    @property
    def max_pixels(self) -> int:
        """The largest picture that is not failed."""
        return int(self.max_megapixels * 1_000_000)

    @property
    def examination_bytes(self) -> int:
        """The memory of the program that examines receipts."""
        return self.examination_mb * MEBIBYTE
