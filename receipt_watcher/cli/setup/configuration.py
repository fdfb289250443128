"""The configuration of the service: written once, and what is still missing in it."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from receipt_watcher.cli.documents.example import example_yaml
from receipt_watcher.cli.setup import program
from receipt_watcher.cli.setup.files import Step, folder_step, replace_file
from receipt_watcher.cli.setup.host import Host
from receipt_watcher.cli.setup.places import CREDENTIALS, PROGRAM, STATE
from receipt_watcher.config.sources.load import SYSTEM_CONFIG_FILE, load
from receipt_watcher.errors import ConfigError, Problem
from receipt_watcher.spool.paths import SpoolFolders
from receipt_watcher.system.state_dir import new_token

_EXAMPLE_HOST = "n8n.example.com"


def lines_of_check(host: Host) -> list[str]:
    """Return what `check` says of the service's configuration; as root it works as the service's user."""
    variables = [f"{name}={value}" for name, value in environment_of(host).items()]
    return host.says(
        "env", *variables, str(PROGRAM / "bin" / program.NAME), "check", "--config", str(SYSTEM_CONFIG_FILE)
    )


def environment_of(host: Host) -> dict[str, str]:
    """Return what systemd adds to the service's environment, with the credentials as root sees them."""
    return {"STATE_DIRECTORY": str(STATE), "CREDENTIALS_DIRECTORY": str(host.at(CREDENTIALS))}


def problems_before_start(host: Host) -> list[Problem]:
    """Return what is still to be set before the service can start."""
    try:
        config = load(host.at(SYSTEM_CONFIG_FILE), environment_of(host))
    except ConfigError as error:
        return error.problems
    file = str(SYSTEM_CONFIG_FILE)
    if urlsplit(str(config.n8n.webhook_url)).hostname == _EXAMPLE_HOST:
        right = "give the Production URL of your workflow's Webhook node"
        return [Problem(file, "n8n.webhook_url", "is still that of the example", right)]
    if (url := config.unreachable_callback_url()) is not None:
        wrong = f"N8N runs elsewhere and cannot call back at {url}"
        right = "set it to how N8N reaches this machine, and http.host to 0.0.0.0 or that address"
        return [Problem(file, "http.public_url", wrong, right)]
    return []


def configuration_steps(
    host: Host, spool: SpoolFolders, webhook_url: str | None, public_url: str | None
) -> Iterator[Step]:
    """Yield the steps that write a configuration, unless one is there."""
    file = host.at(SYSTEM_CONFIG_FILE)

    def write() -> None:
        values: dict[str, object] = {
            "inboxes.0.path": str(spool.inbox),
            "callback.secret_token": new_token(),
            "http.local_role": "none",
        }
        if webhook_url:
            values["n8n.webhook_url"] = webhook_url
        if public_url:
            values["http.public_url"] = public_url
            if urlsplit(public_url).scheme == "http":  # no proxy is between N8N and us
                values["http.host"] = "0.0.0.0"  # noqa: S104 - that is asked for: N8N is to reach us
        replace_file(file, example_yaml(values).encode(), 0o600)
        host.own(file, 0o640, by_root=True)

    yield folder_step(host, SYSTEM_CONFIG_FILE.parent, 0o750, by_root=True)
    yield Step(f"the configuration {SYSTEM_CONFIG_FILE}, with a fresh callback token", file.exists, write)
