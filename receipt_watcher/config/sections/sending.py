"""The answer that accepts a receipt, and the hours of sending: for all, for an inbox, or for a subfolder."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from receipt_watcher.config.schedule import Window, window_of
from receipt_watcher.config.sections.section import Section
from receipt_watcher.config.values import DayHours, JsonPath, Text, WeekDays, ZoneName, mistake

AcceptMode = Literal["auto", "immediately", "last_node", "respond", "any_2xx"]

#: The modes in which the answer is the verdict, and no callback can come.
ANSWERING_MODES = frozenset({"last_node", "respond"})


def _accept(value: object) -> object:
    """Take a text alone for the mode."""
    return {"mode": value} if isinstance(value, str) else value


class Accept(Section):
    """The answer of N8N that is an acceptance: a word alone, or a rule of one's own."""

    mode: AcceptMode | None = Field(
        default=None, description="What the webhook node's Respond says; the same as the word alone."
    )
    status: int | None = Field(default=None, ge=200, le=299, description="The status; by default any of 2xx.")
    json_path: JsonPath | None = Field(
        default=None, description="Where in the answer's JSON to look, such as $.items[0].state; it must be there."
    )
    contains: Text | None = Field(default=None, description="What must stand there, or anywhere in the answer.")

    @model_validator(mode="after")
    def _one_way(self) -> Accept:
        given = [self.status, self.json_path, self.contains]
        if (self.mode is None) == all(part is None for part in given):
            raise mistake("is not one way to tell", "give a word such as auto, or status, json_path and contains")
        return self


Acceptance = Annotated[Accept, BeforeValidator(_accept, json_schema_input_type=AcceptMode | Accept)]


class DeliverWhen(Section):
    """The hours of sending; outside of them receipts are taken in and wait."""

    days: WeekDays = Field(default="mon-sun", description="On which days, such as mon-fri, or mon, wed, sat.")
    hours: DayHours = Field(
        default="00:00-24:00",
        description="At which hours, such as 07:00-12:00, 13:00-18:00; over midnight 22:00-06:00.",
    )
    time_zone: ZoneName = Field(default="", description="Such as Europe/Berlin; by default that of this machine.")

    @property
    def window(self) -> Window:
        """The same, ready to be asked."""
        return window_of(self.days, self.hours, self.time_zone)
