"""What the log says, in sentences: one table from the name of an event to its words, what it means, and what to do.

What it promises: the journal, the console, the catalog that `journalctl -x` shows, and the README say the same words
for the same event. Whatever is put into a sentence, it is one line of printable text: no name steers a terminal. Each
event has an id that follows from its name alone, so it stays the same over versions and machines.

Pure; any thread may call it.
"""

from __future__ import annotations

import functools
import os
import re
import textwrap
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from receipt_watcher.system.display import printable

#: Where the ids of events come from: never to be changed, or filters and catalogs of admins would miss them.
_NAMESPACE = uuid.UUID("6f1c9a3e-5d0b-4c86-9b1e-2a7f4d8e0c53")

#: What one value may take of a sentence; the field beside it has it whole. Names are never cut. By taste.
_MOST_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class Sentence:
    """How an event is said. `{field}` stands for a field, and `[…]` is left out where a field in it is missing."""

    text: str
    meaning: str
    advice: str = "Nothing."


_REPORT = "Please report it, with the traceback."

SENTENCES: dict[str, Sentence] = {
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
    # --- callbacks and HTTP ---
    "callback.repeated": Sentence(
        "a verdict for job {job_id} came again, and changes nothing", "A callback said what was known already."
    ),
    "callback.contrary": Sentence(
        "N8N reports a failure of job {job_id}, which had succeeded; it stays a success[: {message}]",
        "A failure came after a success, and changed nothing.",
        "Look at the executions of this receipt in N8N: the workflow ran twice, or calls back twice.",
    ),
    "callback.unreadable": Sentence(
        "the callback for job {job_id} cannot be read[: {why}]",
        "A callback with a right token could not be read. It is kept in the job's history, and the receipt fails as "
        "unreadable_verdict.",
        "Fix the body that the workflow posts; then mark the receipt delivered, or retry it.",
    ),
    "callback.kept": Sentence(
        "the callback for job {job_id} is kept until the job log can be written",
        "The job log could not take a callback; it is kept in state_dir/callbacks and answered.",
        "See job_log.failing for what keeps the log; then the callback is applied first.",
    ),
    "callback.applied": Sentence(
        "a kept callback for job {job_id} is in the job log now", "A callback that had been kept was written down."
    ),
    "callback.not_kept": Sentence(
        "the callback for job {job_id} could not be kept in {path} ({why}); it is to be sent again",
        "Neither the job log nor the state folder took a callback; N8N was asked to send it again.",
        "Make room in state_dir, or let the service's user write there.",
    ),
    "callback.unknown_job": Sentence(
        "a kept callback names job {job_id}, which is not in the job log; it stays in {path} for a day",
        "A kept callback is for a job that is not there; if the job comes back within a day, it is applied.",
        "If the job log was restored, nothing; else look which workflow posts it.",
    ),
    "callback.dropped": Sentence(
        "a kept callback [for job {job_id} ]is given up: {why}[; {path}]",
        "A kept callback was for no job for a day, or its file cannot be read.",
        "Look at the executions of that job in N8N.",
    ),
    "access.refused": Sentence(
        "calls of the API with a wrong token from {client}: {tries}[, the last for {path}]",
        "Somebody calls the API with a wrong token.",
        "Compare it with http.tokens; else look who it is.",
    ),
    "access.token_refused": Sentence(
        "a token of the identity provider is not believed[: {why}]", "A JWT is wrong, too old, or not for us."
    ),
    "access.keys_unread": Sentence(
        "the identity provider's keys cannot be read[: {why}][; {advice}]",
        "The identity provider's keys cannot be read; those that are known stay good.",
        "Look at http.jwt.",
    ),
    "upload.taken": Sentence(
        "[{inbox}: ]a receipt was uploaded by {by}: {status}", "A receipt came by the API; the job has its name."
    ),
    "jobs.retried": Sentence("{retried} receipts are tried again by {by}", "Somebody had many tried again by the API."),
    "hold.begun": Sentence("{what} is held by {by}[: {why}]", "Somebody holds an inbox or a destination, by the API."),
    "hold.ended": Sentence(
        "{what} goes on, by {by}", "Somebody ended a hold by the API, or had a held destination tried before its time."
    ),
    "callback.unauthorised": Sentence(
        "calls with a wrong token or link from {client}: {tries}[, the last for job {job_id}]",
        "Somebody calls with a wrong token, or with a wrong link to a file.",
        "If it is N8N, put callback.secret_token into its credential; else look who it is.",
    ),
    "callback.shared_token": Sentence(
        "a callback for job {job_id} bore the shared token, and was refused: each job has its own",
        "callback.per_job_tokens is on, and the workflow still sends the shared token.",
        "Let the workflow send callback_token of its payload.",
    ),
    "callback.previous_token": Sentence(
        "the callback for job {job_id} bore the previous token",
        "N8N still sends the token before the present one.",
        "Change it in N8N's credential before callback.previous_secret_token is removed.",
    ),
    "http.refused": Sentence("a caller was answered {status}[: {detail}]", "Somebody called in a wrong way."),
    "http.failed": Sentence(
        "a defect of receipt-watcher: a caller was answered 500[ ({error})]",
        "A defect of ours at an HTTP request, with its traceback.",
        _REPORT,
    ),
    "http.certificate_renewed": Sentence(
        "the certificate {path} was renewed, and is used from now on", "The certificate for TLS was read anew."
    ),
    "http.certificate_unread": Sentence(
        "a renewed certificate cannot be used[: {why}]",
        "The certificate for TLS changed, and cannot be used; the one before goes on.",
        "Look at http.tls_certificate and http.tls_key; it is tried each minute.",
    ),
    "http.crowded": Sentence(
        "more than {most} connections; {closed} of the oldest were closed[; {advice}]",
        "Too many connections are open at once; never one that hands over a callback was closed.",
        "Look who opens so many.",
    ),
    "http.address_crowded": Sentence(
        "{client} has opened more than {most} connections; its oldest ones are closed",
        "One address has opened too many connections. Its oldest ones are closed, never a callback's.",
        "Look what runs there. If it is a proxy of yours, name it in http.trusted_proxies.",
    ),
    "http.no_files": Sentence(
        "too few files can be opened, so connections are closed[: {error}][; {advice}]",
        "The process may open few files or none, so connections are closed. A quarter is kept for receipts.",
        "Raise LimitNOFILE of the service.",
    ),
    # --- the job log ---
    "job_log.failing": Sentence(
        "nothing is taken or sent: the job log fails[: {why}]",
        "The job log cannot be written, so nothing is taken or sent; callbacks are kept until it can.",
        "Make room, or do what the line says.",
    ),
    "job_log.mended": Sentence("the job log can be written again", "The job log can be written again; work goes on."),
    "job_log.behind": Sentence(
        "the job log {path} is older than {where}: it was restored from a backup, so the folders are compared with it",
        "The job log was restored from a backup. What came since is found in the folders before anything is sent.",
    ),
    "job_log.restored": Sentence(
        "the job log {path} was written anew[: {why}]",
        "The job log was deleted while it was in use, and is there again.",
        "Find out who deleted it.",
    ),
    "job_log.rebuilt": Sentence(
        "[{inbox}: ]{jobs} files recorded as they lie[: {why}]",
        "The job log was lost or restored; what lies in done/ and failed/ was recorded, so that none is booked again.",
        "Look at those in failed/: N8N knows whether they were booked.",
    ),
    # --- balance and retention ---
    "balance.checked": Sentence(
        "the balance agrees: {received} receipts[, checked in {seconds}][, without {left_out}]",
        "Log and folders agree about every receipt; once a day and after a start.",
    ),
    "balance.disagrees": Sentence(
        "the balance does not agree: {names}[; {advice}]",
        "Log and folders disagree; the line names the first few.",
        "Run receipt-watcher balance, which names all, and what to do about each.",
    ),
    "retention.removed": Sentence(
        "[{inbox}: ]{files} old files removed, {bytes}", "Retention removed files that were old enough."
    ),
    "retention.trimmed": Sentence(
        "the history of {jobs} old jobs was removed", "Retention removed the history of old jobs."
    ),
    "retention.kept": Sentence(
        "[{inbox}: ]the file of job {job_id} is old, and stays[: {why}][; {advice}]",
        "Retention keeps a file that is not as it was recorded.",
        "Look at it.",
    ),
    "retention.put_off": Sentence(
        "[{inbox}: ]retention waits[: {why}][; {advice}]",
        "Retention cannot look into a folder.",
        "Mend what the line says; it is tried every hour.",
    ),
    "retention.catching_up": Sentence(
        "the clock is {days} days ahead of the job log; retention follows slowly",
        "The clock is far ahead of the log, so retention does not believe it at once.",
        "Look whether the machine's date is right.",
    ),
    # --- telling people ---
    "notice.sent": Sentence("told by {channel}: {title}", "A notice went out."),
    "notice.not_sent": Sentence(
        "could not tell by {channel}: {title}[ ({why})][; again in {again_in_seconds}]",
        "A channel failed; the notice is tried again for three days.",
        "Run receipt-watcher notify --test.",
    ),
    "notice.given_up": Sentence(
        "nobody was told: {title}[; {channel} failed for three days][ ({why})]",
        "A channel failed for three days, and a notice was given up.",
        "Run receipt-watcher notify --test.",
    ),
    "heartbeat.not_sent": Sentence(
        "the heartbeat was not taken[: {why}][; {advice}]",
        "The far side of the heartbeat does not answer.",
        "Look at notify.heartbeat_url; it is tried again.",
    ),
    "heartbeat.resumed": Sentence("the heartbeat is taken again", "The far side of the heartbeat answers again."),
    # --- the daemon ---
    "daemon.started": Sentence(
        "receipt-watcher {version} started; inboxes: {inboxes}; callbacks come to {public_url}",
        "The daemon has started.",
    ),
    "daemon.stopped": Sentence("receipt-watcher stopped", "The daemon has stopped, with nothing left half done."),
    "daemon.cut_off": Sentence(
        "receipt-watcher stopped before everything under way had ended[; {advice}]",
        "A stop took longer than limits.stop_timeout_seconds; the next start settles what was cut off.",
        "Raise limits.stop_timeout_seconds above n8n.timeout_seconds.",
    ),
    "configuration.reloaded": Sentence(
        "the new configuration is in force; inboxes: {inboxes}", "A reload is done; nothing under way was lost."
    ),
    "configuration.refused": Sentence(
        "the new configuration was refused: {why}[; {advice}]",
        "A reload was refused, and the configuration before goes on.",
        "Mend what the line says, one line for each mistake, and reload again.",
    ),
    "watchdog.withheld": Sentence(
        "receipt-watcher hangs: no sign of work from {hanging}; systemd will restart it",
        "A part of the daemon hangs, so systemd, which is told nothing any more, ends the daemon and starts it again.",
        "If it happens again, report it with this line; no receipt is lost by it.",
    ),
    "clock.jumped": Sentence(
        "the clock was moved by {seconds}, of which the machine slept {asleep_seconds}",
        "The clock was set, or the machine slept: what is to come was moved along, and nothing expires by it.",
    ),
    "stage.failed": Sentence(
        "a defect of receipt-watcher: {stage} failed, and is tried again[ ({error})]",
        "A defect of ours in one of the stages, with its traceback.",
        _REPORT,
    ),
    "task.failed": Sentence(
        "a defect of receipt-watcher: the task {task} failed, and is tried again[ ({error})]",
        "A defect of ours in a periodic task, with its traceback.",
        _REPORT,
    ),
    "output.clogged": Sentence(
        "{lines} log lines were lost: nobody read the standard error output, or its disk was full",
        "The log output took no lines for a while, and the daemon did not wait for it.",
        "Look at the program that reads it; receipt-watcher jobs has what became of receipts meanwhile.",
    ),
    "journal.clogged": Sentence(
        "{lines} log lines were lost: the journal took none",
        "The journal took no lines for a while, and the daemon did not wait for it.",
        "Look at systemd-journald; receipt-watcher jobs has what became of receipts meanwhile.",
    ),
}


# --- sentences -----------------------------------------------------------------------------------------------------

_PART = re.compile(r"\[(?P<optional>[^\[\]]*)\]|\{(?P<field>\w+)\}")
_FIELD = re.compile(r"\{(\w+)\}")


def say(event: str, fields: Mapping[str, Any]) -> str | None:
    """Return the sentence for an event with these fields, in one line; None for an event that has none."""
    sentence = SENTENCES.get(event)
    if sentence is None:
        return None

    def fill(part: re.Match[str]) -> str:
        if part["field"] is not None:
            return _shown(part["field"], fields) or "?"
        if any(not _shown(name, fields) for name in _FIELD.findall(part["optional"])):
            return ""
        return _FIELD.sub(lambda found: _shown(found[1], fields), part["optional"])

    return _PART.sub(fill, sentence.text)


def fields_said(event: str) -> frozenset[str]:
    """Return the fields that the sentence of an event has room for."""
    return frozenset(_FIELD.findall(SENTENCES[event].text)) if event in SENTENCES else frozenset()


def _shown(name: str, fields: Mapping[str, Any]) -> str:
    value = fields.get(name)
    if value is None:
        return ""
    form = _FORMS.get(name) or (_duration if name.endswith("seconds") else _plain)
    return form(value)


def _plain(value: Any) -> str:
    text = printable(str(value).strip().removesuffix("."))
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}…"


def _name(value: Any) -> str:
    """A name with a blank is quoted: else it could read like the rest of the sentence."""
    text = printable(os.fspath(value) if isinstance(value, os.PathLike) else str(value))
    if " " not in text and '"' not in text:
        return text
    return '"' + text.replace('"', '\\"') + '"'


_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0


def _duration(value: Any) -> str:
    """Say seconds as a person would."""
    if not isinstance(value, int | float):
        return _plain(value)
    size = abs(value)
    if size < 10:  # noqa: PLR2004 - from here on a tenth is no news
        return f"{value:.1f} s"
    if size < 2 * _MINUTE:
        return f"{value:.0f} s"
    if size < 2 * _HOUR:
        return f"{value / _MINUTE:.0f} min"
    return f"{value / _HOUR:.0f} h" if size < 2 * _DAY else f"{value / _DAY:.0f} days"


def _bytes(value: Any) -> str:
    if not isinstance(value, int):
        return _plain(value)
    if value < 1000:  # noqa: PLR2004 - the unit's
        return f"{value} bytes"
    return f"{value / 1e3:.0f} kB" if value < 1e6 else f"{value / 1e6:.1f} MB"  # noqa: PLR2004 - likewise


def _repeated(value: Any) -> str:
    """One attempt is no news."""
    return "" if value in (0, 1) else _plain(value)


_STATUS_WORDS = {"success": "succeeded", "failure": "failed", "duplicate": "is a copy", "cancelled": "was cancelled"}

_FORMS: dict[str, Callable[[Any], str]] = {
    "filename": _name,
    "path": _name,
    "size": _bytes,
    "bytes": _bytes,
    "attempts": _repeated,
    "status": lambda value: _STATUS_WORDS.get(str(value)) or _plain(value),
}


# --- the catalog ---------------------------------------------------------------------------------------------------


@functools.cache
def message_id(event: str) -> str:
    """Return the MESSAGE_ID of an event: 32 hexadecimal digits that follow from its name."""
    return uuid.uuid5(_NAMESPACE, event).hex


def catalog() -> str:
    """Return the file that `journalctl -x` takes its explanations from."""
    head = "# What journalctl -x says of the lines of receipt-watcher. Made by python -m tests.docs_tables.\n"
    return head + "".join(_explanation(event, sentence) for event, sentence in sorted(SENTENCES.items()))


def _explanation(event: str, sentence: Sentence) -> str:
    body = [f"What to do: {sentence.advice}"]
    if event.startswith("job."):  # each of these lines bears the job's id
        body.append("All about this receipt: receipt-watcher show @RECEIPT_JOB@")
    wrapped = "\n".join(textwrap.fill(line.replace("`", ""), 78) for line in body)
    return (
        f"\n-- {message_id(event)}\n"
        f"Subject: {sentence.meaning.removesuffix('.').replace('`', '')}\n"
        "Defined-By: receipt-watcher\n"
        "Documentation: man:receipt-watcher(1)\n"
        f"\nThe event {event}.\n{wrapped}\n"
    )
