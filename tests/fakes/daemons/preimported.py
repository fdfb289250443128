"""`python -m tests.fakes.daemons.preimported …`: the command line with all that it imports.

It goes on as another user.

Where Python is root's alone, as in a developer's home, that user could import nothing.
"""

from __future__ import annotations

import encodings.ascii
import encodings.idna
import encodings.utf_8_sig
import importlib
import pkgutil

import receipt_watcher
from receipt_watcher.cli import main

if __name__ == "__main__":
    for module in pkgutil.walk_packages(receipt_watcher.__path__, "receipt_watcher."):
        if ".migrations" not in module.name and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    main.main()

__all__ = ["encodings"]
