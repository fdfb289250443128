"""Load the configuration: merge its sources, check all values, list all mistakes.

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

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from receipt_watcher.config.consistency import clashes
from receipt_watcher.config.options import Config, default_state_dir
from receipt_watcher.config.sections.section import Key
from receipt_watcher.config.sources.merged import CONFIG_VARIABLE, MergedSources
from receipt_watcher.config.sources.mistakes import explained
from receipt_watcher.config.sources.tree import DROP, with_value
from receipt_watcher.errors import ConfigError, Problem
from receipt_watcher.system.display import display_name

SYSTEM_CONFIG_FILE = Path("/etc/receipt-watcher/watcher.yaml")


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


def _gathered(path: Path | None, environ: Mapping[str, str]) -> tuple[Config | None, MergedSources]:
    sources = MergedSources(display_name(path) if path else "no configuration file")
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
        sources.blame(error["loc"], *explained(error))
    sources.give_up(*(error["loc"] for error in errors))
    for error in errors:
        tree = with_value(tree, error["loc"], DROP)
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
