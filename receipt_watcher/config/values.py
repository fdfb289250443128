"""Types for the kinds of options' values; their validators say what is wrong and what to write instead.

What it promises: a value that is of its kind means the same wherever it is read from, be it YAML, the environment or a
credential; one that is not raises pydantic's error with both texts. Paths are absolute.

Any thread may call it. Folders are looked at only to follow `..`; nothing is written.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, cast
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationInfo
from pydantic_core import PydanticCustomError

from receipt_watcher.config import proxies
from receipt_watcher.config.schedule import read_days, read_hours, read_zone, time_of
from receipt_watcher.config.secrets import is_hash, is_token_name, key_of


class Unquoted(str):
    """A text that stood in YAML without quotes and that YAML takes for a number, a date or a yes or no."""

    __slots__ = ()


def mistake(wrong: str, right: str) -> PydanticCustomError:
    """Return the error of a value: what is wrong with it, and what to do."""
    return PydanticCustomError("own", "{wrong}", {"wrong": wrong, "right": right})


def _quoted(value: object) -> object:
    if isinstance(value, Unquoted):
        raise mistake("is read by YAML as a number, a date or yes/no", 'put it in quotes: "…"')
    return value


def _sendable(secret: SecretStr) -> SecretStr:
    if not re.fullmatch("[!-~]+", secret.get_secret_value()):
        raise mistake("cannot be a header of HTTP", "copy it again, without spaces, line breaks and accents")
    return secret


def _long(secret: SecretStr) -> SecretStr:
    if len(secret.get_secret_value()) < 16:  # noqa: PLR2004  (the rule's own number, told in the text)
        raise mistake("is shorter than 16 characters", "take the output of: openssl rand -hex 32")
    return secret


def _signing(secret: SecretStr) -> SecretStr:
    try:
        key_of(secret.get_secret_value())
    except ValueError as error:
        raise mistake(
            f"is no signing secret of Standard Webhooks: {error}",
            "take whsec_ and the output of: openssl rand -base64 32",
        ) from error
    return secret


def _url(value: str) -> str:
    try:
        parts = urlsplit(value)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or re.search(r"[\s\x00-\x1f]", value):
        raise mistake("is no URL", "write it whole: http:// or https://, the host, the path")
    return value


def _proxy(value: str) -> str:
    if value in (proxies.NONE, proxies.ENVIRONMENT):
        return value
    if (wrong := proxies.mistake_in(value)) is not None:
        raise mistake(wrong, "write environment, none, or the proxy as http://host:port")
    return value


def _secret_url(secret: SecretStr) -> SecretStr:
    _url(secret.get_secret_value())
    return secret


def _channel(secret: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[A-Za-z][\w+.-]*://\S+", secret.get_secret_value()):
        raise mistake("is no URL of apprise", 'write it as apprise has it, such as "ntfys://ntfy.example.com/receipts"')
    return secret


def _split_at_spaces(value: object) -> object:
    """Return a list; a text alone stands for one, with spaces or line breaks."""
    return value.split() if isinstance(value, str) else value


def _time_of_day(value: str) -> str:
    try:
        time_of(value)
    except ValueError:
        raise mistake("is no time of the day", 'write it as "08:00"') from None
    return value


def _base_url(value: str) -> str:
    if "?" in value or "#" in value:
        raise mistake("has a part after ? or #", "end it before that: a path is appended to it")
    return _url(value).rstrip("/")


def _token_name(value: str) -> str:
    if not is_token_name(value):
        raise mistake("is no name for a token", "use letters, digits, and . _ @ - between, 40 at the most")
    return value


def _token_hash(value: str) -> str:
    if not is_hash(value):
        raise mistake("is no hash of a token", "take the line that receipt-watcher token create prints")
    return value


def _origin(value: str) -> str:
    parts = urlsplit(_url(value))
    if value != f"{parts.scheme}://{parts.netloc}" or "@" in parts.netloc:
        raise mistake("is no origin", 'write scheme, host and port only, such as "https://desk.office.lan"')
    return value


def _network(value: str) -> str:
    try:
        ipaddress.ip_network(value, strict=False)
    except ValueError:
        raise mistake("is no address", 'write one such as "127.0.0.1", or a network such as "10.0.0.0/24"') from None
    return value


def _root_path(value: str) -> str:
    if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)*/?", value):
        raise mistake("is no path before ours", 'write it such as "/receipts"')
    return value.rstrip("/")


def _sqlite(value: str) -> str:
    name = value.removeprefix("sqlite:///")
    if name == value or name.endswith("/") or not name or re.search(r"^~|^:memory:|[?#\0]", name):
        raise mistake("is no file for the job log", "use sqlite:///name.db in state_dir, or sqlite:////whole/path.db")
    return value


def _more_than_none(value: object) -> object:
    """Refuse a 0, which may mean «never» to one admin and «at once» to the next."""
    if re.fullmatch(r"[-+]?0*\.?0*", str(value)) and "0" in str(value):
        raise mistake(
            "may mean «keep for ever» or «remove at once»",
            "leave the option out to keep for ever, or give a number of days from 1 to 36500",
        )
    return value


def _name(value: str) -> str:
    if not re.fullmatch("[a-z0-9-]+", value):
        raise mistake("is no name for an inbox", "use only a to z, 0 to 9 and -")
    return value


def split_at_commas(value: object) -> object:
    """Return a list; in the environment a text stands for one, with commas."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _glob(value: str) -> str:
    if not value or value.startswith("/") or "\0" in value or value.strip("*/") == "":
        raise mistake("is no pattern for names", 'write one such as "*.bak", or "old/" for a folder')
    return value


def _below_inbox(value: str) -> str:
    parts = value.rstrip("/").split("/")
    if "\0" in value or {"", ".", ".."} & set(parts):
        raise mistake("is no subfolder of the inbox", "write its path below the inbox, such as travel or office/travel")
    return "/".join(parts)


def _json_path(value: str) -> str:
    if not re.fullmatch(r"(\$\.?)?([^.\[\]$]+|\[[0-9]{1,9}\])(\.[^.\[\]$]+|\[[0-9]{1,9}\])*", value):
        raise mistake("is no path in JSON", "write names with dots between, such as $.items[0].state")
    return value


def _listed(value: object) -> object:
    """Return a list as the text that stands for it."""
    is_list = isinstance(value, list | tuple) and all(isinstance(part, str) for part in value)
    return ", ".join(cast("Iterable[str]", value)) if is_list else value


def _days(value: str) -> str:
    return _readable(read_days, value, "names no days", "use mon, tue, wed, thu, fri, sat, sun, such as mon-fri, sun")


def _hours(value: str) -> str:
    return _readable(read_hours, value, "names no hours", 'write them such as "07:00-12:00, 13:00-18:00"')


def _zone(value: str) -> str:
    return _readable(read_zone, value, "is no time zone", "use a name such as Europe/Berlin") if value else value


def _readable(read: Callable[[str], object], value: str, wrong: str, right: str) -> str:
    try:
        read(value)
    except ValueError:
        raise mistake(wrong, right) from None
    return value


def _subfolder(value: str) -> str:
    if "%" in re.sub("%[aAbBdGHIjmMpuUVwWyY%]", "", value):
        raise mistake("has an unknown % code", "use codes of strftime such as %Y, %m and %d; %% is a percent sign")
    parts = datetime(2000, 1, 1, tzinfo=UTC).strftime(value).split("/")
    if value and ("\0" in value or {"", ".", ".."} & set(parts)):
        raise mistake("does not stay below the done folder", 'use a relative path such as "%Y-%m", or "" for none')
    return value


def _absolute(value: object, info: ValidationInfo) -> Path:
    """Return an absolute path; `..` goes by the real folders, as in a shell's `cd -P`."""
    place: dict[str, Any] = info.context or {}
    text = str(value) if isinstance(value, str | Path) else ""
    home = place.get("home") or "~"
    path = Path(home + text[1:] if re.match("~(/|$)", text) else text)
    try:
        os.fsencode(path)
        path = place.get("folder", Path.cwd()) / path.expanduser()
    except (ValueError, RuntimeError):
        text = ""
    if not text or "\0" in text:
        raise mistake("is no path", "write it whole, such as /srv/receipts/inbox")
    return Path(os.path.realpath(path)) if ".." in path.parts else path


def _prom(value: Path) -> Path:
    if value.suffix != ".prom":
        raise mistake("does not end in .prom", "name it so, or node_exporter does not read it")
    return value


Text = Annotated[str, BeforeValidator(_quoted)]
Url = Annotated[str, AfterValidator(_url)]
ProxyChoice = Annotated[str, BeforeValidator(_quoted), AfterValidator(_proxy)]
Secret = Annotated[SecretStr, BeforeValidator(_quoted), AfterValidator(_sendable)]
Token = Annotated[Secret, AfterValidator(_long)]
SecretUrl = Annotated[SecretStr, BeforeValidator(_quoted), AfterValidator(_secret_url)]
ChannelUrl = Annotated[SecretStr, BeforeValidator(_quoted), AfterValidator(_channel)]
SigningSecret = Annotated[Secret, AfterValidator(_signing)]
AbsolutePath = Annotated[Path, BeforeValidator(_absolute)]
Seconds = Annotated[float, Field(ge=0.1, le=3600)]
LongSeconds = Annotated[float, Field(ge=0.1, le=2592000)]
Days = Annotated[float, Field(ge=1, le=36500), BeforeValidator(_more_than_none)]
Mebibytes = Annotated[float, Field(ge=0.01, le=4096)]
JsonPath = Annotated[Text, AfterValidator(_json_path)]
WeekDays = Annotated[Text, BeforeValidator(_listed, json_schema_input_type=str | list[str]), AfterValidator(_days)]
DayHours = Annotated[Text, BeforeValidator(_listed, json_schema_input_type=str | list[str]), AfterValidator(_hours)]
TimeOfDay = Annotated[Text, AfterValidator(_time_of_day)]
ZoneName = Annotated[Text, AfterValidator(_zone)]
InboxName = Annotated[Text, AfterValidator(_name)]
BelowInbox = Annotated[Text, AfterValidator(_below_inbox)]
DatedSubfolder = Annotated[Text, AfterValidator(_subfolder)]
Globs = Annotated[
    tuple[Annotated[Text, AfterValidator(_glob)], ...],
    BeforeValidator(split_at_commas, json_schema_input_type=str | list[str]),
]
TokenName = Annotated[Text, AfterValidator(_token_name)]
TokenHash = Annotated[Text, AfterValidator(_token_hash)]
BaseUrl = Annotated[str, AfterValidator(_base_url)]
RootPath = Annotated[Text, AfterValidator(_root_path)]
Origins = Annotated[tuple[Annotated[Text, AfterValidator(_origin)], ...], BeforeValidator(split_at_commas)]
Networks = Annotated[tuple[Annotated[Text, AfterValidator(_network)], ...], BeforeValidator(split_at_commas)]
ChannelUrls = Annotated[
    tuple[ChannelUrl, ...], BeforeValidator(_split_at_spaces, json_schema_input_type=str | list[str])
]
LogUrl = Annotated[str, AfterValidator(_sqlite)]
PromFile = Annotated[AbsolutePath, AfterValidator(_prom)]
