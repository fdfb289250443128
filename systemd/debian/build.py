"""Builds the Debian package: `python systemd/debian/build.py [--version 1.2.3] [FOLDER]`, from the repository's folder.

The program and what it needs are copied as they are in this environment, for the same version of Python, which the
package depends on; no network is asked. It needs nothing that only the tests do. Prints the path of the package.
"""

from __future__ import annotations

import argparse
import gzip
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from click.testing import CliRunner

from receipt_watcher import __version__
from receipt_watcher.cli.documents.manual import command_page, file_page
from receipt_watcher.cli.main import commands
from receipt_watcher.cli.setup import program

REPOSITORY = Path(__file__).parents[2]

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
#: What lies in `systemd/`, and where the package has it.
_PLACES = {
    "*.service": "lib/systemd/system",
    "*.socket": "lib/systemd/system",
    "*.catalog": "usr/lib/systemd/catalog",
    "sysusers.d/*.conf": "usr/lib/sysusers.d",
    "tmpfiles.d/*.conf": "usr/lib/tmpfiles.d",
    "drop-ins/*.conf": "usr/share/doc/receipt-watcher/examples",
}
_HOME = Path("/opt/receipt-watcher")


def main() -> int:
    """Build it and say where it is."""
    parser = argparse.ArgumentParser(prog="python systemd/debian/build.py", description="Builds the Debian package.")
    parser.add_argument("--version", default=__version__, help=f"default {__version__}")
    parser.add_argument("folder", nargs="?", type=Path, default=Path("dist"), help="where it goes; default dist")
    options = parser.parse_args()
    if shutil.which("dpkg-deb") is None:
        print("dpkg-deb is missing: build the package on Debian, or in a container of it", file=sys.stderr)  # noqa: T201
        return 2
    options.folder.mkdir(parents=True, exist_ok=True)
    print(build(options.folder, options.version))  # noqa: T201
    return 0


def build(folder: Path, version: str = __version__) -> Path:
    """Build the package in `folder` and return its path."""
    architecture = _ARCHITECTURES[platform.machine()]
    package = folder / f"{program.NAME}_{version}_{architecture}.deb"
    with tempfile.TemporaryDirectory() as temporary, program.readable_by_all():
        root = Path(temporary, "root")
        program.copy(root / _HOME.relative_to("/"), home=_HOME)
        _put_beside(root)
        _describe(root, version, architecture)
        subprocess.run(
            ["dpkg-deb", "--root-owner-group", "-Zzstd", "-z6", "--build", str(root), str(package)],
            check=True,
            stdout=subprocess.DEVNULL,
        )
    return package


def _put_beside(root: Path) -> None:
    """Put what is found elsewhere on the machine to its places: units, the command, what there is to read."""
    for kind, place in _PLACES.items():
        for source in sorted((REPOSITORY / "systemd").glob(kind)):
            _copy(source, root / place / source.name)
    command = root / "usr/bin" / program.NAME
    command.parent.mkdir(parents=True, exist_ok=True)
    command.symlink_to(_HOME / "bin" / program.NAME)
    documents = root / "usr/share/doc" / program.NAME
    _copy(REPOSITORY / "LICENSE", documents / "copyright")
    _copy(REPOSITORY / "README.md", documents / "README.md")
    _copy(REPOSITORY / "watcher.example.yaml", documents / "examples/watcher.yaml")
    for page, text in {"man1/receipt-watcher.1": command_page(commands), "man5/watcher.yaml.5": file_page()}.items():
        packed = root / "usr/share/man" / f"{page}.gz"
        packed.parent.mkdir(parents=True, exist_ok=True)
        packed.write_bytes(gzip.compress(text.encode(), mtime=0))
    completion = root / "usr/share/bash-completion/completions" / program.NAME
    completion.parent.mkdir(parents=True)
    completion.write_text(CliRunner().invoke(commands, ["completion", "bash"]).output, "utf-8")
    (documents / "changelog.gz").write_bytes(gzip.compress((REPOSITORY / "CHANGELOG.md").read_bytes(), mtime=0))


def _describe(root: Path, version: str, architecture: str) -> None:
    control = root / "DEBIAN"
    control.mkdir(mode=0o755)
    sizes = [path.lstat().st_size for path in root.rglob("*") if not path.is_dir()]
    text = (
        (REPOSITORY / "systemd/debian/control")
        .read_text("utf-8")
        .format(
            version=version,
            architecture=architecture,
            installed_kib=sum(sizes) // 1024,
            python=f"python{sys.version_info.major}.{sys.version_info.minor}",
        )
    )
    (control / "control").write_text(text, "utf-8")
    _copy(REPOSITORY / "systemd/debian/templates", control / "templates")
    for script in ("preinst", "postinst", "prerm", "postrm"):
        _copy(REPOSITORY / "systemd/debian" / script, control / script, 0o755)


def _copy(source: Path, target: Path, mode: int = 0o644) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(mode)


if __name__ == "__main__":
    sys.exit(main())
