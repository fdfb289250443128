"""The form to hand in receipts: a page for who has no script, JSON for our script.

Runs in uvicorn's thread; what touches the job log runs in worker threads. Nothing is kept here.
"""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from receipt_watcher.jobs.log.queries.search import Search
from receipt_watcher.system.display import printable
from receipt_watcher.web.pages import viewmodels
from receipt_watcher.web.pages.base import PageEndpoints
from receipt_watcher.web.pages.rendering import PageRequest, PageSettings
from receipt_watcher.web.pages.texts.language import Texts
from receipt_watcher.web.problem import RefusedError
from receipt_watcher.web.uploads.receive import TakenUpload, Uploads


class UploadPage:
    """The form, and what it is sent to."""

    def __init__(self, endpoints: PageEndpoints, search: Search, uploads: Uploads, settings: PageSettings) -> None:
        self._endpoints = endpoints
        self._search = search
        self._uploads = uploads
        self._settings = settings

    def routes(self) -> list[Route]:
        """Return its routes."""
        return [
            Route("/upload", self._endpoints.page(self._upload, lambda visitor: visitor.may_upload)),
            Route("/upload", self._receive, methods=["POST"]),
        ]

    def _upload(self, page_request: PageRequest, result: _Uploaded | None = None) -> Response:
        status = 200 if result is None else result.status
        values = {
            "here": "upload",
            "inbox_names": self._settings.inbox_names,
            "max_size": self._max_size(page_request.texts),
            "result": result,
            "failed_count": self._search.sums().failed,
        }
        return self._endpoints.rendering.page(page_request, "upload.html", values, status)

    def _max_size(self, texts: Texts) -> str:
        return f"{texts.number(self._settings.max_file_mb).removesuffix('.0').removesuffix(',0')} MB"

    async def _receive(self, request: Request) -> Response:
        """Take a file that comes by the form: a page for who has no script, JSON for our script."""
        page_request = await self._endpoints.judged(request)
        caller = page_request.visitor.caller
        if caller is None or not page_request.visitor.may_upload:
            raise RefusedError(403, "This needs the right to upload.")
        try:
            result = _uploaded(page_request.texts, await self._uploads.take(request, caller))
        except RefusedError as error:
            if error.status == 403:  # noqa: PLR2004 - it is no form of ours
                raise
            why = viewmodels.refusal(page_request.texts, error, self._max_size(page_request.texts))
            job_id = str(error.more.get("job_id") or "")
            result = _Uploaded(error.status, "", "refused", page_request.texts("upload.refused"), why, job_id)
        if "text/html" in request.headers.get("accept", ""):
            return await self._endpoints.run_in_thread(self._upload, page_request, result)
        outcome = {"status": result.kind, "what": result.what, "detail": result.detail, "job_id": result.job_id}
        return JSONResponse(outcome, result.status)


@dataclass(frozen=True, slots=True)
class _Uploaded:
    """The outcome of an upload, for the page; `status` is that of the answer."""

    status: int
    name: str
    kind: str
    what: str
    detail: str
    job_id: str


def _uploaded(texts: Texts, taken: TakenUpload) -> _Uploaded:
    name, job_id = printable(taken.job.filename), taken.first.job_id
    if taken.status == 202:  # noqa: PLR2004
        return _Uploaded(taken.status, name, "queued", texts("upload.queued"), "", job_id)
    return _Uploaded(taken.status, name, "duplicate", texts("upload.known"), texts("upload.known.text"), job_id)
