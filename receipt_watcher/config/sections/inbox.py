"""One inbox with its spool, and its subfolders with options of their own."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field

from receipt_watcher.config.sections.section import Section
from receipt_watcher.config.sections.sending import Acceptance, DeliverWhen
from receipt_watcher.config.values import (
    AbsolutePath,
    BelowInbox,
    DatedSubfolder,
    Globs,
    InboxName,
    LongSeconds,
    Seconds,
    Text,
    Url,
    split_at_commas,
)

#: The treatment of a second copy of the same bytes.
Duplicates = Literal["skip", "send", "fail"]
#: `ignored.PACKS` says what is in each.
IgnorePack = Literal[
    "hidden",
    "temporary",
    "office-locks",
    "macos",
    "windows",
    "nas",
    "scanners",
    "syncthing",
    "nextcloud",
    "dropbox",
    "onedrive",
    "browser",
]


def _route(value: object) -> object:
    """Take a text alone for what it looks like: the URL of a workflow, or the id of a database."""
    if not isinstance(value, str):
        return value
    return {"webhook_url" if re.match("https?://", value) else "notion_database_id": value}


def _name_of(so_far: dict[str, Any]) -> str:
    ascii_only = unicodedata.normalize("NFKD", so_far.get("path", Path()).name).encode("ascii", "ignore").decode()
    return re.sub("[^a-z0-9]+", "-", ascii_only.lower()).strip("-") or "inbox"


def _sibling(name: str) -> Callable[[dict[str, Any]], Path]:
    return lambda so_far: Path(so_far.get("path", Path("/")).parent, name)


class Subfolder(Section):
    """Options for receipts in one subfolder; all others are those of its inbox."""

    notion_database_id: Text | None = Field(default=None, description="Goes to N8N with each receipt.")
    webhook_url: Url | None = Field(default=None, description="The workflow for this subfolder.")
    accept: Acceptance | None = Field(default=None, description="Which answer is an acceptance.")
    remembers_jobs: bool | None = Field(default=None, description="Whether its workflow books no job_id twice.")
    deliver_when: DeliverWhen | None = Field(default=None, description="When its receipts are sent.")
    duplicates: Duplicates | None = Field(default=None, description="What becomes of a second copy.")
    done_subfolder: DatedSubfolder | None = Field(
        default=None, description="Comes before the subfolder in done: strftime of the day of filing."
    )
    settle_seconds: Seconds | None = Field(default=None, description="How long a file must be unchanged.")
    patience_seconds: LongSeconds | None = Field(
        default=None, description="How long a file that is not whole is waited for."
    )


Routes = dict[
    BelowInbox,
    Annotated[Subfolder, BeforeValidator(_route, json_schema_input_type=str | Subfolder)],
]


class Inbox(Section):
    """One folder that receipts are dropped into, and the rest of its spool."""

    path: AbsolutePath = Field(
        description="The folder that scanners, phones and people drop receipts into.", examples=["/srv/receipts/inbox"]
    )
    name: InboxName = Field(
        default_factory=_name_of, description="Its name in logs, metrics and the API; by default the folder's name."
    )
    notion_database_id: Text = Field(
        default="", description="Goes to N8N with each receipt: one workflow, several databases."
    )
    webhook_url: Url | None = Field(
        default=None, description="The workflow for this inbox; by default n8n.webhook_url."
    )
    accept: Acceptance | None = Field(
        default=None, description="Which answer of that workflow is an acceptance; by default n8n.accept."
    )
    remembers_jobs: bool | None = Field(
        default=None, description="Whether that workflow books no job_id twice; by default n8n.remembers_jobs."
    )
    deliver_when: DeliverWhen | None = Field(
        default=None, description="When the receipts of this inbox are sent; by default n8n.deliver_when."
    )
    upload_database: Literal["inbox", "any"] = Field(
        default="inbox",
        description="Which Notion database an upload may name: the inbox's own and its subfolders', or any.",
    )
    recursive: bool = Field(default=False, description="Whether subfolders are watched too.")
    observer: Literal["auto", "native", "polling"] = Field(
        default="auto", description="How new files are noticed; a network share sends no events and needs polling."
    )
    poll_seconds: Seconds = Field(default=5, description="How often a polled inbox is listed.")
    scan_seconds: Seconds = Field(default=60, description="How often an inbox with events is listed all the same.")
    settle_seconds: Seconds = Field(
        default=2, description="How long a file must be unchanged; raise it for slow scanners."
    )
    patience_seconds: LongSeconds = Field(
        default=600, description="How long a file that is empty or visibly incomplete is waited for until it is failed."
    )
    duplicates: Duplicates | None = Field(
        default=None,
        description="What becomes of a second copy in this inbox: skip, send or fail; by default as for all.",
    )
    routes: Routes = Field(
        default_factory=dict,
        description='Subfolders with settings of their own, such as travel: {notion_database_id: "0f3c"}.',
    )
    ignore_packs: Annotated[
        tuple[IgnorePack, ...], BeforeValidator(split_at_commas, json_schema_input_type=str | list[IgnorePack])
    ] = Field(
        default=get_args(IgnorePack), description="Which names are no receipts, by packs; leave out what you need."
    )
    ignore: Globs = Field(
        default=(), description='More names that are no receipts, such as "*.bak", or "old/" for a folder.'
    )
    processing_dir: AbsolutePath = Field(
        default_factory=_sibling("processing"), description="Receipts under way; not shared; by default beside path."
    )
    done_dir: AbsolutePath = Field(
        default_factory=_sibling("done"), description="Receipts that N8N has dealt with; by default beside path."
    )
    failed_dir: AbsolutePath = Field(
        default_factory=_sibling("failed"), description="Receipts that need a person; by default beside path."
    )
    status_file: bool = Field(
        default=False,
        description='Whether "_receipt-watcher status.txt" in the inbox says what waits, for people at the share.',
    )
    done_subfolder: DatedSubfolder = Field(
        default="%Y-%m", description='Keeps done folders short: strftime of the day of filing; "" for none.'
    )

    @property
    def subfolders(self) -> list[str]:
        """The subfolders with options of their own, the innermost first: the first that a file lies in is its own."""
        return sorted(self.routes, key=lambda name: (-name.count("/"), name))
