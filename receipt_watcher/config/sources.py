"""Where the values of options come from, and what is wrong with them.

What it promises: `load` merges the environment over systemd's credential files over watcher.yaml over the defaults.
It either returns a configuration that is right as a whole or raises one `ConfigError` that lists all mistakes, each
with its source, its key, what is wrong and what would be right; whatever the sources hold, nothing else is raised,
and no message, repr or traceback tells a secret.

Until the models have looked at it, every value is the text that the admin wrote: YAML's guesses (0123 is 83, no is
false) are not made, so nothing is changed on the way.

Called once at start, by one thread. Files are only read, and closed before `load` returns; so a crash leaves
nothing behind.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from receipt_watcher.config.consistency import clashes, dotted, first_word
from receipt_watcher.config.fields import is_mapping, kind_of, known_keys, model_of, rule_of
from receipt_watcher.config.injected import is_injected
from receipt_watcher.config.options import Config, default_state_dir
from receipt_watcher.config.secrets import masked
from receipt_watcher.config.sections.section import Key, Section
from receipt_watcher.config.values import Unquoted
from receipt_watcher.errors import ConfigError, Problem
from receipt_watcher.system.display import display_name

SYSTEM_CONFIG_FILE = Path("/etc/receipt-watcher/watcher.yaml")
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
#: What the units hand over for a credential file that is not there. No secret may hold a space.
NOT_SET_CREDENTIAL = "(not set)"
#: The same in units of earlier versions, which may still be in place.
_EARLIER_NOT_SET_CREDENTIAL = "\n"
_DROP = object()


def find_config_file(explicit: Path | None, environ: Mapping[str, str], cwd: Path) -> Path | None:
    """Return the configuration file to read: the one that was asked for, else the first that exists, else None."""
    asked = explicit or environ.get(CONFIG_VARIABLE)
    if asked:
        source = "option --config" if explicit else f"environment variable {CONFIG_VARIABLE}"
        if not _exists(cwd / asked):
            raise ConfigError(
                [Problem(source, display_name(cwd / asked), "there is no such file", "name an existing one")]
            )
        return cwd / asked
    return next(filter(_exists, (cwd / "watcher.yaml", SYSTEM_CONFIG_FILE)), None)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a folder on the way is shut: `load` says so, where «no such file» would mislead
        return True


def load(path: Path | None, environ: Mapping[str, str]) -> Config:
    """Return the configuration from `path` and `environ`, or raise ConfigError with all mistakes.

    1. Merge the sources. 2. Validate. 3. Where that fails, validate again without the wrong values, so that 4. the
    checks across options speak in the same run about what is left.
    """
    return load_with_origins(path, environ)[0]


def load_with_origins(path: Path | None, environ: Mapping[str, str]) -> tuple[Config, Callable[[Key], str]]:
    """Return the configuration as `load` does, and what tells where the value of an option comes from."""
    config, sources = _gathered(path, environ)
    if config is None or sources.problems:
        raise ConfigError(sources.problems)
    return config, sources.origin_in_words


def _gathered(path: Path | None, environ: Mapping[str, str]) -> tuple[Config | None, _Sources]:
    sources = _Sources(display_name(path) if path else "no configuration file")
    if path:
        sources.read_file(path)
    sources.read_credentials(environ)
    sources.read_environment(environ)
    sources.blame_empty_secrets()
    tree = dict(sources.tree)
    if tree.get("state_dir") is None:
        tree["state_dir"] = default_state_dir(environ)
    place = {"folder": Path.cwd() / path.parent if path else Path.cwd(), "home": environ.get("HOME")}
    config, errors = _validated(tree, place)
    for error in errors:
        error["loc"] = tuple(part for part in error["loc"] if part != "[key]")  # a wrong name in a group
        sources.blame(error["loc"], *_explained(error))
    sources.give_up(*(error["loc"] for error in errors))
    for error in errors:
        tree = _with(tree, error["loc"], _DROP)
    if errors:
        config, _ = _validated(tree, place)
    for keys, wrong, right in clashes(config) if config else ():
        sources.blame(keys[0], wrong, right, also=keys)
    return config, sources


def _validated(tree: dict[str, Any], place: dict[str, Any]) -> tuple[Config | None, list[ErrorDetails]]:
    try:
        return Config.model_validate(tree, context=place), []
    except ValidationError as error:
        return None, [each for each in error.errors(include_url=False) if not _follows_from_another(each)]


def _follows_from_another(error: ErrorDetails) -> bool:
    """Tell the errors that pydantic adds where an inbox, or the path that a default derives from, is wrong."""
    return error["type"] == "default_factory_not_called" or (error["type"] == "too_short" and bool(error["input"]))


def _explained(error: ErrorDetails) -> tuple[str, str]:
    """Return what is wrong and what would be right, in words for an admin."""
    key, value = error["loc"], error["input"]
    field = _field_at(key)
    if field is None:
        return "is no option", _nearest(key)
    is_item = isinstance(key[-1], int) and model_of(field) is not None
    rule = "options, one a line, indented below the -" if is_item else rule_of(_last_name(key), field)
    if error["type"] == "missing":
        return "is missing", f"give {rule}"
    if kind_of(field.annotation) is SecretStr or not isinstance(value, str | Path):
        shape: dict[type[Any], str] = {dict: "a group of options", list: "a list" if value else "an empty list"}
        subject = shape.get(type(value), "the value")
    elif model_of(field) and error["type"] != "own":
        subject = "a single text"
    else:
        shown = json.dumps(masked(str(value)) if "url" in str(key[-1]) else str(value)[:80], ensure_ascii=False)
        subject = shown.encode("utf-8", "backslashreplace").decode()
    if error["type"] == "own":
        return f"{subject} {error['ctx']['wrong']}", error["ctx"]["right"]
    return f"{subject} cannot be used", f"give {rule}"


def _last_name(key: Key) -> str:
    return next(part for part in reversed(key) if isinstance(part, str))


def _nearest(key: Key) -> str:
    """Return which option was meant by the unknown `key`: one beside it, or the same name in another section."""
    above = _field_at(key[:-1])
    section = (model_of(above) if above else None) or Config
    for near in difflib.get_close_matches(first_word(key[-1]), section.model_fields, 1):
        return f'did you mean "{near}"?'
    for known in sorted(known_keys(Config), key=lambda known: 0 in known):
        if known[-1] == key[-1]:
            return f'did you mean "{dotted(known)}"?'
    return f"the options here are {', '.join(section.model_fields)}"


def _field_at(key: Key) -> FieldInfo | None:
    section: type[Section] | None = Config
    field = None
    names = iter(part for part in key if isinstance(part, str))
    for name in names:
        field = section.model_fields.get(name) if section else None
        section = model_of(field) if field else None
        if field and is_mapping(field):
            next(names, None)  # what the admin called it
    return field


class _Sources:
    """The merged texts, where each came from, and what was wrong on the way."""

    def __init__(self, file: str) -> None:
        self.tree: Any = {}
        self.problems: list[Problem] = []
        self._origins: dict[Key, str] = {(): file}
        self._roots: list[yaml.Node] = []  # of the file
        #: What is not worth a second complaint.
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
        line = _line_of(key, self._roots[0]) if self._roots and origin == self._origins[()] else None
        return f"{origin}:{line}" if line else origin

    def _put(self, key: Key, value: object, origin: str) -> None:
        self.tree = _with(self.tree, key, value)
        self._origins[key] = origin

    def read_file(self, path: Path) -> None:
        """Take the tree from a file."""
        wrongs: list[tuple[str, str, str]] = []
        try:
            self.tree, wrongs = _parsed(path.read_bytes().decode("utf-8-sig"), self._roots)
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
        found: dict[str, str] = {}
        for name, key in ((name.lower(), key) for name, key in SHORT_NAMES.items() if folder):
            try:
                found[name] = Path(str(folder), name).read_text("utf-8")
            except FileNotFoundError:
                continue
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
                self.blame(key, f"cannot be read: {reason}", "mend or remove the file", source=f"credential {name}")
                self.give_up(key)
        not_set = {NOT_SET_CREDENTIAL}
        if NOT_SET_CREDENTIAL not in found.values():  # the unit may be an earlier one
            not_set.add(_EARLIER_NOT_SET_CREDENTIAL)
        for name, text in found.items():
            if text not in not_set:
                self._put(SHORT_NAMES[name.upper()], text.removesuffix("\n"), f"credential {name}")

    def read_environment(self, environ: Mapping[str, str]) -> None:
        """Lay the environment over it: whole sections first, so that a single option wins over them."""
        found: dict[Key, str] = {}
        for name in sorted(environ):
            if name == CONFIG_VARIABLE or not (name in SHORT_NAMES or name.startswith(PREFIX)):
                continue
            key = SHORT_NAMES.get(name) or _key_of(name)
            if not environ[name] and not _is_secret(key):
                continue
            if key is None:
                if not is_injected(name, environ):
                    self._unknown(name)
            elif environ[found.setdefault(key, name)] != environ[name]:
                wrong, source = f"{found[key]} has another value", f"environment variable {name}"
                self.blame(key, wrong, "unset one of the two", source=source)
            else:
                found[key] = name
        for key in sorted(found, key=lambda key: (len(key), key)):
            self._lay(key, environ[found[key]], f"environment variable {found[key]}")

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
            self.tree = _with(self.tree, key, _DROP)

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
        field = _field_at(key)
        if field is None or not model_of(field):
            self._put(key, text, origin)
            return
        value, wrongs = _parsed(text)
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
    field = None if key is None else _field_at(key)
    return field is not None and kind_of(field.annotation) is SecretStr


def _empty_secrets(tree: Any) -> Iterator[Key]:
    """Yield the keys of all secrets that are given as nothing: null, no text, blanks, or such an item of a list."""
    for known in filter(_is_secret, known_keys(Config)):
        for key, value in _found(tree, known):
            items = [((*key, number), item) for number, item in enumerate(value)] if isinstance(value, list) else []
            yield from (each for each, given in ((key, value), *items) if _is_blank(given))


def _is_blank(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _found(branch: Any, known: Key, above: Key = ()) -> Iterator[tuple[Key, Any]]:
    """Yield what the tree holds for an option: its keys, with numbers of inboxes for 0, and values."""
    if not known:
        yield above, branch
    elif known[0] == 0 and isinstance(branch, list):
        for number, inner in enumerate(branch):
            yield from _found(inner, known[1:], (*above, number))
    elif isinstance(branch, dict) and known[0] in branch:
        yield from _found(branch[known[0]], known[1:], (*above, known[0]))


def _key_of(variable: str) -> Key | None:
    parts = variable.removeprefix(PREFIX).lower().split("__")
    key = tuple(int(part) if re.fullmatch("0|[1-9][0-9]{0,2}", part) else part for part in parts)
    first = tuple(0 if isinstance(part, int) else part for part in key)
    return key if variable == _variable(key) and first in set(known_keys(Config)) else None


def _variable(key: Key) -> str:
    return PREFIX + "__".join(str(part).upper() for part in key)


def _with(branch: Any, key: Key, value: object) -> Any:
    """Return a copy of `branch` with `value` at `key`; where it is of another shape, it is left to validation."""
    if not key:
        return value
    head, rest = key[0], key[1:]
    if branch is None:
        branch = [] if isinstance(head, int) else {}
    if isinstance(head, int) and isinstance(branch, list):
        items = [*branch, None] if head == len(branch) else [*branch]
        items[head] = _with(items[head], rest, value)
        return items
    if isinstance(head, str) and isinstance(branch, dict):
        inner = _with(branch.get(head), rest, value)
        return {name: each for name, each in {**branch, head: inner}.items() if each is not _DROP}
    return branch


#: Options of one group, after merges (<<). By taste: no configuration comes near it.
_MOST_MERGED = 10_000


class _Loader(yaml.SafeLoader):
    """YAML whose scalars stay texts, and which notes keys that are there twice."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.repeated: list[tuple[str, int]] = []

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            name = str(key.value)
            if name in seen:
                self.repeated.append((name, key.start_mark.line + 1))
            seen.add(name)
        return node

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        super().flatten_mapping(node)
        if len(node.value) > _MOST_MERGED:  # each merge of merges doubles them, until memory and time are over
            raise yaml.constructor.ConstructorError(problem_mark=node.start_mark)

    def construct_scalar(self, node: Any) -> Any:
        value = super().construct_scalar(node)
        if re.search("[\ud800-\udfff]", str(value)):  # half a character: an escape that no text can hold
            raise yaml.constructor.ConstructorError(problem_mark=node.start_mark)
        return value


def _unquoted(loader: _Loader, node: yaml.ScalarNode) -> Unquoted:
    return Unquoted(loader.construct_scalar(node))


for _tag in ("int", "float", "bool", "timestamp"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _unquoted)
# YAML 1.2 reads 1e5 as a number, PyYAML (1.1) does not; the admin's next tool may.
_NUMBER = re.compile(r"[-+]?(\.\d+|\d+(\.\d*)?)(e[-+]?\d+)?$", re.IGNORECASE)
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _NUMBER, [*"-+.0123456789"])


def _parsed(text: str, roots: list[yaml.Node] | None = None) -> tuple[Any, list[tuple[str, str, str]]]:
    """Return what `text` says in YAML, and its mistakes: where, what is wrong, what would be right.

    To `roots` the document is added, by which `_line_of` finds lines.

    PyYAML's own messages are not passed on: they quote the line, which may hold a secret.
    """
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        tree = None if root is None else loader.construct_document(root)
        if roots is not None and root is not None:
            roots.append(root)
    except RecursionError:
        return None, [("whole file", "is nested too deeply", "start from watcher.example.yaml")]
    except (yaml.YAMLError, ValueError, ArithmeticError) as error:
        advice = "check indentation (spaces, no tabs), colons and quotes; text with any of * & ! % @ # : needs quotes"
        return None, [(_where(error, text), "cannot be read as YAML", advice)]
    again = [
        (f"line {line}", f'"{first_word(name)}" is there a second time', "keep one of them")
        for name, line in loader.repeated
    ]
    return tree, again


def _line_of(key: Key, root: yaml.Node) -> int | None:
    """Return on which line a key stands, or what is above it; what merges brought stands where that was written."""
    node, line = root, None
    for part in key:
        if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        elif isinstance(node, yaml.MappingNode):
            found = [(name, value) for name, value in node.value if str(name.value) == part]
            if not found:
                break
            name, node = found[-1]
            line = name.start_mark.line + 1
    return line


def _where(error: Exception, text: str) -> str:
    mark = getattr(error, "problem_mark", None)
    if isinstance(error, yaml.reader.ReaderError):
        before = text[: error.position].split("\n")
        return f"line {len(before)}, column {len(before[-1]) + 1}"
    return f"line {mark.line + 1}, column {mark.column + 1}" if mark else "whole file"
