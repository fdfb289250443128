"""The words of events about receipts, files, inboxes and N8N.

Pure.
"""

from __future__ import annotations

from receipt_watcher.service.logging.event_words import Sentence

RECEIPT_EVENTS: dict[str, Sentence] = {
    # --- one receipt ---
    "job.recorded": Sentence(
        "[{inbox}: ]{filename} taken in[, {size}][, {mime_type}][, a later version of job {revision_of}]"
        "[, a conflict copy of job {conflict_of}]",
        "A receipt was taken in and recorded.",
    ),
    "job.concluded": Sentence(
        "[{inbox}: ]{filename} {status}[ of job {duplicate_of}][ after {seconds}][ in {attempts} attempts][ ({reason})]"
        "[: {message}][, page {notion_page_url}]",
        "A receipt came to its end: this is what became of it.",
        "Nothing after a success; after a failure read the note beside the file in failed/.",
    ),
    "job.accepted": Sentence(
        "[{inbox}: ]{filename} accepted by N8N[ (attempt {attempt}, {seconds})]",
        "N8N took a receipt; its callback is awaited.",
    ),
    "job.deferred": Sentence(
        "[{inbox}: ]{filename} not taken by N8N, and will be sent again[ (attempt {attempt}, {seconds})][: {message}]",
        "N8N did not take a receipt now; it goes out again.",
        "Nothing while it stays rare; the line says what N8N answered.",
    ),
    "job.refused": Sentence(
        "[{inbox}: ]{filename} refused by N8N[ (attempt {attempt}, {seconds})][: {message}]",
        "N8N will not take a receipt.",
        "Read the answer, mend the workflow or the receipt, then retry.",
    ),
    "job.lost": Sentence(
        "[{inbox}: ]{filename} may have reached N8N, but no answer came[ (attempt {attempt}, {seconds})][: {message}]",
        "Nobody knows whether N8N has a receipt. Its callback is awaited before it is sent again; if none can come, it "
        "fails as outcome_unknown.",
        "Nothing; if it happens often, look at N8N and at n8n.timeout_seconds.",
    ),
    "job.unreadable": Sentence(
        "[{inbox}: ]{filename} was answered by N8N, but no verdict can be read[ (attempt {attempt}, {seconds})]"
        "[: {message}]",
        "N8N dealt with a receipt, but the verdict in its answer cannot be read; it fails as unreadable_verdict.",
        "Compare what the workflow answers with n8n.accept; then mark the receipt delivered, or retry it.",
    ),
    "job.resent": Sentence(
        "[{inbox}: ]{filename} is sent again: no callback came by the deadline",
        "No callback came for a receipt by its deadline; it goes out again under the same id.",
        "Look at the executions in N8N, and whether it reaches the callback URL.",
    ),
    "job.put_off": Sentence(
        "[{inbox}: ]{filename} is sent later[: {message}]",
        "The file of a receipt could not be read; it is tried again.",
        "Look at the disk or the share of this inbox.",
    ),
    "job.adopted": Sentence(
        "[{inbox}: ]{filename} found in processing/ without a record, and recorded",
        "A stop came between the move of a file and its record; now it is recorded.",
    ),
    # --- N8N ---
    "destination.held": Sentence(
        "[{inbox}: ]N8N is on hold[: {message}][; probed again in {probe_seconds}]",
        "N8N is down or misconfigured: receipts wait and lose no attempt.",
        "Do what the line says; one receipt after another is tried, and work goes on by itself.",
    ),
    "destination.resumed": Sentence(
        "[{inbox}: ]N8N is back[: {why}]",
        "N8N takes receipts again; what has waited goes out in order of arrival.",
    ),
    # --- files ---
    "file.waiting": Sentence(
        "[{inbox}: ]{filename} is not taken yet[ ({reason}, for {minutes} minutes)]: {why}[. What to do: {advice}]",
        "A file in an inbox is not taken yet; a warning after ten minutes.",
        "Ask receipt-watcher explain FILE.",
    ),
    "file.blocked": Sentence(
        "[{inbox}: ]{filename} cannot be taken[ ({reason})]: {why}[. What to do: {advice}]",
        "A file in an inbox stays there until somebody does something.",
        "Do what the line says; receipt-watcher explain FILE has more.",
    ),
    "file.given_back": Sentence(
        "[{inbox}: ]{filename} given back to {where}[: {why}]",
        "Somebody went on writing a file while it was taken; it settles again.",
    ),
    "file.vanished": Sentence(
        "[{inbox}: ]{filename} was gone before it was taken", "Somebody took a file away before it was taken."
    ),
    "file.filed": Sentence("[{inbox}: ]{path} filed in {folder}/", "A file was moved to where it belongs."),
    "file.not_filed": Sentence(
        "[{inbox}: ]files stay in processing/[: {message}][; {advice}]",
        "Files cannot be moved to done/ or failed/; receipts go on being sent.",
        "Make room, or mend the folder that the line names; it is tried again by itself.",
    ),
    "filing.resumed": Sentence(
        "{inbox}: files are moved to done/ and failed/ again",
        "Files are moved to done/ and failed/ again, after `file.not_filed`.",
    ),
    "file.missing": Sentence(
        "[{inbox}: ]{filename} is not where it was[: {message}]",
        "Somebody moved, deleted or changed a file that was ours to file.",
        "If you find it, drop it into the inbox again.",
    ),
    "file.stuck": Sentence(
        "[{inbox}: ]{path} cannot be recorded[: {why}][; {advice}]",
        "The disk does not give a file that was taken; it stays in processing/ and is tried again.",
        "Look at the disk.",
    ),
    "file.unknown": Sentence(
        "[{inbox}: ]{path} is in processing/ and no receipt of ours[; {advice}]",
        "There is a file in processing/ that was not put there by us.",
        "Move it into the inbox if it is a receipt, else away.",
    ),
    "file.refused": Sentence(
        "the file of job {job_id} was asked for by a right link, and not given[: {why}]",
        "N8N asked for a file by a right link, and there is none, or it has changed.",
        "Ask receipt-watcher show JOB where it should be.",
    ),
    "file.cut_off": Sentence(
        "the file of job {job_id} was cut off on its way[: {why}]",
        "A file changed, or could not be read on, while N8N fetched it: it got no end.",
        "Look at the disk; N8N asks again.",
    ),
    "folder.shut": Sentence(
        "[{inbox}: ]{path} cannot be read[: {why}]",
        "The service may not read a subfolder of an inbox; what is in it is not taken.",
        "Let the service's user read it.",
    ),
    "note.not_written": Sentence(
        "the note {path} could not be written[: {message}]",
        "A failed file has no note beside it.",
        "Make room in failed/, or mend its rights; receipt-watcher show JOB has the reason.",
    ),
    "examiner.broke": Sentence(
        "{path} broke the process that examined it[: {why}][; {advice}]",
        "A file made its examiner crash, or take too much; at the second time the file is failed.",
        "Be careful with that file if you do not know where it comes from.",
    ),
    "examiner.ended": Sentence(
        "somebody ended the process that examined {path}[: {why}][; {advice}]",
        "An examiner was ended from outside, by an admin or because memory was short. The file is tried again.",
        "Look at the machine's memory (journalctl -k) if nobody did it by hand.",
    ),
    # --- inboxes ---
    "inbox.watched": Sentence(
        "{inbox}: {path} is watched ({mode})[: {why}]", "An inbox is open, and how new files are noticed."
    ),
    "inbox.polled": Sentence(
        "{inbox}: listed every few seconds, since events cannot be had[: {why}]",
        "An inbox has no events although it should; it is listed instead.",
        "Nothing is lost by it; raise the limit that the line names, if it names one.",
    ),
    "inbox.watches_lacking": Sentence(
        "{inbox}: not every subfolder is watched[: {why}]",
        "The kernel gave no more watches; the inbox is listed every poll_seconds instead.",
        "Nothing is lost by it; raise fs.inotify.max_user_watches (sysctl).",
    ),
    "inbox.watches_back": Sentence(
        "{inbox}: everything is watched again", "The watches that could not be had before were had now."
    ),
    "inbox.overflowed": Sentence(
        "{inbox}: events were lost, so the folder is listed[: {why}]",
        "So many files came at once that the kernel dropped events; the folder was listed instead.",
    ),
    "inbox.unavailable": Sentence(
        "{inbox}: nothing can be taken[: {why}]",
        "An inbox, or a folder of its spool, cannot be used; other inboxes go on.",
        "Mend what the line says; the inbox opens again by itself.",
    ),
    "inbox.available": Sentence(
        "{inbox}: open again[ after {seconds}]", "An inbox that was unavailable is open again."
    ),
    "mark.used": Sentence(
        "{inbox}: what the command {command} accepted is done",
        "An admin typed accept-backlog or take-over, and it has been done; the mark that it left is gone.",
    ),
    "mark.void": Sentence(
        "{inbox}: the mark that the command {command} left is void[: {why}]",
        "What an admin accepted by accept-backlog or take-over is not what is there now, or was accepted too long ago.",
        "Look at the folders, then type the command again.",
    ),
    "spool.asked": Sentence(
        "{path} bears the mark of another daemon ({daemon}); it has {seconds} to answer",
        "A spool was last used by a daemon of another host, or before a power cut; it is asked whether it still runs.",
    ),
    "statusfile.not_written": Sentence(
        "[{inbox}: ]the status file {path} cannot be written[: {why}]",
        "The status file of an inbox cannot be written, or another file has its name.",
        "Let the service's user write in the inbox, or move that file away.",
    ),
    "textfile.not_written": Sentence(
        "the text file {path} for node_exporter cannot be written[: {why}]",
        "The text file for node_exporter cannot be written.",
        "Let the service's user write in its folder.",
    ),
}
