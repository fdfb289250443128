"""Recognise variables that Kubernetes and Docker inject for a Service or container that is named like this program.

A Service `receipt-watcher`, or one whose name begins so (`receipt-watcher-metrics`), gives each pod variables
that begin with RECEIPT_WATCHER_. They are no options. Each is told by its name and its value together, so a mistyped
option is still a mistake. Pure; any thread may call it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping

#: The name of a Service or of a link, as it begins a variable: capitals, with _ for each hyphen and dot.
_NAME = r"RECEIPT_WATCHER(?:_[A-Z0-9_]*[A-Z0-9])?"
_NUMBERED_PORT = rf"{_NAME}_PORT_(?P<number>[0-9]{{1,5}})_(?P<protocol>TCP|UDP|SCTP)"
_ADDRESS = re.compile(rf"{_NAME}_SERVICE_HOST|{_NUMBERED_PORT}_ADDR")
_PORT = re.compile(rf"{_NAME}_SERVICE_PORT(?:_[A-Z0-9_]+)?|{_NUMBERED_PORT}_PORT(?:_START|_END)?")
_URL = re.compile(rf"{_NAME}_PORT|{_NUMBERED_PORT}(?:_START|_END)?")
_PROTOCOL = re.compile(rf"{_NUMBERED_PORT}_PROTO")
_LINK = re.compile(rf"{_NAME}_NAME")
_URL_VALUE = re.compile(r"(tcp|udp|sctp)://(\[[0-9A-Fa-f:.]+\]|[0-9.]+|[0-9A-Fa-f:]+):([0-9]{1,5})")
#: Docker's name of a link: /CONTAINER/ALIAS.
_LINK_VALUE = re.compile(r"(/[A-Za-z0-9][A-Za-z0-9_.-]*){2}")


def is_injected(name: str, environ: Mapping[str, str]) -> bool:
    """Return whether a variable has the name and the value that Kubernetes or Docker give it.

    A link also copies the variables of the other container, as NAME_ENV_…: those count only beside its NAME_NAME.
    """
    value = environ[name]
    if _ADDRESS.fullmatch(name):
        return _is_address(value)
    if _PORT.fullmatch(name):
        return _is_port(value)
    if _URL.fullmatch(name):
        match = _URL_VALUE.fullmatch(value)
        return match is not None and _is_address(match[2].strip("[]")) and _is_port(match[3])
    if match := _PROTOCOL.fullmatch(name):
        return value == match["protocol"].lower()
    if _LINK.fullmatch(name):
        return _LINK_VALUE.fullmatch(value) is not None
    links = (f"{name[: each.start()]}_NAME" for each in re.finditer("_ENV_", name))
    return any(link in environ and _LINK.fullmatch(link) and is_injected(link, environ) for link in links)


def _is_address(value: str) -> bool:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return True


def _is_port(value: str) -> bool:
    return re.fullmatch("[0-9]{1,5}", value) is not None and 0 < int(value) < 2**16
