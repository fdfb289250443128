"""Write the table of operations as OpenAPI 3.1. Pure."""

from __future__ import annotations

import re
from typing import Any, Literal

from receipt_watcher.config.roles import roles_with
from receipt_watcher.web.api import schemas
from receipt_watcher.web.api.operations import BESIDE, BINARY, OPERATIONS, PATH_NAMES, TAGS, Operation

_ABOUT = """\
The API of receipt-watcher, which sends receipts from folders and uploads to workflows of N8N.

* Send a token as `Authorization: Bearer …`. On the daemon's own machine a role without a token may be set.
* Times are ISO 8601 with an offset.
* Lists are pages: call again with `cursor` set to `next_cursor`, until that is null. A page may be short.
* Errors are `application/problem+json` (RFC 9457) with a `code` for programs and the `correlation_id` of the log.
"""

#: The ends of the first statement of a summary.
_SHORT_ENDS = re.compile(r"[:;.,] ")

_BYTES = {"schema": {"type": "string", "format": "binary"}}


def problems_of(operation: Operation) -> list[int]:
    """Return the statuses of all problems that a call may be answered with."""
    statuses = {400, 503, *operation.problems}
    if operation.right is not None:
        statuses |= {401, 403, 429}
    if operation.query is not schemas.Nothing:
        statuses |= {422}
    if operation.body is not None:
        statuses |= {408, 413, 415, 422}
    return sorted(statuses - operation.answers.keys())


def openapi(version: str, root_path: str) -> dict[str, Any]:
    """Return the table as OpenAPI 3.1 has it."""
    parts: dict[str, Any] = {}
    paths: dict[str, dict[str, Any]] = {}
    for name, operation in {**OPERATIONS, **BESIDE}.items():
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(name, operation, parts)
    return {
        "openapi": "3.1.0",
        "info": {"title": "receipt-watcher", "version": version, "description": _ABOUT},
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "servers": [{"url": root_path or "/"}],
        "paths": paths,
        "components": {
            "schemas": parts,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": "receipt_watcher_session"},
            },
        },
    }


def _described(name: str, operation: Operation, parts: dict[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": name,
        "tags": [operation.tag],
        "summary": _SHORT_ENDS.split(operation.summary)[0].rstrip("."),
        "description": _description(operation),
        "parameters": [*_path_parameters(operation), *_headers(operation), *_query(operation, parts)],
        "responses": {},
        # What runs on this machine may need neither, so that nothing is one of the alternatives.
        "security": [] if operation.right is None else [{"bearer": []}, {"session": []}, {}],
    }
    if operation.body is not None:
        schema = _reference(operation.body, parts, "validation")
        is_needed = any(part.is_required() for part in operation.body.model_fields.values())
        described["requestBody"] = {"required": is_needed, "content": {operation.media: {"schema": schema}}}
    for status, answer in operation.answers.items():
        described["responses"][str(status)] = _answer(answer, parts)
    problem = {"application/problem+json": {"schema": _reference(schemas.ProblemAnswer, parts, "serialization")}}
    for status in problems_of(operation):
        described["responses"][str(status)] = {"description": "A problem (RFC 9457).", "content": problem}
    return described


def _description(operation: Operation) -> str:
    """Return what an operation does, who may call it, and its call by curl."""
    who = "anybody" if operation.right is None else ", ".join(roles_with(operation.right))
    lines = [operation.summary, f"May be called by: {who}."]
    return "\n\n".join([*lines, f"Example: `curl {operation.curl}`"] if operation.curl else lines)


def _answer(answer: type[Any] | str | None, parts: dict[str, Any]) -> dict[str, Any]:
    if answer is None:
        return {"description": "Done."}
    if isinstance(answer, str):
        if answer == BINARY:  # generated clients know the first of the two; the file's own kind comes
            return {"description": "The bytes of the file.", "content": {BINARY: _BYTES, "*/*": _BYTES}}
        return {"description": f"Text, as {answer}.", "content": {answer: {"schema": {"type": "string"}}}}
    schema = {"type": "object"} if answer is schemas.Given else _reference(answer, parts, "serialization")
    description = (answer.__doc__ or "").strip() if answer is not schemas.Given else "This document."
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _path_parameters(operation: Operation) -> list[dict[str, Any]]:
    names = [part[1:-1] for part in operation.path.split("/") if part.startswith("{")]
    texts = {name: {"description": PATH_NAMES[name]} for name in names if name in PATH_NAMES}
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}, **texts.get(name, {})}
        for name in names
    ]


def _headers(operation: Operation) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "header", "required": False, "description": text, "schema": {"type": "string"}}
        for name, text in operation.headers.items()
    ]


def _query(operation: Operation, parts: dict[str, Any]) -> list[dict[str, Any]]:
    schema = schemas.schema_of(operation.query, "#/components/schemas/{model}", "validation")
    parts |= schema.get("$defs", {})
    return [
        {
            "name": name,
            "in": "query",
            "required": False,
            "description": each.get("description", ""),
            "schema": _bare(each),
        }
        for name, each in schema.get("properties", {}).items()
    ]


def _bare(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a parameter: one that is left out is no null."""
    kinds = [kind for kind in schema.get("anyOf", []) if kind.get("type") != "null"]
    bare = kinds[0] if kinds else schema
    return {name: text for name, text in bare.items() if name not in ("title", "description", "default")}


def _reference(model: type[Any], parts: dict[str, Any], mode: Literal["validation", "serialization"]) -> Any:
    schema = schemas.schema_of(model, "#/components/schemas/{model}", mode)
    parts |= schema.pop("$defs", {})
    parts[model.__name__] = schema
    return {"$ref": f"#/components/schemas/{model.__name__}"}
