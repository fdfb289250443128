from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from receipt_watcher.cli import commands
from receipt_watcher.errors import ReceiptWatcherError
from receipt_watcher.nodes import FAILED, expression
from receipt_watcher.workflows import WORKFLOWS, Services, credentials_json, workflow_json
from tests.running import RunningDaemon

CALLBACKS = {"Call back", "Call back with its token"}
BEHIND = {"Failed?", "Show it as failed", "Forget old ones"}


def nodes_of(workflow: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the nodes by name, without the note."""
    return {node["name"]: node for node in workflow["nodes"] if not node["type"].endswith(".stickyNote")}


def next_of(workflow: dict[str, Any], name: str) -> list[list[str]]:
    """Return the names behind each output of a node."""
    return [[target["node"] for target in output] for output in workflow["connections"][name]["main"]]


def texts_in(value: Any) -> Iterator[str]:
    """Yield all texts of a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from texts_in(inner)


@pytest.fixture(params=WORKFLOWS)
def workflow(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Each workflow that ships, as n8n reads it."""
    read: dict[str, Any] = json.loads(json.dumps(workflow_json(request.param)))
    return read


# --- each workflow -------------------------------------------------------------------------------------------------


def test_names_are_unique_and_known(workflow: dict[str, Any]) -> None:
    """No node or id is there twice, and connections lead from and to nodes that are there."""
    listed = workflow["nodes"]
    assert len({node["name"] for node in listed}) == len({node["id"] for node in listed}) == len(listed)
    nodes = nodes_of(workflow)
    assert set(workflow["connections"]) == set(nodes)
    assert {target for name in nodes for output in next_of(workflow, name) for target in output} <= set(nodes)


def test_no_two_nodes_lie_on_each_other(workflow: dict[str, Any]) -> None:
    """In n8n's editor each node is seen."""
    places = [tuple(node["position"]) for node in workflow["nodes"]]
    assert len(set(places)) == len(places)


def test_the_key_is_asked_for(workflow: dict[str, Any]) -> None:
    """Nobody without the key is answered at either of the webhooks, and it is answered before the work is done."""
    webhooks = [node for node in workflow["nodes"] if node["type"] == "n8n-nodes-base.webhook"]
    assert [node["parameters"]["httpMethod"] for node in webhooks] == ["GET", "POST"]
    for node in webhooks:
        assert node["parameters"]["authentication"] == "headerAuth"
        assert node["parameters"]["responseMode"] == "onReceived"
        assert node["credentials"]["httpHeaderAuth"]["id"] == credentials_json("", "")[0]["id"]


def test_every_error_is_called_back(workflow: dict[str, Any]) -> None:
    """Each node behind the webhook either cannot fail, or leads its errors to where a verdict is made of them."""
    for name, node in nodes_of(workflow).items():
        if node["type"] == "n8n-nodes-base.webhook" or name in BEHIND | CALLBACKS | {FAILED}:
            continue
        assert node["onError"] == "continueErrorOutput", name
        outputs = next_of(workflow, name)
        errors = outputs[2 if node["type"] == "n8n-nodes-base.if" else 1]
        assert errors in ([FAILED], ["Done all the same"], ["Look again?"]), name


def test_every_way_ends_in_a_callback(workflow: dict[str, Any]) -> None:
    """Wherever a receipt goes, it comes to a callback: no node but those behind one is the last."""
    nodes, behind = nodes_of(workflow), set[str]()
    reached, waiting = set[str](), ["Webhook"]
    while waiting:
        name = waiting.pop()
        if name in reached or name in CALLBACKS:
            continue
        reached.add(name)
        outputs = next_of(workflow, name)
        assert outputs, name
        assert all(outputs), name
        waiting += [target for output in outputs for target in output]
    for name in CALLBACKS:
        assert nodes[name]["retryOnFail"]
        behind |= {target for output in next_of(workflow, name) for target in output}
    assert behind == {"Failed?"}


def test_only_one_verdict_is_called_back(workflow: dict[str, Any]) -> None:
    """Behind a callback nothing leads to another one, whatever fails there: it would contradict the first."""
    reached, waiting = set[str](), ["Failed?"]
    while waiting:
        name = waiting.pop()
        reached.add(name)
        waiting += [target for output in next_of(workflow, name) for target in output]
    assert reached == BEHIND


def test_it_is_remembered_after_the_work(workflow: dict[str, Any]) -> None:
    """A job is marked as done behind its verdict, which is made from the work, and looked up before that."""
    assert next_of(workflow, "Verdict")[0] == ["Mark it done"]
    assert "Mark it done" not in {
        target
        for name in nodes_of(workflow)
        if name != "Verdict"
        for output in next_of(workflow, name)
        for target in output
    }
    assert next_of(workflow, "Test?")[0] == ["Answer to the test"]
    assert next_of(workflow, "Done before?")[0] == ["Own token?"]


def test_expressions_end_where_they_should(workflow: dict[str, Any]) -> None:
    """n8n ends an expression at the first two braces: there are none inside one."""
    found = [text for text in texts_in(workflow["nodes"]) if text.startswith("=")]
    assert found
    for text in found:
        assert text.count("{{") == text.count("}}") == 1, text


def test_no_secret_and_no_address_of_ours(workflow: dict[str, Any]) -> None:
    """A workflow can be given away: it holds no key and no token, only the names of credentials."""
    text = json.dumps(workflow)
    assert "127.0.0.1" not in text
    assert not {"apiKey", "value"} & {name for node in workflow["nodes"] for name in node.get("credentials", {})}


def test_only_making_a_page_is_not_repeated_blindly() -> None:
    """What asks Notion is tried again, but what makes a page: whether there is one by now is looked up before."""
    made = workflow_json("notion")
    nodes = nodes_of(made)
    assert "retryOnFail" not in nodes["Make the page"]
    assert nodes["Look for the page"]["retryOnFail"]
    assert next_of(made, "Pause")[0] == ["Look for the page"]


def test_braces_are_parted() -> None:
    """Nested objects in JavaScript stay the same, without two braces in a row."""
    assert expression("{a: {b: {c: 1}}}") == "={{ {a: {b: {c: 1} } } }}"


# --- the command ---------------------------------------------------------------------------------------------------


def test_the_list() -> None:
    """Without a name the workflows are listed, each with what it needs."""
    shown = CliRunner().invoke(commands, ["n8n-workflow"]).output
    assert [line.split()[0] for line in shown.splitlines()[::2]] == ["echo", "notion", "extract", "notion-extract"]
    listed = json.loads(CliRunner().invoke(commands, ["n8n-workflow", "--json"]).output)
    assert [row["name"] for row in listed] == list(WORKFLOWS)


def test_one_is_printed() -> None:
    """With a name its JSON is printed, at the path that was asked for."""
    shown = CliRunner().invoke(commands, ["n8n-workflow", "echo", "--path", "/office"]).output
    assert json.loads(shown) == workflow_json("echo", Services(webhook_path="office"))


def test_an_unknown_one() -> None:
    """A name that does not exist is told with those that do."""
    with pytest.raises(ReceiptWatcherError, match="no workflow 'ecco'; there are echo, notion, extract"):
        workflow_json("ecco")


def test_the_credentials(tmp_path: Path) -> None:
    """The credentials have the key and the token that are in force, also one that was made by itself."""
    daemon = RunningDaemon(tmp_path, "http://127.0.0.1:1/", "a-token-of-sixteen", changes={"n8n": {"api_key": "key"}})
    printed = json.loads(daemon.run("n8n-workflow", "--credentials").stdout)
    assert [one["data"] for one in printed] == [
        {"name": "X-N8N-Api-Key", "value": "key"},
        {"name": "X-Callback-Token", "value": "a-token-of-sixteen"},
    ]


def test_credentials_without_a_key(tmp_path: Path) -> None:
    """Where no key is set, it is said how to make one: n8n would take anybody's receipts."""
    ran = RunningDaemon(tmp_path, "http://127.0.0.1:1/", "a-token-of-sixteen").run("n8n-workflow", "--credentials")
    assert ran.returncode == 2
    assert "openssl rand -hex 32" in ran.stderr
