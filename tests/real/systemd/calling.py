"""Calls a job back without a pause, three calls at a time: calling.py TOKEN URL, until the file `enough` is there.

Runs from a copy of the program, so it imports nothing of the tests. Then writes `called.json` beside this file: the
status or error of each call that was not answered 200, how many were, and the longest time.
"""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_CALLERS = 3
_PATIENCE_SECONDS = 120
_FOLDER = Path(__file__).parent
_BODY = json.dumps({"status": "success"}).encode()


def call_until_enough(token: str, url: str) -> list[tuple[str, float]]:
    """Call again and again; return what came of each call, and how long it took."""
    headers = {"X-Callback-Token": token, "Content-Type": "application/json"}
    ends = []
    while not (_FOLDER / "enough").exists():
        began = time.monotonic()
        try:
            request = urllib.request.Request(url, _BODY, headers)
            with urllib.request.urlopen(request, timeout=_PATIENCE_SECONDS) as answer:
                end = str(answer.status)
        except urllib.error.HTTPError as error:
            end = str(error.code)
        except OSError as error:
            end = repr(error)
        ends.append((end, time.monotonic() - began))
        (_FOLDER / "calls").write_text(str(len(ends)))
    return ends


if __name__ == "__main__":
    with ThreadPoolExecutor(_CALLERS) as callers:
        found = [
            caller.result() for caller in [callers.submit(call_until_enough, *sys.argv[1:]) for _ in range(_CALLERS)]
        ]
    calls = [call for each in found for call in each]
    answered = sum(end == "200" for end, _ in calls)
    wrong = [end for end, _ in calls if end != "200"]
    told = {"answered": answered, "wrong": wrong, "longest_seconds": max(seconds for _, seconds in calls)}
    (_FOLDER / "called.new").write_text(json.dumps(told))
    (_FOLDER / "called.new").rename(_FOLDER / "called.json")
