"""Why a file in an inbox is not taken yet: one code, one sentence, one piece of advice each.

What it promises: `explain`, `status`, the log and `run --once` say the same words for the same thing. Pure.
"""

from __future__ import annotations

from receipt_watcher.jobs.codes import Code

#: A file that waits longer is logged as a warning, and shown by `status`.
LONG_SECONDS = 600.0


class WaitReason(Code):
    """Why a file waits; the README lists them all."""

    GROWING = (
        "growing",
        "It changed a moment ago: it is taken once it has not changed for settle_seconds.",
        "Nothing.",
    )
    EMPTY = (
        "empty",
        "It has no content yet; some programs create a file seconds before they fill it.",
        "Wait; after patience_seconds it is failed. If it happens often, look at the scanner's connection.",
    )
    UNDATED = (
        "undated",
        "Its modification time is 0: rsync leaves that on a file whose transfer was cut.",
        "Repeat the transfer; after patience_seconds it is taken as it is.",
    )
    PLACEHOLDER = (
        "placeholder",
        "It has a size but no content on this disk: it is not downloaded yet, or a program only reserved its room.",
        "Let the sync client keep this folder on the device, or wait for the copy to begin.",
    )
    OPEN = (
        "open",
        "A program has it open for writing.",
        "Wait until that program closes it; lsof names it.",
    )
    INCOMPLETE = (
        "incomplete",
        "It ends before its format says that it should: more is expected.",
        "Wait; after patience_seconds without a change it is failed. Then scan or copy it again.",
    )
    DOUBTFUL = (
        "doubtful",
        "Its end is not as its format wants it, though nothing is missing that the file names.",
        "Wait; after patience_seconds without a change it is taken as it is.",
    )
    UNREADABLE = (
        "unreadable",
        "The service may not read it.",
        "Let the scanner or share create files that the service's user can read.",
    )
    UNEXAMINED = (
        "unexamined",
        "No examiner could judge it: none can be started, or somebody ended it from outside.",
        "Look at the machine's memory, and at TasksMax= of the service. It is tried again by itself.",
    )
    IMMOVABLE = (
        "immovable",
        "The service may not move it out of the inbox.",
        "Let the service's user write in the folder.",
    )
    IGNORED = (
        "ignored",
        "Its name says that it is no receipt.",
        "Rename it if it is one, or change ignore_packs and ignore of this inbox.",
    )
    UNFINISHED = (
        "unfinished",
        "Its name says that a program is still writing it, but it has not changed for minutes.",
        "Let that program finish, or repeat the transfer. If the file is whole, rename it.",
    )
    NO_FILE = (
        "no_file",
        "It is no ordinary file; links are never followed, and pipes, sockets and devices never opened.",
        "Copy the file itself into the inbox.",
    )
    SUBFOLDER = (
        "subfolder",
        "It lies in a subfolder, and this inbox is not recursive.",
        "Move the files up, or set recursive: true.",
    )
    NOTE = (
        "note",
        "It is a note of ours about a failed receipt.",
        "Nothing; it goes when its receipt succeeds.",
    )
    BACKLOG = (
        "backlog",
        "It was here before the very first start, with more old files than limits.backlog_files.",
        "Move away what is not to be booked, then type receipt-watcher accept-backlog, with the inbox's name.",
    )
    UNAVAILABLE = (
        "unavailable",
        "The inbox, or a folder of its spool, cannot be used now.",
        "Fix what is said; the inbox opens again by itself.",
    )
    HELD = (
        "held",
        "An admin holds this inbox.",
        "Let it go on: receipt-watcher resume, with the inbox's name.",
    )
    NOT_RUNNING = (
        "not_running",
        "The daemon is not running; nothing is taken.",
        "Start it: systemctl start receipt-watcher.",
    )


#: A change ends the wait, or the end of the patience.
WAITS_FOR_PATIENCE = frozenset({WaitReason.EMPTY, WaitReason.UNDATED, WaitReason.INCOMPLETE, WaitReason.DOUBTFUL})

#: Waiting changes nothing, and nothing but a person does.
NEEDS_A_PERSON = frozenset({WaitReason.UNREADABLE, WaitReason.UNEXAMINED, WaitReason.IMMOVABLE, WaitReason.UNFINISHED})

#: Waiting changes nothing.
NEVER = frozenset({WaitReason.IGNORED, WaitReason.NO_FILE, WaitReason.SUBFOLDER, WaitReason.NOTE})
