from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from receipt_watcher.cli.main import commands
from receipt_watcher.delivery.destinations.n8n import workflows
from receipt_watcher.delivery.destinations.n8n.workflows import (
    IDENTITY_KEY,
    SIGNING_CREDENTIAL,
    WORKFLOWS,
    credentials_json,
    signing_credential_json,
    workflow_json,
)
from receipt_watcher.delivery.destinations.signature import NOT_PROVEN
from receipt_watcher.errors import ReceiptWatcherError
from tests.fakes.daemons.process import RunningDaemon

CALLBACKS = {"Call back", "Call back with its token"}
#: The node that all errors go to.
FAILED = "Failed"
#: The end of a message that is not proven to be ours: it is answered, and nobody is called back.
NOT_SIGNED = "Not signed"
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


@pytest.fixture(params=[*WORKFLOWS, *(f"{name} --signed" for name in WORKFLOWS)])
def workflow(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Each workflow that ships, as n8n reads it."""
    name, _, signed = request.param.partition(" ")
    read: dict[str, Any] = json.loads(json.dumps(workflow_json(name, is_signed=bool(signed))))
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
        answers = "responseNode" if node["name"] == "Webhook" and NOT_SIGNED in nodes_of(workflow) else "onReceived"
        assert node["parameters"]["responseMode"] == answers
        assert node["credentials"]["httpHeaderAuth"]["id"] == credentials_json("", "")[0]["id"]


def test_every_error_is_called_back(workflow: dict[str, Any]) -> None:
    """Each node behind the webhook either cannot fail, or leads its errors to where a verdict is made of them."""
    for name, node in nodes_of(workflow).items():
        if node["type"] == "n8n-nodes-base.webhook" or name in BEHIND | CALLBACKS | {FAILED, NOT_SIGNED}:
            continue
        assert node["onError"] == "continueErrorOutput", name
        outputs = next_of(workflow, name)
        errors = outputs[2 if node["type"] == "n8n-nodes-base.if" else 1]
        assert errors in ([FAILED], ["Done all the same"], ["Look again?"], [NOT_SIGNED]), name
        assert (errors == [NOT_SIGNED]) == (name in {"By form?", "As it came", "Signature", "Signed by us?"})


def test_every_way_ends_in_a_callback(workflow: dict[str, Any]) -> None:
    """Wherever a receipt goes, it comes to a callback: no node but those behind one is the last."""
    nodes, behind = nodes_of(workflow), set[str]()
    reached, waiting = set[str](), ["Webhook"]
    while waiting:
        name = waiting.pop()
        if name in reached or name in CALLBACKS | {NOT_SIGNED}:
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


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_signed_one_takes_nothing_unproven(name: str) -> None:
    """Until the signature is proven there are two ways only: on to the proof, or to the refusal, which is the end."""
    made = workflow_json(name, is_signed=True)
    assert next_of(made, "Webhook") == [["By form?"]]
    assert next_of(made, "By form?") == [["Take it"], ["As it came"], [NOT_SIGNED]]
    assert next_of(made, "As it came") == [["Signature"], [NOT_SIGNED]]
    assert next_of(made, "Signature") == [["Signed by us?"], [NOT_SIGNED]]
    assert next_of(made, "Signed by us?") == [["Take it"], [NOT_SIGNED], [NOT_SIGNED]]
    assert next_of(made, NOT_SIGNED) == []
    nodes = nodes_of(made)
    assert nodes["Webhook"]["parameters"]["options"] == {"rawBody": True}
    assert nodes["Signature"]["credentials"] == {"crypto": SIGNING_CREDENTIAL}
    assert nodes[NOT_SIGNED]["parameters"]["options"] == {"responseCode": 403}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_file_by_link_is_proven_like_the_others(name: str) -> None:
    """What a link gives comes to the same digest as what was sent; fetching it is tried again."""
    made = workflow_json(name)
    assert next_of(made, "By link?")[:2] == [["File of link"], ["As JSON?"]]
    assert next_of(made, "File of link")[0] == next_of(made, "File of JSON")[0] == ["Digest"]
    assert nodes_of(made)["File of link"]["retryOnFail"]


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


@pytest.mark.parametrize("name", WORKFLOWS)
def test_each_file_is_what_is_printed(name: str) -> None:
    """What n8n exports and what the command prints can be compared line by line."""
    path = Path(workflows.__file__).parent / f"{name}.json"
    assert CliRunner().invoke(commands, ["n8n-workflow", name]).output == path.read_text("utf-8")


def test_each_file_has_its_workflow() -> None:
    """The folder holds the workflows, and the part by which they are signed."""
    names = {path.stem for path in Path(workflows.__file__).parent.glob("*.json")}
    assert names == {*WORKFLOWS, "signature"}


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("name", WORKFLOWS)
def test_the_note_says_what_the_list_says(name: str, *, signed: bool) -> None:
    """Each workflow shows in n8n what it is for, and what it needs."""
    (note,) = [node for node in workflow_json(name, is_signed=signed)["nodes"] if node["name"] == "Read me"]
    summary, needs = WORKFLOWS[name].summary, WORKFLOWS[name].needs
    needed = "three credentials that `receipt-watcher n8n-workflow --credentials --signed`"
    if not signed:
        needed = "two credentials that `receipt-watcher n8n-workflow --credentials`"
    text = f"## receipt-watcher: {name}\n{summary}.\n\nNeeds: {needs}, and the {needed} prints."
    assert note["parameters"]["content"].startswith(text)


@pytest.mark.parametrize("name", WORKFLOWS)
def test_it_says_which_one_it_is(name: str) -> None:
    """A GET is answered with the workflow's name, and so is a test receipt."""
    nodes = nodes_of(workflow_json(name))
    assert json.loads(nodes["Who is it?"]["parameters"]["options"]["responseData"]) == {IDENTITY_KEY: name}
    assert f'"{IDENTITY_KEY}": "{name}"' in nodes["Answer to the test"]["parameters"]["jsonOutput"]


def test_a_refusal_is_known_as_such() -> None:
    """What is not proven is answered with the words that the webhook's client looks for."""
    refusal = nodes_of(workflow_json("echo", is_signed=True))[NOT_SIGNED]["parameters"]["responseBody"]
    assert json.loads(refusal)["message"].startswith(NOT_PROVEN)


@pytest.mark.parametrize("signed", [False, True])
def test_what_all_share_is_the_same(*, signed: bool) -> None:
    """The four differ in their work only: every node that two of them have is the same, but where it lies."""
    seen: dict[str, Any] = {}
    for name in WORKFLOWS:
        for node in nodes_of(workflow_json(name, is_signed=signed)).values():
            if node["name"] not in {"Who is it?", "Answer to the test", "Verdict", "Make the page"}:
                bare = {key: value for key, value in node.items() if key != "position"}
                assert seen.setdefault(node["name"], bare) == bare


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
    assert json.loads(shown) == workflow_json("echo", webhook_path="office")


def test_a_signed_one_is_printed() -> None:
    """With --signed the one that proves signatures is printed, which says what it needs."""
    shown = json.loads(CliRunner().invoke(commands, ["n8n-workflow", "notion", "--signed"]).output)
    assert shown == workflow_json("notion", is_signed=True)
    assert "three credentials that `receipt-watcher n8n-workflow --credentials --signed` prints" in json.dumps(shown)


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


def test_the_signing_credential(tmp_path: Path) -> None:
    """With --signed there is the signing key, too, as the text that n8n takes."""
    n8n = {"api_key": "key", "signing_secret": secret_of(b"0123456789abcdef" * 4)}
    daemon = RunningDaemon(tmp_path, "http://127.0.0.1:1/", "a-token-of-sixteen", changes={"n8n": n8n})
    printed = json.loads(daemon.run("n8n-workflow", "--credentials", "--signed").stdout)
    assert len(printed) == 3
    assert printed[2]["data"] == {"hmacSecret": "0123456789abcdef" * 4}
    assert {"id": printed[2]["id"], "name": printed[2]["name"]} == SIGNING_CREDENTIAL


def test_no_signing_credential(tmp_path: Path) -> None:
    """Where no secret is set, or one whose key n8n cannot take, it is said how to make one."""
    bare = {"api_key": "key"}
    said = []
    for number, n8n in enumerate((bare, {**bare, "signing_secret": secret_of(bytes(range(240, 256)) * 2)})):
        folder = tmp_path / str(number)
        daemon = RunningDaemon(folder, "http://127.0.0.1:1/", "a-token-of-sixteen", changes={"n8n": n8n})
        ran = daemon.run("n8n-workflow", "--credentials", "--signed")
        assert (ran.returncode, ran.stdout) == (2, "")
        said.append(" ".join(ran.stderr.split()))
    assert "n8n.signing_secret is not set" in said[0]
    assert "its key is no text" in said[1]
    assert all("openssl rand -hex 32" in text for text in said)


@pytest.mark.parametrize("key", [b"\xe4" * 32, b"\n" * 32, b"\x00" * 32, bytes(range(32, 64)) + b"\x7f"])
def test_a_key_that_is_no_text(key: bytes) -> None:
    """A key that n8n would take for another one is refused."""
    with pytest.raises(ValueError, match="its key is no text"):
        signing_credential_json(secret_of(key))


def secret_of(key: bytes) -> str:
    """Return the secret of a key."""
    return f"whsec_{base64.b64encode(key).decode()}"
