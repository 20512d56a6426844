"""Plays cases in parallel, in forked worker processes. It does not know how a case is played.

A worker inherits the cases. It gets the number of a case through a pipe of its own, and answers
with the outcome. When a worker dies, the case that it played becomes an error of the harness, and
another worker takes its place. The same happens when a case takes longer than its steps may take.
Cases that need the same port, without a network of their own, are begun one after the other.
However the iteration ends, no worker outlives it, nor this process.
"""

from __future__ import annotations

import ctypes
import math
import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from conformance.model import Case, Outcome
from conformance.play import network

STOP_SECONDS = 10.0  # for a worker that is stopped in a case, to end the programs of that case
MARGIN_SECONDS = 60.0  # for what a case does beside its steps: starting actors, ending them

_TURN_SECONDS = 1.0
_PR_SET_PDEATHSIG = 1

Play = Callable[..., Outcome]  # of a case, and of what the hint for it says
Hint = Callable[[Case], tuple[object, ...]]  # what is known when a case begins: plain data
Limit = Callable[[Case], float]  # the longest that the steps of a case can take, in seconds

_FORK = multiprocessing.get_context("fork")


def no_hint(_: Case) -> tuple[object, ...]:
    """Nothing is known when a case begins."""
    return ()


def play_all(
    cases: Sequence[Case],
    play: Play,
    *,
    jobs: int,
    limit: Limit = lambda _: math.inf,
    hint: Hint = no_hint,
) -> Generator[tuple[Case, Outcome], None, None]:
    """Play every case once, `jobs` of them at a time; each outcome as it comes."""
    workers = [_Worker(cases, play, hint) for _ in range(min(jobs, len(cases)))]
    queue = _Queue(cases)
    free, busy = list(workers), dict[Connection, _Worker]()
    try:
        while queue.waiting or busy:
            while free and (number := queue.take(free[-1].apart)) is not None:
                worker = free.pop()
                busy[worker.begin(number, limit)] = worker
            ended = [busy.pop(pipe) for pipe in _next(busy)]
            outcomes = [(cases[worker.number], worker.outcome()) for worker in ended]
            for worker in ended:
                queue.give_back(worker.number)
            free += ended
            yield from outcomes
    finally:
        for worker in workers:
            worker.stop()
        for worker in workers:
            worker.wait()


class _Queue:
    """The numbers of the cases that wait, in their order."""

    def __init__(self, cases: Sequence[Case]) -> None:
        self.waiting = list(range(len(cases)))
        self._apart = [network.is_apart(case) for case in cases]
        self._ports = [network.turns(case) for case in cases]
        self._taken: set[int] = set()

    def take(self, apart: bool) -> int | None:
        """The next case that can begin; rather one for a worker that is apart, or is not."""
        able = [number for number in self.waiting if not self._ports[number] & self._taken]
        number = next((one for one in able if self._apart[one] is apart), next(iter(able), None))
        if number is not None:
            self.waiting.remove(number)
            self._taken |= self._ports[number]
        return number

    def give_back(self, number: int) -> None:
        """A case has ended, and others may use its ports."""
        self._taken -= self._ports[number]


def _next(busy: Mapping[Connection, _Worker]) -> Sequence[Connection]:
    """The pipes of the workers that have an outcome, or have been stopped for being late."""
    # In turns: a Ctrl+C that comes just before a wait takes effect only after it.
    while not (ready := wait(list(busy), _TURN_SECONDS)):
        late = [pipe for pipe, worker in busy.items() if worker.until <= time.monotonic()]
        for pipe in late:
            busy[pipe].give_up()
        if late:
            return late
    return ready  # type: ignore[return-value]


class _Worker:
    """One process at a time, started when there is a case for it to play."""

    def __init__(self, cases: Sequence[Case], play: Play, hint: Hint) -> None:
        self._cases = cases
        self._play = play
        self._hint = hint
        self._process: BaseProcess | None = None
        self._pipe: Connection
        self._began = 0.0
        self._gave_up = False
        self.apart = False  # the process has a network of its own, from which it does not return
        self.until = math.inf  # when its case has to be over (monotonic)
        self.number = 0

    def begin(self, number: int, limit: Limit) -> Connection:
        """Have a case played; the pipe through which its outcome will come."""
        apart = network.is_apart(self._cases[number])
        if self.apart and not apart:
            self.stop()
            self.wait()
            self._process = None
        if self._process is None:
            self._start()
        self.apart = apart
        self.number = number
        self._began = time.monotonic()
        self._gave_up = False
        self.until = self._began + limit(self._cases[number]) + MARGIN_SECONDS
        with suppress(BrokenPipeError):  # it has died since its last case: `outcome` says so
            self._pipe.send((number, self._hint(self._cases[number])))
        return self._pipe

    def outcome(self) -> Outcome:
        """Take the outcome of the case that was begun."""
        try:
            answer = self._pipe.recv()
        except (EOFError, OSError):
            return self._died()
        assert isinstance(answer, Outcome)
        return answer

    def give_up(self) -> None:
        """Stop the process, and the programs of its case: it takes too long."""
        self._gave_up = True
        self.stop()
        assert self._process is not None
        self._process.join(STOP_SECONDS)
        self._process.kill()

    def stop(self) -> None:
        """Ask the process to end, and the programs of its case with it."""
        if self._process is not None:
            self._process.terminate()

    def wait(self) -> None:
        """See the process end."""
        if self._process is None:
            return
        self._process.join(STOP_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._pipe.close()

    def _start(self) -> None:
        self._pipe, theirs = _FORK.Pipe()
        arguments = (os.getpid(), self._pipe, theirs, self._cases, self._play)
        self._process = _FORK.Process(target=_serve, args=arguments, daemon=True)
        self._process.start()
        theirs.close()  # so that the end of the process is the end of the pipe

    def _died(self) -> Outcome:
        """Say how the process died; the next case gets another one."""
        assert self._process is not None
        self._process.join()
        status = self._process.exitcode
        self._process = None
        self._pipe.close()
        seconds = time.monotonic() - self._began
        error = f"the worker process that played this case ended with status {status}"
        if self._gave_up:
            error = f"stopped after {seconds:.0f} s: that is longer than all its steps may take"
        return Outcome(seconds, error=error)


def _serve(
    parent: int, ours: Connection, pipe: Connection, cases: Sequence[Case], play: Play
) -> None:
    """The life of a worker: cases by number until the other end closes, or it is stopped."""
    ours.close()
    with suppress(KeyboardInterrupt, EOFError, BrokenPipeError):
        # A Ctrl+C reaches the whole process group. The parent alone acts on it, and stops its
        # workers by SIGTERM, once each, so that nothing interrupts the ending of their programs.
        signal.signal(signal.SIGINT, lambda *_: None)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # where it is ignored, no child can be reaped
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        # A parent that is killed stops nothing, so the kernel does it.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        while os.getppid() == parent:
            number, hint = pipe.recv()
            pipe.send(_outcome(cases[number], play, hint))


def _outcome(case: Case, play: Play, hint: tuple[object, ...]) -> Outcome:
    """Play a case; an exception of the harness itself is an error, not a failure."""
    began = time.monotonic()
    try:
        if network.is_apart(case):
            network.enter()
        return play(case, *hint)
    except OSError as problem:
        return Outcome(time.monotonic() - began, error=f"this machine: {problem}")
    except Exception as fault:
        (*_, words) = traceback.format_exception_only(fault)
        error = f"a fault of the harness, please report it: {words.strip()}"
        seconds = time.monotonic() - began
        return Outcome(seconds, error=error, output=traceback.format_exc())
