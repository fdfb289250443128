"""A plain webhook: each notice is posted as JSON, without any library more.

What it promises: `{"id", "kind", "title", "text"}` with the id as Idempotency-Key; told is what was answered by 2xx.
Redirects are not followed.
"""

from __future__ import annotations

import json
from urllib.parse import urlsplit

from receipt_watcher.delivery.destinations.http_client import Outbound
from receipt_watcher.errors import AnswerLostError, NotSentError, NotToldError
from receipt_watcher.notify.channels import name_of, reason_of
from receipt_watcher.notify.notices import Notice


class WebhookChannel:
    """Posts to one URL."""

    def __init__(self, url: str, outbound: Outbound) -> None:
        self.name = name_of(urlsplit(url).scheme, url)
        self._url = url
        self._outbound = outbound

    def send(self, notice: Notice, notice_id: str) -> None:
        """Post a notice.

        Raises:
            NotToldError: the far side cannot be reached, or did not answer with 2xx.
        """
        content = {"id": notice_id, "kind": notice.kind.value, "title": notice.title, "text": notice.text}
        body = json.dumps(content, ensure_ascii=False).encode("utf-8", "backslashreplace")
        headers = {"Content-Type": "application/json", "Idempotency-Key": notice_id}
        try:
            answer = self._outbound.post(self._url, headers, lambda: iter([body]), len(body))
        except (NotSentError, AnswerLostError) as error:
            raise NotToldError(reason_of(error)) from error
        if not 200 <= answer.status < 300:  # noqa: PLR2004 - HTTP's own numbers
            raise NotToldError(f"it was answered with {answer.status}")
