"""The places and names of the service's files, units and receipts on a machine."""

from __future__ import annotations

from pathlib import Path

from receipt_watcher.config.sources.load import SYSTEM_CONFIG_FILE

USER = "receipts"
UNIT = "receipt-watcher.service"
SOCKET = "receipt-watcher.socket"
INSTANCES = "receipt-watcher@*.service"
PROGRAM = Path("/opt/receipt-watcher")
COMMAND = Path("/usr/local/bin/receipt-watcher")
RECEIPTS = Path("/srv/receipts")
STATE = Path("/var/lib/receipt-watcher")
CREDENTIALS = SYSTEM_CONFIG_FILE.parent / "credentials"
#: The pages of the manual, for those who install without the package.
MANUAL = {
    "receipt-watcher": Path("/usr/local/share/man/man1/receipt-watcher.1"),
    "watcher.yaml": Path("/usr/local/share/man/man5/watcher.yaml.5"),
}
#: Of the Debian package, which brings the program and the units itself.
PACKAGE_LIST = Path("/var/lib/dpkg/info/receipt-watcher.list")
UNITS = Path("/etc/systemd/system")
DROP_IN = UNITS / f"{UNIT}.d" / "inbox.conf"
SYSUSERS = Path("/etc/sysusers.d/receipt-watcher.conf")
TMPFILES = Path("/etc/tmpfiles.d/receipt-watcher.conf")
#: The files in `systemd/`, and the folder that each is copied to.
SHIPPED = {
    "*.service": UNITS,
    "*.socket": UNITS,
    "*.catalog": Path("/etc/systemd/catalog"),
    "sysusers.d/*.conf": SYSUSERS.parent,
    "tmpfiles.d/*.conf": TMPFILES.parent,
}
