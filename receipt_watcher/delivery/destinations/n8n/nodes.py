"""Nodes of an n8n workflow, and how they are connected: what `workflows` builds with.

What it promises: whatever a node throws goes to the node `Failed`, which makes a verdict of it; only nodes that say
`can_fail=False` are left out. Expressions are given as JavaScript, without `={{ }}`. Nothing is read or written.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

FAILED = "Failed"
#: n8n's own bounds for «Retry On Fail».
MAX_TRIES, MAX_PAUSE_SECONDS = 5, 5.0

_NAMES = uuid.UUID("7b1f2a52-5d0c-4f0e-9d56-0d6f0c1d9c11")  # node ids are made from names: each build is the same
_WIDTH, _HEIGHT = 220, 180


@dataclass(frozen=True, slots=True)
class Node:
    """One node; `outputs` is how many it has without the one for errors. What `is_minor` may fail and nobody minds."""

    name: str
    type: str
    version: float
    parameters: Mapping[str, Any]
    credentials: Mapping[str, Any] = field(default_factory=dict)
    tries: int = 1
    pause_seconds: float = MAX_PAUSE_SECONDS
    outputs: int = 1
    can_fail: bool = True
    is_minor: bool = False
    always_output: bool = False
    notes: str = ""


class Canvas:
    """The nodes of one workflow, laid out from left to right in the order in which they are added."""

    def __init__(self) -> None:
        self._nodes: dict[str, Node] = {}
        self._connections: dict[str, dict[int, list[str]]] = {}
        self._places: dict[str, tuple[int, int]] = {}
        self._note = ""

    def add(self, node: Node, *, after: str, also_after: tuple[str, ...] = ()) -> str:
        """Add a node behind others (`name`, or `name:output`; "" for none), and return its name."""
        self._nodes[node.name] = node
        for source in filter(None, (after, *also_after)):
            self.connect(source, node.name)
        self._place(node.name, after)
        return node.name

    def connect(self, source: str, target: str) -> None:
        """Lead from an output (`name`, or `name:output`) to a node, which may be added later."""
        name, _, output = source.partition(":")
        targets = self._connections.setdefault(name, {}).setdefault(int(output or 0), [])
        targets.append(target)

    def fail(self, name: str, error: str, *, after: str) -> None:
        """End in a failure with this text for a person."""
        self.add(json_item(name, f"{{ error: {json.dumps(error, ensure_ascii=False)} }}"), after=after)
        self.connect(name, FAILED)

    def note(self, text: str) -> None:
        """Put a note beside the nodes."""
        self._note = text

    def as_json(self) -> dict[str, Any]:
        """Return nodes and connections as n8n knows them."""
        nodes = [self._node_json(node) for node in self._nodes.values()]
        nodes.append(
            {
                "id": str(uuid.uuid5(_NAMES, "note")),
                "name": "Read me",
                "type": "n8n-nodes-base.stickyNote",
                "typeVersion": 1,
                "position": [0, -320],
                "parameters": {"content": self._note, "width": 620, "height": 260},
            }
        )
        return {
            "nodes": nodes,
            "connections": {name: self._connections_json(node) for name, node in self._nodes.items()},
        }

    def _place(self, name: str, after: str) -> None:
        source, _, output = after.partition(":")
        column, row = self._places.get(source, (-1, 0))
        wanted = (column + 1, row + int(output or 0))
        while wanted in self._places.values():
            wanted = (wanted[0], wanted[1] + 1)
        self._places[name] = wanted

    def _node_json(self, node: Node) -> dict[str, Any]:
        column, row = self._places[node.name]
        made: dict[str, Any] = {
            "id": str(uuid.uuid5(_NAMES, node.name)),
            "name": node.name,
            "type": node.type,
            "typeVersion": node.version,
            "position": [column * _WIDTH, row * _HEIGHT],
            "parameters": dict(node.parameters),
        }
        if node.type.endswith((".webhook", ".wait")):
            made["webhookId"] = str(uuid.uuid5(_NAMES, f"webhook {node.name}"))
        if node.credentials:
            made["credentials"] = dict(node.credentials)
        if node.tries > 1:
            made |= {"retryOnFail": True, "maxTries": node.tries, "waitBetweenTries": int(node.pause_seconds * 1000)}
        if node.is_minor:
            made["onError"] = "continueRegularOutput"
        elif node.can_fail:
            made["onError"] = "continueErrorOutput"
        if node.always_output:
            made["alwaysOutputData"] = True
        if node.notes:
            made |= {"notes": node.notes, "notesInFlow": True}
        return made

    def _connections_json(self, node: Node) -> dict[str, Any]:
        outputs = dict(self._connections.get(node.name, {}))
        if node.can_fail and not node.is_minor and node.outputs not in outputs:
            outputs[node.outputs] = [FAILED]
        count = max(outputs, default=-1) + 1
        return {
            "main": [
                [{"node": target, "type": "main", "index": 0} for target in outputs.get(output, [])]
                for output in range(count)
            ]
        }


def expression(javascript: str) -> str:
    """Return JavaScript as a parameter's expression; n8n ends one at the first two braces in a row."""
    while "}}" in javascript or "{{" in javascript:
        javascript = javascript.replace("}}", "} }").replace("{{", "{ {")
    return f"={{{{ {javascript} }}}}"


def condition(name: str, javascript: str, *, is_minor: bool = False) -> Node:
    """Return a node with two outputs: 0 where the expression is true, 1 where it is false."""
    test = {
        "id": str(uuid.uuid5(_NAMES, f"condition {name}")),
        "leftValue": expression(javascript),
        "rightValue": "",
        "operator": {"type": "boolean", "operation": "true", "singleValue": True},
    }
    options = {"caseSensitive": True, "leftValue": "", "typeValidation": "loose", "version": 2}
    conditions = {"options": options, "conditions": [test], "combinator": "and"}
    parameters = {"conditions": conditions, "looseTypeValidation": True, "options": {}}
    return Node(name, "n8n-nodes-base.if", 2.2, parameters, outputs=2, is_minor=is_minor)


def json_item(name: str, javascript: str, *, can_fail: bool = True) -> Node:
    """Return a node that makes an item of an expression, an object."""
    parameters = {"mode": "raw", "jsonOutput": expression(f"JSON.stringify({javascript})"), "options": {}}
    return Node(name, "n8n-nodes-base.set", 3.4, parameters, can_fail=can_fail)


def http_file(name: str, url: str, *, tries: int, pause_seconds: float, timeout_seconds: int) -> Node:
    """Return a node that fetches a file, which its item then has as binary `file`."""
    response = {"responseFormat": "file", "outputPropertyName": "file"}
    options = {"timeout": timeout_seconds * 1000, "response": {"response": response}}
    parameters = {"method": "GET", "url": url, "options": options}
    return Node(name, "n8n-nodes-base.httpRequest", 4.2, parameters, tries=tries, pause_seconds=pause_seconds)


def http_answer(name: str, status: int, answer: Mapping[str, str], *, can_fail: bool = True) -> Node:
    """Return a node that answers the webhook's caller, whose «Respond» leaves it to such a node."""
    parameters = {"respondWith": "json", "responseBody": json.dumps(answer), "options": {"responseCode": status}}
    return Node(name, "n8n-nodes-base.respondToWebhook", 1.4, parameters, can_fail=can_fail)


def http_post(
    name: str,
    url: str,
    body: str | None,
    *,
    headers: Mapping[str, str] | None = None,
    header_credential: Mapping[str, str] | None = None,
    service_credential: tuple[str, Mapping[str, str]] | None = None,
    tries: int = 1,
    pause_seconds: float = MAX_PAUSE_SECONDS,
    timeout_seconds: int = 60,
    can_fail: bool = True,
) -> Node:
    """Return a node that posts JSON, an expression, or, without one, the item's binary `file` as a form."""
    parameters: dict[str, Any] = {
        "method": "POST",
        "url": url,
        "sendBody": True,
        "options": {"timeout": timeout_seconds * 1000},
    }
    if body is None:
        part = {"parameterType": "formBinaryData", "name": "file", "inputDataFieldName": "file"}
        parameters |= {"contentType": "multipart-form-data", "bodyParameters": {"parameters": [part]}}
    else:
        parameters |= {"contentType": "json", "specifyBody": "json"}
        parameters["jsonBody"] = expression(f"JSON.stringify({body})")
    if headers:
        listed = [{"name": header, "value": text} for header, text in headers.items()]
        parameters |= {"sendHeaders": True, "headerParameters": {"parameters": listed}}
    credentials: dict[str, Any] = {}
    if header_credential:
        parameters |= {"authentication": "genericCredentialType", "genericAuthType": "httpHeaderAuth"}
        credentials["httpHeaderAuth"] = header_credential
    if service_credential:
        kind, credential = service_credential
        parameters |= {"authentication": "predefinedCredentialType", "nodeCredentialType": kind}
        credentials[kind] = credential
    return Node(
        name,
        "n8n-nodes-base.httpRequest",
        4.2,
        parameters,
        credentials=credentials,
        tries=tries,
        pause_seconds=pause_seconds,
        can_fail=can_fail,
    )
