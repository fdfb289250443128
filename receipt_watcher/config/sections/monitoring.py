"""The log, and the metrics for Prometheus."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from receipt_watcher.config.sections.section import Section
from receipt_watcher.config.values import PromFile


class Metrics(Section):
    """Metrics for Prometheus; GET /metrics is always there."""

    textfile: PromFile | None = Field(
        default=None,
        description="A file ending in .prom in the folder of node_exporter's textfile collector; by default none.",
    )


class Logging(Section):
    """The log: its level and its format."""

    level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="The least that is logged.")
    format: Literal["auto", "console", "json", "journal"] = Field(
        default="auto", description="auto: journal under systemd, console in a terminal, json otherwise."
    )
