"""The verbs about files in the scratch folder of a case, and about commands that change them."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import time

from conformance.model import Step
from conformance.play.actors.base import Actor, verb
from conformance.play.actors.command import words
from conformance.play.actors.missed import Lacking, Missed
from conformance.play.processes.system import LOOK_SECONDS
from conformance.text import complete, decode


class Writing(Actor):
    """The verbs about files."""

    @verb
    def writes(self, step: Step) -> None:
        """The next lines of a file; without lines: nothing more has come."""
        name = str(step.options.get("to", ""))
        patterns, seen = list(self.each(step.takes(tuple))), []
        for pattern in patterns:
            line = self._line_of(name, str(pattern), self.deadline(step))
            if not pattern.meets(line):
                expected, shown, why = pattern.compared(line)
                raise Missed(expected, shown, f"another line in {name}" + (why and f": {why}"))
            seen.append(line)
        if not patterns:
            self._writes_no_more(name)
        self.note_seen(f"<{name}", step.takes(tuple), seen)

    @verb
    def makes(self, step: Step) -> None:
        """A file exists in time, and a line in it matches the option `holding`, if given."""
        name = step.takes(str)
        files, deadline = self.scene.files, self.deadline(step)
        wanted = re.compile(str(step.options.get("holding", "")), re.MULTILINE)
        while (text := files.whole(name)) is None or not wanted.search(decode(text)):
            if time.monotonic() > deadline:
                seen = "no such file" if text is None else "no such line"
                raise Missed(f"{name} {wanted.pattern}".rstrip(), seen, "not in time")
            self._look_again()
        self.did(f"makes {name}")

    @verb
    def runs(self, step: Step) -> None:
        """Run a command in the scratch folder."""
        values = self.values | {"name": self.name}
        command = [complete(word, values) for word in words(step.takes(str))]
        if shutil.which(command[0]) is None:
            raise Lacking(f"{step.place}: `{command[0]}` is not on PATH; install it")
        self._run(command, max(self.deadline(step) - time.monotonic(), 0))
        self.did(f"runs {step.argument}")

    def _run(self, command: list[str], seconds: float) -> None:
        shown = shlex.join(command)
        try:
            done = subprocess.run(
                command,
                cwd=self.scene.files.folder,
                env=dict(self.scene.environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            wanted = f"{shown} ends"
            raise Missed(wanted, "it does not", f"{seconds:.1f} s") from None
        if done.returncode:
            raise Missed(f"{shown}: status 0", decode(done.stdout), f"status {done.returncode}")

    def _line_of(self, name: str, wanted: str, deadline: float) -> str:
        """Take the next line of a file; raises Missed if it does not come in time."""
        while b"\n" not in (rest := self.scene.files.rest(name) or b""):
            if time.monotonic() > deadline:
                raise Missed(wanted, decode(rest), f"nothing more came in {name}")
            self._look_again()
        line = rest[: rest.index(b"\n")]
        self.scene.files.take(name, len(line) + 1)
        return decode(line)

    def _writes_no_more(self, name: str) -> None:
        rest = self.scene.files.rest(name)
        if rest is None:
            raise Missed(f"the file {name}, with nothing more in it", "there is no such file")
        if rest:
            raise Missed(f"nothing more in {name}", decode(rest).partition("\n")[0], extra=True)

    def _look_again(self) -> None:
        """Wait a moment. This must poll: no event signals that a file grows."""
        self.scene.loop.wait(lambda: False, time.monotonic() + LOOK_SECONDS)
