"""Runs several tasks at the same time, as coroutines: a task runs while the others wait.

Each task has a thread of its own, but only one thread runs at any moment, and it says when the next
one may run. So no other code needs locks, and all tasks share the poll loop. This module knows no
actor and no step.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from conformance.play.case.poll import Loop


class _Stopped(BaseException):
    """Raised in a task to end it, because another task has failed."""


class _Task(threading.Thread):
    """One task, in a thread of its own."""

    def __init__(self, action: Callable[[], None]) -> None:
        super().__init__(daemon=True)
        self._action = action
        self._turn = threading.Semaphore(0)  # released: the task may run
        self._paused = threading.Semaphore(0)  # released: the task waits, or has ended
        self.stopped = False
        self.running = False
        self.ended = False
        self.problem: BaseException | None = None
        self.done: Callable[[], bool] = lambda: True  # the condition that it waits for
        self.deadline = 0.0

    @property
    def is_ready(self) -> bool:
        """Whether its condition is true, or its deadline is over."""
        return self.done() or self.deadline <= time.monotonic()

    def resume(self) -> None:
        """Let it run until it waits again, or ends."""
        self.running = True
        self._turn.release()
        self._paused.acquire()
        self.running = False

    def wait_until(self, done: Callable[[], bool], deadline: float) -> bool:
        """Let the other tasks run until this one is ready; called in its own thread."""
        self.done, self.deadline = done, deadline
        self._paused.release()
        self._turn.acquire()
        if self.stopped:
            raise _Stopped
        return done()

    def run(self) -> None:
        """Run the action; called by `threading`."""
        self._turn.acquire()
        try:
            if not self.stopped:
                self._action()
        except BaseException as problem:  # `together` raises it in its own thread
            self.problem = problem
        self.ended = True
        self._paused.release()


def together(loop: Loop, actions: Sequence[Callable[[], None]]) -> None:
    """Run all actions at the same time; raises the exception of the first one that fails."""
    tasks = [_Task(action) for action in actions]
    for task in tasks:
        task.start()
    try:
        while left := [task for task in tasks if not task.ended]:
            _wait_for_one(loop, left)
            for task in left:
                if task.is_ready:
                    if not task.done():
                        loop.serve()  # what has come until its deadline counts
                    _run(loop, task)
    finally:
        for task in tasks:
            task.stopped = True
            if not (task.ended or task.running):  # a task that still runs never ends
                _run(loop, task, raising=False)


def _wait_for_one(loop: Loop, tasks: Sequence[_Task]) -> None:
    """Serve all descriptors until one of the tasks is ready."""
    deadline = min(task.deadline for task in tasks)
    loop.wait(lambda: any(task.is_ready for task in tasks), deadline)


def _run(loop: Loop, task: _Task, raising: bool = True) -> None:
    loop.cooperative_wait = task.wait_until
    try:
        task.resume()
    finally:
        loop.cooperative_wait = None
    if task.problem and raising:
        raise task.problem
