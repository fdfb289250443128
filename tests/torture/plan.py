"""The plan of a torture, made from a seed: the same seed, the same plan. Pure.

A plan begins with the opening rounds, in which each planted fault is sure to bite; the others are drawn at random,
each fault of N8N coming up before any comes up again.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

_Choice = TypeVar("_Choice")


class Fault(StrEnum):
    """A fault of N8N: its behaviour while the fault lasts."""

    HEALTHY = "healthy"
    FAILING = "says failure"
    ERROR = "500"
    UNAVAILABLE = "503 with Retry-After"
    TOO_MANY = "429"
    TOO_LARGE = "413"
    STARTING_UP = "starting up with 200"
    SLOW = "slow"
    HANG = "hang"
    RESET_IN_REQUEST = "reset in the request"
    RESET_BEFORE_RESPONSE = "reset before the response"
    RESET_IN_RESPONSE = "reset in the response"
    DOWN = "down"
    EARLY_CALLBACK = "callback before the response"
    TWO_CALLBACKS = "callback twice"
    NO_CALLBACK = "callback never"
    SUCCESS_THEN_FAILURE = "success, then failure"
    FAILURE_THEN_SUCCESS = "failure, then success"
    WRONG_TOKEN = "wrong token"
    UNKNOWN_JOB = "unknown job"
    UNREADABLE_CALLBACK = "callback unreadable"


class Manner(StrEnum):
    """The manner in which a file comes into the inbox."""

    RENAME = "rename"
    COPY = "copy"
    TEMPORARY_NAME = "temporary name"
    SLOW = "slow write"
    LINK = "hard link"
    TORSO = "truncated, then completed"
    TOUCH = "empty, then completed"
    SAME_NAME = "a name that is used before"
    AGAIN = "a failed file again"


class End(StrEnum):
    """The daemon's end in a round; it is started again at once in each case but the first."""

    GO_ON = "go on"
    KILL = "kill"
    TERM = "term"
    #: A kill, and whatever was recorded, or moved out of the inbox for good, without being flushed is gone.
    POWER_CUT = "power cut"
    #: A kill, and another one while it starts.
    KILL_TWICE = "kill twice"


class Until(StrEnum):
    """The event that a round waits for before it ends."""

    TIME = "its time is over"
    RECORDED = "all is recorded"
    QUIET = "nothing is left to do"


class Order(StrEnum):
    """A command that the admin types meanwhile."""

    RETRY_FAILED = "retry --failed"
    RETRY = "retry"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True)
class Drop:
    """One file that is dropped. `number` and `kind` make its content: the same two, the same bytes."""

    at_seconds: float
    inbox: str
    path: str
    manner: Manner
    kind: str
    number: int
    pause_seconds: float


@dataclass(frozen=True, slots=True)
class Round:
    """One fault, what is dropped meanwhile, and how it ends. `share` of the deliveries meet the fault."""

    fault: Fault
    share: float
    drops: tuple[Drop, ...]
    end: End
    until: Until = Until.TIME
    seconds: float = 0.0
    down_seconds: float = 0.0
    start_seconds: float = 0.0
    order: Order | None = None
    pick: int = 0


#: The workflow of the last one answers with its verdict, calls back never, and books whatever it is sent.
INBOXES = ("office", "share", "sink")
SINK = INBOXES[2]
_DROPPING_SECONDS = 0.7

#: The frequency of each kind. The last five are no receipts, or no whole ones.
KINDS: dict[str, int] = {
    "jpeg": 60,
    "png": 5,
    "pdf": 8,
    "tiff": 3,
    "webp": 3,
    "gif": 3,
    "bmp": 3,
    "heic": 1,
    "big": 3,
    "words": 4,
    "nothing": 2,
    "torso": 2,
    "zeros": 1,
    "archive": 1,
}
RECEIPTS = tuple(KINDS)[:9]
_CAN_BE_CUT = ("jpeg", "png", "pdf")
_SUFFIXES = {
    "big": "jpg",
    "jpeg": "jpg",
    "words": "pdf",
    "nothing": "jpg",
    "torso": "jpg",
    "zeros": "png",
    "archive": "pdf",
}
_MANNERS = {
    Manner.RENAME: 30,
    Manner.COPY: 15,
    Manner.TEMPORARY_NAME: 15,
    Manner.SLOW: 10,
    Manner.LINK: 10,
    Manner.TORSO: 5,
    Manner.TOUCH: 3,
    Manner.SAME_NAME: 10,
    Manner.AGAIN: 5,
}
#: Deliveries that N8N takes for nothing are sent again two by two, so as not to flood what may be down: many take long.
_SHARES = {Fault.DOWN: 1.0, Fault.NO_CALLBACK: 0.2, Fault.WRONG_TOKEN: 0.2}
_ENDS = {End.KILL: 45, End.TERM: 25, End.POWER_CUT: 20, End.KILL_TWICE: 10}


def opening() -> dict[str, Round]:
    """Return the rounds that every plan begins with, by the planted fault that bites there; the first is a warm-up."""
    numbers = iter(range(100))

    def drops(
        count: int, manner: Manner = Manner.RENAME, step_seconds: float = 0.0, inbox: str = INBOXES[0]
    ) -> tuple[Drop, ...]:
        made = []
        for place, number in zip(range(count), numbers, strict=False):
            path = "invoice.jpg" if manner is Manner.SAME_NAME else f"opening-{number}.jpg"
            made.append(Drop(place * step_seconds, inbox, path, manner, "jpeg", number, 0.0))
        return tuple(made)

    quiet = Until.QUIET
    return {
        "": Round(Fault.HEALTHY, 1.0, drops(2), End.GO_ON, quiet),
        "claim": Round(Fault.SLOW, 1.0, drops(4), End.GO_ON, quiet),
        "move": Round(Fault.HEALTHY, 1.0, drops(3, Manner.SAME_NAME, 0.4), End.GO_ON, quiet),
        "verdict": Round(Fault.SUCCESS_THEN_FAILURE, 1.0, drops(4), End.GO_ON, quiet),
        "once": Round(Fault.RESET_BEFORE_RESPONSE, 1.0, drops(3, inbox=SINK), End.GO_ON, Until.RECORDED, seconds=4.0),
        "flush": Round(Fault.DOWN, 1.0, drops(4), End.POWER_CUT, Until.RECORDED),
    }


def planted(name: str) -> list[Round]:
    """Return the two rounds that a planted fault is caught in."""
    rounds = opening()
    return [rounds[""], rounds[name]]


class Plan:
    """Draws rounds; receipts are numbered through, so that no two of them are the same by accident."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._number = 100
        self._before: dict[bool, list[tuple[str, int]]] = {True: [], False: []}  # of the sink, and of the others

    def rounds(self, count: int) -> list[Round]:
        """Return the opening rounds and so many more."""
        faults: list[Fault] = []
        while len(faults) < count:
            faults += self._chance.sample(list(Fault), len(Fault))
        return [*opening().values(), *map(self._round, faults[:count])]

    def _round(self, fault: Fault) -> Round:
        chance = self._chance
        end = _drawn(chance, _ENDS)
        return Round(
            fault=fault,
            share=_SHARES.get(fault) or chance.choice([0.3, 0.6, 1.0]),
            drops=tuple(self._drop() for _ in range(chance.randint(8, 28))),
            end=end,
            seconds=round(chance.uniform(0.2, 1.1), 3),
            down_seconds=round(chance.choice([0.0, 0.0, chance.uniform(0.0, 0.4)]), 3),
            start_seconds=round(chance.uniform(0.1, 0.8), 3),
            order=chance.choice(list(Order)) if chance.random() < 0.25 else None,
            pick=chance.randrange(1000),
        )

    def _drop(self) -> Drop:
        chance = self._chance
        manner = _drawn(chance, _MANNERS)
        inbox = chance.choice(INBOXES)
        kind, number = self._content(manner, self._before[inbox == SINK])
        return Drop(
            at_seconds=round(chance.uniform(0.0, _DROPPING_SECONDS), 3),
            inbox=inbox,
            path=f"invoice.{_suffix(kind)}" if manner is Manner.SAME_NAME else self._path(kind),
            manner=manner,
            kind=kind,
            number=number,
            pause_seconds=round(chance.uniform(0.02, 0.4), 3),
        )

    def _content(self, manner: Manner, before: list[tuple[str, int]]) -> tuple[str, int]:
        """Choose new bytes, or now and then those of an earlier receipt for the same workflow."""
        chance = self._chance
        if before and chance.random() < 0.06:
            return chance.choice(before)
        self._number += 1
        kind = _drawn(chance, KINDS)
        if manner in (Manner.TORSO, Manner.TOUCH):
            kind = chance.choice(_CAN_BE_CUT)
        if kind in RECEIPTS:
            before.append((kind, self._number))
        return kind, self._number

    def _path(self, kind: str) -> str:
        """Choose a name that nothing else bears, an odd one now and then."""
        self._number += 1
        stem, suffix = f"{self._number:06}", f".{_suffix(kind)}"
        odd = self._chance.randrange(12)
        names = [
            f"{stem}\nSecond line{suffix}",
            f"{stem} 🧾 Beleg für Köln{suffix}",
            os.fsdecode(stem.encode() + b" caf\xe9 \xff\xfe" + suffix.encode()),
            stem + "x" * (255 - len(stem) - len(suffix)) + suffix,
            f"-rf {stem} \"'$;&|*?\\{suffix}",
            f"2026/Reise {self._number % 7}/{stem}{suffix}",
        ]
        return names[odd] if odd < len(names) else f"scan-{stem}{suffix}"


def _drawn(chance: random.Random, weights: dict[_Choice, int]) -> _Choice:
    return chance.choices(list(weights), list(weights.values()))[0]


def _suffix(kind: str) -> str:
    return _SUFFIXES.get(kind, kind)
