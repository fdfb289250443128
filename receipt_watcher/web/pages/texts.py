"""The status page's texts, in English and German: one catalogue, and how numbers, sizes and times are written.

What it promises: a text that is missing is an error at once, in both languages alike; a test compares them. The meaning
and advice of codes are the ones that the command line says; their German stands here. Pure; any thread may use it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import tzinfo
from typing import Literal

from receipt_watcher.config.hours import local
from receipt_watcher.inbox.wait_reasons import WaitReason
from receipt_watcher.jobs.codes import Code
from receipt_watcher.jobs.reasons import Reason

Language = Literal["en", "de"]
LANGUAGES: tuple[Language, ...] = ("en", "de")
NAMES: dict[Language, str] = {"en": "English", "de": "Deutsch"}

#: Key: English, German. Where a count decides, the forms for one and for more stand with a bar between.
TEXTS: dict[str, tuple[str, str]] = {
    # --- everywhere ---
    "skip": ("Skip to the content", "Zum Inhalt springen"),
    "nav": ("Pages", "Seiten"),
    "nav.overview": ("Overview", "Übersicht"),
    "nav.receipts": ("Receipts", "Belege"),
    "nav.failed": ("Failed", "Fehlgeschlagen"),
    "nav.upload": ("Add", "Neu"),
    "language": ("Language", "Sprache"),
    "list.new": ("{count} new", "{count} neu"),
    "live.off": ("Not connected; trying again…", "Keine Verbindung; neuer Versuch…"),
    "footer": ("receipt-watcher {version} on {host}", "receipt-watcher {version} auf {host}"),
    # --- states ---
    "state.queued": ("Waiting", "Wartet"),
    "state.delivering": ("Being sent", "Wird gesendet"),
    "state.processing": ("With N8N", "Bei N8N"),
    "state.success": ("Done", "Erledigt"),
    "state.failure": ("Failed", "Fehlgeschlagen"),
    "state.cancelled": ("Cancelled", "Abgebrochen"),
    "state.duplicate": ("Copy", "Kopie"),
    # --- overview ---
    "overview.title": ("Overview", "Übersicht"),
    "overview.fine": ("All is well.", "Alles in Ordnung."),
    "overview.flowing": (
        "{count} receipt is on its way.|{count} receipts are on their way.",
        "{count} Beleg ist unterwegs.|{count} Belege sind unterwegs.",
    ),
    "overview.held": (
        "N8N is on hold. Nothing is lost: receipts wait and go out by themselves when it is back.",
        "N8N ist angehalten. Nichts geht verloren: Belege warten und gehen hinaus, sobald es wieder da ist.",
    ),
    "overview.by_hand": (
        "Something is on hold by hand; it waits until somebody resumes it.",
        "Etwas ist von Hand angehalten; es wartet, bis es jemand fortsetzt.",
    ),
    "overview.unavailable": (
        "{count} inbox is unavailable.|{count} inboxes are unavailable.",
        "{count} Eingang ist nicht erreichbar.|{count} Eingänge sind nicht erreichbar.",
    ),
    "overview.now": ("Now", "Jetzt"),
    "tile.waiting": ("Waiting to be sent", "Warten auf den Versand"),
    "tile.processing": ("With N8N", "Bei N8N"),
    "tile.failed": ("Failed", "Fehlgeschlagen"),
    "tile.done": ("Done in 24 hours", "In 24 Stunden erledigt"),
    "tile.oldest": ("Oldest on its way", "Ältester unterwegs"),
    "tile.oldest.none": ("none", "keiner"),
    "holds.title": ("On hold", "Angehalten"),
    "hold.since": ("since {time}", "seit {time}"),
    "hold.probe": ("Next try {time}.", "Nächster Versuch {time}."),
    "hold.answers": ("N8N answers wrongly, or not at all.", "N8N antwortet falsch oder gar nicht."),
    "hold.silence": (
        "N8N accepts receipts, but no verdict arrives that can be read.",
        "N8N nimmt Belege an, aber es kommt keine lesbare Rückmeldung.",
    ),
    "hold.hand.inbox": ("The inbox {name} is on hold by hand.", "Der Eingang {name} ist von Hand angehalten."),
    "hold.hand.destination": ("N8N at {name} is on hold by hand.", "N8N auf {name} ist von Hand angehalten."),
    "hold.resume": ("Resume", "Fortsetzen"),
    "hold.resume_what": ("Resume: {what}", "Fortsetzen: {what}"),
    "hold.begin": ("Hold…", "Anhalten…"),
    "hold.begin_now": ("Hold {name}", "{name} anhalten"),
    "hold.why": ("Why", "Warum"),
    "hold.failing": (
        "N8N has failed {count} time in a row.|N8N has failed {count} times in a row.",
        "N8N ist {count} Mal gescheitert.|N8N ist {count} Mal hintereinander gescheitert.",
    ),
    "chart.title": ("The last 24 hours", "Die letzten 24 Stunden"),
    "chart.summary": (
        "{came} came, {done} done, {failed} failed",
        "{came} gekommen, {done} erledigt, {failed} fehlgeschlagen",
    ),
    "chart.empty": ("No receipt has come in the last 24 hours.", "In den letzten 24 Stunden ist kein Beleg gekommen."),
    "chart.table": ("As a table", "Als Tabelle"),
    "chart.hour": ("Hour", "Stunde"),
    "chart.came": ("Came", "Gekommen"),
    "chart.done": ("Done", "Erledigt"),
    "chart.failed": ("Failed", "Fehlgeschlagen"),
    "chart.waiting": ("On their way", "Unterwegs"),
    "chart.took": ("Median time", "Mittlere Dauer"),
    "chart.count_axis": ("Receipts an hour", "Belege je Stunde"),
    "chart.took_axis": ("Median time to done", "Mittlere Dauer bis erledigt"),
    "inboxes.title": ("Inboxes", "Eingänge"),
    "inbox.available": ("Available", "Erreichbar"),
    "inbox.unavailable": ("Unavailable", "Nicht erreichbar"),
    "inbox.opening": ("Opening", "Wird geöffnet"),
    "inbox.native": ("Watched by events", "Beobachtet durch Ereignisse"),
    "inbox.polling": ("Watched by listing", "Beobachtet durch Nachsehen"),
    "inbox.waits": (
        "{count} file waits in it|{count} files wait in it",
        "{count} Datei wartet darin|{count} Dateien warten darin",
    ),
    "inbox.empty": ("Nothing waits in it", "Nichts wartet darin"),
    "inbox.closed": (
        "{count} receipt waits until {time}|{count} receipts wait until {time}",
        "{count} Beleg wartet bis {time}|{count} Belege warten bis {time}",
    ),
    "inbox.more": ("and {count} more", "und {count} weitere"),
    "recent.title": ("Latest receipts", "Neueste Belege"),
    "recent.all": ("All receipts", "Alle Belege"),
    "recent.empty": (
        "No receipt has come yet. Drop a file into an inbox, or add one here.",
        "Noch ist kein Beleg gekommen. Legen Sie eine Datei in einen Eingang, oder fügen Sie hier eine hinzu.",
    ),
    # --- receipts ---
    "receipts.title": ("Receipts", "Belege"),
    "search": ("Search", "Suchen"),
    "search.text": ("Name or message", "Name oder Meldung"),
    "search.state": ("Status", "Status"),
    "search.inbox": ("Inbox", "Eingang"),
    "search.since": ("From", "Von"),
    "search.until": ("To", "Bis"),
    "search.any": ("Any", "Alle"),
    "search.open": ("On its way", "Unterwegs"),
    "search.clear": ("Clear", "Zurücksetzen"),
    "search.none": ("No receipt fits.", "Kein Beleg passt."),
    "search.none.advice": (
        "Try fewer words, or another day.",
        "Versuchen Sie es mit weniger Wörtern oder einem anderen Tag.",
    ),
    "search.looked_to": ("Searched back to {time}.", "Durchsucht bis zurück zum {time}."),
    "search.looked_up_to": ("Searched up to {time}.", "Durchsucht bis zum {time}."),
    "search.further": ("Search further", "Weitersuchen"),
    "search.searching": ("Searching…", "Suche läuft…"),
    "column.state": ("Status", "Status"),
    "column.name": ("Receipt", "Beleg"),
    "column.inbox": ("Inbox", "Eingang"),
    "column.came": ("Came", "Gekommen"),
    "column.took": ("Took", "Dauer"),
    "column.said": ("What was said", "Was gesagt wurde"),
    "page.older": ("Older", "Ältere"),
    "page.newer": ("Newer", "Neuere"),
    "page.newest": ("Newest", "Neueste"),
    "pager": ("Pages of the list", "Seiten der Liste"),
    # --- one receipt ---
    "receipt.picture": ("First page of {name}", "Erste Seite von {name}"),
    "receipt.no_picture": ("No picture", "Kein Bild"),
    "receipt.removed": (
        "Its file was removed by retention {time}.",
        "Die Datei wurde {time} von der Aufbewahrung entfernt.",
    ),
    "receipt.open_file": ("Save the file", "Datei speichern"),
    "receipt.notion": ("Open in Notion", "In Notion öffnen"),
    "receipt.retry": ("Retry", "Erneut versuchen"),
    "receipt.cancel": ("Cancel", "Abbrechen"),
    "receipt.may_be_booked": (
        "N8N may have booked this receipt. Look for it in N8N, then say what became of it.",
        "Vielleicht hat N8N diesen Beleg gebucht. Sehen Sie in N8N nach, und sagen Sie dann, was daraus wurde.",
    ),
    "receipt.settle_delivered": ("It was booked…", "Er wurde gebucht…"),
    "receipt.settle_delivered.text": (
        "The receipt counts as done, and its file moves to the done folder.",
        "Der Beleg gilt als erledigt, und seine Datei kommt in den Ordner done.",
    ),
    "receipt.settle_delivered.now": ("Mark as delivered", "Als gebucht vermerken"),
    "receipt.settle_not_delivered": ("It was not booked…", "Er wurde nicht gebucht…"),
    "receipt.settle_not_delivered.text": (
        "The receipt stays failed, and can be retried like any other.",
        "Der Beleg bleibt fehlgeschlagen und lässt sich wie jeder andere erneut versuchen.",
    ),
    "receipt.settle_not_delivered.now": ("Mark as not delivered", "Als nicht gebucht vermerken"),
    "receipt.retry_anyway": ("Retry…", "Erneut versuchen…"),
    "receipt.retry_anyway.text": (
        "If N8N has booked the receipt, it is booked twice.",
        "Wenn N8N den Beleg gebucht hat, wird er zweimal gebucht.",
    ),
    "receipt.retry_anyway.now": ("Retry all the same", "Trotzdem erneut versuchen"),
    "receipt.facts": ("Facts", "Angaben"),
    "receipt.timeline": ("What happened", "Was geschah"),
    "receipt.deliveries": ("Deliveries to N8N", "Lieferungen an N8N"),
    "receipt.no_deliveries": ("Nothing has been sent to N8N.", "An N8N wurde noch nichts gesendet."),
    "receipt.explain": ("As receipt-watcher explain says it", "So sagt es receipt-watcher explain"),
    "receipt.said": ("What N8N said", "Was N8N gesagt hat"),
    "receipt.found": ("What was found", "Was gefunden wurde"),
    "receipt.copy_of": ("It is a copy of", "Es ist eine Kopie von"),
    "fact.inbox": ("Inbox", "Eingang"),
    "fact.subfolder": ("Subfolder", "Unterordner"),
    "fact.came": ("Came", "Gekommen"),
    "fact.ended": ("Ended", "Beendet"),
    "fact.next": ("Next attempt", "Nächster Versuch"),
    "fact.deadline": ("Callback awaited until", "Rückmeldung erwartet bis"),
    "fact.kind": ("Kind", "Art"),
    "fact.size": ("Size", "Größe"),
    "fact.attempts": ("Attempts", "Versuche"),
    "fact.path": ("Where it is now", "Wo sie jetzt liegt"),
    "fact.execution": ("N8N's execution", "Ausführung in N8N"),
    "fact.database": ("Notion database", "Notion-Datenbank"),
    "fact.revision": ("Later version of", "Spätere Fassung von"),
    "fact.conflict": ("Conflict copy of", "Konfliktkopie von"),
    "fact.digest": ("SHA-256", "SHA-256"),
    "fact.id": ("Job", "Auftrag"),
    "delivery.started": ("Sent", "Gesendet"),
    "delivery.took": ("Took", "Dauer"),
    "delivery.outcome": ("Outcome", "Ergebnis"),
    "delivery.answer": ("Answer", "Antwort"),
    "delivery.counted": ("counted", "gezählt"),
    "outcome.accepted": ("Accepted", "Angenommen"),
    "outcome.concluded": ("Answered at once", "Sofort beantwortet"),
    "outcome.deferred": ("Later", "Später"),
    "outcome.refused": ("Refused", "Abgelehnt"),
    "outcome.lost": ("No answer", "Keine Antwort"),
    "outcome.unreadable": ("Answer not readable", "Antwort nicht lesbar"),
    # --- what happened ---
    "event.record": ("Taken from the inbox", "Aus dem Eingang übernommen"),
    "event.claim": ("Being sent to N8N", "Wird an N8N gesendet"),
    "event.accept": ("N8N took it", "N8N hat ihn angenommen"),
    "event.lose": ("Sent, but no answer came", "Gesendet, aber keine Antwort"),
    "event.defer": ("Put off until later", "Auf später verschoben"),
    "event.release": ("Not sent after all", "Doch nicht gesendet"),
    "event.resend": ("No callback came; to be sent again", "Keine Rückmeldung; wird erneut gesendet"),
    "event.expire": ("No callback came; given up", "Keine Rückmeldung; aufgegeben"),
    "event.succeed": ("N8N reported success", "N8N meldet Erfolg"),
    "event.fail": ("Failed", "Fehlgeschlagen"),
    "event.give_up": ("Given up; it may have been booked", "Aufgegeben; vielleicht ist er gebucht"),
    "event.settle_delivered": ("Marked as delivered", "Als gebucht vermerkt"),
    "event.settle_not_delivered": ("Known not to be delivered", "Nicht gebucht, wie sich zeigte"),
    "event.retry": ("To be tried again", "Wird erneut versucht"),
    "event.cancel": ("Cancelled", "Abgebrochen"),
    "event.callback.late": ("N8N called back once more", "N8N hat sich noch einmal gemeldet"),
    "event.callback.contrary": ("N8N reported a failure after its success", "N8N meldet einen Fehler nach dem Erfolg"),
    "event.callback.unreadable": ("N8N said something that cannot be read", "N8N hat etwas Unlesbares gesagt"),
    "event.file.brought": ("Dropped into the inbox again", "Erneut in den Eingang gelegt"),
    "event.file.missing": ("Its file is missing", "Die Datei fehlt"),
    "event.file.removed": ("Its file was removed", "Die Datei wurde entfernt"),
    "event.file.kept": ("Its file was kept", "Die Datei wurde behalten"),
    # --- the answer, as `explain` gives it ---
    "answer.queued": ("It waits to be sent to N8N.", "Er wartet auf den Versand an N8N."),
    "answer.delivering": ("It is being sent to N8N.", "Er wird gerade an N8N gesendet."),
    "answer.processing": ("N8N has it; its callback is awaited.", "N8N hat ihn; die Rückmeldung wird erwartet."),
    "answer.success": ("It succeeded.", "Er ist erledigt."),
    "answer.failure": ("It failed.", "Er ist fehlgeschlagen."),
    "answer.cancelled": ("An admin cancelled it.", "Er wurde abgebrochen."),
    "answer.duplicate": (
        "It is a copy of another receipt, and was not sent.",
        "Er ist eine Kopie eines anderen Belegs und wurde nicht gesendet.",
    ),
    # --- failed ---
    "failed.title": ("Failed receipts", "Fehlgeschlagene Belege"),
    "failed.intro": (
        "Each lies in the failed folder, with a note beside it.",
        "Jeder liegt im Ordner failed, mit einer Notiz daneben.",
    ),
    "failed.none": ("Nothing has failed.", "Nichts ist fehlgeschlagen."),
    "failed.none.advice": (
        "What fails is shown here, with the reason and what to do.",
        "Was fehlschlägt, steht hier, mit Grund und Rat.",
    ),
    "failed.retry_these": ("Retry these {count}", "Diese {count} erneut versuchen"),
    "failed.retry_fitting": ("Retry all that fit", "Alle passenden erneut versuchen"),
    "failed.decide": ("Decide…", "Entscheiden…"),
    "failed.decide_this": ("Decide about {name}", "Über {name} entscheiden"),
    "failed.retry_this": ("Retry {name}", "{name} erneut versuchen"),
    # --- upload ---
    "upload.title": ("Add receipts", "Belege hinzufügen"),
    "upload.intro": (
        "They go the same way as files in the inbox folder.",
        "Sie gehen denselben Weg wie Dateien im Ordner des Eingangs.",
    ),
    "upload.drop": ("Drop files here", "Dateien hier ablegen"),
    "upload.choose": ("Choose files", "Dateien wählen"),
    "upload.camera": ("Take a photo", "Foto aufnehmen"),
    "upload.kinds": (
        "PDF, JPEG, PNG, TIFF, WebP, GIF, BMP or HEIC, up to {size} each",
        "PDF, JPEG, PNG, TIFF, WebP, GIF, BMP oder HEIC, je bis {size}",
    ),
    "upload.inbox": ("Inbox", "Eingang"),
    "upload.send": ("Upload", "Hochladen"),
    "upload.results": ("Uploads", "Hochgeladen"),
    "upload.sending": ("Uploading…", "Wird hochgeladen…"),
    "upload.queued": ("Taken in", "Angenommen"),
    "upload.known": ("Already here", "Schon da"),
    "upload.known.text": ("The same receipt came before.", "Derselbe Beleg ist schon einmal gekommen."),
    "upload.show": ("Show the receipt", "Beleg ansehen"),
    "upload.name": (
        "By its name it is no receipt; rename it.",
        "Dem Namen nach ist das kein Beleg; benennen Sie die Datei um.",
    ),
    "upload.later": (
        "It cannot be taken now; try again in a minute.",
        "Das geht gerade nicht; bitte in einer Minute noch einmal.",
    ),
    "upload.no_room": (
        "There is no room for it on the server; tell the admin.",
        "Auf dem Server ist kein Platz dafür; sagen Sie es dem Admin.",
    ),
    "upload.too_large": ("More than {size} a file are not taken.", "Mehr als {size} je Datei werden nicht angenommen."),
    "upload.refused": ("Not taken", "Nicht angenommen"),
    "upload.broken": ("The connection broke; try again.", "Die Verbindung riss ab; bitte noch einmal."),
    # --- what was done ---
    "said.retried": ("It is tried again.", "Er wird erneut versucht."),
    "said.cancelled": ("It was cancelled.", "Er wurde abgebrochen."),
    "said.settled_delivered": ("It is marked as delivered.", "Er ist als gebucht vermerkt."),
    "said.settled_not_delivered": ("It is marked as not delivered.", "Er ist als nicht gebucht vermerkt."),
    "said.too_late": (
        "That is not possible now: it changed just then, or its file is still being moved.",
        "Das geht gerade nicht: Er hat sich eben geändert, oder seine Datei wird noch bewegt.",
    ),
    "said.retried_these": (
        "{count} receipt is tried again.|{count} receipts are tried again.",
        "{count} Beleg wird erneut versucht.|{count} Belege werden erneut versucht.",
    ),
    "said.held": ("It is on hold.", "Angehalten."),
    "said.resumed": ("It goes on.", "Es geht weiter."),
    "said.not_held": ("It is not on hold any more.", "Es ist nicht mehr angehalten."),
    "sign_in": ("Sign in", "Anmelden"),
    "sign_in.token": ("Token", "Token"),
    "sign_in.wrong": (
        "This token is not known here, or its time is over.",
        "Dieses Token ist hier nicht bekannt, oder seine Zeit ist um.",
    ),
    "sign_in.later": (
        "Too many wrong tokens came from here; try again later.",
        "Von hier kamen zu viele falsche Token; versuchen Sie es später wieder.",
    ),
    "sign_out": ("Sign out", "Abmelden"),
    # --- errors ---
    "error.title": ("Error", "Fehler"),
    "error.403": ("This page is not for you", "Diese Seite ist nicht für Sie"),
    "error.403.text": (
        "It is shown on this machine, or to who has a right token.",
        "Sie wird auf diesem Rechner gezeigt, oder wer ein passendes Token hat.",
    ),
    "error.404": ("There is nothing here", "Hier ist nichts"),
    "error.404.text": (
        "The address is wrong, or there is no such receipt.",
        "Die Adresse stimmt nicht, oder diesen Beleg gibt es nicht.",
    ),
    "error.422": ("This cannot be understood", "Das ist nicht zu verstehen"),
    "error.422.text": ("Go back, and mend what is said below.", "Gehen Sie zurück, und ändern Sie, was unten steht."),
    "error.500": ("This went wrong", "Das ging schief"),
    "error.500.text": (
        "It is an error of receipt-watcher itself, and touches no receipt. Its log says more under this number:",
        "Es ist ein Fehler von receipt-watcher selbst; Belege betrifft er nicht. Mehr im Protokoll unter:",
    ),
    "error.503": ("The job log cannot be used now", "Das Auftragsbuch ist gerade nicht benutzbar"),
    "error.503.text": (
        "Receipts wait where they are; nothing is lost. Try again in a minute.",
        "Belege warten, wo sie sind; nichts geht verloren. Versuchen Sie es in einer Minute wieder.",
    ),
    "error.home": ("To the overview", "Zur Übersicht"),
}

#: The German of each reason: its meaning, its advice.
REASONS_DE: dict[Reason, tuple[str, str]] = {
    Reason.UNSUPPORTED_TYPE: (
        "Der Inhalt ist von keiner der angenommenen Arten, was auch immer der Name sagt.",
        "Neu einscannen oder speichern als PDF, JPEG, PNG, TIFF, WebP, GIF, BMP oder HEIC.",
    ),
    Reason.EMPTY: (
        "Die Datei hat keinen Inhalt.",
        "Neu einscannen oder kopieren; kommt es öfter vor, die Verbindung des Scanners prüfen.",
    ),
    Reason.INCOMPLETE: (
        "Die Datei endet früher, als ihr Format es sagt: Das Ende fehlt.",
        "Neu einscannen oder kopieren; kommt es öfter vor, settle_seconds dieses Eingangs erhöhen.",
    ),
    Reason.BROKEN: (
        "Der Inhalt lässt sich nicht als das lesen, was er zu sein vorgibt.",
        "In einem Betrachter öffnen; gelingt auch das nicht, neu einscannen.",
    ),
    Reason.ENCRYPTED: ("Das Dokument verlangt ein Passwort.", "Ohne Passwort speichern und erneut ablegen."),
    Reason.TOO_LARGE: (
        "Die Datei ist größer, als limits.max_file_mb erlaubt.",
        "Mit geringerer Auflösung scannen oder den Admin bitten, limits.max_file_mb zu erhöhen.",
    ),
    Reason.TOO_MANY_PIXELS: (
        "Das Bild hat mehr Pixel, als limits.max_megapixels erlaubt.",
        "Mit geringerer Auflösung scannen oder den Admin bitten, limits.max_megapixels zu erhöhen.",
    ),
    Reason.UNREADABLE: (
        "Die Datei lässt sich bewegen, aber nicht lesen: Ihre Rechte schließen den Dienst aus.",
        "Scanner oder Freigabe so einstellen, dass der Dienst die Dateien lesen darf; dann erneut ablegen.",
    ),
    Reason.UNEXAMINABLE: (
        "An dieser Datei ist das Prüfprogramm zweimal zerbrochen oder erlahmt.",
        "Vorsicht, wenn unklar ist, woher sie kommt; sonst neu einscannen oder in ein neues PDF drucken.",
    ),
    Reason.ALREADY_SEEN: (
        "Dieselben Bytes für dasselbe Ziel sind unterwegs oder erledigt, und duplicates steht auf fail.",
        "Nichts, wenn es eine zweite Kopie war; sonst duplicates auf send stellen.",
    ),
    Reason.TOO_LARGE_FOR_JSON: (
        "Als JSON wäre die Nachricht größer als n8n.max_json_mb, worüber n8n mit einem Fehler antwortet.",
        "n8n.payload auf auto oder multipart stellen, den Workflow das Formular lesen lassen; dann erneut versuchen.",
    ),
    Reason.REFUSED_TOO_LARGE: (
        "N8N oder ein Proxy davor hat mit 413 geantwortet: zu groß.",
        "Dort die Grenze anheben (N8N_PAYLOAD_SIZE_MAX, N8N_FORMDATA_FILE_SIZE_MAX, Proxy); dann erneut versuchen.",
    ),
    Reason.REFUSED_TYPE: (
        "N8N hat mit 415 geantwortet: Diese Art Inhalt nimmt es nicht.",
        "Den Webhook-Knoten des Workflows ansehen; dann erneut versuchen.",
    ),
    Reason.REFUSED: (
        "N8N hat mit 422 geantwortet: Es konnte die Anfrage lesen und nimmt sie nicht.",
        "Die Antwort lesen, Workflow oder Beleg in Ordnung bringen; dann erneut versuchen.",
    ),
    Reason.ATTEMPTS_EXHAUSTED: (
        "Dieser Beleg ist n8n.max_attempts Mal gescheitert, während andere durchkamen.",
        "Die fehlgeschlagenen Ausführungen in N8N ansehen; dann erneut versuchen.",
    ),
    Reason.N8N_FAILURE: (
        "Der N8N-Workflow hat einen Fehler gemeldet.",
        "Die Meldung lesen, die Ursache beheben; dann erneut versuchen oder die Datei erneut ablegen.",
    ),
    Reason.NO_CALLBACK: (
        "N8N hat den Beleg angenommen, sich aber nicht rechtzeitig zurückgemeldet.",
        "Die Ausführungen in N8N ansehen, und ob es uns erreicht; dann erneut versuchen oder als gebucht vermerken.",
    ),
    Reason.OUTCOME_UNKNOWN: (
        "Die Antwort von N8N ging verloren, und eine Rückmeldung kann nicht kommen: Vielleicht ist der Beleg gebucht.",
        "Die Ausführung in N8N suchen; dann als gebucht vermerken, oder erneut versuchen, wenn er nicht gebucht wurde.",
    ),
    Reason.UNREADABLE_VERDICT: (
        "Die Rückmeldung von N8N ist nicht lesbar: Der Workflow lief, also ist der Beleg vielleicht gebucht.",
        "Die Ausführung in N8N suchen, den Workflow berichtigen; dann als gebucht vermerken oder erneut versuchen.",
    ),
    Reason.NOT_DELIVERED: (
        "Ein Admin hat in N8N nachgesehen: Der Beleg wurde nicht gebucht.",
        "Erneut versuchen, oder die Datei zurück in den Eingang legen.",
    ),
    Reason.CHANGED: (
        "Die Datei hat sich nach der Übernahme geändert: Es sind nicht mehr die Bytes, die vermerkt wurden.",
        "Erneut in den Eingang legen, wenn sie vollständig ist.",
    ),
    Reason.FILE_MISSING: (
        "Die Datei liegt nicht mehr dort, wo das Auftragsbuch sagt; jemand hat sie verschoben oder gelöscht.",
        "Wenn sie sich findet, erneut in den Eingang legen.",
    ),
    Reason.CANCELLED: (
        "Ein Admin hat den Auftrag abgebrochen.",
        "Die Datei erneut ablegen oder den Auftrag erneut versuchen, wenn das ein Versehen war.",
    ),
}

#: Likewise, why a file in an inbox is not taken yet. Not one table: some reasons are spelt like some of these.
WAITS_DE: dict[WaitReason, tuple[str, str]] = {
    WaitReason.GROWING: (
        "Sie hat sich eben noch geändert: Übernommen wird sie, wenn sie settle_seconds lang gleich geblieben ist.",
        "Nichts.",
    ),
    WaitReason.EMPTY: (
        "Sie hat noch keinen Inhalt; manche Programme legen eine Datei Sekunden früher an, als sie sie füllen.",
        "Abwarten; nach patience_seconds gilt sie als gescheitert. Öfter? Dann die Verbindung des Scanners prüfen.",
    ),
    WaitReason.UNDATED: (
        "Ihre Änderungszeit ist 0: So lässt rsync eine Datei zurück, deren Übertragung abbrach.",
        "Die Übertragung wiederholen; nach patience_seconds wird sie genommen, wie sie ist.",
    ),
    WaitReason.PLACEHOLDER: (
        "Sie hat eine Größe, aber keinen Inhalt auf dieser Platte: noch nicht geladen, oder nur Platz vorgemerkt.",
        "Den Sync-Client diesen Ordner auf dem Gerät behalten lassen, oder warten, bis das Kopieren beginnt.",
    ),
    WaitReason.OPEN: (
        "Ein Programm hat sie zum Schreiben geöffnet.",
        "Warten, bis dieses Programm sie schließt; lsof nennt es.",
    ),
    WaitReason.INCOMPLETE: (
        "Sie endet früher, als ihr Format es sagt: Es wird noch etwas erwartet.",
        "Abwarten; bleibt sie patience_seconds lang so, gilt sie als gescheitert. Dann neu einscannen oder kopieren.",
    ),
    WaitReason.UNREADABLE: (
        "Der Dienst darf sie nicht lesen.",
        "Scanner oder Freigabe so einstellen, dass der Benutzer des Dienstes ihre Dateien lesen darf.",
    ),
    WaitReason.UNEXAMINED: (
        "Kein Prüfprozess konnte sie beurteilen: Keiner lässt sich starten, oder er wurde von außen beendet.",
        "Den Arbeitsspeicher des Rechners und TasksMax= des Dienstes prüfen. Es wird von selbst wieder versucht.",
    ),
    WaitReason.IMMOVABLE: (
        "Der Dienst darf sie nicht aus dem Eingang nehmen.",
        "Den Benutzer des Dienstes in dem Ordner schreiben lassen.",
    ),
    WaitReason.IGNORED: (
        "Ihr Name sagt, dass sie kein Beleg ist.",
        "Umbenennen, wenn doch, oder ignore_packs und ignore dieses Eingangs ändern.",
    ),
    WaitReason.NO_FILE: (
        "Sie ist keine gewöhnliche Datei; Verknüpfungen folgen wir nie, Pipes, Sockets und Geräte öffnen wir nie.",
        "Die Datei selbst in den Eingang kopieren.",
    ),
    WaitReason.SUBFOLDER: (
        "Sie liegt in einem Unterordner, und dieser Eingang nimmt aus keinem.",
        "Die Dateien nach oben verschieben, oder recursive: true setzen.",
    ),
    WaitReason.NOTE: (
        "Sie ist eine Notiz von uns zu einem gescheiterten Beleg.",
        "Nichts; sie geht, wenn ihr Beleg erledigt ist.",
    ),
    WaitReason.BACKLOG: (
        "Sie lag schon vor dem allerersten Start hier, mit mehr alten Dateien als limits.backlog_files.",
        "Wegräumen, was nicht gebucht werden soll, dann eingeben: receipt-watcher accept-backlog mit dem Eingang.",
    ),
    WaitReason.UNAVAILABLE: (
        "Der Eingang oder ein Ordner daneben lässt sich gerade nicht benutzen.",
        "Beheben, was gemeldet ist; der Eingang öffnet von selbst wieder.",
    ),
    WaitReason.HELD: (
        "Ein Admin hat diesen Eingang angehalten.",
        "Ihn weitermachen lassen: receipt-watcher resume, mit dem Namen des Eingangs.",
    ),
    WaitReason.NOT_RUNNING: (
        "Der Dienst läuft nicht; nichts wird übernommen.",
        "Ihn starten: systemctl start receipt-watcher.",
    ),
}

_KINDS = {
    "application/pdf": "PDF",
    "image/jpeg": "JPEG",
    "image/png": "PNG",
    "image/tiff": "TIFF",
    "image/gif": "GIF",
    "image/bmp": "BMP",
    "image/webp": "WebP",
    "image/heic": "HEIC",
    "image/heif": "HEIF",
}
_MONTHS: dict[Language, tuple[str, ...]] = {
    "en": ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
    "de": ("Jan.", "Feb.", "März", "Apr.", "Mai", "Juni", "Juli", "Aug.", "Sept.", "Okt.", "Nov.", "Dez."),
}
_UNITS: tuple[tuple[float, str], ...] = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
_WISH = re.compile(r"\s*([A-Za-z]{1,8})(?:-[A-Za-z0-9-]{1,20})?\s*(?:;\s*q=([0-9.]{1,5}))?\s*")


@dataclass(frozen=True, slots=True)
class Texts:
    """The texts of one language. `zone` is the office's, for who has no script; None is the machine's own."""

    language: Language
    zone: tzinfo | None = None

    def __call__(self, key: str, count: int | None = None, **values: object) -> str:
        """Return a text; `count` chooses between one and more, and stands for {count}."""
        text = TEXTS[key][LANGUAGES.index(self.language)]
        if count is not None:
            one, _, more = text.partition("|")
            text = one if count == 1 or not more else more
            values["count"] = self.number(count)
        return text.format(**values) if values else text

    def optional(self, key: str, default: str) -> str:
        """Return a text where there is one: a word that came from elsewhere need not be in the catalogue."""
        return self(key) if key in TEXTS else default

    def meaning(self, code: Code) -> str:
        """Return what a code means."""
        return self._of_code(code)[0]

    def advice(self, code: Code) -> str:
        """Return what to do about it."""
        return self._of_code(code)[1]

    def _of_code(self, code: Code) -> tuple[str, str]:
        if self.language == "de" and isinstance(code, Reason):
            return REASONS_DE[code]
        if self.language == "de" and isinstance(code, WaitReason):
            return WAITS_DE[code]
        return code.meaning, code.advice

    # --- numbers and times -----------------------------------------------------------------------------------------

    def number(self, number: float) -> str:
        """Return a number with its thousands apart."""
        text = f"{number:,}"
        return text if self.language == "en" else text.translate(_GERMAN)

    def size(self, size: int) -> str:
        """Return a number of bytes for people."""
        if size < 1000:  # noqa: PLR2004
            return f"{size} B"
        value, unit = (size / 1000, "kB") if size < 1_000_000 else (size / 1_000_000, "MB")  # noqa: PLR2004
        return f"{self.number(round(value, 1) if value < 10 else round(value))} {unit}"  # noqa: PLR2004

    def duration(self, seconds: float) -> str:
        """Return how long, in the two largest units: 3 min 20 s."""
        if seconds < 10:  # noqa: PLR2004
            return f"{self.number(round(max(seconds, 0.0), 1))} s"
        left, parts = round(seconds), []
        for unit, name in _UNITS:
            number, left = divmod(left, int(unit))
            if number:
                parts.append(f"{number} {name}")
        return " ".join(parts[:2])

    def time(self, at: float, now: float) -> str:
        """Return a moment for people: without its day where that is today's."""
        here = local(at, self.zone)
        if here.date() == local(now, self.zone).date():
            return here.strftime("%H:%M:%S")
        return f"{self.day(at)}, {here:%H:%M}"

    def day(self, at: float) -> str:
        """Return a day for people."""
        here = local(at, self.zone)
        month = _MONTHS[self.language][here.month - 1]
        return f"{here.day}. {month} {here.year}" if self.language == "de" else f"{here.day} {month} {here.year}"

    def hour(self, at: float) -> str:
        """Return an hour of the day."""
        return f"{local(at, self.zone):%H:%M}"

    @staticmethod
    def kind(mime_type: str | None) -> str:
        """Return the name of a kind of file."""
        return _KINDS.get(mime_type or "", mime_type or "–")


_GERMAN = str.maketrans({",": ".", ".": ","})


def language_of(chosen: str | None, accepted: str) -> Language:
    """Return the reader's language: the one that was chosen, else what the header Accept-Language prefers."""
    if chosen in LANGUAGES:
        return chosen
    wishes = sorted(_wishes(accepted), key=lambda wish: -wish[1])
    return next((language for language, weight in wishes if weight > 0), "en")


def _wishes(accepted: str) -> Iterator[tuple[Language, float]]:
    for part in accepted[:500].split(","):
        found = _WISH.fullmatch(part)
        for language in LANGUAGES:
            if found and found[1].lower() == language:
                try:
                    yield language, float(found[2] or 1)
                except ValueError:
                    continue
