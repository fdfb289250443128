"""Tokens for the API: `token create`."""

from __future__ import annotations

import json

import click

from receipt_watcher.cli.context import json_option, print_json, print_line
from receipt_watcher.config.roles import Role


@click.group()
def token() -> None:
    """Make tokens for the API."""


@token.command("create")
@click.argument("name")
@click.option("--role", required=True, type=click.Choice([role.value for role in Role]), help="What it may.")
@json_option
def token_create(name: str, role: str, *, as_json: bool) -> None:
    """Make a token, show it this once, and print the line for http.tokens, which holds its hash only.

    Example: receipt-watcher token create anna --role operator
    """
    from receipt_watcher.config.secrets import hash_of, is_token_name, new_secret

    if not is_token_name(name):
        raise click.UsageError(f"{name!r} is no name for a token: letters, digits, . _ @ - between, 40 at the most.")
    secret = new_secret()
    line = f"{json.dumps(name)}: {{role: {role}, hash: {json.dumps(hash_of(secret))}}}"
    if as_json:
        print_json({"name": name, "role": role, "token": secret, "hash": hash_of(secret), "line": line})
        return
    for text in (
        f"The token, shown this once:\n  {secret}\n",
        "In watcher.yaml, then reload the service (systemctl reload receipt-watcher):",
        "http:",
        "  tokens:",
    ):
        click.echo(text)
    print_line(f"    {line}")
