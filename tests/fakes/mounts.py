"""Mounts that no other process sees, and a file system whose server can fall silent, as a network share's does.

`Mounts` is a mount namespace of its own (mount_namespaces(7)): what is mounted there is never seen outside, and goes
with it. `Share` is a mount there that passes everything on to an ordinary folder, the far side, through a process that
speaks FUSE with the kernel (fuse(4), linux/fuse.h), and that can be told to answer nothing any more. What it has not
read yet can still be given up by a killed process, as with NFS.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import select
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Self

REPOSITORY = Path(__file__).parents[2]
TOOLS = ("unshare", "nsenter", "mount", "umount", "env")


class CannotMountError(OSError):
    """This system lets us mount nothing, or not that."""


class Mounts:
    """A mount namespace, held by a process that only waits. As an ordinary user it needs a user namespace, too."""

    def __init__(self) -> None:
        if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
            raise CannotMountError(errno.ENOENT, f"not on this system: {', '.join(missing)}")
        user, enter = ([], []) if os.geteuid() == 0 else (["--map-root-user"], ["--user", "--preserve-credentials"])
        self._shares: list[Share] = []
        self._holder = subprocess.Popen(
            ["unshare", *user, "--mount", "--propagation", "private", "sh", "-c", "echo ready; exec cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        assert self._holder.stderr is not None
        if not self._holder.stdout.readline():
            said = self._holder.stderr.read().decode(errors="replace").strip()
            self.close()
            raise CannotMountError(errno.EPERM, f"no mount namespace can be made: {said}")
        #: The words before a command that make it run in the namespace.
        self.prefix = ["nsenter", f"--target={self._holder.pid}", *enter, "--mount", "env", "-C", str(REPOSITORY)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all shares, so that whatever hangs ends, then the namespace; harmless when called twice."""
        for share in self._shares:
            share.end()
        self._holder.kill()
        self._holder.communicate()

    def seen(self, path: Path) -> Path:
        """Return how a path of the namespace is reached from outside; the path itself shows what was mounted over."""
        return Path(f"/proc/{self._holder.pid}/root") / path.relative_to("/")

    def run(self, *command: str) -> str:
        """Run a command in the namespace and return what it said if it failed, else nothing."""
        ended = subprocess.run(
            [*self.prefix, *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=30,
        )
        return (ended.stdout.strip() or f"status {ended.returncode}") if ended.returncode else ""

    def mount_memory(self, point: Path, *options: str) -> None:
        """Mount a new, empty tmpfs, with options such as size=1m."""
        self._must("mount", "-t", "tmpfs", "-o", ",".join(("mode=755", *options)), "tmpfs", str(point))

    def bind(self, folder: Path, point: Path) -> None:
        """Let another folder be seen at `point`, too."""
        self._must("mount", "--bind", str(folder), str(point))

    def remount(self, point: Path, *options: str) -> None:
        """Change a mount's options, such as ro."""
        self._must("mount", "-o", ",".join(("remount", *options)), str(point))

    def is_unmounted(self, point: Path, *, lazily: bool) -> bool:
        """Try to unmount what is on top at `point`; false while somebody uses it, unless `lazily` (umount(8))."""
        said = self.run("umount", *(["--lazy"] if lazily else []), str(point))
        if said and "busy" not in said:
            raise OSError(errno.EINVAL, said)
        return not said

    def share(self, far_side: Path, point: Path) -> Share:
        """Mount a share."""
        self._shares.append(Share(self.prefix, far_side, point))
        return self._shares[-1]

    def _must(self, *command: str) -> None:
        if said := self.run(*command):
            raise CannotMountError(errno.EPERM, f"{' '.join(command)}: {said}")


class Share:
    """A mount whose every answer comes from a process of its own."""

    def __init__(self, prefix: list[str], far_side: Path, point: Path) -> None:
        self._server = subprocess.Popen(
            [*prefix, sys.executable, "-m", "tests.fakes.mounts", str(far_side), str(point)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        said = self._heard()
        if said != "mounted":
            self.end()
            raise CannotMountError(errno.EPERM, f"no FUSE file system can be mounted: {said}")

    def freeze(self) -> None:
        """Answer nothing any more."""
        self._tell("freeze")

    def fail(self) -> None:
        """End each call in an I/O error."""
        self._tell("fail")

    def thaw(self) -> None:
        """Answer again, and rightly; first of all what was asked meanwhile."""
        self._tell("thaw")

    def die(self) -> None:
        """End without a word: the mount stays, and each call there fails at once (ENOTCONN)."""
        self._server.kill()
        self._server.communicate()

    def end(self) -> None:
        """Unmount and end; harmless when it has ended."""
        if self._server.poll() is None:
            try:
                self._server.communicate(timeout=10)  # it ends with its standard input
            except subprocess.TimeoutExpired:
                self.die()

    def _tell(self, word: str) -> None:
        assert self._server.stdin is not None
        print(word, file=self._server.stdin, flush=True)
        answer = self._heard()
        assert answer == word, answer

    def _heard(self) -> str:
        assert self._server.stdout is not None
        return self._server.stdout.readline().strip()


# --- the server ----------------------------------------------------------------------------------------------------

_libc = ctypes.CDLL(None, use_errno=True)
_MNT_DETACH = 2
_LARGEST = 1 << 20  # of all requests
_MAX_WRITE = 128 << 10

_REQUEST = struct.Struct("=2I2Q4I")  # length, opcode, unique, node, uid, gid, pid, extensions
_ANSWER = struct.Struct("=IiQ")  # length, error, unique
_INIT = struct.Struct("=4I2H2I2HI28x")
_ATTRIBUTES = struct.Struct("=6Q10I")
_ENTRY = struct.Struct("=4Q2I")  # node, generation, then how long it and its attributes may be believed: not at all
_SETATTR = struct.Struct("=2I6Q8I")
_RANGE = struct.Struct("=2Q2IQ2I")  # of a read or a write: file, offset, size, …
_STATFS = struct.Struct("=5Q4I24x")
_NAME_IN_LISTING = struct.Struct("=2Q2I")  # inode, offset of the next, length of the name, type

_ROOT = 1
_BIG_WRITES = 1 << 5
_OF_OPEN_FILE = 1  # FUSE_GETATTR_FH
_MODE, _UID, _GID, _SIZE, _ATIME, _MTIME, _FILE, _ATIME_NOW, _MTIME_NOW = (1 << bit for bit in range(9))  # FATTR_…
_UNANSWERED = {2, 36, 42}  # FORGET, INTERRUPT, BATCH_FORGET
_CREATION_FLAGS = os.O_CREAT | os.O_EXCL | os.O_NOCTTY


class _Mirror:
    """Answers the kernel's requests from an ordinary folder, one after the other. Nothing is kept in any cache.

    A node is a path; it keeps its number when it is renamed through us. What is not in the table is ENOSYS, which the
    kernel makes the best of: among others flock, leases and access checks, extended attributes, renameat2.
    """

    def __init__(self, device: int, folder: str) -> None:
        self.is_failing = False  # whether each call ends in EIO, as on a disk that dies
        self._device = device
        self._paths = {_ROOT: folder}
        self._nodes = {folder: _ROOT}
        self._listings: dict[int, list[tuple[str, int, int]]] = {}
        self._last = _ROOT
        self._answers: dict[int, Callable[[int, bytes], bytes]] = {
            1: self._lookup,
            3: self._getattr,
            4: self._setattr,
            9: self._mkdir,
            10: self._unlink,
            11: self._rmdir,
            12: self._rename,
            13: self._link,
            14: self._open,
            15: self._read,
            16: self._write,
            17: self._statfs,
            18: self._release,
            20: self._fsync,
            26: self._init,
            27: self._opendir,
            28: self._readdir,
            29: self._releasedir,
            30: self._fsyncdir,
            35: self._create,
            38: self._nothing,  # DESTROY
        }

    def answer_next(self) -> bool:
        """Answer the next request; return whether there may be another, which is until it is unmounted."""
        try:
            request = os.read(self._device, _LARGEST)
        except OSError as error:
            return error.errno in (errno.ENOENT, errno.EINTR, errno.EAGAIN)  # who asked has given it up
        _, opcode, unique, node, *_ = _REQUEST.unpack_from(request)
        if opcode in _UNANSWERED:
            return True
        number, body = 0, b""
        try:
            self._fail_if_told()
            body = self._answers.get(opcode, self._unknown)(node, request[_REQUEST.size :])
        except OSError as error:
            number = -(error.errno or errno.EIO)
        with contextlib.suppress(FileNotFoundError):  # who asked has given it up
            os.write(self._device, _ANSWER.pack(_ANSWER.size + len(body), number, unique) + body)
        return True

    def _fail_if_told(self) -> None:
        if self.is_failing:
            raise OSError(errno.EIO, "told to fail")

    # --- nodes -----------------------------------------------------------------------------------------------------

    def _path(self, node: int, name: bytes = b"") -> str:
        return os.path.join(self._paths[node], os.fsdecode(name.rstrip(b"\0"))) if name else self._paths[node]  # noqa: PTH118

    def _entry(self, path: str) -> bytes:
        attributes = self._attributes(os.lstat(path))
        if path not in self._nodes:
            self._last += 1
            self._nodes[path], self._paths[self._last] = self._last, path
        return _ENTRY.pack(self._nodes[path], 0, 0, 0, 0, 0) + attributes

    def _move(self, old: str, new: str) -> None:
        self._nodes.pop(new, None)
        for path in [path for path in self._nodes if path == old or path.startswith(f"{old}/")]:
            node = self._nodes.pop(path)
            self._nodes[new + path.removeprefix(old)] = node
            self._paths[node] = new + path.removeprefix(old)

    @staticmethod
    def _attributes(status: os.stat_result) -> bytes:
        times = (status.st_atime_ns, status.st_mtime_ns, status.st_ctime_ns)
        return _ATTRIBUTES.pack(
            *(status.st_ino, status.st_size, status.st_blocks),
            *(time // 10**9 for time in times),
            *(time % 10**9 for time in times),
            *(status.st_mode, status.st_nlink, status.st_uid, status.st_gid, 0, 4096, 0),
        )

    # --- requests --------------------------------------------------------------------------------------------------

    def _init(self, _: int, body: bytes) -> bytes:
        _, _, readahead, _ = struct.unpack_from("=4I", body)
        return _INIT.pack(7, 31, readahead, _BIG_WRITES, 0, 0, _MAX_WRITE, 1, 0, 0, 0)

    def _unknown(self, *_: object) -> bytes:
        raise OSError(errno.ENOSYS, "not needed here")

    def _nothing(self, *_: object) -> bytes:
        return b""

    def _lookup(self, node: int, body: bytes) -> bytes:
        return self._entry(self._path(node, body))

    def _getattr(self, node: int, body: bytes) -> bytes:
        flags, _, file = struct.unpack_from("=2IQ", body)
        status = os.fstat(file) if flags & _OF_OPEN_FILE else os.lstat(self._paths[node])
        return struct.pack("=Q2I", 0, 0, 0) + self._attributes(status)

    def _setattr(self, node: int, body: bytes) -> bytes:
        what, _, file, size, _, *seconds_and_rest = _SETATTR.unpack_from(body)
        atime, mtime, _, atime_ns, mtime_ns, _, mode, _, uid, gid, _ = seconds_and_rest
        place: int | str = file if what & _FILE else self._paths[node]
        if what & _MODE:
            os.chmod(place, mode & 0o7777)  # noqa: PTH101 - of an open file, perhaps
        if what & (_UID | _GID):
            os.chown(place, uid if what & _UID else -1, gid if what & _GID else -1)
        if what & _SIZE:
            os.truncate(place, size)
        if what & (_ATIME_NOW | _MTIME_NOW):
            os.utime(place)
        elif what & (_ATIME | _MTIME):
            now = os.stat(place)  # noqa: PTH116 - likewise
            os.utime(
                place,
                ns=(
                    atime * 10**9 + atime_ns if what & _ATIME else now.st_atime_ns,
                    mtime * 10**9 + mtime_ns if what & _MTIME else now.st_mtime_ns,
                ),
            )
        return struct.pack("=Q2I", 0, 0, 0) + self._attributes(os.stat(place))  # noqa: PTH116 - likewise

    def _mkdir(self, node: int, body: bytes) -> bytes:
        mode, _ = struct.unpack_from("=2I", body)
        path = self._path(node, body[8:])
        os.mkdir(path, mode & 0o7777)  # noqa: PTH102 - paths are texts here
        return self._entry(path)

    def _unlink(self, node: int, body: bytes) -> bytes:
        path = self._path(node, body)
        os.unlink(path)  # noqa: PTH108 - likewise
        self._nodes.pop(path, None)
        return b""

    def _rmdir(self, node: int, body: bytes) -> bytes:
        path = self._path(node, body)
        os.rmdir(path)  # noqa: PTH106 - likewise
        self._nodes.pop(path, None)
        return b""

    def _rename(self, node: int, body: bytes) -> bytes:
        (new_node,) = struct.unpack_from("=Q", body)
        old_name, new_name, _ = body[8:].split(b"\0", 2)
        old, new = self._path(node, old_name), self._path(new_node, new_name)
        os.rename(old, new)  # noqa: PTH104 - likewise
        self._move(old, new)
        return b""

    def _link(self, node: int, body: bytes) -> bytes:
        (old_node,) = struct.unpack_from("=Q", body)
        path = self._path(node, body[8:])
        os.link(self._paths[old_node], path)
        return self._entry(path)

    def _open(self, node: int, body: bytes) -> bytes:
        flags, _ = struct.unpack_from("=2I", body)
        return struct.pack("=Q2I", os.open(self._paths[node], flags & ~_CREATION_FLAGS | os.O_CLOEXEC), 0, 0)

    def _create(self, node: int, body: bytes) -> bytes:
        flags, mode, _, _ = struct.unpack_from("=4I", body)
        path = self._path(node, body[16:])
        file = os.open(path, flags | os.O_CREAT | os.O_CLOEXEC, mode & 0o7777)
        return self._entry(path) + struct.pack("=Q2I", file, 0, 0)

    def _read(self, _: int, body: bytes) -> bytes:
        file, offset, size, *_rest = _RANGE.unpack_from(body)
        return os.pread(file, size, offset)

    def _write(self, _: int, body: bytes) -> bytes:
        file, offset, size, *_rest = _RANGE.unpack_from(body)
        return struct.pack("=2I", os.pwrite(file, body[_RANGE.size :][:size], offset), 0)

    def _release(self, _: int, body: bytes) -> bytes:
        os.close(*struct.unpack_from("=Q", body))
        return b""

    def _fsync(self, _: int, body: bytes) -> bytes:
        os.fsync(*struct.unpack_from("=Q", body))
        return b""

    def _fsyncdir(self, node: int, _: bytes) -> bytes:
        folder = os.open(self._paths[node], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return b""

    def _opendir(self, node: int, _: bytes) -> bytes:
        with os.scandir(self._paths[node]) as entries:
            listing = [
                (entry.name, entry.inode(), entry.stat(follow_symlinks=False).st_mode >> 12) for entry in entries
            ]
        number = max(self._listings, default=0) + 1
        self._listings[number] = listing
        return struct.pack("=Q2I", number, 0, 0)

    def _readdir(self, _: int, body: bytes) -> bytes:
        number, offset, size, *_rest = _RANGE.unpack_from(body)
        listed = b""
        for position, (name, inode, kind) in enumerate(self._listings[number][offset:], offset + 1):
            encoded = os.fsencode(name)
            line = _NAME_IN_LISTING.pack(inode, position, len(encoded), kind) + encoded
            line += bytes(-len(line) % 8)
            if len(listed) + len(line) > size:
                break
            listed += line
        return listed

    def _releasedir(self, _: int, body: bytes) -> bytes:
        del self._listings[struct.unpack_from("=Q", body)[0]]
        return b""

    def _statfs(self, node: int, _: bytes) -> bytes:
        told = os.statvfs(self._paths[node])
        counts = (told.f_blocks, told.f_bfree, told.f_bavail, told.f_files, told.f_ffree)
        return _STATFS.pack(*counts, told.f_bsize, told.f_namemax, told.f_frsize, 0)


def _mount(point: str) -> int:
    """Mount a FUSE file system and return the device that its requests are read from."""
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={device},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()},allow_other"
    if _libc.mount(b"far-side", os.fsencode(point), b"fuse", 0, options.encode()) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), point)
    return device


def _say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def main(far_side: str, point: str) -> None:
    """Serve until standard input ends: there come the words `freeze`, `fail` and `thaw`, answered with themselves."""
    os.umask(0)
    try:
        device = _mount(point)
    except OSError as error:
        _say(str(error))
        return
    _say("mounted")
    mirror, control = _Mirror(device, far_side), sys.stdin.fileno()
    listened = [device, control]
    while True:
        ready, _, _ = select.select(listened, [], [])
        if control in ready:
            word = os.read(control, 100).decode().strip()
            if not word:
                break
            listened = [control] if word == "freeze" else [device, control]
            mirror.is_failing = word == "fail"
            _say(word)
        elif not mirror.answer_next():
            break
    os.close(device)  # this ends what hangs
    _libc.umount2(os.fsencode(point), _MNT_DETACH)


if __name__ == "__main__":
    main(*sys.argv[1:])
