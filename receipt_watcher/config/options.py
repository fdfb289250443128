"""Every option that an admin can set: what it is for and what it may be.

What it promises: an option is its field here, and nothing else; the messages (`sources`) and watcher.example.yaml
(`example`) are made from these models. A `Config` is frozen, each of its values is within its bounds (`values`), and
each path in it is absolute; what holds between options is checked by `clashes`. A secret shows as asterisks wherever
it is shown: in repr, in str and in `redacted`.

The models are filled once at start, by one thread (`sources.load`); then any thread may read, since nothing changes.
No folder has to exist yet. Nothing is written, so a crash leaves nothing.
"""

from __future__ import annotations

import ipaddress
import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from datetime import tzinfo
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from receipt_watcher.config.proxies import ENVIRONMENT, Proxies
from receipt_watcher.config.schedule import Window, read_zone, window_of
from receipt_watcher.config.secrets import redacted
from receipt_watcher.config.values import (
    AbsolutePath,
    BaseUrl,
    BelowInbox,
    ChannelUrls,
    DatedSubfolder,
    DayHours,
    Days,
    Globs,
    InboxName,
    JsonPath,
    LogUrl,
    LongSeconds,
    Mebibytes,
    Networks,
    Origins,
    PromFile,
    ProxyChoice,
    RootPath,
    Seconds,
    Secret,
    SecretUrl,
    SigningSecret,
    Text,
    TimeOfDay,
    Token,
    TokenHash,
    TokenName,
    Url,
    WeekDays,
    ZoneName,
    mistake,
    split_at_commas,
)

Duplicates = Literal["skip", "send", "fail"]
AcceptMode = Literal["auto", "immediately", "last_node", "respond", "any_2xx"]
#: `names.PACKS` says what is in each.
IgnorePack = Literal[
    "hidden",
    "temporary",
    "office-locks",
    "macos",
    "windows",
    "nas",
    "syncthing",
    "nextcloud",
    "dropbox",
    "onedrive",
    "browser",
]
#: What a notice may be about; the daily summary has an option of its own.
NoticeKind = Literal["holds", "failures", "inboxes", "stuck", "balance"]
#: `roles.Role` says what each may.
RoleName = Literal["viewer", "uploader", "operator", "admin"]
Key = tuple[str | int, ...]


def _route(value: object) -> object:
    """Take a text alone for what it looks like: the URL of a workflow, or the id of a database."""
    if not isinstance(value, str):
        return value
    return {"webhook_url" if re.match("https?://", value) else "notion_database_id": value}


def _accept(value: object) -> object:
    """Take a text alone for the mode."""
    return {"mode": value} if isinstance(value, str) else value


def _name_of(so_far: dict[str, Any]) -> str:
    ascii_only = unicodedata.normalize("NFKD", so_far.get("path", Path()).name).encode("ascii", "ignore").decode()
    return re.sub("[^a-z0-9]+", "-", ascii_only.lower()).strip("-") or "inbox"


def _sibling(name: str) -> Callable[[dict[str, Any]], Path]:
    return lambda so_far: Path(so_far.get("path", Path("/")).parent, name)


def default_state_dir(environ: Mapping[str, str]) -> str:
    """Return the state folder where no source sets one: systemd's, else the desktop's."""
    given, shared = environ.get("STATE_DIRECTORY", "").split(":")[0], environ.get("XDG_STATE_HOME", "")
    # The XDG specification has relative paths ignored.
    return given or f"{shared if shared.startswith('/') else '~/.local/state'}/receipt-watcher"


class Section(BaseModel):
    """What all sections have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _unset_empty(cls, options: Any) -> Any:
        if not isinstance(options, dict):
            return options
        return {name: value for name, value in options.items() if value is not None or name not in cls.model_fields}

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        return list(redacted(self).items())


class Accept(Section):
    """Which answer of N8N is an acceptance: a word alone, or a rule of one's own."""

    mode: AcceptMode | None = Field(
        default=None, description="What the webhook node's Respond says; the same as the word alone."
    )
    status: int | None = Field(default=None, ge=200, le=299, description="The status; by default any of 2xx.")
    json_path: JsonPath | None = Field(
        default=None, description="Where in the answer's JSON to look, such as $.items[0].state; it must be there."
    )
    contains: Text | None = Field(default=None, description="What must stand there, or anywhere in the answer.")

    @model_validator(mode="after")
    def _one_way(self) -> Accept:
        given = [self.status, self.json_path, self.contains]
        if (self.mode is None) == all(part is None for part in given):
            raise mistake("is not one way to tell", "give a word such as auto, or status, json_path and contains")
        return self


Acceptance = Annotated[Accept, BeforeValidator(_accept, json_schema_input_type=AcceptMode | Accept)]


class DeliverWhen(Section):
    """When receipts are sent; outside of it they are taken in and wait."""

    days: WeekDays = Field(default="mon-sun", description="On which days, such as mon-fri, or mon, wed, sat.")
    hours: DayHours = Field(
        default="00:00-24:00",
        description="At which hours, such as 07:00-12:00, 13:00-18:00; over midnight 22:00-06:00.",
    )
    time_zone: ZoneName = Field(default="", description="Such as Europe/Berlin; by default that of this machine.")

    @property
    def window(self) -> Window:
        """The same, ready to be asked."""
        return window_of(self.days, self.hours, self.time_zone)


class Subfolder(Section):
    """What differs for receipts that are dropped into one subfolder; all else is as for its inbox."""

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
    def subfolders(self) -> list[tuple[str, Subfolder]]:
        """The routes, the innermost first: the first that a file lies in is its own."""
        return sorted(self.routes.items(), key=lambda route: (-route[0].count("/"), route[0]))


class N8n(Section):
    """The workflow that receipts are sent to."""

    webhook_url: Url | None = Field(
        default=None,
        description="The Production URL of the workflow's Webhook node.",
        examples=["https://n8n.example.com/webhook/receipts"],
    )
    api_key: Secret | None = Field(default=None, description="Sent as X-N8N-Api-Key; better kept in a credential file.")
    signing_secret: SigningSecret | None = Field(
        default=None, description="Signs what is sent (webhook-signature of Standard Webhooks), so that N8N can tell."
    )
    previous_signing_secret: SigningSecret | None = Field(
        default=None, description="The one before signing_secret: both sign, until it is taken out here."
    )
    payload: Literal["json", "multipart", "auto", "link"] = Field(
        default="json",
        description="How a file travels: base64 in JSON; as it is in a form; JSON while that is small enough, else a "
        "form (auto); or N8N fetches it by a link.",
    )
    max_json_mb: Mebibytes = Field(
        default=16, description="Larger JSON is not posted: n8n answers it with an error 500."
    )
    link_seconds: LongSeconds = Field(
        default=3600, description="With payload link: for how long N8N may fetch the file by the link that it was sent."
    )
    timeout_seconds: Seconds = Field(default=60, description="How long an answer is waited for.")
    workers: int = Field(default=4, ge=1, le=32, description="How many receipts are sent at the same time.")
    max_attempts: int = Field(
        default=8,
        ge=1,
        le=1000,
        description="How often a receipt may fail while others pass; an outage counts for none.",
    )
    backoff_initial_seconds: LongSeconds = Field(default=5, description="The first wait after a failure; it doubles.")
    backoff_max_seconds: LongSeconds = Field(default=900, description="The longest wait between two attempts.")
    hold_after: int = Field(
        default=3, ge=1, le=1000, description="After so many failures of N8N's own in a row all receipts wait for it."
    )
    probe_max_seconds: LongSeconds | None = Field(
        default=None,
        description="The longest wait between two looks whether N8N is back; by default as backoff_max_seconds.",
    )
    drain_per_minute: float = Field(
        default=0,
        ge=0,
        le=1000000,
        description="How fast what has waited is sent when N8N is back; 0 is as fast as it takes it.",
    )
    accept: Acceptance | None = Field(
        default=None,
        description="Which answer accepts: auto, immediately, last_node, respond, any_2xx, or a rule; by default auto.",
    )
    remembers_jobs: bool = Field(
        default=False,
        description="Whether the workflow books no job_id twice, as those that ship do; with last_node and respond a "
        "receipt whose answer is lost is then sent again.",
    )
    deliver_when: DeliverWhen | None = Field(
        default=None, description="When receipts are sent; outside of it they wait. By default always."
    )
    proxy: ProxyChoice = Field(
        default=ENVIRONMENT,
        description="How N8N is reached: by HTTP_PROXY, HTTPS_PROXY and NO_PROXY (environment), directly (none), or "
        "through the proxy at a URL.",
    )
    verify_tls: bool = Field(default=True, description="Whether certificates are checked; rather set ca_file.")
    ca_file: AbsolutePath | None = Field(default=None, description="The certificate of a private authority (PEM).")


class Callback(Section):
    """N8N's word on what became of a receipt."""

    secret_token: Token | None = Field(
        default=None, description="N8N sends it as X-Callback-Token; by default one is made and kept in state_dir."
    )
    previous_secret_token: Token | None = Field(
        default=None, description="The token before secret_token: as good as that one, until it is taken out here."
    )
    per_job_tokens: bool = Field(
        default=False,
        description="Whether each receipt goes out with a callback_token of its own; the shared token is refused then.",
    )
    deadline_seconds: LongSeconds = Field(default=900, description="How long the callback for a receipt is waited for.")
    max_resends: int = Field(
        default=1, ge=0, le=100, description="How often a receipt without a callback is sent again, under the same id."
    )


class HttpToken(Section):
    """A token for the API: what it may, and its hash."""

    role: RoleName = Field(description="What it may: viewer, uploader, operator or admin.")
    hash: TokenHash = Field(description="As receipt-watcher token create prints it.")


class Jwt(Section):
    """Tokens of the office's identity provider (JWT); pip install 'receipt-watcher[jwt]'."""

    issuer: Text = Field(description="Who must have made the token: its iss.")
    audience: Text = Field(description="Whom it must be for: its aud.")
    jwks_file: AbsolutePath | None = Field(default=None, description="The provider's public keys, in a file.")
    jwks_url: Url | None = Field(default=None, description="Or where they are fetched.")
    role_claim: Text = Field(default="roles", description="Which claim says the role; with dots into a group.")
    roles: dict[Text, RoleName] = Field(
        default_factory=dict,
        description="What its words mean, such as accounting: viewer; by default the roles' names.",
    )

    @model_validator(mode="after")
    def _one_source(self) -> Jwt:
        if (self.jwks_file is None) == (self.jwks_url is None):
            raise mistake("has not one source of keys", "give jwks_file or jwks_url")
        return self


Tokens = dict[TokenName, HttpToken]


class Http(Section):
    """Where callbacks, the status page and the API are served, and who may what."""

    host: Annotated[Text, Field(min_length=1)] = Field(
        default="127.0.0.1", description="The address to listen on; 0.0.0.0 where N8N runs on another machine."
    )
    port: int = Field(default=8000, ge=0, le=65535, description="The port to listen on; 0 takes any that is free.")
    public_url: BaseUrl | None = Field(
        default=None,
        description="How N8N reaches us, such as http://receipts.office.lan:8000; by default http://host:port.",
    )
    tokens: Tokens = Field(
        default_factory=dict, description="Who may use the API, by names; receipt-watcher token create prints a line."
    )
    local_role: Literal["none", RoleName] = Field(
        default="viewer", description="What callers on this machine may without a token."
    )
    session_hours: float = Field(default=12, ge=0.1, le=8760, description="How long who signs in stays signed in.")
    jwt: Jwt | None = Field(default=None, description="Tokens of the office's identity provider; by default none.")
    cors_origins: Origins = Field(default=(), description="Other sites whose scripts may call the API, with a token.")
    tls_certificate: AbsolutePath | None = Field(
        default=None, description="The certificate chain (PEM), where no proxy does TLS; read anew when it is renewed."
    )
    tls_key: AbsolutePath | None = Field(default=None, description="Its private key (PEM).")
    hsts_days: int = Field(
        default=0,
        ge=0,
        le=3650,
        description="With tls_certificate: for how long browsers use only TLS for this host name, on every port; 0: "
        "not told.",
    )
    uds: AbsolutePath | None = Field(
        default=None, description="A UNIX socket to listen on instead of host and port, for a proxy on this machine."
    )
    root_path: RootPath = Field(
        default="", description="What a proxy puts before our paths, and takes away; such as /receipts."
    )
    trusted_proxies: Networks = Field(
        default=(), description="Whose X-Forwarded-For and -Proto are believed, for limits and cookies."
    )


class Database(Section):
    """The job log."""

    url: LogUrl = Field(
        default="sqlite:///receipts.db",
        description="A file in state_dir, or with four slashes a whole path; on a local disk.",
    )


class Limits(Section):
    """What keeps one bad file or mistake from doing harm."""

    max_file_mb: Mebibytes = Field(default=50, description="Larger files are failed.")
    max_megapixels: float = Field(
        default=250, ge=0.01, le=10000, description="Larger pictures are failed: they fill memory."
    )
    examination_seconds: int = Field(
        default=10, ge=1, le=25, description="How long one file may be computed on; such a file is tried twice."
    )
    examination_mb: int = Field(
        default=1024, ge=256, le=65536, description="How much memory the program that examines receipts may take."
    )
    backlog_files: int = Field(
        default=200,
        ge=0,
        le=10000000,
        description="More old files at the very first start wait for the command accept-backlog.",
    )
    min_free_mb: float = Field(
        default=100,
        ge=0,
        le=1000000,
        description="With less room on a disk of a spool or of state_dir, /health/ready says 503; 0 for never.",
    )
    stop_timeout_seconds: Seconds = Field(
        default=20, description="How long a stop waits for receipts that are being sent."
    )


class Retention(Section):
    """The only deletion there is, off by default: how long what is concluded is kept."""

    done_days: Days | None = Field(
        default=None, description="When files in done are removed, from the verdict on; by default never."
    )
    failed_days: Days | None = Field(
        default=None, description="When files in failed are removed, with their notes; by default never."
    )
    log_days: Days | None = Field(
        default=None, description="When a job's history is removed; its digest and verdict stay. By default never."
    )


class Notify(Section):
    """Who is told when receipts wait or fail; all of it is off until a channel is named."""

    urls: ChannelUrls = Field(
        default=(),
        description="Channels by apprise: mail, Slack, Teams, ntfy, …; pip install 'receipt-watcher[notify]'.",
    )
    webhook_url: SecretUrl | None = Field(
        default=None, description="A plain webhook: each notice is posted there as JSON; needs nothing more."
    )
    kinds: Annotated[
        tuple[NoticeKind, ...], BeforeValidator(split_at_commas, json_schema_input_type=str | list[NoticeKind])
    ] = Field(default=get_args(NoticeKind), description="What notices are about; leave out what you need not hear of.")
    after_seconds: LongSeconds = Field(
        default=60, description="How long a trouble lasts until it is told, and failures are gathered into one notice."
    )
    throttle_minutes: float = Field(
        default=15, ge=0, le=10080, description="The least time between two notices of the same kind."
    )
    stuck_after_minutes: float = Field(
        default=240, ge=1, le=100000, description="A receipt that is older, and that no hold explains, is told of."
    )
    quiet_hours: DayHours | None = Field(
        default=None, description='When nothing is sent, such as "22:00-07:00"; what is still so is told at their end.'
    )
    daily_summary_at: TimeOfDay | None = Field(
        default=None, description='When a summary of the day is sent, such as "08:00"; by default never.'
    )
    time_zone: ZoneName | None = Field(
        default=None, description="The office's clock, such as Europe/Berlin; by default the machine's."
    )
    heartbeat_url: SecretUrl | None = Field(
        default=None,
        description="A dead man's switch such as healthchecks.io: pings while all is well, /fail where not.",
    )
    heartbeat_minutes: float = Field(
        default=5, ge=1, le=1440, description="How often the heartbeat is sent, if each inbox was scanned since."
    )

    @property
    def quiet(self) -> Window | None:
        """The quiet hours of every day, ready to be asked."""
        return window_of("mon-sun", self.quiet_hours, self.time_zone or "") if self.quiet_hours else None

    @property
    def zone(self) -> tzinfo | None:
        """The office's time zone; None for the machine's own."""
        return read_zone(self.time_zone) if self.time_zone else None


class Metrics(Section):
    """What Prometheus is told; GET /metrics is always there."""

    textfile: PromFile | None = Field(
        default=None,
        description="A file ending in .prom in the folder of node_exporter's textfile collector; by default none.",
    )


class Logging(Section):
    """What is logged, and how."""

    level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="The least that is logged.")
    format: Literal["auto", "console", "json", "journal"] = Field(
        default="auto", description="auto: journal under systemd, console in a terminal, json otherwise."
    )


class Config(Section):
    """The whole configuration."""

    inboxes: tuple[Inbox, ...] = Field(min_length=1, description="The folders to watch; each - begins an inbox.")
    n8n: N8n = Field(default=N8n(), description=N8n.__doc__)
    callback: Callback = Field(default=Callback(), description=Callback.__doc__)
    http: Http = Field(default=Http(), description=Http.__doc__)
    state_dir: AbsolutePath = Field(
        default_factory=lambda: Path(default_state_dir(os.environ)).expanduser(),
        description="Job log, token and lock; by default $STATE_DIRECTORY, else the XDG state folder.",
    )
    duplicates: Duplicates = Field(
        default="skip",
        description="A second copy of the same bytes is filed with the first (skip), sent too, or failed.",
    )
    database: Database = Field(default=Database(), description=Database.__doc__)
    limits: Limits = Field(default=Limits(), description=Limits.__doc__)
    retention: Retention = Field(default=Retention(), description=Retention.__doc__)
    notify: Notify = Field(default=Notify(), description=Notify.__doc__)
    metrics: Metrics = Field(default=Metrics(), description=Metrics.__doc__)
    logging: Logging = Field(default=Logging(), description=Logging.__doc__)

    @property
    def database_path(self) -> Path:
        """The job log's file."""
        return self.state_dir / self.database.url.removeprefix("sqlite:///")

    def webhook_url_of(self, inbox: Inbox, subfolder: Subfolder | None = None) -> str:
        """Return where the receipts of `inbox`, or of one of its subfolders, are sent."""
        return (subfolder and subfolder.webhook_url) or inbox.webhook_url or self.n8n.webhook_url or ""

    def signing_secrets(self) -> tuple[str, ...]:
        """Return what receipts are signed with: the current secret and the one before, where they are set."""
        secrets = (self.n8n.signing_secret, self.n8n.previous_signing_secret)
        return tuple(secret.get_secret_value() for secret in secrets if secret is not None)

    def webhook_urls(self) -> list[str]:
        """Return every URL that receipts are sent to, each once."""
        return list(
            dict.fromkeys(
                self.webhook_url_of(inbox, subfolder)
                for inbox in self.inboxes
                for subfolder in (None, *inbox.routes.values())
            )
        )

    def proxies(self) -> Proxies:
        """Return the rules by which a URL is reached, as the environment is now."""
        return Proxies(self.n8n.proxy, self.webhook_urls(), dict(os.environ))

    def branches_to(self, url: str) -> list[str]:
        """Return whose receipts go to a URL, as the job log names them: inboxes, and subfolders with their own."""
        return [
            f"{inbox.name}/{name}" if name else inbox.name
            for inbox in self.inboxes
            for name, own in (*inbox.subfolders, ("", None))
            if self.webhook_url_of(inbox, own) == url
        ]

    def accept_of(self, inbox: Inbox, subfolder: Subfolder | None = None) -> Accept:
        """Return which answer is an acceptance for the receipts of `inbox`, or of one of its subfolders."""
        return (subfolder and subfolder.accept) or inbox.accept or self.n8n.accept or Accept(mode="auto")

    def remembers_jobs_of(self, inbox: Inbox, subfolder: Subfolder | None = None) -> bool:
        """Return whether the workflow of `inbox`, or of one of its subfolders, books no job id twice."""
        given = (subfolder.remembers_jobs if subfolder else None, inbox.remembers_jobs)
        return next((each for each in given if each is not None), self.n8n.remembers_jobs)

    def unreachable_callback_url(self) -> str | None:
        """Return the URL that callbacks are asked for at if it is this machine's own, and N8N runs elsewhere.

        A workflow that answers with the verdict calls nobody back.
        """
        public_url = self.public_url_for(self.http.port)
        calling = (
            self.webhook_url_of(inbox, subfolder)
            for inbox in self.inboxes
            for subfolder in (None, *inbox.routes.values())
            if self.n8n.payload == "link" or self.accept_of(inbox, subfolder).mode not in {"last_node", "respond"}
        )
        is_elsewhere = any(not is_loopback(urlsplit(url).hostname or "") for url in calling)
        return public_url if is_elsewhere and is_loopback(urlsplit(public_url).hostname or "") else None

    def window_of(self, inbox: Inbox, subfolder: Subfolder | None = None) -> Window | None:
        """Return when the receipts of `inbox`, or of one of its subfolders, are sent; None for always."""
        found = (subfolder and subfolder.deliver_when) or inbox.deliver_when or self.n8n.deliver_when
        return found.window if found else None

    def duplicates_of(self, inbox: Inbox, subfolder: Subfolder | None = None) -> Duplicates:
        """Return what becomes of a second copy that is dropped into `inbox`, or into one of its subfolders."""
        return (subfolder and subfolder.duplicates) or inbox.duplicates or self.duplicates

    def public_url_for(self, port: int) -> str:
        """Return how N8N reaches us, without a slash at the end; `port` is the bound one, since http.port may be 0."""
        host = "127.0.0.1" if self.http.host in {"0.0.0.0", "::"} else self.http.host  # noqa: S104  (not bound here)
        scheme = "https" if self.http.tls_certificate else "http"
        return self.http.public_url or f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
