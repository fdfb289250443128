"""What the actors of an interleaving may do at their turn, how often and with what."""

from __future__ import annotations

import io
from typing import Any

from hypothesis import strategies as st
from PIL import Image

from receipt_watcher.jobs.states import Event
from tests.properties.stepped_process import DEADLINE, Answer

NAMES = ("a.png", "sub/b.png")


def picture(number: int) -> bytes:
    """Return a PNG of 64 pixels, which costs nothing to examine."""
    file = io.BytesIO()
    Image.new("L", (8, 8), number).save(file, "PNG")
    return file.getvalue()


NO_RECEIPT = b"These are only words, whatever the name says.\n"
CONTENTS = (*map(picture, range(4)), NO_RECEIPT)

TO_THE_END = 10**6
STEPS = st.sampled_from([0, 1, 2, 3, 4, 5, 6, 8, 10, 13, *[TO_THE_END] * 10])
PICK = st.integers(0, 7)
ANSWERS = st.sampled_from(Answer) | st.just(Answer.ACCEPTED)

#: The actors that may have a turn, with how often and with what.
TURNS: dict[str, tuple[int, dict[str, st.SearchStrategy[Any]]]] = {
    "wait": (3, {"seconds": st.sampled_from([1.0, 6.0, 61.0, DEADLINE / 2, DEADLINE + 1])}),
    "drop": (4, {"name": st.sampled_from(NAMES), "content": st.integers(0, len(CONTENTS) - 1)}),
    "drop_back": (2, {"pick": PICK}),
    "command": (
        2,
        {"pick": PICK, "event": st.sampled_from([Event.RETRY, Event.CANCEL]), "is_forced": st.booleans()},
    ),
    "settle": (1, {"pick": PICK, "is_delivered": st.booleans()}),
    "take_in": (3, {"steps": STEPS}),
    "deliver": (9, {"answer": ANSWERS, "worker": st.sampled_from("12"), "steps": STEPS}),
    "file_away": (4, {"steps": STEPS}),
    "expire": (4, {"steps": STEPS}),
    "settle_claims": (1, {}),
    "call_back": (4, {"pick": PICK, "success": st.booleans()}),
    "call_back_unreadably": (1, {"pick": PICK}),
    "go_on": (7, {"pick": PICK, "steps": STEPS}),
    "die": (
        2,
        {
            "what": st.sampled_from(["inbox", "filing", "expiry", "callback", "worker"]),
            "steps": st.integers(0, 20),
            "answer": ANSWERS,
            "pick": PICK,
        },
    ),
    "stop": (1, {}),
    "start_up": (1, {"steps": STEPS, "dies": st.booleans()}),
}


def one_turn() -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    """Return who does what next."""
    turns = {name: st.tuples(st.just(name), st.fixed_dictionaries(options)) for name, (_, options) in TURNS.items()}
    return st.sampled_from([name for name, (weight, _) in TURNS.items() for _ in range(weight)]).flatmap(
        turns.__getitem__
    )
