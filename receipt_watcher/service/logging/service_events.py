"""The words of events about callbacks, HTTP, the job log, the balance, notices and the daemon.

Pure.
"""

from __future__ import annotations

from receipt_watcher.service.logging.event_words import REPORT, Sentence

SERVICE_EVENTS: dict[str, Sentence] = {
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
        REPORT,
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
        REPORT,
    ),
    "task.failed": Sentence(
        "a defect of receipt-watcher: the task {task} failed, and is tried again[ ({error})]",
        "A defect of ours in a periodic task, with its traceback.",
        REPORT,
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
