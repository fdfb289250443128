"""Runs a module's own tests against its mutants, each in a forked process, so that libraries are imported once."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import hypothesis  # noqa: F401 - what each child would import again
import pydantic  # noqa: F401
import pytest
import structlog  # noqa: F401

from tests.mutation.mutants import Mutant, mutants_of

REPOSITORY = Path(__file__).parents[2]

#: A mutant that makes its tests run for so long is noticed.
_PATIENCE_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Result:
    """The number of a module's mutants, and those that no test noticed."""

    mutants: int
    survivors: list[Mutant]


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from a text instead of its file."""

    def __init__(self, name: str, source: str, path: Path) -> None:
        self._name = name
        self._source = source
        self._path = path

    def find_spec(
        self, fullname: str, path: object = None, target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Answer for this one module."""
        if fullname != self._name:
            return None
        return importlib.util.spec_from_loader(fullname, self, origin=str(self._path))

    def exec_module(self, module: ModuleType) -> None:
        """Run the text as the module."""
        module.__file__ = str(self._path)
        exec(compile(self._source, str(self._path), "exec"), module.__dict__)


def survivors_of(module: str, tests: Sequence[str]) -> Result:
    """Return what becomes of each mutant of a module, named as below `receipt_watcher`.

    Raises:
        ValueError: the tests fail without any change, so they would notice everything.
    """
    path = REPOSITORY / "receipt_watcher" / f"{module.replace('.', '/')}.py"
    source = path.read_text("utf-8")
    name = f"receipt_watcher.{module}"
    if not _passes(name, source, path, tests):
        raise ValueError(f"the tests of {module} fail without any change: {' '.join(tests)}")
    mutants = mutants_of(source)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        passed = list(pool.map(lambda mutant: _passes(name, mutant.source, path, tests), mutants))
    return Result(len(mutants), [mutant for mutant, is_green in zip(mutants, passed, strict=True) if is_green])


def _passes(name: str, source: str, path: Path, tests: Sequence[str]) -> bool:
    """Return whether the tests pass with this text as the module."""
    child = os.fork()
    if child == 0:
        os._exit(_run(name, source, path, tests))
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) == 0


def _run(name: str, source: str, path: Path, tests: Sequence[str]) -> int:
    """Run the tests in this process, which ends after it."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(_PATIENCE_SECONDS)
    silent = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(silent, descriptor)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = folder
        sys.meta_path.insert(0, _Finder(name, source, path))
        return int(
            pytest.main(["-x", "-q", "--assert=plain", "-p", "no:cacheprovider", f"--basetemp={folder}/tmp", *tests])
        )
