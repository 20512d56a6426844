"""The verbs about files in the scratch folder of a case, and about commands that change them."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import tempfile

from conformance.model import Step
from conformance.play.actors.base import Actor, verb
from conformance.play.actors.command import words
from conformance.play.actors.missed import Lacking, Missed
from conformance.play.processes.system import looks
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
        wanted = re.compile(str(step.options.get("holding", "")), re.MULTILINE)
        for _ in looks(self.deadline(step)):
            text = self.scene.files.whole(name)
            if text is not None and wanted.search(decode(text)):
                self.did(f"makes {name}")
                return
            self.scene.loop.look_again()
        seen = "no such file" if text is None else "no such line"
        raise Missed(f"{name} {wanted.pattern}".rstrip(), seen, "not in time")

    @verb
    def runs(self, step: Step) -> None:
        """Run a command in the scratch folder."""
        values = self.values | {"name": self.name}
        command = [complete(word, values) for word in words(step.takes(str))]
        self._run(command, step)
        self.did(f"runs {step.argument}")

    def _run(self, command: list[str], step: Step) -> None:
        shown = shlex.join(command)
        with tempfile.TemporaryFile() as output:
            process = self._started(command, output.fileno(), step)
            try:
                self._waits_for_end(process, shown, step)
            finally:
                process.kill()
                process.wait()
            output.seek(0)
            if process.returncode:
                seen = decode(output.read())
                raise Missed(f"{shown}: status 0", seen, f"status {process.returncode}")

    def _started(self, command: list[str], output: int, step: Step) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                command,
                cwd=self.scene.files.folder,
                env=dict(self.scene.environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        except (OSError, ValueError) as error:  # ValueError: a word has a NUL
            why = f"cannot be run: {getattr(error, 'strerror', error)}"
            if "/" not in command[0] and shutil.which(command[0]) is None:
                why = "is not on PATH; install it"
            raise Lacking(f"{step.place}: `{command[0]}` {why}") from None

    def _waits_for_end(self, process: subprocess.Popen[bytes], shown: str, step: Step) -> None:
        for _ in looks(self.counted_from_now(step)):
            if process.poll() is not None:
                return
            self.scene.loop.look_again()
        seconds = self.scene.deadlines.allow(step)
        raise Missed(f"{shown} ends", "it does not", f"{seconds:.1f} s")

    def _line_of(self, name: str, wanted: str, deadline: float) -> str:
        """Take the next line of a file; raises Missed if it does not come in time."""
        for _ in looks(deadline):
            line, ended, _ = (self.scene.files.rest(name) or b"").partition(b"\n")
            if ended:
                self.scene.files.take(name, len(line) + 1)
                return decode(line)
            self.scene.loop.look_again()
        raise Missed(wanted, decode(line), f"nothing more came in {name}")

    def _writes_no_more(self, name: str) -> None:
        rest = self.scene.files.rest(name)
        if rest is None:
            raise Missed(f"the file {name}, with nothing more in it", "there is no such file")
        if rest:
            raise Missed(f"nothing more in {name}", decode(rest).partition("\n")[0], extra=True)
