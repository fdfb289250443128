"""The program as it is copied for a service: complete, by itself, and in one piece whatever happens."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from receipt_watcher import __version__
from receipt_watcher.cli.setup import program
from receipt_watcher.errors import ReceiptWatcherError
from tests.fakes.daemons.process import REPOSITORY


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy, made once for all by an admin with a narrow umask: some 100 MB."""
    folder = tmp_path_factory.mktemp("opt") / "receipt-watcher"
    before = os.umask(0o077)
    try:
        program.copy(folder)
    finally:
        os.umask(before)
    return folder


def run(*words: str | Path) -> str:
    """Run a command in an empty environment, and return what it printed."""
    return subprocess.run(words, env={}, cwd="/", check=True, capture_output=True, text=True).stdout


def test_a_copy_runs_by_itself(copied: Path) -> None:
    """A copy needs neither the environment that it was made from nor any of its variables."""
    assert run(copied / "bin/receipt-watcher", "--version") == f"receipt-watcher, version {__version__}\n"
    paths = run(copied / "bin/python3", "-I", "-c", "import sys; print(*sys.path, sep='\\n')").splitlines()
    own = [path for path in paths if path.endswith("site-packages")]
    assert own == [str(copied / program._site())]


def test_a_copy_holds_what_the_daemon_imports_and_no_tools(copied: Path) -> None:
    """Everything that the package imports comes along, channels too; what only tests need stays behind."""
    modules = (
        "receipt_watcher.service.process.daemon, receipt_watcher.examine.judge, receipt_watcher.examine.worker, apprise"
    )
    assert run(copied / "bin/python3", "-I", "-c", f"import {modules}; print('fine')") == "fine\n"
    packages = {path.name for path in (copied / program._site()).iterdir()}
    assert packages.isdisjoint({"pytest", "mypy", "pip", "hypothesis"})
    assert (copied / program.SHARED / "systemd/receipt-watcher.service").is_file()


def test_a_copy_is_for_every_user(copied: Path) -> None:
    """Each file can be read and each folder entered by the service's user; else the copy is made again."""
    shut = [path for path in copied.rglob("*") if path.stat().st_mode & 0o044 != 0o044]
    shut += [path for path in (copied, *copied.rglob("*")) if path.is_dir() and path.stat().st_mode & 0o055 != 0o055]
    assert shut == []
    assert program.is_current(copied)
    for path in (copied / "pyvenv.cfg", copied / program._site() / "receipt_watcher"):
        mode = path.stat().st_mode
        path.chmod(0o700)
        assert not program.is_current(copied)
        path.chmod(mode)
    assert program.is_current(copied)


def test_a_copy_is_compiled(copied: Path) -> None:
    """The service may not write beside its modules, so each is there compiled, under the name that it will have."""
    site = copied / program._site() / "receipt_watcher"
    compiled = {path.parents[1] / path.name.partition(".")[0] for path in site.rglob("__pycache__/*.pyc")}
    assert compiled == {path.with_suffix("") for path in site.rglob("*.py")}
    assert str(site / "errors.py").encode() in next((site / "__pycache__").glob("errors.*.pyc")).read_bytes()


def test_a_copy_can_be_copied(copied: Path, tmp_path: Path) -> None:
    """The copy knows what it requires, so `service install` may be run from one as well."""
    script = (
        "import sys; from pathlib import Path; from receipt_watcher.cli.setup import program; "
        "program.copy(Path(sys.argv[1]))"
    )
    again = tmp_path / "again"
    run(copied / "bin/python3", "-I", "-c", script, again)
    assert run(again / "bin/receipt-watcher", "--version") == f"receipt-watcher, version {__version__}\n"
    assert {path.relative_to(again) for path in again.rglob("*.py")} == {
        path.relative_to(copied) for path in copied.rglob("*.py")
    }


def test_a_copy_that_differs_is_not_current(copied: Path) -> None:
    """One byte that differs, or a file that is missing, is seen; so is nothing at all."""
    assert program.is_current(copied)
    module = copied / program._site() / "receipt_watcher/cli/main.py"
    before = module.read_bytes()
    module.write_bytes(before.replace(b"receipt", b"Receipt", 1))
    assert not program.is_current(copied)
    module.unlink()
    assert not program.is_current(copied)
    module.write_bytes(before)
    assert program.is_current(copied)
    assert not program.is_current(copied.with_name("elsewhere"))


def test_an_older_copy_stays_until_the_newer_one_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy that cannot be finished leaves the older one as it was; the next one replaces it, rests and all."""
    folder = tmp_path / "receipt-watcher"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin/receipt-watcher").write_text("the older one")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as context:
        context.setattr(shutil, "copyfile", full)
        with pytest.raises(OSError, match="No space left"):
            program.copy(folder)
    assert (folder / "bin/receipt-watcher").read_text() == "the older one"
    monkeypatch.setattr(program, "_files", lambda: iter(()))
    program.copy(folder)
    assert "from receipt_watcher.cli.main import main" in (folder / "bin/receipt-watcher").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["receipt-watcher"]


def test_an_older_copy_is_there_again_when_the_newer_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever fails when the newer one is whole, or dies between the two renames, the older one is not lost."""
    folder, old = tmp_path / "receipt-watcher", tmp_path / "receipt-watcher.old"
    folder.mkdir()
    (folder / "mark").write_text("the older one")
    rename = Path.rename
    monkeypatch.setattr(program, "_files", lambda: iter(()))

    def busy(path: Path, target: Path) -> Path:
        if path.name.endswith(".new"):
            raise OSError(16, "Device or resource busy")
        return rename(path, target)

    def stuck() -> None:
        assert (folder.with_name("receipt-watcher.new") / "bin/receipt-watcher").is_file()
        raise ReceiptWatcherError("the service does not stop")

    with pytest.raises(ReceiptWatcherError, match="does not stop"):
        program.copy(folder, before_swap=stuck)
    with monkeypatch.context() as context:
        context.setattr(Path, "rename", busy)
        with pytest.raises(OSError, match="busy"):
            program.copy(folder)
    assert (folder / "mark").read_text() == "the older one"
    folder.rename(old)
    with pytest.raises(ReceiptWatcherError, match="does not stop"):
        program.copy(folder, before_swap=stuck)
    assert (folder / "mark").read_text() == "the older one"
    program.copy(folder)
    assert not (folder / "mark").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["receipt-watcher"]


def test_an_interpreter_in_a_home_folder_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service may not look into home folders, so an interpreter there is refused in words that say what to do."""
    monkeypatch.setattr(Path, "is_file", lambda path: "home" in path.parts)
    monkeypatch.setattr(sys, "base_prefix", "/home/anna/python")
    with pytest.raises(ReceiptWatcherError, match=r"/home/anna/python/bin/python3\.\d+ lies in a home folder"):
        program.system_python()


def test_the_units_are_found_in_the_repository() -> None:
    """Where pip installs no files beside packages, as with -e, those of the repository are taken."""
    assert (program.shared_files() / "receipt-watcher.service").read_bytes() == (
        REPOSITORY / "systemd/receipt-watcher.service"
    ).read_bytes()


def test_the_package_is_built_by_a_plain_installation() -> None:
    """The command that builds the Debian package imports nothing that only an installation for tests has."""
    lines = (REPOSITORY / "pyproject.toml").read_text("utf-8").partition("dev = [")[2].partition("]\n")[0]
    only_for_tests = {name.lower().replace("-", "_") for name in re.findall(r'^    "([\w-]+)', lines, re.MULTILINE)}
    assert {"pytest", "hypothesis"} <= only_for_tests
    script = (
        f"import sys; sys.modules.update(dict.fromkeys({only_for_tests - {'apprise'}})); import systemd.debian.build"
    )
    subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, check=True)
