"""The N8N workflows that ship, built for n8n's import (`receipt-watcher n8n-workflow`); made for n8n 2.x.

What each promises: it answers at once, calls back in the end whatever happened in a node, and books nothing for a
receipt that bears `"test": true`. A job is remembered in n8n's data table `receipt_watcher_jobs` only after its side
effect, so a repeat of a job that is done calls back with the stored verdict, and one
that was cut off, or failed, runs again.
A GET at the same address, with the same key, says which workflow it is; that is how `check --live` knows ours.
A signed one proves the signature of what came as JSON before it answers: what is not proven is answered 403 and goes no
further, not even to its callback_url, which nobody vouches for. A form is taken unproven: n8n keeps none as it came.

They are built, not kept as JSON, since the four share all but their work: every node that can fail gets its way to the
callback here, and none can be forgotten. Pure functions; nothing is read or written, so a crash leaves nothing behind.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from receipt_watcher.config.secrets import text_key_of
from receipt_watcher.delivery.destinations.n8n.extraction_schema import PROMPT, RESPONSE_SCHEMA
from receipt_watcher.delivery.destinations.n8n.nodes import (
    FAILED,
    MAX_TRIES,
    Canvas,
    Node,
    condition,
    expression,
    http_answer,
    http_file,
    http_post,
    json_item,
)
from receipt_watcher.delivery.destinations.signature import NOT_PROVEN
from receipt_watcher.errors import ReceiptWatcherError

#: What a GET at the webhook answers, with the workflow's name.
IDENTITY_KEY = "receipt_watcher_workflow"
#: Where the jobs that are done are remembered, and for how long: n8n gives all its data tables 50 MiB by default.
TABLE = "receipt_watcher_jobs"
REMEMBERED_DAYS = 180

API_KEY_CREDENTIAL = {"id": "receiptWatcherKey", "name": "receipt-watcher: API key"}
TOKEN_CREDENTIAL = {"id": "receiptWatcherToken", "name": "receipt-watcher: callback token"}
SIGNING_CREDENTIAL = {"id": "receiptWatcherSigning", "name": "receipt-watcher: signing key"}
NOTION_CREDENTIAL = {"id": "receiptWatcherNotion", "name": "Notion"}
GEMINI_CREDENTIAL = {"id": "receiptWatcherGemini", "name": "Gemini"}

_BODY = "$('Webhook').first().json.body"
_INVOICE = "$('Invoice').first().json"
_PAGE_URL = "$('Page').first().json.url"
#: What one run may take. Shorter than callback.deadline_seconds, so that no two runs of a job overlap.
_RUN_SECONDS = 600
#: How far a signed message's time may be from n8n's: what Standard Webhooks advises.
_SIGNED_SECONDS = 300
_FETCH_SECONDS = 120
_NOTION_VERSION = "2022-06-28"


@dataclass(frozen=True, slots=True)
class Services:
    """Where the services are reached, and what the workflows wait between tries; a test has its own."""

    webhook_path: str = "receipts"
    notion_url: str = "https://api.notion.com"
    gemini_url: str = "https://generativelanguage.googleapis.com"
    gemini_model: str = "gemini-2.5-flash"
    pause_seconds: float = 5.0


@dataclass(frozen=True, slots=True)
class Worked:
    """Where the work ends (an output), and what of it the verdict carries: fields of a callback, as expressions."""

    after: str
    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Workflow:
    """One that ships: its name, what it is for, and its work, behind an output."""

    name: str
    summary: str
    needs: str
    work: Callable[[Canvas, Services, str], Worked]


def _echo(_canvas: Canvas, _services: Services, after: str) -> Worked:
    return Worked(after, {})


def _notion(canvas: Canvas, services: Services, after: str) -> Worked:
    page = _book_in_notion(canvas, services, after, title=f"{_BODY}.filename", text="''")
    return Worked(page, {"notion_page_url": _PAGE_URL})


def _extract(canvas: Canvas, services: Services, after: str) -> Worked:
    return Worked(_ask_gemini(canvas, services, after), {"data": _INVOICE})


def _notion_extract(canvas: Canvas, services: Services, after: str) -> Worked:
    title = (
        f"[{_INVOICE}.vendor?.value, {_INVOICE}.invoice_number?.value].filter(Boolean).join(' ') || {_BODY}.filename"
    )
    asked = _ask_gemini(canvas, services, after)
    page = _book_in_notion(canvas, services, asked, title=title, text=f"JSON.stringify({_INVOICE}, null, 2)")
    return Worked(page, {"notion_page_url": _PAGE_URL, "data": _INVOICE})


WORKFLOWS = {
    workflow.name: workflow
    for workflow in (
        Workflow("echo", "answers success for each receipt that arrived whole: proves the set-up", "nothing", _echo),
        Workflow(
            "notion",
            "makes a page with the file in the receipt's notion_database_id, and returns its URL",
            "a Notion credential; a text property «Job ID» in the database",
            _notion,
        ),
        Workflow("extract", "has Gemini read the invoice, and calls back with data", "a Gemini credential", _extract),
        Workflow(
            "notion-extract", "both: what Gemini read is on the page and in data", "both credentials", _notion_extract
        ),
    )
}


def workflow_json(name: str, services: Services | None = None, *, is_signed: bool = False) -> dict[str, Any]:
    """Return one workflow as n8n's import takes it; one that is signed takes no JSON without our signature.

    Raises:
        ReceiptWatcherError: there is none of this name.
    """
    if name not in WORKFLOWS:
        raise ReceiptWatcherError(f"there is no workflow {name!r}; there are {', '.join(WORKFLOWS)}")
    workflow, services = WORKFLOWS[name], services or Services()
    canvas = Canvas()
    _receive(canvas, workflow, services, is_signed=is_signed)
    worked = workflow.work(canvas, services, "Done before?:1")
    _call_back(canvas, services, worked)
    canvas.note(_note_text(workflow, is_signed=is_signed))
    return {
        "id": f"receiptWatcher-{name}",
        "name": f"receipt-watcher: {name}",
        "active": False,
        "settings": {
            "executionOrder": "v1",
            "executionTimeout": _RUN_SECONDS,
            "saveDataSuccessExecution": "none",
            "saveDataErrorExecution": "all",
        },
        "pinData": {},
        **canvas.as_json(),
    }


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


def _note_text(workflow: Workflow, *, is_signed: bool) -> str:
    count, switch = ("three", " --signed") if is_signed else ("two", "")
    return (
        f"## receipt-watcher: {workflow.name}\n{workflow.summary}.\n\nNeeds: {workflow.needs}, "
        f"and the {count} credentials that `receipt-watcher n8n-workflow --credentials{switch}` prints.\n\n"
        "Then publish it, and run `receipt-watcher check --live`."
    )


# --- what all share: in ----------------------------------------------------------------------------------------


def _receive(canvas: Canvas, workflow: Workflow, services: Services, *, is_signed: bool) -> None:
    """Take the receipt, prove that it is whole, and part tests and repeats from work: that is `Done before?:1`."""
    identity = json.dumps({IDENTITY_KEY: workflow.name})
    headers = {"entries": [{"name": "Content-Type", "value": "application/json"}]}
    canvas.add(
        _webhook("Who is it?", "GET", services, {"responseData": identity, "responseHeaders": headers}), after=""
    )
    if is_signed:
        taken = _prove_signature(canvas, services)
    else:
        taken = canvas.add(_webhook("Webhook", "POST", services, {}), after="")
    canvas.add(condition("By link?", "$json.body.file_url !== undefined"), after=taken)
    url = expression(f"{_BODY}.file_url")
    link = http_file(
        "File of link", url, tries=MAX_TRIES, pause_seconds=services.pause_seconds, timeout_seconds=_FETCH_SECONDS
    )
    canvas.add(link, after="By link?:0")
    canvas.add(condition("As JSON?", "$json.body.image_data !== undefined"), after="By link?:1")
    canvas.add(
        Node(
            "File of JSON",
            "n8n-nodes-base.convertToFile",
            1.1,
            {
                "operation": "toBinary",
                "sourceProperty": "body.image_data",
                "binaryPropertyName": "file",
                "options": {"fileName": expression(f"{_BODY}.filename"), "mimeType": expression(f"{_BODY}.mime_type")},
            },
        ),
        after="As JSON?:0",
    )
    digest = {"action": "hash", "binaryData": True, "binaryPropertyName": "file", "type": "SHA256", "encoding": "hex"}
    digest["dataPropertyName"] = "digest"
    canvas.add(
        Node("Digest", "n8n-nodes-base.crypto", 1, digest),
        after="File of JSON",
        also_after=("As JSON?:1", "File of link"),
    )
    canvas.add(condition("Whole?", f"$json.digest === {_BODY}.sha256"), after="Digest")
    canvas.fail("Not whole", "The bytes that arrived are not those that sha256 names.", after="Whole?:1")
    canvas.add(condition("Test?", f"String({_BODY}.test).toLowerCase() === 'true'"), after="Whole?:0")
    answer = {"status": "success", "message": "A test: nothing was booked.", "data": {IDENTITY_KEY: workflow.name}}
    canvas.add(json_item("Answer to the test", f"{{ verdict: JSON.stringify({json.dumps(answer)}) }}"), after="Test?:0")
    canvas.add(_table_node(), after="Test?:1")
    canvas.add(_row_node("Look it up", "get", {"limit": 1}, always_output=True), after="Remember in")
    canvas.add(condition("Done before?", "!!$json.verdict"), after="Look it up")


def _prove_signature(canvas: Canvas, services: Services) -> str:
    """Answer only after the signature is proven; whatever goes wrong on the way is answered 403, and is the end."""
    canvas.add(_webhook("Webhook", "POST", services, {"rawBody": True}, answers="responseNode"), after="")
    # Only a form can bring a binary of this name; of anything else n8n keeps the bytes, as `data`.
    canvas.add(condition("By form?", "$binary.file !== undefined"), after="Webhook")
    as_it_came = {
        "operation": "text",
        "binaryPropertyName": "data",
        "destinationKey": "as_it_came",
        "options": {"encoding": "utf8", "stripBOM": False, "keepSource": "json"},
    }
    canvas.add(Node("As it came", "n8n-nodes-base.extractFromFile", 1, as_it_came), after="By form?:1")
    header = "$json.headers['webhook-{}']".format
    signed = f"[{header('id')}, {header('timestamp')}, $json.as_it_came].join('.')"
    hmac = {"action": "hmac", "binaryData": False, "type": "SHA256", "encoding": "base64", "value": expression(signed)}
    hmac["dataPropertyName"] = "signature"
    canvas.add(
        Node("Signature", "n8n-nodes-base.crypto", 2, hmac, credentials={"crypto": SIGNING_CREDENTIAL}),
        after="As it came",
    )
    is_new = f"Math.abs(Date.now() / 1000 - Number({header('timestamp')})) <= {_SIGNED_SECONDS}"
    # While the secret is changed there are two: either will do. All letters are compared, so the time tells nothing.
    differs = "[...one].reduce((sum, letter, at) => sum | (letter.charCodeAt(0) ^ ours.charCodeAt(at)), 0)"
    is_one = f"(ours => {header('signature')}.split(' ').some(one => one.length === ours.length && {differs} === 0))"
    canvas.add(condition("Signed by us?", f"{is_new} && {is_one}('v1,' + $json.signature)"), after="Signature")
    refusal = f"{NOT_PROVEN}: another signing secret, or a clock that is five minutes away."
    canvas.add(http_answer("Not signed", 403, {"message": refusal}, can_fail=False), after="Signed by us?:1")
    for error in ("By form?:2", "As it came:1", "Signature:1", "Signed by us?:2"):
        canvas.connect(error, "Not signed")
    return canvas.add(
        http_answer("Take it", 200, {"message": "Workflow was started"}),
        after="Signed by us?:0",
        also_after=("By form?:0",),
    )


def _webhook(
    name: str, method: str, services: Services, options: Mapping[str, Any], *, answers: str = "onReceived"
) -> Node:
    return Node(
        name,
        "n8n-nodes-base.webhook",
        2,
        {
            "httpMethod": method,
            "path": services.webhook_path,
            "authentication": "headerAuth",
            "responseMode": answers,
            "options": dict(options),
        },
        credentials={"httpHeaderAuth": API_KEY_CREDENTIAL},
        can_fail=False,
    )


def _table_node() -> Node:
    columns = [{"name": "job_id", "type": "string"}, {"name": "verdict", "type": "string"}]
    parameters = {
        "resource": "table",
        "operation": "create",
        "tableName": TABLE,
        "columns": {"column": columns},
        "options": {"createIfNotExists": True},
    }
    return Node("Remember in", "n8n-nodes-base.dataTable", 1.1, parameters, tries=MAX_TRIES)


def _row_node(
    name: str, operation: str, more: Mapping[str, Any], *, always_output: bool = False, is_minor: bool = False
) -> Node:
    """Look at, or write, this job's row."""
    match = {"keyName": "job_id", "condition": "eq", "keyValue": expression(f"{_BODY}.job_id")}
    parameters = {
        "resource": "row",
        "operation": operation,
        "dataTableId": {"__rl": True, "mode": "name", "value": TABLE},
        "matchType": "allConditions",
        "filters": {"conditions": [match]},
        **more,
    }
    return Node(
        name,
        "n8n-nodes-base.dataTable",
        1.1,
        parameters,
        tries=1 if is_minor else MAX_TRIES,
        always_output=always_output,
        is_minor=is_minor,
    )


# --- what all share: out ---------------------------------------------------------------------------------------


def _call_back(canvas: Canvas, services: Services, worked: Worked) -> None:
    """Remember the verdict, then call back; all that failed before comes here, too, and is not remembered."""
    fields = ", ".join(["status: 'success'", *(f"{name}: {value}" for name, value in worked.fields.items())])
    verdict = f"{{ verdict: JSON.stringify({{ {fields} }}) }}"
    row = {"job_id": expression(f"{_BODY}.job_id"), "verdict": "={{ $('Verdict').first().json.verdict }}"}
    schema = [
        {"id": name, "displayName": name, "required": False, "defaultMatch": False, "display": True, "type": "string"}
        for name in row
    ]
    columns = {"mappingMode": "defineBelow", "value": row, "matchingColumns": [], "schema": schema}
    canvas.add(json_item("Verdict", verdict), after=worked.after)
    canvas.add(_row_node("Mark it done", "upsert", {"columns": columns, "options": {}}), after="Verdict")
    # What is booked stays booked: that it cannot be remembered makes no failure of it.
    canvas.add(json_item("Done all the same", "{ verdict: $('Verdict').first().json.verdict }"), after="Mark it done:1")
    # The node's name is of use to whoever looks for it in n8n.
    error = "[$prevNode.name, $json.error?.description ?? $json.error?.message ?? $json.error].join(': ')"
    failure = f"{{ verdict: JSON.stringify({{ status: 'failure', message: 'N8N: ' + {error} }}) }}"
    canvas.add(json_item(FAILED, failure, can_fail=False), after="")
    canvas.add(
        condition("Own token?", f"!!{_BODY}.callback_token"),
        after="Mark it done:0",
        also_after=("Done all the same", FAILED, "Answer to the test", "Done before?:0"),
    )
    canvas.add(
        _callback_node(
            "Call back with its token", services, {"X-Callback-Token": expression(f"{_BODY}.callback_token")}
        ),
        after="Own token?:0",
    )
    canvas.add(_callback_node("Call back", services, None), after="Own token?:1")
    canvas.add(
        condition("Failed?", f"$('{FAILED}').isExecuted", is_minor=True),
        after="Call back with its token",
        also_after=("Call back",),
    )
    # The verdict is told: what fails from here on must not tell another one.
    stop = Node(
        "Show it as failed",
        "n8n-nodes-base.stopAndError",
        1,
        {"errorMessage": expression(f"JSON.parse($('{FAILED}').first().json.verdict).message")},
        can_fail=False,
    )
    canvas.add(stop, after="Failed?:0")
    old = {
        "keyName": "updatedAt",
        "condition": "lt",
        "keyValue": expression(f"$now.minus({{ days: {REMEMBERED_DAYS} }}).toISO()"),
    }
    canvas.add(
        _row_node("Forget old ones", "deleteRows", {"filters": {"conditions": [old]}, "options": {}}, is_minor=True),
        after="Failed?:1",
    )


def _callback_node(name: str, services: Services, headers: Mapping[str, str] | None) -> Node:
    """Post the verdict. What n8n cannot bring to us in five tries, the deadline's repetition asks for again."""
    return http_post(
        name,
        expression(f"{_BODY}.callback_url"),
        "{ ...JSON.parse($json.verdict), execution_id: $execution.id }",
        headers=headers,
        header_credential=None if headers else TOKEN_CREDENTIAL,
        tries=MAX_TRIES,
        pause_seconds=services.pause_seconds,
        timeout_seconds=30,
        can_fail=False,
    )


# --- Notion ----------------------------------------------------------------------------------------------------


def _book_in_notion(canvas: Canvas, services: Services, after: str, *, title: str, text: str) -> str:
    """Make a page with the file, unless there is one of this job: that is asked before each try."""
    canvas.add(condition("Database?", f"!!{_BODY}.notion_database_id"), after=after)
    canvas.fail(
        "No database", "the receipt names no Notion database; set notion_database_id for its inbox", after="Database?:1"
    )
    by_job = f"{{ filter: {{ property: 'Job ID', rich_text: {{ equals: {_BODY}.job_id }} }}, page_size: 1 }}"
    database = f"={services.notion_url}/v1/databases/{{{{ {_BODY}.notion_database_id }}}}/query"
    canvas.add(_notion_node("Look for the page", services, database, by_job), after="Database?:0")
    canvas.add(condition("There already?", "$json.results.length > 0"), after="Look for the page")
    announced = f"{{ mode: 'single_part', filename: {_BODY}.filename, content_type: {_BODY}.mime_type }}"
    upload_url = f"{services.notion_url}/v1/file_uploads"
    canvas.add(_notion_node("Announce the file", services, upload_url, announced), after="There already?:1")
    canvas.add(_file_node("With the file"), after="Announce the file")
    upload = "$('Announce the file').last().json.id"
    canvas.add(
        _notion_node("Send the file", services, f"={upload_url}/{{{{ {upload} }}}}/send", None), after="With the file"
    )
    page = _page(title, text, upload)
    canvas.add(
        _notion_node("Make the page", services, f"{services.notion_url}/v1/pages", page, tries=1), after="Send the file"
    )
    # Whether a page was made is not known after an error. So look for it, wherever another try may help.
    again = (
        "$runIndex < 4 && !['400', '401', '403', '404'].includes(String($json.error?.status ?? $json.error?.httpCode))"
    )
    canvas.add(condition("Look again?", again), after="Make the page:1")
    canvas.connect("Look again?:1", FAILED)
    pause = {"resume": "timeInterval", "amount": services.pause_seconds, "unit": "seconds"}
    canvas.add(Node("Pause", "n8n-nodes-base.wait", 1.1, pause), after="Look again?:0")
    canvas.connect("Pause", "Look for the page")
    found = "{ url: $json.results ? $json.results[0].url : $json.url }"
    return canvas.add(json_item("Page", found), after="Make the page:0", also_after=("There already?:0",))


def _notion_node(name: str, services: Services, url: str, body: str | None, tries: int = MAX_TRIES) -> Node:
    return http_post(
        name,
        url,
        body,
        headers={"Notion-Version": _NOTION_VERSION},
        service_credential=("notionApi", NOTION_CREDENTIAL),
        tries=tries,
        pause_seconds=services.pause_seconds,
    )


def _page(title: str, text: str, upload: str) -> str:
    """Return the page as an expression: title, job, the text as code where there is one, the file."""
    kind = (
        f"({_BODY}.mime_type.startsWith('image/') ? 'image' : {_BODY}.mime_type === 'application/pdf' ? 'pdf' : 'file')"
    )
    file = f"{{ object: 'block', type: {kind}, [{kind}]: {{ type: 'file_upload', file_upload: {{ id: {upload} }} }} }}"
    pieces = f"({text}).match(/[^]{{1,2000}}/g)"  # Notion takes so many characters in one piece
    rich_text = f"{pieces}.map(piece => ({{ text: {{ content: piece }} }}))"
    block = f"{{ object: 'block', type: 'code', code: {{ language: 'json', rich_text: {rich_text} }} }}"
    code = f"...({text} ? [{block}] : [])"
    properties = f"title: {{ title: [{{ text: {{ content: String({title}).slice(0, 2000) }} }}] }}, "
    properties += f"'Job ID': {{ rich_text: [{{ text: {{ content: {_BODY}.job_id }} }}] }}"
    parent = f"{{ database_id: {_BODY}.notion_database_id }}"
    return f"{{ parent: {parent}, properties: {{ {properties} }}, children: [{code}, {file}] }}"


def _file_node(name: str) -> Node:
    """Take up the file again, which nodes that answer with JSON have dropped."""
    made = " : ".join(f"$('{node}').isExecuted ? $('{node}')" for node in ("File of JSON", "File of link"))
    file = f"({made} : $('Webhook')).first().binary.file"
    assignment = {"id": name, "name": "file", "value": expression(file), "type": "binary"}
    return Node(
        name,
        "n8n-nodes-base.set",
        3.4,
        {"assignments": {"assignments": [assignment]}, "includeOtherFields": False, "options": {}},
    )


# --- Gemini ----------------------------------------------------------------------------------------------------


def _ask_gemini(canvas: Canvas, services: Services, after: str) -> str:
    """Have the invoice read; what is no JSON of that form is a failure."""
    canvas.add(_file_node("The file"), after=after)
    as_text = {"operation": "binaryToPropery", "binaryPropertyName": "file", "destinationKey": "base64", "options": {}}
    canvas.add(Node("As text", "n8n-nodes-base.extractFromFile", 1, as_text), after="The file")
    inline = f"{{ inline_data: {{ mime_type: {_BODY}.mime_type, data: $json.base64 }} }}"
    settings = (
        f"{{ temperature: 0, responseMimeType: 'application/json', responseSchema: {json.dumps(RESPONSE_SCHEMA)} }}"
    )
    body = f"{{ contents: [{{ parts: [{inline}, {{ text: {json.dumps(PROMPT)} }}] }}], generationConfig: {settings} }}"
    canvas.add(
        http_post(
            "Gemini",
            f"{services.gemini_url}/v1beta/models/{services.gemini_model}:generateContent",
            body,
            service_credential=("googlePalmApi", GEMINI_CREDENTIAL),
            tries=MAX_TRIES,
            pause_seconds=services.pause_seconds,
            timeout_seconds=120,
        ),
        after="As text",
    )
    return canvas.add(json_item("Invoice", "JSON.parse($json.candidates[0].content.parts[0].text)"), after="Gemini")
