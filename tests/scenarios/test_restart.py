"""Restarts amid callbacks, with a listening socket that outlives the process."""

from __future__ import annotations

import http.client
import json
import random
import socket
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from receipt_watcher.cli.demo.stand_in import Behaviour, StandIn
from receipt_watcher.jobs.states import State
from tests.conftest import TOKEN
from tests.fakes.daemons.process import RunningDaemon, assert_consistent, handing_over, jpegs, wait_until

_RESTARTS, _RECEIPTS, _CALLERS = 2, 24, 12
_MANNERS = ("sends at once", "asks late", "sends its body late", "uses its connection again")
_BODY = json.dumps({"status": "success"}).encode()


class Caller:
    """A client that calls back: `manner` says how it connects and sends."""

    def __init__(self, manner: str, seed: int, port: int) -> None:
        self._manner = manner
        self._port = port
        self._random = random.Random(seed)
        self._clock = threading.Event()
        self._wire: http.client.HTTPConnection | None = None
        self.answers: Counter[str] = Counter()

    def call_until(self, is_over: threading.Event) -> None:
        """Call back for made-up receipts, which a right token is answered 200 for."""
        while not is_over.is_set():
            self.call(f"check-{self._random.random()}")

    def call(self, job_id: str) -> None:
        """Call back once, and note the status or the error."""
        try:
            self.answers[str(self._called(job_id))] += 1
        except (OSError, http.client.HTTPException) as error:
            self.answers[repr(error)] += 1
            self.close()

    def _called(self, job_id: str) -> int:
        if self._wire is None or self._wire.sock is None:
            self._wire = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
            self._wire.connect()
            self._pause("asks late")
        self._wire.putrequest("POST", f"/api/v1/jobs/{job_id}/callback")
        for name, value in (("X-Callback-Token", TOKEN), ("Content-Length", str(len(_BODY)))):
            self._wire.putheader(name, value)
        self._wire.endheaders()
        self._pause("sends its body late")
        self._wire.send(_BODY)
        with self._wire.getresponse() as answer:
            answer.read()
            status = answer.status
        if self._manner != "uses its connection again":
            self._wire.close()
        self._pause("uses its connection again")
        return status

    def close(self) -> None:
        """End the connection."""
        if self._wire is not None:
            self._wire.close()

    def _pause(self, manner: str) -> None:
        """Let a moment pass if that is this caller's manner."""
        if self._manner == manner:
            self._clock.wait(self._random.random() * 0.1)


def test_callbacks_amid_restarts_are_all_answered(tmp_path: Path, n8n: StandIn) -> None:
    """Every callback whose caller has connected is answered 200, by the daemon that stops or the one that starts."""
    n8n.behave = lambda _: Behaviour(verdict=None)
    contents = jpegs(_RECEIPTS)
    is_over = threading.Event()
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as held, ThreadPoolExecutor(_CALLERS) as pool:
        port = held.getsockname()[1]
        callers = [Caller(_MANNERS[seed % 4], seed, port) for seed in range(_CALLERS)]
        changes = {"http": {"port": 1}}
        daemon = RunningDaemon(tmp_path, n8n.webhook_url, TOKEN, prefix=handing_over(held), changes=changes)
        daemon.pass_fds = (held.fileno(),)
        with daemon:
            daemon.drop("first.jpg", contents[0])
            wait_until(lambda: [job.state for job in daemon.recorded()] == [State.PROCESSING], "the first is accepted")
            assert daemon.call(daemon.job("first.jpg").job_id, {"status": "success"}, TOKEN).status_code == 200
            for number, content in enumerate(contents[1:]):
                daemon.drop(f"scan-{number}.jpg", content)
            wait_until(
                lambda: [job.state for job in daemon.recorded()].count(State.PROCESSING) == _RECEIPTS - 1,
                "the rest is accepted",
            )
            waiting = [job.job_id for job in daemon.recorded()[1:]]
            calling = [pool.submit(caller.call_until, is_over) for caller in callers]
            try:
                for _ in range(_RESTARTS):
                    wait_for_calls(callers, 5 * _CALLERS)
                    assert daemon.terminate() == 0
                    daemon.start()
            finally:
                is_over.set()
            for each in calling:
                each.result()
            for number, job_id in enumerate(waiting):
                callers[number % _CALLERS].call(job_id)
            daemon.wait_quiet(_RECEIPTS)
            for caller in callers:
                caller.close()
    assert set().union(*(caller.answers for caller in callers)) == {"200"}
    assert_consistent(daemon, n8n.deliveries, contents)


def wait_for_calls(callers: list[Caller], number: int) -> None:
    """Wait until so many more calls were answered."""
    before = sum(caller.answers.total() for caller in callers)
    wait_until(
        lambda: sum(caller.answers.total() for caller in callers) >= before + number, f"{number} calls were answered"
    )
