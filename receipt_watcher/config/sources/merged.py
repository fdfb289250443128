"""The merged values of all sources: where each came from, and what was wrong on the way.

We merge them ourselves, without pydantic-settings: its errors do not name the variable or file that a value came from,
and the first value that it cannot parse hides all other mistakes.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import SecretStr

from receipt_watcher.config.consistency import dotted
from receipt_watcher.config.fields import kind_of, known_keys, model_of
from receipt_watcher.config.options import Config
from receipt_watcher.config.sections.section import Key
from receipt_watcher.config.sources.injected import is_injected
from receipt_watcher.config.sources.mistakes import field_at
from receipt_watcher.config.sources.tree import DROP, given_at, with_value
from receipt_watcher.config.sources.yaml_file import line_of, parsed
from receipt_watcher.errors import Problem
from receipt_watcher.system.display import display_name

PREFIX = "RECEIPT_WATCHER_"
CONFIG_VARIABLE = PREFIX + "CONFIG"
#: Credential files have the same names in lower case.
SHORT_NAMES: dict[str, Key] = {
    "N8N_WEBHOOK_URL": ("n8n", "webhook_url"),
    "N8N_API_KEY": ("n8n", "api_key"),
    "N8N_SIGNING_SECRET": ("n8n", "signing_secret"),
    "N8N_PREVIOUS_SIGNING_SECRET": ("n8n", "previous_signing_secret"),
    "CALLBACK_SECRET_TOKEN": ("callback", "secret_token"),
    "CALLBACK_PREVIOUS_SECRET_TOKEN": ("callback", "previous_secret_token"),
    "DATABASE_URL": ("database", "url"),
    "NOTIFY_URLS": ("notify", "urls"),
    "NOTIFY_WEBHOOK_URL": ("notify", "webhook_url"),
    "NOTIFY_HEARTBEAT_URL": ("notify", "heartbeat_url"),
}
#: The units hand this over for a credential file that is not there. No secret may hold a space.
NOT_SET_CREDENTIAL = "(not set)"
#: The same in units of earlier versions, which may still be in place.
_EARLIER_NOT_SET_CREDENTIAL = "\n"


class MergedSources:
    """The merged texts, where each came from, and what was wrong on the way."""

    def __init__(self, file: str) -> None:
        self.tree: Any = {}
        self.problems: list[Problem] = []
        self._origins: dict[Key, str] = {(): file}
        self._roots: list[yaml.Node] = []  # of the file
        #: Keys whose mistakes are listed already, so that none is listed twice.
        self._broken: list[Key] = []

    def blame(self, key: Key, wrong: str, right: str, *, source: str = "", also: tuple[Key, ...] = ()) -> None:
        """Note one mistake, unless one of the keys that it is about has been complained of."""
        if not any(each[: len(broken)] == broken for each in (key, *also) for broken in self._broken):
            self.problems.append(Problem(source or self._origin_of(key), dotted(key), wrong, right))

    def give_up(self, *keys: Key) -> None:
        """Leave these keys out of further complaints."""
        self._broken += keys

    def _origin_of(self, key: Key) -> str:
        return next(self._origins[key[:end]] for end in range(len(key), -1, -1) if key[:end] in self._origins)

    def origin_in_words(self, key: Key) -> str:
        """Return where the value of an option comes from: which variable, credential, or line of the file, if any."""
        branch = self.tree
        for part in key:
            try:
                branch = branch[part]
            except (KeyError, IndexError, TypeError):
                return "default"
        if branch is None:
            return "default"
        origin = self._origin_of(key)
        line = line_of(key, self._roots[0]) if self._roots and origin == self._origins[()] else None
        return f"{origin}:{line}" if line else origin

    def _put(self, key: Key, value: object, origin: str) -> None:
        self.tree = with_value(self.tree, key, value)
        self._origins[key] = origin

    def read_file(self, path: Path) -> None:
        """Take the tree from a file."""
        wrongs: list[tuple[str, str, str]] = []
        try:
            self.tree, wrongs = parsed(path.read_bytes().decode("utf-8-sig"), self._roots)
        except OSError as error:
            wrongs = [("whole file", f"cannot be read: {error.strerror}", "give a readable file")]
            self.tree = None
        except UnicodeDecodeError as error:
            wrongs = [("whole file", f"is not UTF-8 at byte {error.start + 1}", "save it as UTF-8")]
            self.tree = None
        if not isinstance(self.tree, dict):
            kind = "is empty" if self.tree is None else "is not made of options"
            wrongs = wrongs or [("whole file", kind, "start from watcher.example.yaml")]
            self.tree = {}
            self.give_up(())
        self.problems += [Problem(display_name(path), *wrong) for wrong in wrongs]

    def read_credentials(self, environ: Mapping[str, str]) -> None:
        """Lay systemd's credential files over it."""
        folder = environ.get("CREDENTIALS_DIRECTORY")
        texts: dict[str, str] = {}
        for name, key in ((name.lower(), key) for name, key in SHORT_NAMES.items() if folder):
            try:
                texts[name] = Path(str(folder), name).read_text("utf-8")
            except FileNotFoundError:
                continue
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
                self.blame(key, f"cannot be read: {reason}", "mend or remove the file", source=f"credential {name}")
                self.give_up(key)
        not_set = {NOT_SET_CREDENTIAL}
        if NOT_SET_CREDENTIAL not in texts.values():  # the unit may be an earlier one
            not_set.add(_EARLIER_NOT_SET_CREDENTIAL)
        for name, text in texts.items():
            if text not in not_set:
                self._put(SHORT_NAMES[name.upper()], text.removesuffix("\n"), f"credential {name}")

    def read_environment(self, environ: Mapping[str, str]) -> None:
        """Lay the environment over it: whole sections first, so that a single option wins over them."""
        variables: dict[Key, str] = {}
        for name in sorted(environ):
            if name == CONFIG_VARIABLE or not (name in SHORT_NAMES or name.startswith(PREFIX)):
                continue
            key = SHORT_NAMES.get(name) or _key_of(name)
            if not environ[name] and not _is_secret(key):
                continue
            if key is None:
                if not is_injected(name, environ):
                    self._unknown(name)
            elif environ[variables.setdefault(key, name)] != environ[name]:
                wrong, source = f"{variables[key]} has another value", f"environment variable {name}"
                self.blame(key, wrong, "unset one of the two", source=source)
            else:
                variables[key] = name
        for key in sorted(variables, key=lambda key: (len(key), key)):
            self._lay(key, environ[variables[key]], f"environment variable {variables[key]}")

    def blame_empty_secrets(self) -> None:
        """Note each secret that is given and empty: a mistake of whoever filled it in, and a risk without a word."""
        for key in _empty_secrets(self.tree):
            origin = self._origin_of(key)
            if origin.startswith("environment variable"):
                right = "set it, or unset the variable"
            elif origin.startswith("credential"):
                right = f"write the secret into the file {origin.removeprefix('credential ')}, or remove the file"
            else:
                right = "write the secret, or remove the line"
            self.blame(key, "is empty", right)
            self.give_up(key)
            self.tree = with_value(self.tree, key, DROP)

    def _unknown(self, name: str) -> None:
        index = re.search(r"__(\d+)(?=__|$)", name)
        near = difflib.get_close_matches(
            re.sub(r"__\d+(?=__|$)", "__0", name.upper()), [_variable(key) for key in known_keys(Config)], 1
        )
        right = f"did you mean {near[0].replace('__0', index[0] if index else '__0')}?" if near else "unset it"
        shown = display_name(name)  # it may hold bytes that are no UTF-8
        self.problems.append(Problem(f"environment variable {shown}", shown, "is no option", right))

    def _lay(self, key: Key, text: str, origin: str) -> None:
        inboxes = self.tree.get("inboxes") or []
        if len(key) > 1 and isinstance(key[1], int) and isinstance(inboxes, list) and key[1] > len(inboxes):
            self.blame(key, f"there is no inboxes[{key[1] - 1}]", "count from 0 without gaps", source=origin)
            return
        field = field_at(key)
        if field is None or not model_of(field):
            self._put(key, text, origin)
            return
        value, wrongs = parsed(text)
        for where, wrong, right in wrongs:
            self.blame(key, f"{where}: {wrong}", right, source=origin)
        if value is None:
            self.give_up(key)
        elif isinstance(value, dict):
            for name, inner in value.items():
                self._put((*key, name), inner, origin)
        else:
            self._put(key, value, origin)


def _is_secret(key: Key | None) -> bool:
    field = None if key is None else field_at(key)
    return field is not None and kind_of(field.annotation) is SecretStr


def _empty_secrets(tree: Any) -> Iterator[Key]:
    """Yield the keys of all secrets that are given as nothing: null, no text, blanks, or such an item of a list."""
    for known in filter(_is_secret, known_keys(Config)):
        for key, value in given_at(tree, known):
            items = [((*key, number), item) for number, item in enumerate(value)] if isinstance(value, list) else []
            yield from (each for each, given in ((key, value), *items) if _is_blank(given))


def _is_blank(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _key_of(variable: str) -> Key | None:
    parts = variable.removeprefix(PREFIX).lower().split("__")
    key = tuple(int(part) if re.fullmatch("0|[1-9][0-9]{0,2}", part) else part for part in parts)
    first = tuple(0 if isinstance(part, int) else part for part in key)
    return key if variable == _variable(key) and first in set(known_keys(Config)) else None


def _variable(key: Key) -> str:
    return PREFIX + "__".join(str(part).upper() for part in key)
