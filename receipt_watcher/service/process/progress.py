"""The progress of one daemon: which part has stood still, for systemd's watchdog; the line of `systemctl status`.

What it promises: `standing_still` waits for nothing, and any thread may ask. The periodic tasks send the line, when it
differs from the last one. After a crash the next daemon begins anew.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

from receipt_watcher.inbox.gate import Gate
from receipt_watcher.report.overview import DaemonOverview


class WorkProgress:
    """Times of the last progress of inboxes, job log and HTTP; `ask_http` has HTTP's thread call its argument."""

    def __init__(
        self,
        gates: Sequence[Gate],
        ask_http: Callable[[Callable[[], None]], None],
        monotonic: Callable[[], float],
    ) -> None:
        self._gates = gates
        self._ask_http = ask_http
        self._monotonic = monotonic
        self._log_answered_at = self._http_turned_at = monotonic()
        self._is_log_rewritten = False  # it was deleted under us, and is being written anew

    def begin(self) -> None:
        """Count from now: the start is over."""
        self._log_answered_at = self._http_turned_at = self._monotonic()

    def note_log_answer(self) -> None:
        """Note that the job log has answered, be it with an error."""
        self._log_answered_at = self._monotonic()

    @contextlib.contextmanager
    def rewriting_log(self) -> Iterator[None]:
        """Let everybody wait while the job log is written anew."""
        self._is_log_rewritten = True
        try:
            yield
        finally:
            self._log_answered_at = self._monotonic()
            self._is_log_rewritten = False

    def standing_still(self, seconds: float) -> list[str]:
        """Return what has made no progress for so long, in words.

        A file system that answers nothing is no fault of ours: its inbox is unavailable. While the log is written
        anew all wait for that, and to end the process would lose it: the file has no name any more.
        """
        before = self._monotonic() - seconds
        overdue = [
            f"the inbox {gate.route.name}"
            for gate in self._gates
            if gate.limit.worked_at < before and not gate.state.unavailable and not gate.limit.is_exceeded
        ]
        if self._log_answered_at < before:
            overdue.append("the job log")
        if self._http_turned_at < before:
            overdue.append("HTTP")
        self._ask_http(self._note_http_turn)
        return [] if self._is_log_rewritten else overdue

    def _note_http_turn(self) -> None:
        self._http_turned_at = self._monotonic()


class StatusReport:
    """Reports what one daemon does; `send` is None if nobody listens."""

    def __init__(self, overview: DaemonOverview, progress: WorkProgress, send: Callable[[str], None] | None) -> None:
        self._overview = overview
        self._progress = progress
        self._send = send
        self._sent = ""  # last

    def report(self) -> None:
        """Send the line if it is news; that it can be made shows that the log answers, be it with an error."""
        try:
            if self._send is not None and (words := self._overview.in_one_line()) != self._sent:
                self._send(words)
                self._sent = words
        finally:
            self._progress.note_log_answer()
