"""For the shell and the manual: `completion`, `man`."""

from __future__ import annotations

from pathlib import Path

import click
from click.shell_completion import get_completion_class

PAGES = {"receipt-watcher": "receipt-watcher.1", "watcher.yaml": "watcher.yaml.5"}


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    r"""Print what makes a shell complete commands, options, job ids and inboxes.

    \b
    bash: receipt-watcher completion bash > /etc/bash_completion.d/receipt-watcher
    zsh:  receipt-watcher completion zsh > "${fpath[1]}/_receipt-watcher"
    fish: receipt-watcher completion fish > ~/.config/fish/completions/receipt-watcher.fish

    Example: receipt-watcher completion bash
    """
    of_shell = get_completion_class(shell)
    if of_shell is None:
        raise click.UsageError(f"Nothing is known of {shell}.")
    made = of_shell(context.find_root().command, {}, "receipt-watcher", "_RECEIPT_WATCHER_COMPLETE")
    click.echo(made.source_template % made.source_vars())  # not `source`, which starts bash to ask for its version


@click.command("man")
@click.argument("page", type=click.Choice(list(PAGES)), default="receipt-watcher")
@click.option("--to", "folder", type=click.Path(path_type=Path, file_okay=False), help="Write all pages there instead.")
@click.pass_context
def man(context: click.Context, page: str, folder: Path | None) -> None:
    """Print a page of the manual, receipt-watcher(1) or watcher.yaml(5), as man reads it.

    Example: receipt-watcher man watcher.yaml | man -l -
    """
    from receipt_watcher.cli.documents.manual import command_page, file_page
    from receipt_watcher.cli.setup.program import readable_by_all

    root = context.find_root().command
    pages = {"receipt-watcher": lambda: command_page(root), "watcher.yaml": file_page}
    if folder is None:
        click.echo(pages[page](), nl=False)
        return
    with readable_by_all():
        folder.mkdir(parents=True, exist_ok=True)
        for name, file in PAGES.items():
            (folder / file).write_text(pages[name](), "utf-8")
            click.echo(str(folder / file))
