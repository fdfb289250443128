"""All events that the log knows, by name, with their words.

Pure.
"""

from __future__ import annotations

from receipt_watcher.service.logging.event_words import Sentence
from receipt_watcher.service.logging.receipt_events import RECEIPT_EVENTS
from receipt_watcher.service.logging.service_events import SERVICE_EVENTS

SENTENCES: dict[str, Sentence] = {**RECEIPT_EVENTS, **SERVICE_EVENTS}
