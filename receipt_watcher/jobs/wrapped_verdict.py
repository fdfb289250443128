"""Take what N8N reports out of the wrappings that its nodes put around it by mistake.

What it promises: only wrappings that leave no doubt are taken off: JSON as a string, a form, a list of one entry, an
item of n8n such as `{"json": {…}}`, and these in one another. The content is never guessed. Pure.
"""

from __future__ import annotations

import email.parser
import email.policy
import json
import re
from typing import Any
from urllib.parse import parse_qsl

#: Layers that are taken off; n8n's nodes make two or three.
_MOST_LAYERS = 8
_MOST_FORM_FIELDS = 100

#: The keys of an item of n8n beside its content.
_ITEM_KEYS = frozenset({"json", "binary", "pairedItem"})
#: A field of JSON or of a form that holds nothing but the whole report.
_WRAPPER_KEYS = ("json", "body")

_BOUNDARY = re.compile(rb"[0-9A-Za-z'()+_,./:=? -]{1,70}")
_FORM = re.compile(r"[^\s{}\[\]<>\"]+=")
_BLANKS = " \t\r\n"
_WRAPPED = re.compile(r"\{\s*\"(json|body)\"\s*:\s*")

#: Nothing more, the beginning of a word of JSON, or that of an escape in a string.
_BEGUN = re.compile(r"|t(r(ue?)?)?|f(a(l(se?)?)?)?|n(u(ll?)?)?|-|u[0-9a-fA-F]{0,3}|\\(u[0-9a-fA-F]{0,3})?")
_MOST_WORD_CHARACTERS = 8


class ContradictionError(ValueError):
    """Two verdicts in one body."""


def read(body: bytes | str) -> Any:
    """Return what a body holds without its wrappings: JSON, or the fields of a form, whatever its headers say.

    Raises:
        ValueError: it is neither, or it contradicts itself.
    """
    return unwrapped(_json_or_form(body))


def unwrapped(content: Any) -> Any:
    """Return JSON without its wrappings; as it is if there are none.

    Raises:
        ValueError: what is in a wrapping contradicts itself.
    """
    for _ in range(_MOST_LAYERS):
        if isinstance(content, str):
            try:
                inner = _json_or_form(content)
            except ContradictionError:
                raise
            except ValueError:
                return content
        elif isinstance(content, list) and len(content) == 1:
            inner = content[0]
        elif isinstance(content, dict) and (key := _wrapper_key(content)) is not None:
            inner = content[key]
        else:
            return content
        content = inner
    return content


def status_of(content: Any) -> str | None:
    """Return the `status` of a report without blanks around its name and its value; None if it has none."""
    if not isinstance(content, dict):
        return None
    statuses = {_bare(value) for key, value in content.items() if key.strip() == "status"}
    return statuses.pop() if len(statuses) == 1 else None


def read_beginning(text: str) -> dict[str, Any]:
    """Return the whole fields at the beginning of JSON that was cut; empty if it does not begin as a report does."""
    return _fields_of_beginning(text, ())


def is_cut_json(text: str) -> bool:
    """Return whether a text is the beginning of a JSON object or list, and ends too early."""
    text = text.strip(_BLANKS)
    if text[:1] not in ("{", "["):
        return False
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        rest = text[error.pos :]
        is_begun = len(rest) < _MOST_WORD_CHARACTERS and _BEGUN.fullmatch(rest) is not None
        return is_begun or error.msg.startswith("Unterminated string")
    except (ValueError, RecursionError):
        return False
    return False


# --- layers --------------------------------------------------------------------------------------------------------


def _json_or_form(body: bytes | str) -> Any:
    try:
        return json.loads(body.lstrip("\ufeff") if isinstance(body, str) else body, object_pairs_hook=_fields)
    except ContradictionError:
        raise
    except (ValueError, RecursionError) as error:
        encoded = body if isinstance(body, bytes) else body.encode("utf-8", "surrogatepass")
        fields = _multipart_fields(encoded) if encoded[:2] == b"--" else _form_fields(encoded)
        if fields is None:
            raise ValueError("The body is no JSON.") from error
        return fields


def _wrapper_key(content: dict[str, Any]) -> str | None:
    """Return under which key the whole report stands; None if there is no doubt that it is none."""
    if "json" in content and content.keys() <= _ITEM_KEYS:
        return "json"
    return next((key for key in _WRAPPER_KEYS if content.keys() == {key}), None)


def _fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of fields that are there twice the last one counts, but not of the status, or of what may hold it."""
    if len({_bare(value) for name, value in pairs if name.strip() == "status"}) > 1:
        raise ContradictionError('The body says "status" twice, and not the same.')
    fields = dict(pairs)
    if len(fields) < len(pairs):
        for name, value in pairs:
            if name in _WRAPPER_KEYS and value != fields[name]:
                raise ContradictionError(f'The body has "{name}" twice, and not the same.')
    return fields


def _bare(value: Any) -> str:
    """Return a status as it was meant; what is no text stays what it is, and is no status."""
    return value.strip() if isinstance(value, str) else f"of type {type(value).__name__}"


# --- forms ---------------------------------------------------------------------------------------------------------


def _form_fields(body: bytes) -> dict[str, Any] | None:
    """Return the fields of a form as it is in a URL (application/x-www-form-urlencoded); None if it is none."""
    try:
        text = body.decode("utf-8").strip()
        if not _FORM.match(text):
            return None
        return _report_of_form(parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_FORM_FIELDS))
    except ContradictionError:
        raise
    except ValueError:
        return None


def _multipart_fields(body: bytes) -> dict[str, Any] | None:
    """Return the fields of a form with parts (RFC 7578), whose first line is its boundary; None if it is none."""
    boundary = body.partition(b"\r\n")[0][2:]
    if not _BOUNDARY.fullmatch(boundary) or body.count(b"--" + boundary) > _MOST_FORM_FIELDS:
        return None
    head = b'Content-Type: multipart/form-data; boundary="%b"\r\n\r\n' % boundary
    try:
        form = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
        parts = [] if form.defects else list(form.iter_parts())
        pairs = [
            (str(part.get_param("name", header="content-disposition")), part.get_payload(decode=True)) for part in parts
        ]
        texts = [(name, content.decode("utf-8")) for name, content in pairs if isinstance(content, bytes)]
        return _report_of_form(texts) if texts else None
    except ContradictionError:
        raise
    except (ValueError, LookupError, RecursionError):
        return None


def _report_of_form(pairs: list[tuple[str, str]]) -> dict[str, Any]:
    """Return a form's fields; `data` is JSON in them if it can be read as that."""
    fields = _fields(list(pairs))
    try:
        fields |= {"data": json.loads(fields["data"])}
    except (KeyError, TypeError, ValueError, RecursionError):
        return fields
    return fields


# --- JSON that was cut ---------------------------------------------------------------------------------------------


def _fields_of_beginning(text: str, around: tuple[str, ...]) -> dict[str, Any]:
    """Return the whole fields; `around` are the lists and the wrapper keys that were opened before, the inmost last."""
    text = text.lstrip(f"\ufeff{_BLANKS}")
    has_layers = len(around) < _MOST_LAYERS
    if has_layers and text[:1] == "[":
        return _fields_of_beginning(text[1:], (*around, "["))
    if has_layers and text[:1] == '"':
        return _fields_of_beginning(_string_that_was_cut(text), ())  # nothing can stand behind it
    inner = _WRAPPED.match(text)
    if has_layers and inner:
        return _fields_of_beginning(text[inner.end() :], (*around, inner[1]))
    pairs, end = _whole_fields(text) if text[:1] == "{" else ([], 0)
    if text[end : end + 1] == "}" and not _is_the_whole_report(text, end + 1, around):
        return {}
    try:
        return _fields(pairs)
    except ContradictionError:
        return {}


def _is_the_whole_report(text: str, at: int, around: tuple[str, ...]) -> bool:
    """Return whether nothing that can be seen behind a report takes its wrappings from it, or is another report."""
    for layer in reversed(around):
        at = _after_blanks(text, at)
        if layer != "[":
            names, at = _names_behind(text, at)
            if names and not (layer == "json" and _ITEM_KEYS.difference(_WRAPPER_KEYS).issuperset(names)):
                return False
        if text[at : at + 1] not in ("", "]" if layer == "[" else "}"):
            return False
        at += 1
    return not text[_after_blanks(text, at) :]


def _names_behind(text: str, at: int) -> tuple[list[Any], int]:
    """Return the names of the fields that follow in an object, and where it ends, or the text if it was cut."""
    decoder = json.JSONDecoder()
    names: list[Any] = []
    try:
        while text[at : at + 1] == ",":
            name, at = decoder.raw_decode(text, _after_blanks(text, at + 1))
            names.append(name)
            at = _after_blanks(text, at)
            if text[at : at + 1] == ":":
                _, at = decoder.raw_decode(text, _after_blanks(text, at + 1))
                at = _after_blanks(text, at)
    except (ValueError, RecursionError):
        return names, len(text)  # here it was cut
    return names, at


def _whole_fields(text: str) -> tuple[list[tuple[str, Any]], int]:
    """Return the fields of an object up to where it was cut, or ends, and where that is."""
    decoder = json.JSONDecoder(object_pairs_hook=_fields)
    pairs: list[tuple[str, Any]] = []
    at = 1
    try:
        while text[at : at + 1] != "}":
            name, at = decoder.raw_decode(text, _after_blanks(text, at))
            at = _after_blanks(text, at)
            if not isinstance(name, str) or text[at : at + 1] != ":":
                break
            value, at = decoder.raw_decode(text, _after_blanks(text, at + 1))
            at = _after_blanks(text, at)
            if at < len(text) or isinstance(value, str):  # else a number may have been cut in its midst
                pairs.append((name, value))
            if text[at : at + 1] != ",":
                break
            at += 1
    except (ValueError, RecursionError):
        return pairs, at  # here it was cut
    return pairs, at


def _after_blanks(text: str, at: int) -> int:
    while text[at : at + 1] and text[at] in _BLANKS:
        at += 1
    return at


def _string_that_was_cut(text: str) -> str:
    """Return what a JSON string held that has lost its end."""
    for lost in range(min(12, len(text))):  # the cut may be in the midst of an escape
        try:
            decoded = json.loads(text[: len(text) - lost] + '"')
        except ValueError:
            continue
        return decoded if isinstance(decoded, str) else ""
    return ""
