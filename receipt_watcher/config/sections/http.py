"""The address of callbacks, the status page and the API, and the rights of their callers."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal

from pydantic import Field, model_validator

from receipt_watcher.config.sections.section import Section
from receipt_watcher.config.values import (
    AbsolutePath,
    BaseUrl,
    Networks,
    Origins,
    RootPath,
    Text,
    TokenHash,
    TokenName,
    Url,
    mistake,
)

#: `roles.Role` says what each may.
RoleName = Literal["viewer", "uploader", "operator", "admin"]


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
    """The address of callbacks, the status page and the API, and the rights of their callers."""

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
    requests_per_minute: int = Field(
        default=3000,
        ge=0,
        le=1_000_000,
        description="Most requests of one token, never of callbacks or people who are signed in; more are answered 429 "
        "with Retry-After. 0: any number.",
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


def is_loopback(host: str) -> bool:
    """Return whether a host name or address is this machine's own."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
