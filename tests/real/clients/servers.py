"""Real file servers on loopback, and what a client needs to reach them, for tests of how files come into an inbox.

Each server is a process with a free port and with its configuration and state in a folder of its own; it is there
once its port answers, and ends with the block. A program that is not installed skips the test.
"""

from __future__ import annotations

import contextlib
import copy
import os
import shutil
import signal
import socket
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from xml.etree import ElementTree as ET

import httpx
import pytest
from smbprotocol.connection import Connection
from smbprotocol.file_info import FileEndOfFileInformation
from smbprotocol.open import (
    CreateDisposition,
    CreateOptions,
    FileAttributes,
    FilePipePrinterAccessMask,
    ImpersonationLevel,
    Open,
    ShareAccess,
    SMB2SetInfoRequest,
)
from smbprotocol.session import Session
from smbprotocol.tree import TreeConnect

from tests.fakes.daemons.process import wait_until

HOST = "127.0.0.1"
SHARE = "receipts"
_END_SECONDS = 10.0


def program(name: str) -> str:
    """Return where a program is; skips the test where it is not installed."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def run(*command: object, typed: str | None = None) -> None:
    """Run a client to its end, which has to be a good one, with what is typed into it."""
    ended = subprocess.run(
        [str(word) for word in command], input=typed, capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.returncode == 0, f"{command} ended with {ended.returncode}\n{ended.stdout}\n{ended.stderr}"


@contextlib.contextmanager
def begun(*command: object) -> Iterator[None]:
    """Begin a client that is killed when the block ends."""
    quiet = subprocess.DEVNULL
    with subprocess.Popen([str(word) for word in command], stdin=quiet, stdout=quiet, stderr=quiet) as process:
        try:
            yield
            assert process.poll() is None, f"{command} was to be aborted, but had ended with {process.returncode}"
        finally:
            process.kill()


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listened on just now, all different."""
    with contextlib.ExitStack() as taken:
        listeners = [taken.enter_context(socket.create_server((HOST, 0))) for _ in range(count)]
        return [listener.getsockname()[1] for listener in listeners]


def _answers(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def serving(
    command: Sequence[object], log_file: Path, *ports: int, environment: Mapping[str, str] | None = None
) -> Iterator[None]:
    """Run a server, once its ports answer, until the block ends; its children end with it."""
    with log_file.open("ab") as log:
        process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=os.environ | dict(environment or {}),
            start_new_session=True,
        )
    try:
        wait_until(lambda: process.poll() is not None or all(_answers(port) for port in ports), f"{command[0]} answers")
        assert process.poll() is None, log_file.read_text()
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


# --- SMB -----------------------------------------------------------------------------------------------------------

_SMB_FOLDERS = {
    "private dir": "private",
    "lock directory": "lock",
    "state directory": "state",
    "cache directory": "cache",
    "pid directory": "pid",
    "ncalrpc dir": "ncalrpc",
}


@dataclass(frozen=True)
class SmbServer:
    """A samba server with one share that every guest may write to."""

    shared: Path
    config_file: Path
    port: int

    def put(self, source: Path, target: Path) -> None:
        """Upload a file with smbclient."""
        address = [f"//{HOST}/{SHARE}", "-p", str(self.port), "-N", "-s", self.config_file]
        folder = target.parent.relative_to(self.shared)
        run(program("smbclient"), *address, "-D", folder, "-c", f'put "{source}" "{target.name}"')


@contextlib.contextmanager
def smb_server(shared: Path, root: Path) -> Iterator[SmbServer]:
    """Run smbd on a folder."""
    smbd = program("smbd")
    if os.geteuid() != 0:
        pytest.skip("smbd has to be started by root")
    [port] = free_ports(1)
    places = {option: root / name for option, name in _SMB_FOLDERS.items()}
    for place in places.values():
        place.mkdir()
    options: dict[str, object] = {
        "server role": "standalone server",
        "interfaces": f"{HOST}/8",
        "bind interfaces only": "yes",
        "smb ports": port,
        "disable netbios": "yes",
        "map to guest": "Bad User",
        "guest account": "root",
        "passdb backend": f"tdbsam:{root / 'private/passdb.tdb'}",
        "load printers": "no",
        "printing": "bsd",
        "printcap name": "/dev/null",
        "disable spoolss": "yes",
        "logging": "file",
        "log file": root / "samba.log",
        **places,
    }
    share = {"path": shared, "guest ok": "yes", "guest only": "yes", "read only": "no"}
    config_file = root / "smb.conf"
    config_file.write_text(_section("global", options) + _section(SHARE, share))
    command = [smbd, "--foreground", "--no-process-group", "--debug-stdout", "-s", config_file]
    with serving(command, root / "smbd.out", port):
        yield SmbServer(shared, config_file, port)


def _section(name: str, options: Mapping[str, object]) -> str:
    return f"[{name}]\n" + "".join(f"{option} = {value}\n" for option, value in options.items())


class SmbClient:
    """A connection to a share, which says itself what Windows' Explorer would say."""

    def __init__(self, server: SmbServer) -> None:
        self._shared = server.shared
        self._connection = Connection(uuid.uuid4(), HOST, server.port, require_signing=False)

    def __enter__(self) -> Self:
        self._connection.connect()
        session = Session(
            self._connection, "nobody-known", "any", require_encryption=False, auth_protocol="ntlm"
        )  # an unknown user is a guest
        session.connect()
        self._tree = TreeConnect(session, rf"\\{HOST}\{SHARE}")
        self._tree.connect(require_secure_negotiate=False)
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.disconnect()

    @contextlib.contextmanager
    def opened(self, path: Path, *, anew: bool) -> Iterator[SmbFile]:
        """Open a file for writing, as it is or emptied; it is closed when the block ends."""
        handle = Open(self._tree, str(path.relative_to(self._shared)).replace("/", "\\"))
        handle.create(
            ImpersonationLevel.Impersonation,
            FilePipePrinterAccessMask.GENERIC_READ | FilePipePrinterAccessMask.GENERIC_WRITE,
            FileAttributes.FILE_ATTRIBUTE_NORMAL,
            ShareAccess.FILE_SHARE_READ | ShareAccess.FILE_SHARE_WRITE | ShareAccess.FILE_SHARE_DELETE,
            CreateDisposition.FILE_OVERWRITE_IF if anew else CreateDisposition.FILE_OPEN,
            CreateOptions.FILE_NON_DIRECTORY_FILE,
        )
        try:
            yield SmbFile(handle)
        finally:
            handle.close()


@dataclass(frozen=True)
class SmbFile:
    """A file that is open over SMB."""

    handle: Any

    def write(self, content: bytes, offset: int) -> None:
        """Write these bytes there."""
        assert self.handle.write(content, offset) == len(content)

    def set_size(self, size: int) -> None:
        """Set the end of the file at once, before there is anything in it."""
        end = FileEndOfFileInformation()
        end["end_of_file"] = size
        request = SMB2SetInfoRequest()
        request["info_type"] = end.INFO_TYPE
        request["file_info_class"] = end.INFO_CLASS
        request["file_id"] = self.handle.file_id
        request["buffer"] = end
        tree = self.handle.tree_connect
        sent = self.handle.connection.send(request, tree.session.session_id, tree.tree_connect_id)
        self.handle.connection.receive(sent)


# --- FTP -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FtpServer:
    """An FTP server that every guest may write to, and go on with an upload at."""

    shared: Path
    port: int

    def address(self, path: Path) -> str:
        """Return a file's address."""
        return f"ftp://{HOST}:{self.port}/{path.relative_to(self.shared)}"


@contextlib.contextmanager
def ftp_server(shared: Path, root: Path) -> Iterator[FtpServer]:
    """Run vsftpd on a folder, all of it as the present user: it needs neither root nor a sandbox then."""
    vsftpd = program("vsftpd")
    [port] = free_ports(1)
    (root / "empty").mkdir()
    options: dict[str, object] = {
        "listen": "YES",
        "listen_address": HOST,
        "listen_port": port,
        "background": "NO",
        "run_as_launching_user": "YES",
        "seccomp_sandbox": "NO",
        "isolate": "NO",
        "isolate_network": "NO",
        "secure_chroot_dir": root / "empty",
        "anonymous_enable": "YES",
        "no_anon_password": "YES",
        "anon_root": shared,
        "allow_writeable_chroot": "YES",
        "write_enable": "YES",
        "anon_upload_enable": "YES",
        "anon_other_write_enable": "YES",
        "anon_umask": "022",
        "connect_from_port_20": "NO",
        "xferlog_enable": "NO",
    }
    config_file = root / "vsftpd.conf"
    config_file.write_text("".join(f"{option}={value}\n" for option, value in options.items()))
    with serving([vsftpd, config_file], root / "vsftpd.out", port):
        yield FtpServer(shared, port)


# --- SSH -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SshServer:
    """An SSH server that knows the present user, and the configuration of a client that knows the server."""

    client_config: Path
    name: str = "receipts"

    @property
    def shell(self) -> str:
        """The command that rsync reaches it with."""
        return f"{program('ssh')} -F {self.client_config}"

    def place(self, path: Path) -> str:
        """Return a path there, as scp and rsync name it."""
        return f"{self.name}:{path}"

    def type_into_sftp(self, line: str) -> None:
        """Have sftp do something."""
        run(program("sftp"), "-F", self.client_config, "-b", "-", self.name, typed=f"{line}\n")


@contextlib.contextmanager
def ssh_server(root: Path) -> Iterator[SshServer]:
    """Run sshd as the present user."""
    sshd, keygen = program("sshd"), program("ssh-keygen")
    if os.geteuid() == 0:  # it locks itself into this folder, which the system's own start script would have made
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    [port] = free_ports(1)
    for key in ("host", "user"):
        run(keygen, "-q", "-t", "ed25519", "-N", "", "-f", root / key)
    server = SshServer(root / "ssh_config")
    (root / "known_hosts").write_text(f"{server.name} {(root / 'host.pub').read_text()}")
    server.client_config.write_text(
        f"Host {server.name}\n  HostName {HOST}\n  HostKeyAlias {server.name}\n  Port {port}\n  BatchMode yes\n"
        f"  IdentityFile {root / 'user'}\n  IdentitiesOnly yes\n  UserKnownHostsFile {root / 'known_hosts'}\n"
    )
    config_file = root / "sshd_config"
    config_file.write_text(
        f"ListenAddress {HOST}:{port}\nHostKey {root / 'host'}\nAuthorizedKeysFile {root / 'user.pub'}\n"
        "PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\n"
        "Subsystem sftp internal-sftp\n"
    )
    log_file = root / "sshd.out"
    with serving([sshd, "-D", "-e", "-f", config_file], log_file, port):
        entry = [program("ssh"), "-F", str(server.client_config), server.name, "true"]
        if subprocess.run(entry, capture_output=True, check=False, timeout=60).returncode != 0:
            said = log_file.read_text()
            assert "account is locked" in said, said
            pytest.skip("sshd lets nobody in whose account is locked")
        yield server


# --- HTTP ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def download(pieces: Sequence[bytes], pause: Callable[[], None]) -> Iterator[str]:
    """Give the address of something that can be downloaded once, with a pause between its pieces."""

    def send() -> None:
        with contextlib.suppress(OSError):  # nobody came, or left in the middle
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {sum(map(len, pieces))}\r\n\r\n".encode())
                for number, piece in enumerate(pieces):
                    if number:
                        pause()
                    connection.sendall(piece)

    with socket.create_server((HOST, 0)) as listener:
        sender = threading.Thread(target=send, name="download")
        sender.start()
        try:
            yield f"http://{HOST}:{listener.getsockname()[1]}/receipt"
        finally:
            listener.shutdown(socket.SHUT_RDWR)  # no longer waits for somebody to come
            sender.join()


# --- Syncthing -----------------------------------------------------------------------------------------------------

_FOLDER_ID = "receipts"
_SYNC_KEY = "a-key-for-tests-only"
#: It speaks to its partner only, and to nobody outside.
_SYNC_OPTIONS = {
    "globalAnnounceEnabled": "false",
    "localAnnounceEnabled": "false",
    "relaysEnabled": "false",
    "natEnabled": "false",
    "stunServer": "",
    "crashReportingEnabled": "false",
    "autoUpgradeIntervalH": "0",
    "urAccepted": "-1",
    "startBrowser": "false",
    "setLowPriority": "false",
    "minHomeDiskFree": "0",
    "reconnectionIntervalS": "1",
}


@dataclass(frozen=True)
class SyncSide:
    """One of two Syncthing instances that share a folder."""

    folder: Path
    home: Path
    device: str
    port: int
    control_port: int

    @property
    def log_file(self) -> Path:
        """The file of its log."""
        return self.home / "syncthing.out"

    def ask(self, what: str, **parameters: str) -> Any:
        """Ask something."""
        return self._call("GET", what, parameters).json()

    def tell(self, what: str, **parameters: str) -> None:
        """Have something done."""
        self._call("POST", what, parameters)

    def _call(self, method: str, what: str, parameters: Mapping[str, str]) -> httpx.Response:
        address = f"http://{HOST}:{self.control_port}/rest/{what}"
        answer = httpx.request(method, address, params=parameters, headers={"X-API-Key": _SYNC_KEY}, timeout=30)
        return answer.raise_for_status()

    def is_idle(self) -> bool:
        """Return whether it knows all files of its folder and lacks none that it has heard of."""
        status = self.ask("db/status", folder=_FOLDER_ID)
        return (status["state"], status["needTotalItems"]) == ("idle", 0)

    def scan(self) -> None:
        """Look at the folder's files now, and return when that is done."""
        self.tell("db/scan", folder=_FOLDER_ID)

    def is_connected(self, other: SyncSide) -> bool:
        """Return whether it speaks with the other side."""
        is_connected: bool = self.ask("system/connections")["connections"][other.device]["connected"]
        return is_connected

    @contextlib.contextmanager
    def apart_from(self, other: SyncSide) -> Iterator[None]:
        """Hear nothing from the other side, nor tell it anything, until the block ends."""
        self.tell("system/pause", device=other.device)
        wait_until(lambda: not self.is_connected(other) and not other.is_connected(self), "they are apart")
        yield
        self.tell("system/resume", device=other.device)
        wait_until(lambda: self.is_connected(other) and other.is_connected(self), "they are connected again")

    def configure(self, other: SyncSide) -> None:
        """Share the folder with the other side, on loopback."""
        tree = ET.parse(self.home / "config.xml")
        top = tree.getroot()
        for element in (*top.findall("folder"), *top.findall("gui")):
            top.remove(element)
        template = top.find("defaults/folder")
        assert template is not None
        folder = copy.deepcopy(template)
        folder.attrib |= {"id": _FOLDER_ID, "path": str(self.folder), "fsWatcherDelayS": "1"}
        ET.SubElement(folder, "device", {"id": other.device})
        top.append(folder)
        gui = ET.SubElement(top, "gui", {"enabled": "true", "tls": "false"})
        ET.SubElement(gui, "address").text = f"{HOST}:{self.control_port}"
        ET.SubElement(gui, "apikey").text = _SYNC_KEY
        partner = ET.SubElement(top, "device", {"id": other.device, "name": "partner"})
        ET.SubElement(partner, "address").text = f"tcp://{HOST}:{other.port}"
        options = top.find("options")
        assert options is not None
        for name, text in {**_SYNC_OPTIONS, "listenAddress": f"tcp://{HOST}:{self.port}"}.items():
            for element in options.findall(name):
                options.remove(element)
            ET.SubElement(options, name).text = text
        tree.write(self.home / "config.xml")


@contextlib.contextmanager
def syncthing_pair(root: Path) -> Iterator[tuple[SyncSide, SyncSide]]:
    """Run two Syncthing instances that share a folder, connected."""
    syncthing = program("syncthing")
    ports = free_ports(4)
    environment = {"HOME": str(root), "STNODEFAULTFOLDER": "1", "STNOUPGRADE": "1", "STHASHING": "standard"}
    sides = []
    for name in ("here", "there"):
        folder, home = root / name / "inbox", root / name / "syncthing"
        folder.mkdir(parents=True)
        run("env", *(f"{key}={value}" for key, value in environment.items()), syncthing, "generate", "--home", home)
        own = ET.parse(home / "config.xml").find("device")
        assert own is not None
        sides.append(SyncSide(folder, home, own.attrib["id"], ports.pop(), ports.pop()))
    here, there = sides
    here.configure(there)
    there.configure(here)
    with contextlib.ExitStack() as running:
        for side in sides:
            command = [syncthing, "serve", "--home", side.home, "--no-browser", "--no-restart"]
            running.enter_context(
                serving(command, side.log_file, side.port, side.control_port, environment=environment)
            )
        wait_until(lambda: here.is_connected(there) and there.is_connected(here), "the two sides are connected")
        wait_until(lambda: here.is_idle() and there.is_idle(), "the two sides know each other's files")
        yield here, there
