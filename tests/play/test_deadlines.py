"""Deadlines follow no clock that may be set while a step waits."""

from __future__ import annotations

import itertools
import os
import threading
import time

import pytest
from tiny import PATIENT, SHORT

from conformance.play.case.poll import Loop, Source
from conformance.play.case.transcript import Transcript
from conformance.play.terminals.terminal import LineReader


@pytest.fixture
def pipe() -> tuple[int, int]:
    return os.pipe()


def reader_of(fd: int) -> LineReader:
    source = Source(Loop(Transcript()), "ann", "seen", fd, lambda: os.read(fd, 100))
    return LineReader(source, b"\n")


def test_a_clock_that_is_set_forward_ends_no_wait(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look at the wall clock is an hour after the one before."""
    ours, theirs = pipe
    hours = itertools.count(time.time(), 3600.0)
    monkeypatch.setattr(time, "time", lambda: next(hours))
    os.write(theirs, b"hel")
    threading.Timer(SHORT, os.write, (theirs, b"lo\n")).start()
    assert reader_of(ours).line(time.monotonic() + PATIENT).text == b"hello"


def test_a_line_that_is_put_back_keeps_its_moment(pipe: tuple[int, int]) -> None:
    ours, theirs = pipe
    source = Source(Loop(Transcript()), "ann", "seen", ours, lambda: os.read(ours, 100))
    reader = LineReader(source, b"\n")
    for text in (b"one\n", b"two\n"):
        os.write(theirs, text)
        source.loop.serve()
    (_, first), (_, second) = source.moments
    reader.keep()
    assert [reader.line(0.0).text, reader.line(0.0).text] == [b"one", b"two"]
    assert reader.came == second
    reader.put_back(all_of_it=True)
    assert reader.line(0.0).text == b"one"
    assert reader.came == first


def test_what_never_ends_a_line_ends_at_the_deadline(pipe: tuple[int, int]) -> None:
    ours, theirs = pipe
    source = Source(Loop(Transcript()), "ann", "seen", ours, lambda: b"x" * len(os.read(ours, 1)))
    os.write(theirs, b"x" * 50_000)  # read by single bytes, so that something always comes
    heard = LineReader(source, b"\n").line(time.monotonic())
    assert heard.why == "nothing"
    assert 0 < len(heard.text) < 50_000
