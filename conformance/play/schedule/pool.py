"""Plays cases in parallel, in forked worker processes. It does not know how a case is played.

A worker inherits the cases. It gets the number of a case through a pipe of its own, and answers
with the outcome. When a worker dies, the case that it played becomes an error of the harness, and a
new worker takes its place. The same happens when a case takes longer than its steps may take. Cases
that need the same port in the same network are played one after the other. No worker outlives the
iteration, or this process, in whatever way they end.
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

from conformance.model import Case, Outcome, Written
from conformance.play.network import fixed_ports, own_network
from conformance.text import visible

STOP_SECONDS = 10.0  # for a stopped worker to end the programs of its case
MARGIN_SECONDS = 60.0  # for the parts of a case that are no steps: to make actors, to clean up

_TURN_SECONDS = 1.0
_PR_SET_PDEATHSIG = 1

Play = Callable[..., Outcome]  # takes a case, and the arguments that its hint gives
Hint = Callable[[Case], tuple[object, ...]]  # called when a case begins; gives plain data
Limit = Callable[[Case], float]  # the seconds that the steps of a case can take at most

_FORK = multiprocessing.get_context("fork")


def no_hint(_: Case) -> tuple[object, ...]:
    """A hint without arguments."""
    return ()


def play_all(
    cases: Sequence[Case],
    play: Play,
    *,
    jobs: int,
    limit: Limit = lambda _: math.inf,
    hint: Hint = no_hint,
) -> Generator[tuple[Case, Outcome], None, None]:
    """Play each case once, `jobs` of them in parallel; yields each outcome as it comes."""
    workers = [_Worker(cases, play, hint) for _ in range(min(jobs, len(cases)))]
    queue = _Queue(cases)
    free, busy = list(workers), dict[Connection, _Worker]()
    try:
        while queue.waiting or busy:
            while free and (number := queue.take(free[-1].in_own_network)) is not None:
                worker = free.pop()
                busy[worker.begin(number, limit)] = worker
            ended = [busy.pop(pipe) for pipe in _next(busy)]
            outcomes = [(cases[worker.number], worker.outcome()) for worker in ended]
            for worker in ended:
                queue.release(worker.number)
            free += ended
            yield from outcomes
    finally:
        for worker in workers:
            worker.stop()
        for worker in workers:
            worker.wait()


class _Queue:
    """The numbers of the cases that are still to be played, in their order."""

    def __init__(self, cases: Sequence[Case]) -> None:
        self.waiting = list(range(len(cases)))
        self._own_network = [fixed_ports.gets_own_network(case) for case in cases]
        self._ports = [fixed_ports.exclusive_ports(case) for case in cases]
        self._taken: set[int] = set()

    def take(self, in_own_network: bool) -> int | None:
        """The next case whose ports are free; if possible, one that fits the worker's network."""
        able = [number for number in self.waiting if not self._ports[number] & self._taken]
        fitting = (one for one in able if self._own_network[one] is in_own_network)
        number = next(fitting, next(iter(able), None))
        if number is not None:
            self.waiting.remove(number)
            self._taken |= self._ports[number]
        return number

    def release(self, number: int) -> None:
        """Free the ports of a case that has ended."""
        self._taken -= self._ports[number]


def _next(busy: Mapping[Connection, _Worker]) -> Sequence[Connection]:
    """The pipes of workers that have an outcome, or were stopped because they took too long."""
    # The wait is short: a Ctrl+C just before it takes effect only when it ends.
    while not (ready := wait(list(busy), _TURN_SECONDS)):
        late = [pipe for pipe, worker in busy.items() if worker.until <= time.monotonic()]
        for pipe in late:
            busy[pipe].give_up()
        if late:
            return late
    return ready  # type: ignore[return-value]


class _Worker:
    """One worker process, started when there is a case to play, and replaced when it dies."""

    def __init__(self, cases: Sequence[Case], play: Play, hint: Hint) -> None:
        self._cases = cases
        self._play = play
        self._hint = hint
        self._process: BaseProcess | None = None
        self._pipe: Connection
        self._began = 0.0
        self._gave_up = False
        self.in_own_network = False  # the process has entered one, and cannot leave it
        self.until = math.inf  # the deadline of its case (monotonic)
        self.number = 0

    def begin(self, number: int, limit: Limit) -> Connection:
        """Let the worker play a case; returns the pipe through which the outcome will come."""
        in_own_network = fixed_ports.gets_own_network(self._cases[number])
        if self.in_own_network and not in_own_network:
            self.stop()
            self.wait()
            self._process = None
        if self._process is None:
            self._start()
        self.in_own_network = in_own_network
        self.number = number
        self._began = time.monotonic()
        self._gave_up = False
        self.until = self._began + limit(self._cases[number]) + MARGIN_SECONDS
        with suppress(BrokenPipeError):  # it died after its last case; `outcome` reports it
            self._pipe.send((number, self._hint(self._cases[number])))
        return self._pipe

    def outcome(self) -> Outcome:
        """Receive the outcome of the current case."""
        try:
            answer = self._pipe.recv()
        except (EOFError, OSError):
            return self._died()
        assert isinstance(answer, Outcome)
        return answer

    def give_up(self) -> None:
        """Kill the process, which takes too long, and end the programs of its case."""
        self._gave_up = True
        self.stop()
        assert self._process is not None
        self._process.join(STOP_SECONDS)
        self._process.kill()

    def stop(self) -> None:
        """Ask the process to end the programs of its case, and then itself."""
        if self._process is not None:
            self._process.terminate()

    def wait(self) -> None:
        """Wait until the process has ended; kill it if it does not."""
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
        process = _FORK.Process(target=_serve, args=arguments, daemon=True)
        process.start()
        self._process = process  # not before: a Ctrl+C meanwhile leaves no process to be stopped
        theirs.close()  # so that the pipe closes when the process ends

    def _died(self) -> Outcome:
        """The outcome of a case whose process died. The next case gets a new process."""
        assert self._process is not None
        self._process.join()
        status = self._process.exitcode
        self._process = None
        self._pipe.close()
        seconds = time.monotonic() - self._began
        error = f"the worker process that played this case ended with status {status}"
        if self._gave_up:
            error = f"stopped after {seconds:.0f} s, which is longer than all its steps may take"
        return Outcome(seconds, error=error)


def _serve(
    parent: int, ours: Connection, pipe: Connection, cases: Sequence[Case], play: Play
) -> None:
    """Run a worker: play cases by number until the pipe closes, or SIGTERM comes."""
    ours.close()
    with suppress(KeyboardInterrupt, EOFError, BrokenPipeError):
        # Linux divides the processors among sessions first, and each program has its own: workers
        # that share one would run seldom on a busy machine, and so read too late.
        os.setsid()
        # Only the parent acts on a Ctrl+C: it sends each worker one SIGTERM, so that nothing
        # interrupts a worker while it ends its programs.
        signal.signal(signal.SIGINT, lambda *_: None)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # if it is ignored, no child can be reaped
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        # If the parent is killed, the kernel stops this worker.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        while os.getppid() == parent:
            while not pipe.poll(_TURN_SECONDS):  # a SIGTERM just before it takes effect at its end
                pass
            number, hint = pipe.recv()
            pipe.send(contained(_play_in_its_network, cases[number], play, hint))


def _play_in_its_network(case: Case, play: Play, hint: tuple[object, ...]) -> Outcome:
    if fixed_ports.gets_own_network(case):
        own_network.enter()
    return play(case, *hint)


def contained(play: Play, case: Case, *more: object) -> Outcome:
    """Play a case; an exception in the harness itself becomes an error, not a failure."""
    began = time.monotonic()
    try:
        return play(case, *more)
    except OSError as problem:
        return Outcome(time.monotonic() - began, error=f"this machine: {problem}")
    except Exception as fault:
        (*_, words) = traceback.format_exception_only(fault)
        error = f"a fault of the harness, please report it: {words.strip()}"
        lines = map(visible, traceback.format_exc().rstrip("\n").split("\n"))
        trace = Written("harness", "its stack trace", "\n".join(lines))
        return Outcome(time.monotonic() - began, error=error, output=(trace,))
