"""Pauses a run at a failure, while the programs still run, so that a person can inspect them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from conformance.model import Failure
from conformance.play.actors.base import Actor, Scene
from conformance.play.actors.program import ProgramActor
from conformance.play.case.poll import Excess, Flood
from conformance.text import visible

TURN_SECONDS = 60.0


@dataclass(slots=True)
class Hold:
    """Says what runs, and waits until the person presses Enter or Ctrl+C."""

    say: Callable[[str], object]
    input_fd: int = 0
    ended: bool = False  # the person wants no more cases

    def __call__(self, name: str, failure: Failure, actors: Mapping[str, Actor]) -> None:
        """Wait for Enter or Ctrl+C. Meanwhile, keep reading what the programs write."""
        scenes = [actor.scene for actor in actors.values()]
        try:
            self.say("\n".join([f"held: {visible(name)}", *_words(failure, actors, scenes[0])]))
            self._wait(scenes[0])
        except KeyboardInterrupt:
            self.ended = True

    def _wait(self, scene: Scene) -> None:
        pressed: list[bytes] = []
        scene.loop.watch(self.input_fd, lambda: pressed.append(os.read(self.input_fd, 1000)))
        try:
            while not scene.loop.wait(lambda: bool(pressed), time.monotonic() + TURN_SECONDS):
                pass
        except Flood:  # read no more of what a program writes without end
            if not pressed:
                os.read(self.input_fd, 1000)
        except Excess as excess:
            self.say(f"{excess.actor} is ended: {excess.what}")
        finally:
            scene.loop.forget(self.input_fd)


def _words(failure: Failure, actors: Mapping[str, Actor], scene: Scene) -> list[str]:
    """The failed step, the process ids, the server's address, and the keys to press."""
    lines = [visible(f"  at       {failure.step}"), visible(f"  expected {failure.expected}")]
    lines.append(visible(f"  seen     {failure.seen}"))
    for actor in actors.values():
        if isinstance(actor, ProgramActor) and actor.process and actor.process.running:
            lines.append(f"  {actor.name}: {actor.label}, pid {actor.process.pid}")
    if scene.port:
        lines.append(f"  the server listens on {scene.host}, port {scene.port}")
    lines.append(f"  its files are in {scene.files.folder}")
    return [*lines, "Enter goes on, Ctrl+C ends the run."]
