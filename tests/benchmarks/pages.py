"""pages: how long the server takes for each page and list with a job log of a million receipts, first page and last.

The application itself is asked, without a network; what is measured is what a request costs at the server.
"""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from starlette.routing import Route

from receipt_watcher.config.options import Config
from receipt_watcher.config.roles import Role
from receipt_watcher.delivery.naming import DestinationNames
from receipt_watcher.examine.examiners import Bounds, Examiners
from receipt_watcher.examine.result import unreadable
from receipt_watcher.inbox.state import InboxState
from receipt_watcher.jobs.job import Folder, Job, new_job_id
from receipt_watcher.jobs.log.job_log import JobLog
from receipt_watcher.jobs.log.tables import JOB_COLUMNS, stored
from receipt_watcher.jobs.reasons import Reason
from receipt_watcher.jobs.states import State
from receipt_watcher.service.web_wiring import explainer, page_settings
from receipt_watcher.system.wakeup import Bell
from receipt_watcher.web.access.api_tokens import ApiTokens
from receipt_watcher.web.access.authorization import Access, Trust
from receipt_watcher.web.access.sessions import Sessions
from receipt_watcher.web.access.wrong_tokens import Slowness, WrongTokens
from receipt_watcher.web.actions import Actions
from receipt_watcher.web.files.fetching import Fetching
from receipt_watcher.web.pages.receipts.pictures import Pictures
from receipt_watcher.web.pages.receipts.receipt import ReceiptSources
from receipt_watcher.web.pages.rendering import Rendering
from receipt_watcher.web.pages.routes import PageParts, page_routes
from receipt_watcher.web.uploads.receive import Uploads
from tests.benchmarks.report import SPREAD, Table, spread

_INBOXES = ("office", "till", "post")
_SECONDS_BETWEEN = 30.0
_TIMES = 15
_PAGE_ROWS = 50
_FAR_PAGE = 10_000


def pages(root: Path, *, receipts: int) -> Table:
    """Fill a log with so many receipts, and ask for each page, the newest and one that is far away."""
    now = time.time()
    config = Config.model_validate(
        {
            "inboxes": [{"path": str(root / name / "inbox"), "name": name} for name in _INBOXES],
            "n8n": {"webhook_url": "http://127.0.0.1:9/webhook/receipts"},
            "state_dir": str(root),
        }
    )
    log = JobLog(root / "receipts.db")
    log.database.open()
    ids = _fill(log, receipts, now)
    problems: list[str] = []
    with Examiners(Bounds(1, 1024**3), kept=0) as examiners:
        rows = {
            name: _measure(_pages(config, log, root, examiners, now), path, problems)
            for name, path in _asked(ids).items()
        }
    log.database.close()
    about = f"{receipts:,} receipts in the log; milliseconds at the server"
    return Table("pages", about, SPREAD, rows, problems)


def _asked(ids: list[str]) -> dict[str, str]:
    """Return what is asked for, by its name."""
    far = ids[max(0, len(ids) - _FAR_PAGE * _PAGE_ROWS)]
    lists = {
        "all": "",
        "failed": "status=failure&",
        "done in one inbox": "status=success&inbox=till&",
        "one inbox": "inbox=post&",
        "text that is there": "q=booked&",
        "text that is nowhere": "q=nowhere&",
    }
    pages = {f"{name}, first page": f"/receipts?{query}" for name, query in lists.items()}
    pages |= {f"{name}, page 10,000": f"/receipts?{query}older={far}" for name, query in lists.items()}
    return {"overview": "/", "failed": "/failed", "one receipt": f"/receipts/{ids[-1]}", "pulse": "/page/pulse"} | pages


def _pages(config: Config, log: JobLog, root: Path, examiners: Examiners, now: float) -> list[Route]:
    fetching = Fetching(log.lookups.get, [])
    tokens = ApiTokens()
    sessions = Sessions("nobody signs in", tokens, log, seconds=1, clock=lambda: now)
    access = Access(tokens, sessions, Slowness(WrongTokens(lambda: now)), Trust(local_role=Role.ADMIN))
    parts = PageParts(
        settings=page_settings(config),
        receipts=ReceiptSources(
            log=log,
            routes=[],
            pictures=Pictures(root / "pictures", fetching, examiners, max_pixels=1, clock=lambda: now),
            explain=explainer(config, log),
        ),
        holds=log.holds,
        troubles=list,
        actions=Actions(
            log, DestinationNames([]), deadline_seconds=1, deliveries=Bell(), filings=Bell(), clock=lambda: now
        ),
        uploads=Uploads(root, [], log, access, examine=lambda path, _: unreadable(path), clock=lambda: now),
        inboxes=lambda: [
            InboxState(
                name=name,
                path=name,
                failed_dir="",
                mode="native",
                why_mode="",
                is_ready=True,
                unavailable=None,
                unavailable_since=None,
            )
            for name in _INBOXES
        ],
    )
    return page_routes(parts, access, Rendering(None, lambda: now))


def _measure(routes: list[Route], path: str, problems: list[str]) -> list[float]:
    import asyncio  # noqa: PLC0415 - other benchmarks need none

    import httpx  # noqa: PLC0415
    from starlette.applications import Starlette  # noqa: PLC0415

    async def ask() -> list[float]:
        transport = httpx.ASGITransport(Starlette(routes=routes))
        taken = []
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as near:
            for _ in range(_TIMES):
                began = time.perf_counter()
                answer = await near.get(path)
                taken.append((time.perf_counter() - began) * 1000)
                if answer.status_code != 200:
                    problems.append(f"{path} answered {answer.status_code}")
        return taken[1:]  # the first one compiles the template

    return spread(asyncio.run(ask()))


def _fill(log: JobLog, receipts: int, now: float) -> list[str]:
    """Write so many concluded receipts, one each half minute until now, and return their ids, the oldest first."""
    chance = random.Random(1)
    ids = [new_job_id(now - (receipts - number) * _SECONDS_BETWEEN) for number in range(receipts)]
    statement = f"INSERT INTO job ({', '.join(JOB_COLUMNS)}) VALUES ({', '.join('?' * len(JOB_COLUMNS))})"
    with sqlite3.connect(log.database.path) as database:
        database.execute("PRAGMA synchronous = off")
        database.executemany(statement, _rows(ids, receipts, now, chance))
    database.close()
    return ids


def _rows(ids: list[str], receipts: int, now: float, chance: random.Random) -> Iterator[tuple[object, ...]]:
    choose: Callable[..., list[Any]] = chance.choices
    for number, job_id in enumerate(ids):
        [state] = choose([State.SUCCESS, State.FAILURE, State.CANCELLED], [97, 2, 1])
        came_at = now - (receipts - number) * _SECONDS_BETWEEN
        job = Job(
            job_id=job_id,
            state=state,
            reason=Reason.N8N_FAILURE if state is State.FAILURE else None,
            inbox=chance.choice(_INBOXES),
            filename=f"scan_{number:07}.jpg",
            relative_path=Path(f"scan_{number:07}.jpg"),
            folder=Folder.DONE if state is State.SUCCESS else Folder.FAILED,
            stored_path=Path(f"2026-11/scan_{number:07}.jpg"),
            mime_type="image/jpeg",
            size=200_000,
            sha256=f"{number:064x}",
            target="http://127.0.0.1:9/webhook/receipts ",
            notion_database_id="",
            created_at=came_at,
            updated_at=came_at,
            completed_at=came_at + 20 * chance.random(),
            message="booked" if state is State.SUCCESS else "no sum found",
        )
        yield tuple(stored(getattr(job, name)) for name in JOB_COLUMNS)
