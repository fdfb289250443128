"""The configuration, here and at N8N: `init`, `config`, `n8n-workflow`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from receipt_watcher.cli.context import (
    compared_with_daemon,
    config_option,
    json_option,
    load_config,
    load_config_with_origins,
    print_how_to_sign_in,
    print_json,
    print_line,
)
from receipt_watcher.jobs.job import Folder
from receipt_watcher.system.permissions import give_away

if TYPE_CHECKING:
    from receipt_watcher.config.options import Config


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--webhook-url", default=None, help="The Production URL of the workflow's Webhook node.")
@json_option
def init(folder: Path, webhook_url: str | None, *, as_json: bool) -> None:
    """Make a set-up in FOLDER: a commented watcher.yaml with a fresh callback token, and the folders.

    Example: receipt-watcher init /srv/receipts --webhook-url https://n8n.office.lan/webhook/receipts
    """
    from receipt_watcher.cli.documents.example import example_yaml
    from receipt_watcher.system.state_dir import Installation, new_token

    folder = folder.absolute()
    path = folder / "watcher.yaml"
    if path.exists():
        raise click.UsageError(f"{path} is there already; nothing was changed")
    values: dict[str, object] = {
        "inboxes.0.path": str(folder / "inbox"),
        "callback.secret_token": new_token(),
        "http.local_role": "none",
        "state_dir": str(folder / "state"),
    }
    if webhook_url:
        values["n8n.webhook_url"] = webhook_url
    made = [each for each in (*reversed(folder.parents), folder) if not each.exists()]
    for name in ("inbox", *Folder):
        if not (folder / name).exists():
            (folder / name).mkdir(parents=True)
            made.append(folder / name)
    Installation(folder / "state").make_folder()
    path.touch(mode=0o600)  # it holds the token
    path.write_text(example_yaml(values), "utf-8")
    give_away(*made, folder / "state", path)
    if as_json:
        print_json({"config": str(path), "folders": [str(folder / name) for name in ("inbox", *Folder, "state")]})
        return
    click.echo(f"Made {path} and the folders inbox, processing, done, failed and state beside it.")
    click.echo("Next: set n8n.webhook_url, n8n.api_key and http.public_url there; then")
    click.echo(f"  receipt-watcher check --config {path}\n  receipt-watcher run --config {path}")
    print_how_to_sign_in()


@click.group()
def config() -> None:
    """Look at the configuration."""


@config.command("show")
@config_option
@click.option("--origins", is_flag=True, help="With --json: each option with its value and where that comes from.")
@json_option
def config_show(config_file: Path | None, *, origins: bool, as_json: bool) -> None:
    """Show the configuration that a command reads, without secrets, with origins, and what the daemon's differs in.

    Example: receipt-watcher config show --config watcher.yaml
    """
    from receipt_watcher.cli.documents.origins import lines_with_origins, options_with_origins
    from receipt_watcher.config.consistency import dotted
    from receipt_watcher.config.secrets import redacted

    config, origin_of = load_config_with_origins(config_file)
    shown = redacted(config)
    for line in compared_with_daemon(config, origin_of, config_file).lines():
        print_line(f"# {line}", err=as_json)
    if as_json and origins:
        rows = options_with_origins(shown, origin_of)
        print_json([{"option": dotted(key), "value": value, "origin": origin} for key, value, origin in rows])
    elif as_json:
        print_json(shown)
    else:
        for line in lines_with_origins(shown, origin_of):
            print_line(line)


@config.command("schema")
def config_schema() -> None:
    """Print a JSON Schema of watcher.yaml, by which an editor completes, explains and checks while you write.

    Example: receipt-watcher config schema > watcher.schema.json
    """
    from receipt_watcher.cli.documents.json_schema import json_schema

    print_json(json_schema())


@config.command("example")
def config_example() -> None:
    """Print a configuration file with every option, its default and a line of why.

    Example: receipt-watcher config example > watcher.yaml
    """
    from receipt_watcher.cli.documents.example import example_yaml

    click.echo(example_yaml(), nl=False)


@click.command("n8n-workflow")
@click.argument("name", required=False)
@click.option("--credentials", is_flag=True, help="Print the two credentials instead, with the secrets in force.")
@click.option("--signed", is_flag=True, help="It takes no JSON without our signature; and the credential for that.")
@click.option("--path", default="receipts", show_default=True, help="The webhook's path: …/webhook/PATH.")
@config_option
@json_option
def n8n_workflow(
    name: str | None, path: str, config_file: Path | None, *, credentials: bool, signed: bool, as_json: bool
) -> None:
    """Print a workflow that ships, for n8n's import; without NAME, list them.

    Example: receipt-watcher n8n-workflow echo > echo.json
    """
    from receipt_watcher.delivery.destinations.n8n.workflows import WORKFLOWS, workflow_json

    if credentials and name is not None:
        raise click.UsageError("Give one of the two: NAME prints a workflow, --credentials its credentials.")
    if signed and name is None and not credentials:
        raise click.UsageError("--signed goes with NAME or with --credentials.")
    if credentials:
        config = load_config(config_file)
        print_json([*_credentials(config), *([_signing_credential(config)] if signed else [])])
    elif name is not None:
        print_json(workflow_json(name, webhook_path=path.strip("/"), is_signed=signed))
    elif as_json:
        print_json([{"name": each.name, "summary": each.summary, "needs": each.needs} for each in WORKFLOWS.values()])
    else:
        for each in WORKFLOWS.values():
            click.echo(f"{each.name:15} {each.summary}\n{'':15} needs {each.needs}")


def _credentials(config: Config) -> list[dict[str, Any]]:
    from receipt_watcher.delivery.destinations.n8n.workflows import credentials_json
    from receipt_watcher.system.state_dir import Installation

    if not config.n8n.api_key:
        raise click.UsageError("n8n.api_key is not set; put the output of this there: openssl rand -hex 32")
    secret = config.callback.secret_token
    installation = Installation(config.state_dir)
    installation.make_folder()
    token = secret.get_secret_value() if secret else installation.callback_token()
    return credentials_json(config.n8n.api_key.get_secret_value(), token)


def _signing_credential(config: Config) -> dict[str, Any]:
    from receipt_watcher.delivery.destinations.n8n.workflows import signing_credential_json

    recipe = "put the output of this there: " + """echo "whsec_$(openssl rand -hex 32 | tr -d '\\n' | base64 -w 0)\""""
    if not config.n8n.signing_secret:
        raise click.UsageError(f"n8n.signing_secret is not set; {recipe}")
    try:
        return signing_credential_json(config.n8n.signing_secret.get_secret_value())
    except ValueError as error:
        raise click.UsageError(f"n8n.signing_secret is not for n8n: {error}; {recipe}") from error
