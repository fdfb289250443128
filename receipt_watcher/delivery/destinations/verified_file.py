"""A receipt's bytes on their way out, proven while they are read.

What it promises: what is read to its end is byte for byte what the job log recorded. The last piece comes only when
the digest of the whole is right; so who sends pieces as they come never sends the end of a file that changed. Memory
is a piece or two, whatever the file's size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from receipt_watcher.errors import ChangedOnDiskError
from receipt_watcher.jobs.job import Job
from receipt_watcher.system.display import display_name

#: Read at a time. A multiple of 3, so that the base64 of the pieces is that of the whole.
PIECE_BYTES = 3 * 128 * 1024


def verified_pieces(file: BinaryIO, path: Path, job: Job) -> Iterator[bytes]:
    """Yield an open file in pieces, one behind: the last, perhaps empty, comes only when the whole is as recorded.

    Raises:
        ChangedOnDiskError: it is not, which is known before the last piece.
        OSError: the disk does not give it.
    """
    digest = hashlib.sha256()
    size = 0
    held_back = b""
    while piece := file.read(PIECE_BYTES):
        is_expected = len(piece) == min(PIECE_BYTES, job.size - size)
        size += len(piece)
        if not is_expected:  # a short piece in the middle would make the base64 another one
            break
        if held_back:
            yield held_back
        digest.update(piece)
        held_back = piece
    if size != job.size or digest.hexdigest() != job.sha256:
        raise ChangedOnDiskError(f"{display_name(path)} is not what was recorded: it changed after it was taken in")
    yield held_back
