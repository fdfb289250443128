"""The N8N workflows that ship, as n8n exports them; `receipt-watcher n8n-workflow` prints them. Made for n8n 2.x.

One file is one workflow, to be opened, changed and compared in n8n. What n8n exports again takes the file's place as
it is, if it is pretty-printed and its ids, its position and its credentials stay. The tests say what each has to keep.

What each promises: it answers at once, calls back in the end whatever happened in a node, and books nothing for a
receipt that bears `"test": true`. A job is remembered in n8n's data table `receipt_watcher_jobs` for 180 days, and only
after its side effect: a repeat of a job that is done calls back with the stored verdict. One that was cut off, or
failed, runs again.

- A GET at the same address, with the same key, says which workflow it is: `check --live` knows ours by that.
- «Failed» gets the errors of every node that can fail, and makes a verdict of them. «Done all the same»: what is booked
  stays booked, even if it cannot be remembered. Behind a callback nothing tells another verdict.
- «Look again?»: whether Notion made a page is not known after an error, so each new try looks for the page first.
- «With the file», «The file»: nodes that answer with JSON drop the file, so it is taken up again.
- A run takes 600 seconds at most: less than `callback.deadline_seconds`, so that no two runs of a job overlap.
- Each try waits as long as n8n lets it. What five tries cannot bring to us, the deadline's repetition asks for again.
- n8n ends an expression at the first two braces in a row, so there are none inside one.

`signature` is the part that a signed workflow has instead of its webhook: it proves the signature of what came as JSON
before it answers. What is not proven is answered 403 and goes no further, not even to its callback_url, which nobody
vouches for. A form is taken unproven: n8n keeps none as it came. «Signed by us?» compares all letters, so that the time
tells nothing, and takes any of several signatures: there are two while the secret is changed. A message may be 300
seconds old, as Standard Webhooks advises.

Only files of the package are read; nothing is written, so a crash leaves nothing behind.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from receipt_watcher.config.secrets import text_key_of
from receipt_watcher.errors import ReceiptWatcherError

#: The key of the workflow's name in the answer to a GET at the webhook.
IDENTITY_KEY = "receipt_watcher_workflow"

API_KEY_CREDENTIAL = {"id": "receiptWatcherKey", "name": "receipt-watcher: API key"}
TOKEN_CREDENTIAL = {"id": "receiptWatcherToken", "name": "receipt-watcher: callback token"}
SIGNING_CREDENTIAL = {"id": "receiptWatcherSigning", "name": "receipt-watcher: signing key"}

_FOLDER = Path(__file__).parent
_NEEDED = "two credentials that `receipt-watcher n8n-workflow --credentials`"
_NEEDED_SIGNED = "three credentials that `receipt-watcher n8n-workflow --credentials --signed`"
#: The nodes that take the receipt, that go on when the signature is proven, and that get all errors.
_WEBHOOK, _PROVEN, _FAILED = "Webhook", "Take it", "Failed"
#: The room that the proof takes in n8n's editor.
_RIGHT, _DOWN = 1100, 180


@dataclass(frozen=True, slots=True)
class Workflow:
    """One that ships: the name of its file, and what it is for; its note says the same."""

    name: str
    summary: str
    needs: str


WORKFLOWS = {
    workflow.name: workflow
    for workflow in (
        Workflow("echo", "answers success for each receipt that arrived whole: proves the set-up", "nothing"),
        Workflow(
            "notion",
            "makes a page with the file in the receipt's notion_database_id, and returns its URL",
            "a Notion credential; a text property «Job ID» in the database",
        ),
        Workflow("extract", "has Gemini read the invoice, and calls back with data", "a Gemini credential"),
        Workflow("notion-extract", "both: what Gemini read is on the page and in data", "both credentials"),
    )
}


def workflow_json(name: str, *, webhook_path: str = "receipts", is_signed: bool = False) -> dict[str, Any]:
    """Return one workflow as n8n's import takes it; one that is signed takes no JSON without our signature.

    Raises:
        ReceiptWatcherError: there is none of this name.
    """
    if name not in WORKFLOWS:
        raise ReceiptWatcherError(f"there is no workflow {name!r}; there are {', '.join(WORKFLOWS)}")
    workflow = _exported(name)
    if is_signed:
        workflow = _with_proof(workflow, _exported("signature"))
    for node in workflow["nodes"]:
        if node["type"] == "n8n-nodes-base.webhook":
            node["parameters"]["path"] = webhook_path
    return workflow


def credentials_json(api_key: str, callback_token: str) -> list[dict[str, Any]]:
    """Return the two credentials that each workflow uses as n8n's import takes them; they hold the secrets."""
    return [
        {**API_KEY_CREDENTIAL, "type": "httpHeaderAuth", "data": {"name": "X-N8N-Api-Key", "value": api_key}},
        {**TOKEN_CREDENTIAL, "type": "httpHeaderAuth", "data": {"name": "X-Callback-Token", "value": callback_token}},
    ]


def signing_credential_json(signing_secret: str) -> dict[str, Any]:
    """Return the credential that a signed workflow uses beside the two; it holds the key.

    Raises:
        ValueError: its key is no text, which n8n could not take.
    """
    return {**SIGNING_CREDENTIAL, "type": "crypto", "data": {"hmacSecret": text_key_of(signing_secret)}}


def _exported(name: str) -> dict[str, Any]:
    workflow: dict[str, Any] = json.loads((_FOLDER / f"{name}.json").read_text("utf-8"))
    return workflow


def _with_proof(workflow: dict[str, Any], proof: dict[str, Any]) -> dict[str, Any]:
    """Put the proof in the webhook's place: what followed the webhook follows the proof."""
    before, *behind, note = workflow["nodes"]  # what answers a GET stands before the webhook
    behind = [node for node in behind if node["name"] != _WEBHOOK]
    for node in behind:
        if node["name"] == _FAILED:
            continue  # below the webhooks, where the proof leaves room
        left, top = node["position"]
        node["position"] = [left + _RIGHT, top + _DOWN]
    note["parameters"]["content"] = note["parameters"]["content"].replace(_NEEDED, _NEEDED_SIGNED)
    nodes = [before, *proof["nodes"], *behind, note]
    errors = [{"node": _FAILED, "type": "main", "index": 0}]
    ways = {**workflow["connections"], **proof["connections"]}
    ways[_PROVEN] = {"main": [*workflow["connections"][_WEBHOOK]["main"], errors]}
    connections = {node["name"]: ways[node["name"]] for node in nodes if node["name"] in ways}
    return {**workflow, "nodes": nodes, "connections": connections}
