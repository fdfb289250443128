"""A Debian with systemd as its first process, in namespaces of its own, for tests that need the real thing.

The tree comes from debootstrap, once, into a cache folder; what a machine writes lies over it and goes with it. Where
the packages come from is asked of apt. The machine has a network of its own, with nothing but loopback. A Debian other
than this one gets this one's Python beside its own, since the program is copied with what it needs for that version.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.fakes.daemons.process import wait_until

BOOTS_WITHIN_SECONDS = 60.0
ENDS_WITHIN_SECONDS = 30.0
#: Packages that a Debian of an office has and ours depends on.
PACKAGES = ("systemd", "systemd-sysv", "dbus", "python3", "acl", "procps")
#: Files that this Debian's Python needs of another one.
_PYTHON_NEEDS = ("libtirpc3t64", "libnsl2", "libdb5.3t64", "libreadline8t64", "media-types", "libsqlite3-0")
_TOOLS = ("systemd-nspawn", "debootstrap", "unshare", "nsenter", "apt-get", "dpkg-deb")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PAUSE_SECONDS = 0.05


def why_impossible() -> str:
    """Say why no machine can be booted here; empty where one can."""
    if missing := [tool for tool in _TOOLS if shutil.which(tool) is None]:
        return (
            f"no machine with systemd can be booted here: {', '.join(missing)} missing (apt install systemd-container)"
        )
    if os.geteuid() != 0:
        return "no machine with systemd can be booted here: only root may"
    try_out = "mount --make-rprivate / && mount -t cgroup2 cgroup2 /mnt && mkdir /mnt/$0 && rmdir /mnt/$0"
    name = f"receipt-watcher-{uuid.uuid4().hex[:8]}"
    tried = subprocess.run(
        ["unshare", "--pid", "--mount", "--fork", "sh", "-c", try_out, name],
        capture_output=True,
        text=True,
        check=False,
    )
    return f"no machine with systemd can be booted here: {tried.stderr.strip()}" if tried.returncode else ""


def own_debian() -> str:
    """Return the name of this machine's Debian."""
    return _mirror()[1]


def tree_is_there() -> bool:
    """Return whether the tree was made before; to make it takes a minute and a mirror."""
    return _tree_folder(own_debian()).is_dir()


def tree(debian: str) -> Path:
    """Return the tree of a Debian by its name, such as trixie; it is made at the first call: a minute, 300 MB."""
    folder = _tree_folder(debian)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            part = folder.with_suffix(".part")
            shutil.rmtree(part, ignore_errors=True)
            mirror, own = _mirror()
            packages = PACKAGES if debian == own else (*PACKAGES, *_PYTHON_NEEDS)
            _make("debootstrap", "--variant=minbase", f"--include={','.join(packages)}", debian, str(part), mirror)
            if debian != own:
                _add_own_python(part)
            shutil.rmtree(part / "var/cache/apt/archives", ignore_errors=True)
            part.rename(folder)
    return folder


def _make(*words: str, folder: Path | None = None) -> None:
    made = subprocess.run(words, capture_output=True, text=True, check=False, cwd=folder)
    if made.returncode != 0:
        raise AssertionError(f"{words[0]} failed:\n{made.stdout[-2000:]}{made.stderr[-2000:]}")


def _add_own_python(part: Path) -> None:
    """Install the packages of this Debian's Python in the tree of another one."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = (name, f"{name}-minimal", f"lib{name}-minimal", f"lib{name}-stdlib")
    brought = part / "var/cache/own-python"
    brought.mkdir()
    _make("apt-get", "download", *packages, folder=brought)
    _make(
        *("chroot", str(part), "env", f"PATH={_PATH}", "sh", "-euc"),
        "dpkg -i /var/cache/own-python/*.deb && rm -r /var/cache/own-python",
    )


def _tree_folder(debian: str) -> Path:
    cache = os.environ.get("SYSTEMD_CACHE") or Path.home() / ".cache" / "receipt-watcher-tests"
    return Path(cache) / f"tree-{debian}-{'-'.join(PACKAGES)}"


def _mirror() -> tuple[str, str]:
    """Return where this machine gets its own Debian from, and the name of that Debian."""
    lines = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(SITE) $(CODENAME)", "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    release = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)[
        "VERSION_CODENAME"
    ]
    for line in lines:
        site, _, codename = line.partition(" ")
        if codename == release:
            return site, codename
    raise AssertionError(f"apt names no mirror for {release}; run apt-get update")


class Machine:
    """A machine that has booted; ended with the block."""

    def __init__(self, folder: Path, debian: str) -> None:
        self._debian = debian
        self.name = f"receipt-watcher-{uuid.uuid4().hex[:8]}"
        self.share = folder / "share"
        self._scratch = folder / "scratch"
        self._console = folder / "console.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._leader = 0

    def __enter__(self) -> Self:
        self.share.mkdir(exist_ok=True)
        self._scratch.mkdir(exist_ok=True)
        try:
            self.boot()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def boot(self) -> None:
        """Start it, with what the last boot left, and wait until all its services have started."""
        script = Path(__file__).with_name("boot.sh")
        places = (self.name, str(tree(self._debian)), str(self._scratch), str(self.share))
        with self._console.open("ab") as console:
            self._process = subprocess.Popen(
                ["unshare", "--pid", "--mount", "--fork", "--kill-child", "sh", str(script), *places],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
            )
        self._leader = 0
        wait_until(self._has_leader, "systemd is the first process", BOOTS_WITHIN_SECONDS)
        wait_until(lambda: self.run("test", "-S", "/run/systemd/private", check=False).returncode == 0, "it listens")
        waited = self.run("systemctl", "is-system-running", "--wait", check=False)
        if waited.stdout.strip() not in {"running", "degraded"}:
            raise AssertionError(f"it does not boot: {waited.stdout}{waited.stderr}\n{self._console.read_text()}")

    def _has_leader(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._console.read_text(errors="replace")
        below = [self._process.pid]
        while below:
            pid = below.pop()
            if _name_of(pid) == "systemd":
                self._leader = pid
                return True
            below += _children_of(pid)
        return False

    def shut_down(self) -> None:
        """Power it off, as an admin does."""
        if self._process is not None and self._process.poll() is None:
            os.kill(self._leader, signal.SIGRTMIN + 4)  # systemd(1): starts poweroff.target
            self._process.wait(ENDS_WITHIN_SECONDS)

    def close(self) -> None:
        """Pull its plug, and leave nothing of it but its console."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()  # and its child, by --kill-child, whose namespace goes with it
        if self._process is not None:
            self._process.wait()
            with contextlib.suppress(AssertionError):
                wait_until(self._is_swept, "its control group is empty", 5)

    def _is_swept(self) -> bool:
        """Remove its control group, from a namespace of our own, since the hierarchy may be mounted nowhere."""
        sweep = (
            "mount --make-rprivate / && mount -t cgroup2 cgroup2 /mnt && cd /mnt && "
            "{ [ ! -d $0 ] || find $0 -depth -type d -delete; }"
        )
        swept = subprocess.run(["unshare", "--mount", "sh", "-c", sweep, self.name], capture_output=True, check=False)
        return swept.returncode == 0

    # --- what is done in it ----------------------------------------------------------------------------------------

    def run(self, *words: str, check: bool = True, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a command in it, as its root; with `check` it must succeed."""
        enter = [
            "nsenter",
            f"--target={self._leader}",
            "--mount",
            "--uts",
            "--ipc",
            "--net",
            "--pid",
            "--cgroup",
            "--root",
        ]
        there = [
            f"--wd=/proc/{self._leader}/root",
            "--",
            "env",
            "-i",
            f"PATH={_PATH}",
            "LC_ALL=C.UTF-8",
            "SYSTEMD_PAGER=",
        ]
        ran = subprocess.run(
            [*enter, *there, *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=timeout,
        )
        if check and ran.returncode != 0:
            raise AssertionError(f"{' '.join(words)}: exit code {ran.returncode}\n{ran.stdout}{ran.stderr}")
        return ran

    def path(self, inside: str) -> Path:
        """Return a path of the machine as it is seen from outside; links in it must not be absolute."""
        return Path(f"/proc/{self._leader}/root", inside.lstrip("/"))


def _name_of(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def _children_of(pid: int) -> Iterator[int]:
    with contextlib.suppress(OSError):
        yield from map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
