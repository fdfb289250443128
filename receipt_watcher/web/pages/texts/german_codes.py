"""The meaning of codes, and advice for each, in German.

Their English stands with the codes, since the command line says it, too. Pure.
"""

from __future__ import annotations

from receipt_watcher.inbox.wait_reasons import WaitReason
from receipt_watcher.jobs.reasons import Reason

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
    WaitReason.DOUBTFUL: (
        "Ihr Ende ist nicht, wie ihr Format es will; es fehlt aber nichts, was die Datei nennt.",
        "Abwarten; nach patience_seconds ohne Änderung wird sie genommen, wie sie ist.",
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
    WaitReason.UNFINISHED: (
        "Ihr Name sagt, dass ein Programm sie noch schreibt; sie ist aber seit Minuten unverändert.",
        "Das Programm beenden lassen oder die Übertragung wiederholen. Ist die Datei ganz, umbenennen.",
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
