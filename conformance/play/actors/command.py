"""The command line, the streams and the environment of a program. This module starts nothing."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from conformance.builds.build import Build
from conformance.model import Role, Step
from conformance.play.actors.base import Part
from conformance.play.terminals.launch import Launch
from conformance.play.terminals.terminal import COLUMNS, ROWS
from conformance.text import complete

_STREAMS = {"output": 1, "errors": 2}  # options that close a standard stream


@cache
def words(command: str) -> tuple[str, ...]:
    """The words of a command line. Cached, because each case splits the same few texts."""
    return tuple(shlex.split(command))


@dataclass(frozen=True, slots=True)
class Command:
    """One start of a program, from the step, the manifest and the suite."""

    part: Part
    build: Build
    step: Step

    def launch(self) -> Launch:
        """All that is needed to start the program."""
        implementation, options = self.build.implementation, self.step.options
        under = [self._filled(word) for word in words(self._option("under"))]
        size = options.get("size", (COLUMNS, ROWS))
        assert isinstance(size, tuple)
        return Launch(
            argv=[*under, *self.build.argv, *self._arguments()],
            folder=implementation.folder,
            environment=self._environment(),
            medium=self.part.medium,
            size=size,
            input=self._input(),
            closed=tuple(fd for name, fd in _STREAMS.items() if name in options),
            blocked=self._signals("blocked"),
            ignored=self._signals("ignored"),
            confined=self.part.scene.confined,
        )

    def said(self) -> str:
        """The options that the step itself names, for the transcript."""
        if "arguments" in self.step.options:
            return f" {self.step.options['arguments']}"
        parts = (
            f" without --{name}" if value is None else f" --{name} {value}".rstrip()
            for name, value in self._named().items()
        )
        return "".join(parts)

    def _option(self, name: str) -> str:
        return str(self.step.options.get(name, ""))

    def _signals(self, name: str) -> tuple[str, ...]:
        names = self.step.options.get(name, ())
        assert isinstance(names, tuple)
        return names

    def _named(self) -> Mapping[str, str | None]:
        return self.step.takes(dict) if self.step.argument else {}

    def _environment(self) -> Mapping[str, str]:
        screen = {"TERM": "xterm-256color"} if self.part.medium.is_screen else {}
        own, port = self.build.environment, self._port()
        filled = {name: self._filled(text, port) for name, text in own.items()}
        return {**self.part.scene.environment, **screen, **filled}

    def _input(self) -> str:
        text = self._filled(self._option("input"))
        return text if text in ("", "closed") else str(self.part.scene.folder.resolve() / text)

    def _arguments(self) -> list[str]:
        if "arguments" in self.step.options:
            return [self._filled(word) for word in words(self._option("arguments"))]
        program, own = self.part.program, self.build.implementation.arguments
        port = self._port()
        called = [
            self._filled(word, port) for word in words(program.arguments if own is None else own)
        ]
        # A program whose manifest names its arguments does not know the suite's options.
        usual = (program.options or {}) if own is None else {}
        for name, value in {**usual, **self._named()}.items():
            if value is not None:
                called += [f"--{name}"] + ([self._filled(value)] if value else [])
        return called

    @property
    def fixed_port(self) -> int:
        """The port at which a server must listen; 0: any free port."""
        scene = self.part.scene
        again = scene.port if self.step.options.get("same_port") else 0
        return again or self.build.implementation.port or scene.fixed_port

    def _port(self) -> int:
        """The value of `{port}` in the arguments and the environment of a program."""
        role = self.build.implementation.role
        return self.fixed_port if role is Role.SERVER else self.part.scene.port_for(role)

    def _filled(self, word: str, port: int | None = None) -> str:
        scene, role = self.part.scene, self.build.implementation.role
        where = scene.port_for(role) if port is None else port
        return complete(word, scene.values | {"name": self.part.name, "port": str(where)})
