"""The words for what is wrong, by its kind, in English and German: the headline of the overview.

`{count}` chooses between one and more. Pure.
"""

from __future__ import annotations

TROUBLE_TEXTS: dict[str, tuple[str, str]] = {
    "trouble.not_running": ("The service is not running.", "Der Dienst läuft nicht."),
    "trouble.job_log": ("The job log cannot be used.", "Das Auftragsbuch ist nicht benutzbar."),
    "trouble.inbox": (
        "{count} inbox is unavailable.|{count} inboxes are unavailable.",
        "{count} Eingang ist nicht erreichbar.|{count} Eingänge sind nicht erreichbar.",
    ),
    "trouble.filing": (
        "Files of the inbox {name} cannot be filed.",
        "Dateien des Eingangs {name} lassen sich nicht ablegen.",
    ),
    "trouble.disk": (
        "A disk of {name} is full or read-only.",
        "Ein Datenträger von {name} ist voll oder schreibgeschützt.",
    ),
    "trouble.watch": (
        "The inbox {name} does not hear of every new file at once.",
        "Der Eingang {name} erfährt nicht von jeder neuen Datei sofort.",
    ),
    "trouble.log_output": ("Lines of the service's log are lost.", "Zeilen des Dienstprotokolls gehen verloren."),
    "trouble.version": ("The service is to be restarted.", "Der Dienst muss neu gestartet werden."),
    "trouble.hold": (
        "N8N is on hold. Nothing is lost: receipts wait and go out by themselves when it is back.",
        "N8N ist angehalten. Nichts geht verloren: Belege warten und gehen hinaus, sobald es wieder da ist.",
    ),
    "trouble.wrong_token": (
        "Callbacks of N8N at {name} bear a wrong token.",
        "Rückmeldungen von N8N auf {name} tragen ein falsches Token.",
    ),
    "trouble.blocked": (
        "{count} file in the inbox {name} needs a person.|{count} files in the inbox {name} need a person.",
        (
            "{count} Datei im Eingang {name} braucht einen Menschen.|"
            "{count} Dateien im Eingang {name} brauchen einen Menschen."
        ),
    ),
    "trouble.long_wait": (
        "{count} file in the inbox {name} waits for long.|{count} files in the inbox {name} wait for long.",
        "{count} Datei im Eingang {name} wartet schon lange.|{count} Dateien im Eingang {name} warten schon lange.",
    ),
    "trouble.stuck": (
        "{count} receipt is under way for too long.|{count} receipts are under way for too long.",
        "{count} Beleg ist schon zu lange unterwegs.|{count} Belege sind schon zu lange unterwegs.",
    ),
    "trouble.failed": (
        "{count} receipt failed in the last 24 hours.|{count} receipts failed in the last 24 hours.",
        (
            "{count} Beleg ist in den letzten 24 Stunden fehlgeschlagen.|"
            "{count} Belege sind in den letzten 24 Stunden fehlgeschlagen."
        ),
    ),
    "trouble.balance": (
        "Job log and folders disagree about {count} file.|Job log and folders disagree about {count} files.",
        (
            "Auftragsbuch und Ordner widersprechen sich bei {count} Datei.|"
            "Auftragsbuch und Ordner widersprechen sich bei {count} Dateien."
        ),
    ),
    "trouble.unrouted": (
        (
            "{count} receipt belongs to an inbox that is no longer configured.|"
            "{count} receipts belong to inboxes that are no longer configured."
        ),
        (
            "{count} Beleg gehört zu einem Eingang, der nicht mehr eingerichtet ist.|"
            "{count} Belege gehören zu Eingängen, die nicht mehr eingerichtet sind."
        ),
    ),
}
