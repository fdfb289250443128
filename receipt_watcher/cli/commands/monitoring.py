"""Commands for monitoring: `health`, `metrics`."""

from __future__ import annotations

from pathlib import Path

import click

from receipt_watcher.cli.context import FINE, WRONG, config_option, json_option, load_config, print_line


@click.command()
@config_option
@json_option
def health(config_file: Path | None, *, as_json: bool) -> None:
    """Ask the running daemon whether it is ready: one line, and exit code 1 where it is not, or does not answer.

    Example: receipt-watcher health
    """
    from receipt_watcher.cli.commands.health import ask

    answer = ask(load_config(config_file), as_json=as_json)
    print_line(answer.text)
    raise click.exceptions.Exit(FINE if answer.is_ready else WRONG)


@click.group()
def metrics() -> None:
    """Print what goes with GET /metrics: a dashboard and alert rules."""


@metrics.command("dashboard")
def metrics_dashboard() -> None:
    """Print a dashboard for Grafana's import.

    Example: receipt-watcher metrics dashboard > receipt-watcher.json
    """
    click.echo(_shipped("dashboard.json"), nl=False)


@metrics.command("alerts")
def metrics_alerts() -> None:
    """Print alert rules for Prometheus.

    Example: receipt-watcher metrics alerts > /etc/prometheus/receipt-watcher.yaml
    """
    click.echo(_shipped("alerts.yaml"), nl=False)


def _shipped(name: str) -> str:
    return (Path(__file__).parents[2] / "report" / "monitoring" / name).read_text("utf-8")
