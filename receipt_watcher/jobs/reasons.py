"""Why a job ended where it did, and what to do about it. Pure: no I/O, no clock."""

from __future__ import annotations

from receipt_watcher.jobs.codes import Code


class Reason(Code):
    """Why a job ended where it did. One code, one sentence, one piece of advice; the README lists them all."""

    UNSUPPORTED_TYPE = (
        "unsupported_type",
        "The content is none of the accepted kinds, whatever the name says.",
        "Scan or save it again as PDF, JPEG, PNG, TIFF, WebP, GIF, BMP or HEIC.",
    )
    EMPTY = (
        "empty",
        "The file has no content.",
        "Scan or copy it again; if it happens often, look at the scanner's connection.",
    )
    INCOMPLETE = (
        "incomplete",
        "The file ends before its format says that it should: the end is missing.",
        "Scan or copy it again; if it happens often, raise settle_seconds of this inbox.",
    )
    BROKEN = (
        "broken",
        "The content cannot be read as what it claims to be.",
        "Open it in a viewer; if that fails too, scan it again.",
    )
    ENCRYPTED = (
        "encrypted",
        "The document asks for a password.",
        "Save it without a password and drop it in again.",
    )
    TOO_LARGE = (
        "too_large",
        "The file is larger than limits.max_file_mb allows.",
        "Scan with a lower resolution, or ask the admin to raise limits.max_file_mb.",
    )
    TOO_MANY_PIXELS = (
        "too_many_pixels",
        "The picture has more pixels than limits.max_megapixels allows.",
        "Scan with a lower resolution, or ask the admin to raise limits.max_megapixels.",
    )
    UNREADABLE = (
        "unreadable",
        "The file may be moved but not read: its permissions shut the service out.",
        "Let the scanner or share create files that the service's user can read, then drop it in again.",
    )
    UNEXAMINABLE = (
        "unexaminable",
        "Reading this file broke or exhausted the program that examines receipts, twice.",
        "Be careful with it if you do not know where it comes from; else scan it again, or print it to a new PDF.",
    )
    ALREADY_SEEN = (
        "already_seen",
        "The same bytes for the same target are under way or have succeeded, and duplicates is set to fail.",
        "Nothing, if this was a second copy; otherwise set duplicates to send.",
    )
    TOO_LARGE_FOR_JSON = (
        "too_large_for_json",
        "As JSON the message would pass n8n.max_json_mb, above which n8n answers with an error.",
        "Set n8n.payload to auto or multipart, and let the workflow read the form's file; then retry.",
    )
    REFUSED_TOO_LARGE = (
        "refused_too_large",
        "N8N, or a proxy before it, answered 413: too large.",
        "Raise the limit there (N8N_PAYLOAD_SIZE_MAX, N8N_FORMDATA_FILE_SIZE_MAX, the proxy's body size), then retry.",
    )
    REFUSED_TYPE = (
        "refused_type",
        "N8N answered 415: it does not take this kind of content.",
        "Look at the workflow's webhook node, then retry.",
    )
    REFUSED = (
        "refused",
        "N8N answered 422: it could read the request and will not take it.",
        "Read the answer, mend the workflow or the receipt, then retry.",
    )
    ATTEMPTS_EXHAUSTED = (
        "attempts_exhausted",
        "This receipt failed n8n.max_attempts times while others passed.",
        "Look at the failed executions in N8N; then retry.",
    )
    N8N_FAILURE = (
        "n8n_failure",
        "The N8N workflow reported a failure.",
        "Read its message; mend the cause; then retry or drop the file in again.",
    )
    NO_CALLBACK = (
        "no_callback",
        "N8N took the receipt but never reported back in time.",
        "Look at the executions in N8N, and whether it can reach the callback URL; then retry or mark it delivered.",
    )
    OUTCOME_UNKNOWN = (
        "outcome_unknown",
        "N8N's answer was lost and no callback can come: the receipt may have been booked.",
        "Look for its execution in N8N; then mark it delivered, or retry it if it was not booked.",
    )
    UNREADABLE_VERDICT = (
        "unreadable_verdict",
        "N8N reported back in a form that cannot be read: the workflow ran, so the receipt may have been booked.",
        "Look for its execution in N8N and fix what the workflow reports; then mark it delivered, or retry it.",
    )
    NOT_DELIVERED = (
        "not_delivered",
        "An admin looked in N8N and found that the receipt was not booked.",
        "Retry it, or move the file back into the inbox.",
    )
    CHANGED = (
        "changed",
        "The file changed after it was taken in: its bytes are no longer those that were recorded.",
        "Drop it into the inbox again once it is complete.",
    )
    FILE_MISSING = (
        "file_missing",
        "The file is no longer where the job log says; somebody moved or deleted it.",
        "If you find it, drop it into the inbox again.",
    )
    CANCELLED = (
        "cancelled",
        "An admin cancelled the job.",
        "Drop the file into the inbox again, or retry the job, if that was a mistake.",
    )


#: Refusals that examination decides; a retry examines the file again before it is queued.
EXAMINATION_REASONS = frozenset(
    {
        Reason.UNSUPPORTED_TYPE,
        Reason.EMPTY,
        Reason.INCOMPLETE,
        Reason.BROKEN,
        Reason.ENCRYPTED,
        Reason.TOO_LARGE,
        Reason.TOO_MANY_PIXELS,
        Reason.UNREADABLE,
        Reason.UNEXAMINABLE,
    }
)


#: An admin may have such a file sent all the same, if a viewer shows it; the bounds of size, pixels and memory stay.
OVERRULABLE = frozenset({Reason.UNSUPPORTED_TYPE, Reason.INCOMPLETE, Reason.BROKEN, Reason.ENCRYPTED})


#: N8N may have booked such a receipt: it is not sent again unless a person insists, and a person may settle it.
MAY_BE_BOOKED = frozenset({Reason.OUTCOME_UNKNOWN, Reason.UNREADABLE_VERDICT, Reason.NO_CALLBACK})


#: Why such a receipt is not simply sent again.
MAY_BE_BOOKED_WORDS = "N8N may have booked it, and sending it again may book it twice: look for it in N8N first."
