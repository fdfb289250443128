"""Log lines to a stream that may block: they are lost and counted, and nothing waits for them."""

from __future__ import annotations

import fcntl
import io
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import httpx
import pytest
import structlog

from receipt_watcher.cli.demo.stand_in import StandIn
from receipt_watcher.service.logging import setup
from receipt_watcher.service.logging.stream import LogStream
from tests.conftest import TOKEN
from tests.fakes.daemons.process import REPOSITORY, RunningDaemon, jpegs, wait_until
from tests.real.clients.servers import free_ports

LINE = "x" * 200


@contextmanager
def small_pipe() -> Iterator[tuple[int, TextIO]]:
    """A pipe of two pages, and its writing end as a stream."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 8192)
    try:
        with os.fdopen(writing, "w", encoding="utf-8") as stream:
            yield reading, stream
    finally:
        os.close(reading)


def read_now(descriptor: int) -> bytes:
    """Return what is in a pipe."""
    os.set_blocking(descriptor, False)
    found = b""
    while True:
        try:
            piece = os.read(descriptor, 65536)
        except BlockingIOError:
            return found
        if not piece:
            return found
        found += piece


def test_lines_that_nobody_reads_are_counted() -> None:
    """A full pipe takes no more lines; when it is read again, lines are whole, and how many were lost is told once."""
    with small_pipe() as (reading, stream):
        output = LogStream(stream)
        written = 0
        while output.write(f"{written} {LINE}\n"):
            written += 1
        assert output.is_clogged
        assert output.take_lost() == 0
        assert [output.write(f"lost {LINE}\n") for _ in range(1000)] == [False] * 1000
        assert output.trouble is not None
        assert output.trouble.startswith("1001 log lines are lost so far")
        lines = read_now(reading).decode().splitlines()
        assert [line.split()[0] for line in lines] == [str(number) for number in range(written)]
        assert output.write("again\n")
        assert [output.take_lost(), output.take_lost()] == [1001, 0]
        assert read_now(reading) == b"again\n"


def test_a_line_that_was_cut_is_ended() -> None:
    """Of a line that is longer than the pipe a part goes out; the next line begins on a line of its own."""
    with small_pipe() as (reading, stream):
        output = LogStream(stream)
        assert not output.write("y" * 19000 + "\n")
        assert set(read_now(reading)) == {ord("y")}
        assert output.write("next\n")
        assert read_now(reading) == b"\nnext\n"


def test_a_reader_that_left_costs_lines_and_nothing_else() -> None:
    """A closed pipe raises nothing, and is told as trouble."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w", encoding="utf-8") as stream:
        output = LogStream(stream)
        assert not output.write("gone\n")
        assert output.trouble is not None


def test_a_stream_in_memory_is_written_as_it_is() -> None:
    """A stream without a descriptor gets every line."""
    stream = io.StringIO()
    output = LogStream(stream)
    assert output.write("one\n")
    output.flush()
    assert (stream.getvalue(), output.trouble) == ("one\n", None)


def test_lost_lines_are_told_by_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log says how many lines were lost as soon as it is read again, in its own form."""
    monkeypatch.setattr(setup, "_outputs", [])
    try:
        with small_pipe() as (reading, stream):
            setup.configure("info", "json", stream)
            log = structlog.get_logger()
            written = 0
            while setup.output_trouble() is None:
                log.info("job.recorded", filename=LINE)
                written += 1
            read_now(reading)
            log.info("job.recorded")
            events = [json.loads(line) for line in read_now(reading).splitlines()]
            assert [each["event"] for each in events] == ["job.recorded", "output.clogged"]
            assert events[1]["lines"] == 1
            assert setup.output_trouble() is None
    finally:
        setup.configure()
        structlog.reset_defaults()


def test_work_goes_on_while_nobody_reads_the_log(n8n: StandIn, tmp_path: Path) -> None:
    """With standard error and output as a pipe that nobody reads, receipts go through, and health says what is lost."""
    (port,) = free_ports(1)
    changes = {"http": {"port": port}}
    daemon = RunningDaemon(tmp_path, n8n.webhook_url, TOKEN, changes=changes)
    with small_pipe() as (_, stream):
        process = subprocess.Popen(
            daemon.command("run"), cwd=REPOSITORY, stdout=stream, stderr=stream, env=os.environ | daemon.environment
        )
        try:
            for number, content in enumerate(jpegs(40)):
                (daemon.inbox / f"{number}.jpg").write_bytes(content)
            wait_until(lambda: len(daemon.files(daemon.done)) == 40, "all receipts are filed")
            answer = httpx.get(f"http://127.0.0.1:{port}/health/ready", trust_env=False, timeout=30)
            assert answer.status_code == 200
            assert "nobody reads the standard error output" in answer.json()["degraded"]["log_output"]
            process.terminate()
            assert process.wait(30) == 0
        finally:
            process.kill()
            process.wait()
