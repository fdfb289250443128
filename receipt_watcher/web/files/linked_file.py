"""The file of a job for whoever has a link to it, such as a workflow.

What it promises: who has no link of ours learns nothing, not even whether there is such a job. Parts of the file are
not served: its end is proven by its beginning. Runs in uvicorn's thread. Nothing is kept.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from receipt_watcher.web.access.wrong_tokens import Slowness
from receipt_watcher.web.files.downloads import Downloads
from receipt_watcher.web.files.links import FileLinks, LinkWorth
from receipt_watcher.web.problem import RefusedError
from receipt_watcher.web.server.connections import notify_connection

_WRONG_LINK = "This is no link to a file, or not as it was sent: fetch the file_url of the message, unchanged."
_EXPIRED_LINK = "This link has expired; n8n.link_seconds says for how long one is good."


class LinkedFile:
    """Serves files by links; a caller without a link is answered by `without_link`."""

    def __init__(
        self,
        links: FileLinks,
        downloads: Downloads,
        slowness: Slowness,
        without_link: Callable[[Request], Awaitable[Response]] | None = None,
    ) -> None:
        self._links = links
        self._downloads = downloads
        self._slowness = slowness
        self._without_link = without_link

    def routes(self) -> list[Route]:
        """Return its route."""
        return [Route("/api/v1/jobs/{job_id}/file", self._answer, methods=["GET", "HEAD"])]

    async def _answer(self, request: Request) -> Response:
        job_id = request.path_params["job_id"]
        if not request.query_params and self._without_link is not None:
            return await self._without_link(request)
        link = self._links.judge(job_id, request.query_params.multi_items())
        if link.worth is LinkWorth.WRONG:
            host = request.client.host if request.client else None
            raise await self._slowness.refusal(host, job_id, RefusedError(403, _WRONG_LINK))
        if link.worth is LinkWorth.EXPIRED:
            raise RefusedError(410, _EXPIRED_LINK)
        notify_connection(request, "prefer")
        return await self._downloads.answer(request, job_id, link.sha256)
