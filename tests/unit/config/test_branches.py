"""The options that apply in an inbox and in its subfolders, and which one wins."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import pytest

from receipt_watcher.config.branches import Branch, branch_at, branch_named
from receipt_watcher.config.options import Config
from receipt_watcher.config.sections.inbox import Subfolder
from receipt_watcher.config.sections.sending import Accept, AcceptMode
from tests.conftest import make_branch

#: Each option of a subfolder: what it is called once it is resolved, and three values that differ.
OPTIONS: dict[str, tuple[str, Any, Any, Any]] = {
    "notion_database_id": ("notion_database_id", "own", "inbox", None),
    "webhook_url": ("webhook_url", "http://own/hook", "http://inbox/hook", "http://all/hook"),
    "accept": ("accept", "any_2xx", "respond", "last_node"),
    "remembers_jobs": ("remembers_jobs", False, True, False),
    "deliver_when": ("window", {"days": "sun"}, {"days": "mon"}, {"days": "tue"}),
    "duplicates": ("duplicates", "fail", "send", "skip"),
    "done_subfolder": ("done_subfolder", "", "%Y", None),
    "settle_seconds": ("settle_seconds", 0.5, 7, None),
    "patience_seconds": ("patience_seconds", 1, 8, None),
}


def resolved(option: str, own: Any = None, inbox: Any = None, for_all: Any = None) -> Any:
    """Return what counts in a subfolder for which an option is set at up to three places; None is not set."""
    folder = {"path": "/x/inbox", "recursive": True, "routes": {"travel": {option: own}}}
    options: dict[str, Any] = {"inboxes": [folder if inbox is None else folder | {option: inbox}]}
    if for_all is not None:
        options |= {option: for_all} if option == "duplicates" else {"n8n": {option: for_all}}
    config = Config.model_validate(options)
    return getattr(config.branches(config.inboxes[0])[0], OPTIONS[option][0])


def test_each_option_of_a_subfolder_is_resolved() -> None:
    """Whoever gives subfolders an option more has to resolve it too."""
    assert OPTIONS.keys() == Subfolder.model_fields.keys()
    names = {name for name, *_ in OPTIONS.values()}
    assert {field.name for field in fields(Branch)} == names | {"inbox", "subfolder"}


@pytest.mark.parametrize("option", OPTIONS)
def test_the_innermost_option_counts(option: str) -> None:
    """The subfolder's own counts, else the inbox's, else that for all."""
    _, own, inbox, for_all = OPTIONS[option]
    expected = [resolved(option, value) for value in (own, inbox)]
    assert [resolved(option, own, inbox, for_all), resolved(option, None, inbox, for_all)] == expected
    if for_all is not None:
        assert resolved(option, None, None, for_all) == resolved(option, for_all)


def test_a_file_lies_in_the_innermost_branch() -> None:
    """A file goes with the innermost subfolder above it, else with the inbox; so does a name in the job log."""
    routes = {"a": "1", "a/b": "2", "c": "3"}
    config = Config.model_validate({"inboxes": [{"path": "/x/inbox", "recursive": True, "routes": routes}]})
    branches = config.branches(config.inboxes[0])
    places = {"x.jpg": "inbox", "a/x.jpg": "inbox/a", "a/b/d/x.jpg": "inbox/a/b", "ab/x.jpg": "inbox", "c/x": "inbox/c"}
    assert {place: branch_at(branches, Path(place)).key for place in places} == places
    assert [branch_named(branches, key).key for key in ("inbox/c", "inbox", "inbox/gone")] == [
        "inbox/c",
        "inbox",
        "inbox",
    ]
    assert [branch.key for branch in config.all_branches()] == ["inbox", "inbox/a", "inbox/a/b", "inbox/c"]


@pytest.mark.parametrize("mode", get_args(AcceptMode))
@pytest.mark.parametrize("remembers", [False, True])
def test_a_lost_answer_may_be_the_verdict(mode: AcceptMode, *, remembers: bool) -> None:
    """A receipt is sent once only if its answer is the verdict, and the workflow may book it twice."""
    branch = make_branch(accept=Accept(mode=mode), remembers_jobs=remembers)
    assert branch.sends_once is (mode in {"last_node", "respond"} and not remembers)
