"""All servers, each with the options that a session wants, for many sessions."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from conformance.builds.build import Build
from fuzz.session import Session
from fuzz.stage import Seen, Stage


class Stages:
    """Servers are started when a session first needs them, and play on until they are stuck."""

    def __init__(self, builds: Mapping[str, Build]) -> None:
        self.builds = builds  # by the name of the implementation
        self.folder = tempfile.TemporaryDirectory(prefix="fuzz-")
        self.stages: dict[tuple[str, tuple[str, ...]], Stage] = {}
        self.started = 0

    def play(self, session: Session) -> dict[str, list[Seen]]:
        """Play a session on all of them: what everybody saw in each step, by the server's name."""
        with ThreadPoolExecutor(len(self.builds)) as pool:  # each waits for itself alone
            stages = {name: self._stage(name, session.options) for name in self.builds}
            seen = pool.map(lambda stage: stage.play(session), stages.values())
            return dict(zip(stages, seen, strict=True))

    def _stage(self, name: str, options: tuple[str, ...]) -> Stage:
        stage = self.stages.get((name, options))
        if stage is None or not stage.is_up:
            self.started += 1
            scratch = Path(self.folder.name, str(self.started))
            scratch.mkdir()
            stage = self.stages[name, options] = Stage(self.builds[name], options, scratch)
        return stage

    def end(self) -> None:
        for stage in self.stages.values():
            stage.end()
        self.folder.cleanup()
