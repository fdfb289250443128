"""Read what a call says: its query and its body, checked by the models.

Pure, but for the reading of bodies. A query is gone through once; `bodies` bounds it.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, TypeVar, get_origin

from pydantic import ValidationError
from starlette.requests import Request

from receipt_watcher.jobs.log.queries.search import Wanted
from receipt_watcher.jobs.states import State
from receipt_watcher.web.api import schemas
from receipt_watcher.web.problem import RefusedError
from receipt_watcher.web.server.bodies import MOST_PARAMETERS, whole_body

#: Size limit of a body.
_BODY_BYTES = 64 * 1024

_Taken = TypeVar("_Taken", bound=schemas.Taken)


def query_of(model: type[_Taken], request: Request) -> _Taken:
    """Return the query, checked; it is gone through once (`bodies` bounds it)."""
    texts: dict[str, list[str]] = {}
    for name, text in request.query_params.multi_items():
        texts.setdefault(name, []).append(text)
    query = {name: given if len(given) > 1 or _is_list(model, name) else given[0] for name, given in texts.items()}
    return _checked(model, query)


def _is_list(model: type[_Taken], name: str) -> bool:
    known = model.model_fields.get(name)
    return known is not None and get_origin(known.annotation) is list


async def body_of(model: type[_Taken], request: Request) -> _Taken:
    """Return the body, which is JSON, checked; none at all stands for an empty object."""
    body = await whole_body(request, _BODY_BYTES)
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise RefusedError(415, "Send application/json.")
    try:
        content = json.loads(body) if body else {}
    except (ValueError, RecursionError):
        raise RefusedError(422, "The body is no JSON.") from None
    return _checked(model, content)


def _checked(model: type[_Taken], given: Any) -> _Taken:
    if isinstance(given, dict) and len(given) > MOST_PARAMETERS:  # each one would be a mistake of its own, in words
        raise RefusedError(422, f"There are more than {MOST_PARAMETERS} fields.")
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise RefusedError(422, schemas.wrong_in(error), errors=schemas.mistakes_in(error)) from None


def wanted_jobs(choice: schemas.Choice) -> Wanted:
    """Return the search that a choice of jobs stands for."""
    return Wanted(
        states=frozenset(State(state) for state in choice.status),
        inbox=choice.inbox,
        text=choice.q,
        since=_seconds(choice.since),
        until=_seconds(choice.until),
    )


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
