"""Several tasks at the same time: each goes on while the others wait for something.

One runs at any moment, and the others stand still: each task has a thread of its own, and the right
to run is handed on. So nothing else has to know that there are threads, and all tasks have the one
poll loop. This module knows no actor and no step.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from conformance.play.poll import Loop


class _Stopped(BaseException):
    """A task ends here, because another one has failed."""


class _Task(threading.Thread):
    """One of them."""

    def __init__(self, do: Callable[[], None]) -> None:
        super().__init__(daemon=True)
        self._do = do
        self._turn = threading.Semaphore(0)  # it may run
        self._back = threading.Semaphore(0)  # it runs no more
        self.stopped = False
        self.runs = False
        self.over = False
        self.problem: BaseException | None = None
        self.done: Callable[[], bool] = lambda: True  # what it waits for
        self.deadline = 0.0

    @property
    def is_ready(self) -> bool:
        """Whether it has what it waits for, or has waited long enough."""
        return self.done() or self.deadline <= time.monotonic()

    def go_on(self) -> None:
        """Let it run until it waits again, or is over."""
        self.runs = True
        self._turn.release()
        self._back.acquire()
        self.runs = False

    def waits(self, done: Callable[[], bool], deadline: float) -> bool:
        """Called in its own thread: let the others run until it is ready."""
        self.done, self.deadline = done, deadline
        self._back.release()
        self._turn.acquire()
        if self.stopped:
            raise _Stopped
        return done()

    def run(self) -> None:
        """The thread."""
        self._turn.acquire()
        try:
            if not self.stopped:
                self._do()
        except BaseException as problem:  # told by the thread that waits for all tasks
            self.problem = problem
        self.over = True
        self._back.release()


def together(loop: Loop, doings: Sequence[Callable[[], None]]) -> None:
    """Do all of these at the same time; raises what the first of them raises that fails."""
    tasks = [_Task(do) for do in doings]
    for task in tasks:
        task.start()
    try:
        while left := [task for task in tasks if not task.over]:
            _wait_for_one(loop, left)
            for task in left:
                if task.is_ready:
                    _run(loop, task)
    finally:
        for task in tasks:
            task.stopped = True
            if not (task.over or task.runs):  # one that runs still is one that never ends
                _run(loop, task, raising=False)


def _wait_for_one(loop: Loop, tasks: Sequence[_Task]) -> None:
    """Serve all until one of the tasks can go on."""
    deadline = min(task.deadline for task in tasks)
    loop.wait(lambda: any(task.is_ready for task in tasks), deadline)


def _run(loop: Loop, task: _Task, raising: bool = True) -> None:
    loop.aside = task.waits
    try:
        task.go_on()
    finally:
        loop.aside = None
    if task.problem and raising:
        raise task.problem
