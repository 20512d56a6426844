"""How a program is called: its words, its streams, its environment. It starts nothing."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from conformance.build import Build
from conformance.model import Medium, Role, Step
from conformance.play.actors.base import Part
from conformance.play.launch import Launch
from conformance.play.terminal import COLUMNS, ROWS
from conformance.text import complete

_STREAMS = {"output": 1, "errors": 2}  # options that take a standard stream away


@cache
def words(command: str) -> tuple[str, ...]:
    """A command line's words; there are few, and each is split for every case."""
    return tuple(shlex.split(command))


@dataclass(frozen=True, slots=True)
class Command:
    """One start of a program, as the step, the manifest and the suite say it."""

    part: Part
    build: Build
    step: Step

    def launch(self) -> Launch:
        """What is to be started."""
        implementation, options = self.build.implementation, self.step.options
        under = [self._filled(word) for word in words(self._option("under"))]
        size = options.get("size", (COLUMNS, ROWS))
        assert isinstance(size, tuple)
        called = [*under, *self.build.argv, *self._arguments()]
        return Launch(
            argv=self._from_shell(called) if options.get("shell") else called,
            folder=implementation.folder,
            environment=self._environment(),
            medium=self.part.medium,
            size=size,
            input=self._input(),
            closed=tuple(fd for name, fd in _STREAMS.items() if name in options),
        )

    def _from_shell(self, called: list[str]) -> list[str]:
        """A shell with job control, which knows the whole call as a command: `client`.

        The command becomes the program itself, so that the shell's job is the program.
        """
        command = self._commands() / self.build.implementation.role.value
        command.parent.mkdir(exist_ok=True)
        command.write_text(f"#!/bin/sh\nexec {shlex.join(called)}\n")
        command.chmod(0o755)
        return ["bash", "--noprofile", "--norc", "-i"]

    def _commands(self) -> Path:
        return self.part.scene.files.folder / "bin"

    def said(self) -> str:
        """The options that this very step names, for the transcript."""
        if "arguments" in self.step.options:
            return f" {self.step.options['arguments']}"
        parts = (
            f" without --{name}" if value is None else f" --{name} {value}".rstrip()
            for name, value in self._named().items()
        )
        return "".join(parts)

    def _option(self, name: str) -> str:
        return str(self.step.options.get(name, ""))

    def _named(self) -> Mapping[str, str | None]:
        return self.step.takes(dict) if self.step.argument else {}

    def _environment(self) -> Mapping[str, str]:
        environment = self.part.scene.environment
        if self.part.medium is Medium.SCREEN:
            environment = {**environment, "TERM": "xterm-256color"}
        if self.step.options.get("shell"):
            path = f"{self._commands()}{os.pathsep}{environment.get('PATH', os.defpath)}"
            environment = {**environment, "PATH": path, "PS1": "$ ", "HISTFILE": ""}
        return environment

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
        # A program with words of its own knows none of the suite's options.
        usual = (program.options or {}) if own is None else {}
        for name, value in {**usual, **self._named()}.items():
            if value is not None:
                called += [f"--{name}"] + ([self._filled(value)] if value else [])
        return called

    def _port(self) -> int:
        """What `{port}` means in a program's own words: for a server, mostly any free one."""
        implementation = self.build.implementation
        if implementation.role is Role.SERVER and not self.step.options.get("same_port"):
            return implementation.port or 0
        return self.part.scene.port

    def _filled(self, word: str, port: int | None = None) -> str:
        values = self.part.scene.values | {"name": self.part.name}
        return complete(word, values if port is None else values | {"port": str(port)})
