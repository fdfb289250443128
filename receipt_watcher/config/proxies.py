"""Choose the proxy that a URL is reached through: by n8n.proxy, or by HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY.

The rules are those of curl: the name in lower case wins, even when it is empty. NO_PROXY lists hosts (subdomains
included), addresses, and networks of both families, each with a port if wanted, or `*`. Networks are compared with
addresses only; no name is looked up. An entry that means nothing is ignored.

What is shown of a proxy never holds its user and password. Pure; any thread may call it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

ENVIRONMENT, NONE = "environment", "none"
OPTION = "n8n.proxy"

_PORTS = {"http": 80, "https": 443}
_PROXY_SCHEMES = frozenset({"http", "https", "socks5", "socks5h"})

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class ProxyChoice:
    """The way to a URL: through the proxy at `url`, or directly if that is None; `why` names what decided it.

    A mistake in the proxy's URL is fixed in `source` at `key`.
    """

    url: str | None
    why: str = ""
    source: str = ""
    key: str = ""

    def __repr__(self) -> str:
        return f"Choice({self.in_words!r})"  # the URL may hold a password

    @property
    def proxy(self) -> str:
        """The proxy's address without user and password; "" if there is none."""
        return "" if self.url is None else shown(self.url)

    @property
    def in_words(self) -> str:
        """The choice as it is told: `directly (NO_PROXY has 10.0.0.0/8)`."""
        how = "directly" if self.url is None else f"through the proxy {self.proxy}"
        return f"{how} ({self.why})" if self.why else how

    def may_answer_for(self, url: str) -> bool:
        """Return whether an answer to `url` may be the proxy's own: it forwards plain requests and tunnels others."""
        return self.url is not None and url.startswith("http://") and self.url.startswith("http")


class Proxies:
    """The rules of one configuration: `option` is n8n.proxy, which holds for the servers of `n8n_urls`."""

    def __init__(self, option: str, n8n_urls: Iterable[str], environ: Mapping[str, str]) -> None:
        self._option = option
        self._origins = {_origin(url) for url in n8n_urls}
        self._environ = environ
        name, text = _variable("no_proxy", environ)
        self._exceptions = [_Exception(name, entry) for entry in re.split(r"[\s,]+", text) if entry]
        self._chosen: dict[str, ProxyChoice] = {}  # by URLs, of which a configuration has a few

    def choice_for(self, url: str) -> ProxyChoice:
        """Return how a URL is reached."""
        if url not in self._chosen:
            self._chosen[url] = self._choose(url)
        return self._chosen[url]

    def _choose(self, url: str) -> ProxyChoice:
        if self._option != ENVIRONMENT and _origin(url) in self._origins:
            proxy = None if self._option == NONE else self._option
            return ProxyChoice(proxy, OPTION, "configuration", OPTION)
        scheme, host, port = _origin(url)
        candidates = (_variable(f"{each}_proxy", self._environ) for each in (scheme, "all"))
        name, text = next((each for each in candidates if each[1]), ("", ""))
        if not text:
            return ProxyChoice(None)
        for each in self._exceptions:
            if each.covers(host, port):
                return ProxyChoice(None, f"{each.variable} has {each.entry}")
        proxy = text if "://" in text else f"http://{text}"
        return ProxyChoice(proxy, f"environment variable {name}", f"environment variable {name}", name)

    def meaningless_exceptions(self) -> list[tuple[str, str]]:
        """Return the entries of NO_PROXY that match nothing, each after its variable's name."""
        return [(each.variable, each.entry) for each in self._exceptions if each.is_meaningless]


class _Exception:
    """One entry of NO_PROXY."""

    def __init__(self, variable: str, entry: str) -> None:
        self.variable = variable
        self.entry = entry
        host, self._port = _host_and_port(entry)
        self._network = _network(host) if "/" in host else None
        self._address = _address(host)
        self._domain = _normal(host.removeprefix("*").lstrip("."))
        self._is_all = entry == "*"
        is_name = re.search(r"[/:\[\]*]", self._domain) is None and bool(self._domain)
        self.is_meaningless = not (self._is_all or self._network or self._address or is_name)

    def covers(self, host: str, port: int | None) -> bool:
        """Return whether a host is reached without the proxy."""
        if self._is_all:
            return True
        if self.is_meaningless or self._port not in (None, port):
            return False
        address = _address(host)
        if address is not None:
            return address == self._address or (self._network is not None and address in self._network)
        return self._address is None and (host == self._domain or host.endswith(f".{self._domain}"))


def mistake_in(url: str) -> str | None:
    """Return what is wrong with a proxy's URL, in words; None if it can be used."""
    try:
        parts = urlsplit(url)
        is_usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return "is no URL of a proxy"
    if parts.scheme not in _PROXY_SCHEMES:
        return "is no URL of a proxy that can be used: its scheme must be http, https, socks5 or socks5h"
    return None if is_usable and re.search(r"[\s\x00-\x1f]", url) is None else "is no URL of a proxy"


def shown(url: str) -> str:
    """Return the address in a URL, without user, password and path."""
    scheme, mark, rest = url.partition("://")
    return scheme + mark + re.split(r"[/?#]", rest.rpartition("@")[2])[0]


def _variable(name: str, environ: Mapping[str, str]) -> tuple[str, str]:
    """Return a variable's name as it is set, and its text; lower case wins, even when it is empty."""
    spelling = name if name in environ else name.upper()
    return spelling, environ.get(spelling, "").strip()


def _origin(url: str) -> tuple[str, str, int | None]:
    try:
        parts = urlsplit(url)
        return parts.scheme, _normal(parts.hostname or ""), _port_of(parts)
    except ValueError:  # it is refused elsewhere
        return "", url, None


def _port_of(parts: SplitResult) -> int | None:
    return parts.port if parts.port is not None else _PORTS.get(parts.scheme)


def _host_and_port(entry: str) -> tuple[str, int | None]:
    """Split an entry of NO_PROXY: `host:8080`, `[::1]:8080`; a bare IPv6 address has colons of its own."""
    match = re.fullmatch(r"(\[[^\]]*\](?:/\d+)?|[^:]*):(\d{1,5})", entry)
    host, port = (match[1], int(match[2])) if match else (entry, None)
    return re.sub(r"^\[([^\]]*)\]", r"\1", host), port


def _address(host: str) -> _Address | None:
    """Read an address; one of IPv4 that is written as IPv6 is the same, and its zone does not count."""
    try:
        address = ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _network(text: str) -> _Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def _normal(host: str) -> str:
    """Return a host as it is compared: in lower case, without a dot at the end, in the letters of the DNS."""
    host = host.lower().rstrip(".")
    try:
        return host.encode("idna").decode("ascii") if not host.isascii() else host
    except UnicodeError:
        return host
