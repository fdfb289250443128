"""The program itself, copied into an environment of its own, where a service may run it.

What it promises: `copy` makes a virtual environment that holds receipt-watcher and what it needs, as they are here, and
nothing else; no network is asked. Any user can read it, whatever umask the caller has. It is complete before it takes
the place of an older one, and an error or a crash before that leaves the older one, with a folder `.new` beside it that
the next call replaces; between the two renames a crash leaves it as `.old`, which the next call puts back first.
`is_current` compares byte for byte.

Called by the command line, `service install`, and by the script that builds the Debian package.
"""

from __future__ import annotations

import contextlib
import filecmp
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib import metadata
from pathlib import Path

from receipt_watcher import __version__
from receipt_watcher.errors import ReceiptWatcherError

NAME = "receipt-watcher"
#: The folder of the units and their companions below the environment; see pyproject.toml.
SHARED = Path("share") / NAME

_PACKAGE = Path(__file__).parents[2]
#: For group and others; see stat(2).
_READABLE, _SEARCHABLE = 0o044, 0o011
#: -I: whatever PYTHONPATH or the home folder of who calls it hold, it runs what lies beside it.
_SCRIPT = """\
#!{folder}/bin/python3 -I
import sys

from receipt_watcher.cli.main import main

sys.exit(main())
"""


def shared_files() -> Path:
    """Return the folder of units and the like: of this environment, else of the repository.

    Raises:
        ReceiptWatcherError: they are not there.
    """
    folders = (Path(sys.prefix) / SHARED / "systemd", _PACKAGE.parent / "systemd")
    shared = next((folder for folder in folders if (folder / f"{NAME}.service").is_file()), None)
    if shared is None:
        raise ReceiptWatcherError(
            f"the units are not where pip puts them ({folders[0]}); install receipt-watcher by pip, as the README says"
        )
    return shared


def system_python() -> Path:
    """Return the interpreter for the service: that of the system, in the version that runs now.

    Raises:
        ReceiptWatcherError: there is none outside of home folders, where a service may not look.
    """
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    own = Path(sys.base_prefix, "bin", name)
    interpreter = next((path for path in (Path("/usr/bin", name), own) if path.is_file()), own)
    if interpreter.is_relative_to("/home") or interpreter.is_relative_to("/root"):
        raise ReceiptWatcherError(
            f"{interpreter} lies in a home folder, where a service may not look; install {name} for the whole system, "
            "and receipt-watcher with that"
        )
    return interpreter


@contextlib.contextmanager
def readable_by_all() -> Iterator[None]:
    """Let any user read the files and enter the folders that are made meanwhile, also by processes that are started."""
    before = os.umask(0o022)
    try:
        yield
    finally:
        os.umask(before)


def is_current(folder: Path) -> bool:
    """Return whether `folder` needs no copy: it holds the same for any user, or we run from it."""
    if Path(sys.prefix).resolve() == folder.resolve():
        return True
    script = folder / "bin" / NAME
    if not script.is_file() or script.read_text("utf-8") != _SCRIPT.format(folder=folder):
        return False
    files = [(source, folder / at) for source, at in _files()]
    if not all(copied.is_file() and filecmp.cmp(source, copied, shallow=False) for source, copied in files):
        return False
    made = {script, folder / "pyvenv.cfg", *(copied for _, copied in files)}
    folders = {above for path in made for above in path.parents if above.is_relative_to(folder)}
    return _all_have(made, _READABLE) and _all_have(folders, _READABLE | _SEARCHABLE)


def _all_have(paths: Iterable[Path], rights: int) -> bool:
    return all(path.stat().st_mode & rights == rights for path in paths)


def copy(folder: Path, *, home: Path | None = None, before_swap: Callable[[], object] = lambda: None) -> None:
    """Make the environment in `folder`, which will be called `home`, in place of what is there.

    `before_swap` is called when it is complete; what it raises leaves the older one.

    Raises:
        ReceiptWatcherError: a part is missing here, or there is no interpreter that a service may use.
    """
    new, old = folder.with_name(f"{folder.name}.new"), folder.with_name(f"{folder.name}.old")
    if old.exists() and not folder.exists():
        old.rename(folder)
    for rest in (new, old):
        shutil.rmtree(rest, ignore_errors=True)
    with readable_by_all():
        _write(new, home or folder, system_python())
    before_swap()
    if folder.exists():
        folder.rename(old)
    try:
        new.rename(folder)
    except OSError:
        if old.exists():
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _write(folder: Path, home: Path, python: Path) -> None:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    binaries = folder / "bin"
    binaries.mkdir(parents=True)
    (binaries / "python3").symlink_to(python)
    settings = f"home = {python.parent}\ninclude-system-site-packages = false\nversion = {version}\n"
    (folder / "pyvenv.cfg").write_text(settings, "utf-8")
    for source, at in _files():
        (folder / at).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, folder / at)
        (folder / at).chmod(0o644)
    # What we require, so that the copy can be copied in turn.
    about = folder / _site() / f"{_PACKAGE.name}-{__version__}.dist-info/METADATA"
    about.parent.mkdir(parents=True)
    own = metadata.distribution(NAME)
    about.write_text(own.read_text("METADATA") or own.read_text("PKG-INFO") or "", "utf-8")
    script = binaries / NAME
    script.write_text(_SCRIPT.format(folder=home), "utf-8")
    script.chmod(0o755)
    # Now, since the service may not write here; what cannot be compiled is of no use to us either.
    compile_all = [
        str(python),
        "-m",
        "compileall",
        "-q",
        "-j",
        "0",
        "-s",
        str(folder),
        "-p",
        str(home),
        str(folder / "lib"),
    ]
    subprocess.run(compile_all, stdout=subprocess.DEVNULL, check=False)  # noqa: S603 - the interpreter found above


def _site() -> Path:
    return Path(f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages")


def _files() -> Iterator[tuple[Path, Path]]:
    """Yield each file that belongs to the program: where it is, and where below an environment it goes."""
    site = _site()
    for distribution in _needed():
        if distribution.metadata["Name"] == NAME:
            continue
        for file in distribution.files or ():
            source = Path(str(distribution.locate_file(file)))
            if ".." not in file.parts and file.suffix != ".pyc" and source.is_file():
                yield source, site / file
    # Ourselves: from where we run, be it an environment or a repository.
    for source in sorted(_PACKAGE.rglob("*")):
        if source.is_file() and source.suffix != ".pyc":
            yield source, site / _PACKAGE.name / source.relative_to(_PACKAGE)
    shared = shared_files()
    for source in sorted(shared.rglob("*")):
        if source.is_file():
            yield source, SHARED / "systemd" / source.relative_to(shared)


def _needed() -> list[metadata.Distribution]:
    """Return our distribution and all that it requires, in turn, without what only its tests need."""
    distributions: dict[str, metadata.Distribution] = {}
    wanted = [(NAME, False)]
    while wanted:
        name, is_optional = wanted.pop()
        if name in distributions:
            continue
        try:
            distributions[name] = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            if is_optional:  # for another system, or for an extra that nobody asked for
                continue
            raise ReceiptWatcherError(
                f"{name} is missing here, and the service would not start without it; install receipt-watcher by pip, "
                "as the README says"
            ) from None
        wanted += _required_by(distributions[name])
    return [distributions[name] for name in sorted(distributions)]


def _required_by(distribution: metadata.Distribution) -> Iterator[tuple[str, bool]]:
    """Yield the name of each requirement, and whether it may be missing: where it is one under a condition."""
    is_ours = distribution.metadata["Name"] == NAME
    for requirement in distribution.requires or ():
        words, _, condition = requirement.partition(";")
        extra = re.search(r"extra\s*==\s*['\"]([\w-]+)", condition)
        # Extras of ours that are installed go along; those of others are none of our business.
        if extra is None or (is_ours and extra[1] != "dev"):
            yield re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", words)[0]).lower(), bool(condition)
