"""The text file for node_exporter: our metrics, if nothing may scrape us.

What it promises: whoever reads it finds it whole (written beside it, then renamed), readable by anybody, and no older
than TEXTFILE_SECONDS while the daemon runs. A clean stop removes it; a crash leaves the last one, and its age tells
(node_textfile_mtime_seconds). A disk that is full costs the file, nothing else.

Called in a loop of its own, by its own thread.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import structlog

logger = structlog.get_logger()

#: It is written as often as Prometheus looks by its defaults, and a little oftener.
TEXTFILE_SECONDS = 15.0


class Textfile:
    """One file; `text` returns what is to be in it."""

    def __init__(self, path: Path, text: Callable[[], bytes]) -> None:
        self._path = path
        self._text = text
        self._told: str | None = None

    def run_once(self) -> float:
        """Write the file, and return how long to wait, in seconds."""
        content = self._text()
        temporary = self._path.with_name(f".{self._path.name}.new")  # node_exporter reads *.prom
        try:
            with contextlib.suppress(FileNotFoundError):
                temporary.unlink()  # a link that somebody put there is not followed
            with temporary.open("xb") as file:
                file.write(content)
            temporary.chmod(0o644)
            temporary.replace(self._path)
        except OSError as error:
            self._log_trouble(error.strerror or str(error))
            with contextlib.suppress(OSError):
                temporary.unlink()
        else:
            self._told = None
        return TEXTFILE_SECONDS

    def remove(self) -> None:
        """Remove the file, since the daemon stops and old figures would mislead."""
        with contextlib.suppress(OSError):
            self._path.unlink()

    def _log_trouble(self, why: str) -> None:
        if why != self._told:
            logger.warning("textfile.not_written", path=str(self._path), why=why)
        self._told = why
