"""The API's inputs and answers as models: they check inputs, and openapi.json is made of them.

Pure; any thread may use them. Times are ISO 8601, in UTC where they are given, with an offset where they are taken.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from receipt_watcher.config.roles import Role
from receipt_watcher.jobs.json_view import DeliveryAnswer, JobAnswer
from receipt_watcher.jobs.states import State

_MOST_ROWS = 500
#: No control characters: they are in no name that we keep.
Words = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
#: The id of a job, or the beginning of one.
Cursor = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}-[0-9a-f-]{1,27}$")]
# What time there is: SQLite and Python both know the years between.
_FIRST, _LAST = "1970-01-01T00:00:00+00:00", "9000-01-01T00:00:00+00:00"
_ISO_TIME = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:")


def _iso_only(given: object) -> object:
    """Refuse numbers, which pydantic takes for seconds or milliseconds, by their size."""
    if not isinstance(given, str) or not _ISO_TIME.match(given):
        raise ValueError("it must be an ISO 8601 time with an offset, such as 2026-11-01T00:00:00Z")
    return given


Moment = Annotated[
    AwareDatetime,
    BeforeValidator(_iso_only, json_schema_input_type=AwareDatetime),
    Field(ge=datetime.fromisoformat(_FIRST), le=datetime.fromisoformat(_LAST), examples=["2026-11-01T00:00:00Z"]),
]


class Taken(BaseModel):
    """An input from a caller, without unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Given(BaseModel):
    """An answer to a caller."""

    model_config = ConfigDict(frozen=True, defer_build=True)  # only the documentation is made of them


# --- what comes ----------------------------------------------------------------------------------------------------


class Nothing(Taken):
    """No parameters."""


class Choice(Taken):
    """The jobs to list."""

    status: list[State] = Field(default_factory=list, max_length=20, description="Of these states; several times.")
    inbox: Words | None = Field(default=None, description="Of this inbox.")
    q: Words = Field(
        default="",
        description="With each of these words in the file's name or the message, in any order; quotes keep a phrase. "
        "Or an id, or at least its first nine letters.",
    )
    since: Moment | None = Field(default=None, description="Taken in from then on.")
    until: Moment | None = Field(default=None, description="Taken in before then.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise ValueError("since is not before until, so no job can be meant")
        return self


class JobsQuery(Choice):
    """A page of jobs."""

    limit: int = Field(default=50, ge=1, le=_MOST_ROWS, description="How many at the most.")
    cursor: Cursor | None = Field(default=None, description="next_cursor of the page before.")


class RowsQuery(Taken):
    """A page of what happened to one job."""

    limit: int = Field(default=100, ge=1, le=_MOST_ROWS, description="How many at the most.")
    cursor: int | None = Field(default=None, ge=0, le=2**62, description="next_cursor of the page before.")


class EventsQuery(Taken):
    """From where to hear."""

    after: int | None = Field(
        default=None, ge=0, le=2**62, description="The id of the last event that is known; or the header Last-Event-ID."
    )


class RetryChoice(Choice):
    """The failed and cancelled jobs to retry."""

    status: list[Literal["failure", "cancelled"]] = Field(  # type: ignore[assignment]  # fewer of them
        default=["failure"], min_length=1, max_length=2, description="Of these states."
    )
    cursor: Cursor | None = Field(default=None, description="next_cursor of the answer before.")


class RetryRequest(Taken):
    """The options of a retry."""

    force: bool = Field(
        default=False, description="Also if it may be booked twice; an admin also sends a file that was refused."
    )


class SettleRequest(Taken):
    """The admin's word on a job that may have been booked."""

    delivered: bool = Field(description="Whether N8N has booked it.")


class SignIn(Taken):
    """The token of a person who signs in."""

    token: Annotated[str, StringConstraints(min_length=1, max_length=8192)] = Field(description="A token.")


class HoldRequest(Taken):
    """Why it is held."""

    why: Words = Field(default="", description="What to tell those who wonder.")


class UploadForm(Taken):
    """A receipt."""

    file: Annotated[bytes, Field(json_schema_extra={"format": "binary"})] = Field(
        description="The file, with its name."
    )
    inbox: str | None = Field(default=None, description="For this inbox; not needed where there is one only.")
    notion_database_id: str | None = Field(
        default=None,
        description="For the inbox, or its subfolder, that goes to this database; any other one needs upload_database: "
        "any. A contradiction to inbox is answered 422.",
    )
    csrf: str | None = Field(default=None, description="The form token of who is signed in, where no header has it.")


# --- what goes -----------------------------------------------------------------------------------------------------


class HistoryAnswer(Given):
    """One thing that happened to a job."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    at: datetime
    event: str
    from_: State | None = Field(alias="from")
    to: State | None
    detail: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FullJobAnswer(JobAnswer):
    """A job with its deliveries and its history."""

    deliveries: list[DeliveryAnswer]
    history: list[HistoryAnswer]


class JobsAnswer(Given):
    """A page of jobs, the newest first."""

    jobs: list[JobAnswer]
    next_cursor: str | None


class AttemptsAnswer(Given):
    """A page of deliveries, the first first."""

    attempts: list[DeliveryAnswer]
    next_cursor: int | None


class HistoryPage(Given):
    """A page of a history, the first first."""

    history: list[HistoryAnswer]
    next_cursor: int | None


class ChangedAnswer(Given):
    """The new status of a job."""

    job_id: str
    status: State


class RetriedAnswer(Given):
    """The counts of a retry of many jobs; with a `next_cursor` there are more."""

    retried: int
    refused: int
    next_cursor: str | None


class UploadedAnswer(Given):
    """The job of an uploaded receipt: a new one, or the first one with these bytes."""

    job_id: str
    status: State


class HandHoldAnswer(Given):
    """Since when somebody holds it, and why."""

    since: datetime
    why: str


class InboxAnswer(Given):
    """One inbox; `held` by hand, or null."""

    name: str
    path: str
    mode: str
    available: bool
    why: str | None
    since: datetime | None
    waiting: int
    open: int
    held: HandHoldAnswer | None


class InboxesAnswer(Given):
    """All inboxes."""

    inboxes: list[InboxAnswer]


class HoldAnswer(Given):
    """The state of one destination: `held` for its answers, or `by_hand`, or both."""

    destination: str
    url: str
    held: bool
    kind: str | None
    since: datetime | None
    message: str | None
    next_probe_at: datetime | None
    inboxes: list[str]
    by_hand: HandHoldAnswer | None


class HoldsAnswer(Given):
    """All destinations."""

    destinations: list[HoldAnswer]


class ReachAnswer(Given):
    """The answer of a destination to a check, and whether it can be reached."""

    destination: str
    ok: bool
    said: str
    milliseconds: float | None


class ReachesAnswer(Given):
    """All destinations."""

    destinations: list[ReachAnswer]


class SessionAnswer(Given):
    """The caller's name and role."""

    name: str
    role: Role
    csrf: str | None = Field(description="What X-CSRF-Token must be if the caller is signed in.")
    ends_at: datetime | None


class StatusAnswer(Given):
    """A word."""

    model_config = ConfigDict(frozen=True, extra="allow")

    status: str


class MistakeAnswer(Given):
    """A mistake in what came: its place as a JSON pointer (RFC 6901), or as the name of a parameter."""

    pointer: str
    detail: str


class ProblemAnswer(Given):
    """The problem with a request (RFC 9457)."""

    model_config = ConfigDict(frozen=True, extra="allow")

    type: str
    title: str
    status: int
    code: str
    detail: str
    correlation_id: str
    errors: list[MistakeAnswer] = Field(default_factory=list, description="With status 422: each mistake by its place.")


def wrong_in(error: ValidationError) -> str:
    """Return what is wrong with what came, in words."""
    mistakes = [
        f"{'.'.join(map(str, each['loc'])) or 'the body'}: {each['msg']}"
        for each in error.errors(include_url=False)[:5]
    ]
    return "; ".join(mistakes)[:1000]


def mistakes_in(error: ValidationError) -> list[dict[str, str]]:
    """Return the same for programs, each mistake with its place."""
    return [
        {"pointer": "".join(f"/{_escaped(part)}" for part in mistake["loc"]), "detail": mistake["msg"][:200]}
        for mistake in error.errors(include_url=False)[:50]
    ]


def _escaped(part: object) -> str:
    return str(part)[:100].replace("~", "~0").replace("/", "~1")


def schema_of(model: type[Any], template: str, mode: Literal["validation", "serialization"]) -> dict[str, Any]:
    """Return the JSON Schema of a model or a dataclass, its parts at `template`."""
    return TypeAdapter(model).json_schema(ref_template=template, mode=mode)
