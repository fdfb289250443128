"""N8N's side of a torture: the stand-in in a process of its own, with faults that can be switched, and a ledger.

`python -m tests.torture.far_side LEDGER PORT SEED` reads one JSON line for each change from its standard input and
answers each with a line: `{"fault": …, "share": …}`, or `{"wait": true}`, which is answered when no callback is due any
more. The ledger has a line for each delivery that arrived whole (`delivered`), for each answer that was given to the
end (`answered`), and for each callback (`callback`): what was said, and what came back.

A delivery is *taken* where the workflow starts: with an acceptance, and also where the answer is lost. The workflow of
the sink answers with its verdict, and has *booked* what it has taken unless that is a failure.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
import socket
import struct
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx

from receipt_watcher.cli.demo.received_posts import ReceivedPost
from receipt_watcher.cli.demo.stand_in import INTERNAL_ERROR, STARTING_UP, TOO_LARGE, UNAVAILABLE, Behaviour, StandIn
from tests.torture.ledger import TOKEN, Ledger
from tests.torture.plan import SINK, Fault

#: Pauses before each try of a callback that found nobody, as of a node with «Retry on fail», only quicker; and how many
#: workflows post but once, as n8n does by itself.
_CALLBACK_PAUSES_SECONDS = (0.0, 0.2, 0.4, 0.8)
_ONCE_SHARE = 0.1
_CALLBACK_TIMEOUT_SECONDS = 10.0
_UNKNOWN_JOB = "00000000-0000-7000-8000-000000000000"
_WRONG_TOKEN = "some-other-token-of-sixteen"

_TAKEN = Behaviour(verdict=None)
_TOO_MANY = Behaviour(429, b"Too many requests", "text/plain", {"Retry-After": "0"}, verdict=None)
_RESET = Behaviour(reset=True, verdict=None)


@dataclass(frozen=True, slots=True)
class Word:
    """One callback; `to_nobody` names another job than the one that was delivered."""

    verdict: str = "success"
    after_seconds: float = 0.05
    token: str = TOKEN
    to_nobody: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """The reaction of a fault to a delivery. With `words_first` the answer waits for the end of the callbacks."""

    behaviour: Behaviour = _TAKEN
    words: tuple[Word, ...] = ()
    is_taken: bool = True
    words_first: bool = False
    hangs: bool = False
    half: bool = False
    is_booked: bool = False


def _refused(behaviour: Behaviour) -> Reply:
    return Reply(behaviour, is_taken=False)


SUCCESS, FAILURE, UNREADABLE = Word(), Word("failure"), Word("booked")
REPLIES: dict[Fault, Reply] = {
    Fault.HEALTHY: Reply(words=(SUCCESS,)),
    Fault.FAILING: Reply(words=(FAILURE,)),
    Fault.ERROR: _refused(INTERNAL_ERROR),
    Fault.UNAVAILABLE: _refused(UNAVAILABLE),
    Fault.TOO_MANY: _refused(_TOO_MANY),
    Fault.TOO_LARGE: _refused(TOO_LARGE),
    Fault.STARTING_UP: _refused(STARTING_UP),
    Fault.SLOW: Reply(replace(_TAKEN, delay_seconds=0.5), (replace(SUCCESS, after_seconds=0.7),)),
    Fault.HANG: Reply(words=(replace(SUCCESS, after_seconds=0.3),), hangs=True),
    Fault.RESET_BEFORE_RESPONSE: Reply(_RESET, (SUCCESS,)),
    Fault.RESET_IN_RESPONSE: Reply(_RESET, (SUCCESS,), half=True),
    Fault.EARLY_CALLBACK: Reply(words=(replace(SUCCESS, after_seconds=0.0),), words_first=True),
    Fault.TWO_CALLBACKS: Reply(words=(SUCCESS, SUCCESS)),
    Fault.NO_CALLBACK: Reply(),
    Fault.SUCCESS_THEN_FAILURE: Reply(words=(SUCCESS, FAILURE)),
    Fault.FAILURE_THEN_SUCCESS: Reply(words=(FAILURE, SUCCESS)),
    Fault.WRONG_TOKEN: Reply(words=(replace(SUCCESS, token=_WRONG_TOKEN),)),
    Fault.UNKNOWN_JOB: Reply(words=(replace(SUCCESS, to_nobody=True), SUCCESS)),
    Fault.UNREADABLE_CALLBACK: Reply(words=(UNREADABLE,)),
}


def _booked(body: bytes, **more: Any) -> Reply:
    """Return an answer of the sink that has booked."""
    hangs, half = (more.pop(name, False) for name in ("hangs", "half"))
    return Reply(replace(_TAKEN, body=body, **more), hangs=hangs, half=half, is_booked=True)


_VERDICT = b'{"status": "success", "message": "booked"}'
#: The reaction of each fault to a delivery to the sink: ways to lose an answer, to wrap it, to answer no verdict.
SINK_REPLIES: dict[Fault, Reply] = {
    Fault.HEALTHY: _booked(_VERDICT),
    Fault.FAILING: Reply(replace(_TAKEN, body=b'{"status": "failure", "message": "not booked"}')),
    **{
        fault: REPLIES[fault]
        for fault in (Fault.ERROR, Fault.UNAVAILABLE, Fault.TOO_MANY, Fault.TOO_LARGE, Fault.STARTING_UP)
    },
    Fault.SLOW: _booked(_VERDICT, delay_seconds=0.5),
    Fault.HANG: _booked(_VERDICT, hangs=True),
    Fault.RESET_BEFORE_RESPONSE: _booked(b"", reset=True),
    Fault.RESET_IN_RESPONSE: _booked(b"", reset=True, half=True),
    Fault.EARLY_CALLBACK: _booked(json.dumps(_VERDICT.decode()).encode()),
    Fault.TWO_CALLBACKS: _booked(b'[{"json": %b}]' % _VERDICT),
    Fault.NO_CALLBACK: _booked(_VERDICT[:15], missing_bytes=50),
    Fault.SUCCESS_THEN_FAILURE: _booked(_VERDICT[:30], missing_bytes=50),
    Fault.FAILURE_THEN_SUCCESS: _booked(b'{"id": 7}'),
    Fault.WRONG_TOKEN: _booked(b""),
    Fault.UNKNOWN_JOB: _booked(b"", status=504),
    Fault.UNREADABLE_CALLBACK: _booked(b"OK", content_type="text/html"),
}
#: Of the deliveries whose answer is lost, so many workflows die, too, and never call back.
_DEAD_SHARE = 0.4


@dataclass(frozen=True, slots=True)
class _Numbered(Behaviour):
    """A behaviour that knows to which delivery it belongs."""

    number: int = 0
    half: bool = False


class FarSide(StandIn):
    """The stand-in with faults."""

    def __init__(self, ledger: Ledger, port: int, seed: int) -> None:
        super().__init__(token=TOKEN, behave=self._reply, port=port)
        self.fault, self.share = Fault.HEALTHY, 1.0
        self._ledger = ledger
        self._chance = random.Random(seed)
        self._counted = itertools.count(1)
        self._callers = ThreadPoolExecutor(64, "caller")
        self._client = httpx.Client(timeout=_CALLBACK_TIMEOUT_SECONDS)
        self._due = 0
        self._over = threading.Condition()
        self._timer = threading.Event()  # is never set: waiting for it lets time pass
        self._holding = threading.Event()

    # --- switching ---------------------------------------------------------------------------------------------

    def switch(self, fault: Fault, share: float) -> None:
        """Meet so large a share of the deliveries with this fault from now on; what hangs is let go."""
        if Fault.DOWN in (fault, self.fault) and fault is not self.fault:
            (self.stop_listening if fault is Fault.DOWN else self.listen_again)()
        self.fault, self.share = fault, share
        self._holding.set()
        self._holding = threading.Event()

    def wait_for_callbacks(self) -> None:
        """Return when every callback that was due has been made."""
        with self._over:
            self._over.wait_for(lambda: self._due == 0)

    # --- deliveries --------------------------------------------------------------------------------------------

    def _meets_fault(self) -> bool:
        return self._chance.random() < self.share

    def _reply(self, delivery: ReceivedPost) -> Behaviour:
        fault = self.fault if self._meets_fault() else Fault.HEALTHY
        replies = SINK_REPLIES if delivery.inbox == SINK else REPLIES
        reply = replies.get(fault, replies[Fault.HEALTHY])
        is_lost = reply.hangs or reply.behaviour.reset
        words = () if is_lost and self._chance.random() < _DEAD_SHARE else reply.words
        number = next(self._counted)
        self._ledger.write(
            "delivered",
            number=number,
            job_id=delivery.job_id,
            inbox=delivery.inbox,
            booked=reply.is_booked,
            ids=sorted({delivery.job_id, delivery.headers["idempotency-key"], delivery.headers["webhook-id"]}),
            sha256=delivery.sha256,
            claimed_sha256=delivery.claimed_sha256,
            attempt=delivery.attempt,
            fault=fault,
            status=reply.behaviour.status,
            taken=reply.is_taken,
            words=[word.verdict for word in words if word.token == TOKEN and not word.to_nobody],
        )
        hang = self._holding if reply.hangs else threading.Event() if reply.words_first else None
        if words:
            with self._over:
                self._due += 1
            self._callers.submit(self._say, delivery, number, words, hang if reply.words_first else None)
        named = {name: getattr(reply.behaviour, name) for name in Behaviour.__slots__}
        return _Numbered(**(named | {"hang": hang}), number=number, half=reply.half)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection; or reset it in the middle of its first request."""
        if self.fault is Fault.RESET_IN_REQUEST and self._meets_fault():
            await reader.read(1000)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            return
        await super()._serve(reader, writer)

    async def _answer(self, writer: asyncio.StreamWriter, behaviour: Behaviour) -> bool:
        if not isinstance(behaviour, _Numbered):
            return await super()._answer(writer, behaviour)
        if behaviour.half:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-")
            with contextlib.suppress(OSError):  # the sender left
                await writer.drain()
        stays_open = await super()._answer(writer, behaviour)
        if not behaviour.reset:
            self._ledger.write("answered", number=behaviour.number)
        return stays_open

    # --- callbacks ---------------------------------------------------------------------------------------------

    def _say(self, delivery: ReceivedPost, number: int, words: tuple[Word, ...], said: threading.Event | None) -> None:
        try:
            for word in words:
                self._timer.wait(word.after_seconds)
                self._call(delivery, number, word)
        finally:
            if said is not None:
                said.set()
            with self._over:
                self._due -= 1
                self._over.notify_all()

    def _call(self, delivery: ReceivedPost, number: int, word: Word) -> None:
        """Post a callback until somebody answers it, and note every try."""
        url = delivery.callback_url
        if word.to_nobody:
            url = url.replace(delivery.job_id, _UNKNOWN_JOB)
        tries = 1 if self._chance.random() < _ONCE_SHARE else len(_CALLBACK_PAUSES_SECONDS)
        for pause in _CALLBACK_PAUSES_SECONDS[:tries]:
            self._timer.wait(pause)
            asked_at = time.time()
            outcome = self._ask(url, {"status": word.verdict, "message": f"delivery {number}"}, word.token)
            self._ledger.write(
                "callback",
                number=number,
                job_id=None if word.to_nobody else delivery.job_id,
                verdict=word.verdict,
                right_token=word.token == TOKEN,
                asked_at=asked_at,
                outcome=outcome,
            )
            if outcome is not None:
                return

    def _ask(self, url: str, body: dict[str, Any], token: str) -> int | None:
        """Return the status of the answer; None where there was none."""
        try:
            return self._client.post(url, json=body, headers={"X-Callback-Token": token}).status_code
        except httpx.HTTPError:
            return None


def main() -> None:
    """Serve until the standard input ends."""
    ledger = Ledger(Path(sys.argv[1]))
    with FarSide(ledger, int(sys.argv[2]), int(sys.argv[3])) as far_side:
        for line in sys.stdin:
            told = json.loads(line)
            if "fault" in told:
                far_side.switch(Fault(told["fault"]), told["share"])
            else:
                far_side.wait_for_callbacks()
            sys.stdout.write("done\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
