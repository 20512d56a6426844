"""The actors: what each kind can do and see. A method's name is the verb that it plays."""

from __future__ import annotations

import itertools
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

from conformance.arguments import CURSOR, Pattern
from conformance.build import Build
from conformance.model import FailureKind, Implementation, Medium, Program, Step
from conformance.play.files import Files
from conformance.play.poll import Source, Loop
from conformance.play.process import LOOK_SECONDS, CannotStart, Launch, Process, ending, start
from conformance.play.tcp import (
    Connection,
    Listener,
    Refused,
    connect,
    knows_option,
    listening_port,
    socket_options,
)
from conformance.play.terminal import COLUMNS, ROWS, Ear, Heard, left_changed, resize
from conformance.play.transcript import Transcript
from conformance.text import complete, decode, encode, plain, visible

if TYPE_CHECKING:
    from conformance.play.screen import Screen

BEHIND_SECONDS = 1.0  # how long a failed step still looks for what it wanted
BEHIND_LINES = 1000  # and in how many lines
START_SECONDS = 30.0  # that a program may take to get ready, or to write its first byte
GROUP_SECONDS = 1.0  # that the other processes of a program may take to end after it
_IDLE_SHARE = 0.1  # of a processor


class Missed(Exception):
    """A step that did not come true: facts for the failure."""

    kind = FailureKind.STEP

    def __init__(self, expected: str, seen: str, reason: str = "", extra: bool = False) -> None:
        super().__init__(reason)
        self.expected = expected
        self.seen = seen
        self.reason = reason
        self.extra = extra  # what was expected came too, behind something that nobody named


class Lacking(Exception):
    """This machine lacks what a step needs; the text says what, where, and what to do."""


class NeverReady(Missed):
    """A program that did not start, or did not get ready."""

    kind = FailureKind.START


class LeftOver(Missed):
    """A program that ended, and processes of its own that did not."""

    kind = FailureKind.LEFT_OVER


@dataclass(slots=True)
class Scene:
    """What all actors of a case share."""

    loop: Loop
    transcript: Transcript
    host: str
    seconds: float  # how long a step waits, unless it says `within`
    start_seconds: float  # how long a program may take to start
    environment: Mapping[str, str]
    folder: Path  # the suite's, for files that scenarios name
    port: int = 0  # the server's, once it is known
    files: Files = field(default_factory=lambda: Files(Path()))  # in a folder of the case's own
    until: float = 0.0  # when the step that is played has to be done (monotonic)
    orders: dict[str, list[str]] = field(default_factory=dict)  # by actor: its last `sees_all`
    someone_starts: Callable[[], bool] = lambda: False  # whether a program may still be starting

    @property
    def values(self) -> dict[str, str]:
        """What is known only now, for the placeholders in texts."""
        return {"host": self.host, "port": str(self.port), "scratch": str(self.scratch)}

    @property
    def scratch(self) -> Path:
        """The folder of the case's own."""
        return self.files.folder

    def begin(self, step: Step) -> None:
        """From now on the time of this step runs: one deadline for all that it waits for."""
        self.until = time.monotonic() + allowance(step, self.seconds)


def allowance(step: Step, seconds: float) -> float:
    """How long a step may take: what it says itself, or `seconds`, and more where it is a big one.

    A rule's own time stands in `within`. The other deadlines only keep a run from hanging, so a
    step gets as many seconds again for each thousand lines, and for each megabyte, that it names.
    """
    within = step.options.get("within")
    if isinstance(within, int | float):
        return within
    if step.verb == "idles_for":
        assert isinstance(step.argument, int | float)
        return seconds + step.argument
    return seconds * (1 + _size(step.argument))


def _size(argument: object) -> int:
    """Thousands of lines, or megabytes."""
    if isinstance(argument, bytes):
        return len(argument) // 1_000_000
    if isinstance(argument, Pattern):
        return argument.times // 1000
    return sum(map(_size, argument)) if isinstance(argument, tuple) else 0


class Actor:
    """What every kind of actor can do: have what it gets looked at, line by line."""

    line_end = "\n"

    @property
    def label(self) -> str:
        """What it is, for counting."""
        return type(self).__name__.lower()

    def __init__(self, name: str, scene: Scene) -> None:
        self.name = name
        self.scene = scene
        self.ear: Ear | None = None

    def note(self, mark: str, text: str) -> None:
        """A line of the transcript."""
        self.scene.transcript.step(self.name, mark, text, str(self.scene.port or ""))

    def did(self, text: str) -> None:
        """Something that is neither said nor seen."""
        self.scene.transcript.note(self.name, "event", f"({text})".encode())
        self.note("*", text)

    def destroy(self) -> None:
        """Leave nothing behind."""

    def finish(self, step: Step) -> None:
        """After the last step: raise Missed for what came and no step has named."""

    def _deadline(self, step: Step) -> float:
        """Until when the step that is played may wait (monotonic)."""
        return self.scene.until

    def send(self, data: bytes, step: Step) -> None:
        """Bytes to the other side; each kind has its own way."""
        raise NotImplementedError

    # --- Saying ------------------------------------------------------------------------------

    def types(self, step: Step) -> None:
        lines = (one.text + self.line_end for one in self._patterns(step.argument, single=True))
        self.send(encode("".join(lines)), step)
        for line in self._shortened(step.argument):
            self.note(">", line)

    def sends(self, step: Step) -> None:
        assert isinstance(step.argument, bytes)
        self.send(step.argument, step)
        self.note(">>", decode(step.argument[:200]))

    # --- Seeing ------------------------------------------------------------------------------

    def sees(self, step: Step) -> None:
        self._hear(self.ear, self._patterns(step.argument, single=True), step)
        for line in self._shortened(step.argument):
            self.note("<", line)

    receives = sees

    def sees_all(self, step: Step) -> None:
        assert isinstance(step.argument, tuple)
        waiting = [self._patterns(sequence, single=True) for sequence in step.argument]
        order: list[str] = []
        heads = [next(sequence, None) for sequence in waiting]
        while any(heads):
            wanted = " or ".join(visible(str(head)) for head in heads if head)
            line = self._line(self.ear, wanted, step)
            found = next((i for i, h in enumerate(heads) if h and h.meets(line)), None)
            if found is None:
                raise Missed(wanted, line, "an unexpected line")
            heads[found] = next(waiting[found], None)
            order.append(line)
        self.scene.orders[self.name] = order
        for sequence in step.argument:
            for line in self._shortened(sequence):
                self.note("<~", line)

    def sees_as(self, step: Step) -> None:
        order = self.scene.orders[str(step.argument)]
        self._hear(self.ear, (Pattern(line) for line in order), step)
        self.note("<~", f"as {step.argument}")

    def is_asked(self, step: Step) -> None:
        assert isinstance(step.argument, str)
        text = complete(step.argument, self.scene.values)
        heard = self._ear(self.ear).text(len(encode(text)), self._deadline(step))
        seen = decode(heard.text)
        if heard.why or seen != text:
            raise Missed(text, seen, self._why(heard, step) or "a prompt was expected")
        self.note("?", text)

    def _hear(self, ear: Ear | None, patterns: Iterator[Pattern], step: Step) -> None:
        for pattern in patterns:
            line = self._line(ear, pattern, step)
            if not pattern.meets(line):
                extra = self._is_behind(ear, pattern)
                reason = "an unexpected line before the expected one" if extra else "another line"
                expected, seen, why = pattern.compared(line)
                raise Missed(expected, seen, why or reason, extra)

    def _line(self, ear: Ear | None, wanted: object, step: Step) -> str:
        ear = self._ear(ear)
        line = ear.line_at_hand()
        if line is not None:
            return decode(line)
        heard = ear.line(self._deadline(step))
        if heard.why:
            raise Missed(str(wanted), decode(heard.text), self._why(heard, step))
        return decode(heard.text)

    def _is_behind(self, ear: Ear | None, pattern: Pattern) -> bool:
        """Whether the expected line comes after all, behind one that nobody named."""
        heard = self._heard_until(ear, time.monotonic() + BEHIND_SECONDS)
        lines = (one.text for one in itertools.islice(heard, BEHIND_LINES) if not one.why)
        return any(pattern.meets(decode(line)) for line in lines)

    def _heard_until(self, ear: Ear | None, deadline: float) -> Iterator[Heard]:
        """The lines that come until the deadline or the end; the last one says which."""
        heard = Heard(b"")
        while not heard.why:
            late = time.monotonic() > deadline
            heard = Heard(b"", "nothing") if late else self._ear(ear).line(deadline)
            yield heard

    def _ends(self, ear: Ear | None, wanted: str, step: Step) -> str:
        """How the output ends, "eof" or "reset"; a line or bytes before that are a failure."""
        heard = self._ear(ear).line(self._deadline(step))
        if not heard.why:
            raise Missed(wanted, decode(heard.text), "an unexpected line", extra=True)
        if heard.why == "nothing":
            raise Missed(wanted, decode(heard.text), self._why(heard, step))
        if heard.text:
            raise Missed(wanted, decode(heard.text), "text without a line end", extra=True)
        return heard.why

    def _why(self, heard: Heard, step: Step) -> str:
        if heard.why == "nothing":
            rest = ", only this without a line end" if heard.text else ""
            return f"nothing more came within {allowance(step, self.scene.seconds):g} s{rest}"
        known = {"": "", "eof": "the output ended", "reset": "the connection was reset"}
        return known.get(heard.why, f"reading failed: {heard.why}")

    def _check_rest(self, ear: Ear | None, wanted: str) -> None:
        """Raise Missed where something has come that no step has named."""
        rest = ear.rest() if ear else b""
        if rest:
            line, end, _ = decode(rest).partition("\n")
            reason = "an unexpected line" if end else "text without a line end"
            raise Missed(wanted, line, reason, extra=True)

    def _ear(self, ear: Ear | None) -> Ear:
        if ear is None:
            raise Missed("a connection", "none", "nobody has connected: `accepts` is missing")
        return ear

    def _patterns(self, argument: object, *, single: bool) -> Iterator[Pattern]:
        assert isinstance(argument, tuple)
        values = self.scene.values
        for pattern in argument:
            filled = pattern.filled(values)
            yield from filled.each() if single else [filled]

    def _shortened(self, argument: object) -> Iterator[str]:
        """For the transcript: a thousand like lines are one."""
        for pattern in self._patterns(argument, single=False):
            text = plain(str(pattern))
            text = text if len(text) <= 200 else f"{text[:200]}…"
            yield text if pattern.times == 1 else f"{text} (times {pattern.times})"


class ProgramActor(Actor):
    """A program: on a terminal, on pipes, or on a screen."""

    def __init__(
        self,
        name: str,
        scene: Scene,
        program: Program,
        turns: Sequence[Build],  # one for each start, then from the beginning
        medium: Medium,
    ) -> None:
        super().__init__(name, scene)
        self.program = program
        self.medium = medium
        self.left_over = 0  # processes that went on when it had ended
        self._started = 0.0
        self.process: Process | None = None
        self._turns = cycle(turns)
        self.build = turns[0]
        self._complaints: Ear | None = None
        self._screen: Screen | None = None
        self._resident_at_first = 0
        if medium is Medium.SCREEN:
            self.line_end = "\r"  # what the key sends

    def send(self, data: bytes, step: Step) -> None:
        process = self._running()
        self.scene.transcript.note(self.name, "sent", data)
        if not process.write(data, self._deadline(step)):
            raise Missed("it takes its input", "it does not", "the program does not read")

    def _running(self) -> Process:
        if self.process is None:
            raise Missed("a running program", "none")
        return self.process

    def _why(self, heard: Heard, step: Step) -> str:
        if heard.why == "nothing" and self.process and not self.process.running:
            return "it has ended, but another process holds its output open"
        return super()._why(heard, step)

    def _alive(self) -> Process:
        process = self._running()
        if not process.running:
            raise Missed("a running program", _status_text(process.status), "it has ended")
        return process

    def starts(self, step: Step) -> None:
        if self.process:
            self.process.destroy()  # it has exited, and starts again
        self.build = next(self._turns)
        launch = self._launch(step)
        if "under" in step.options and shutil.which(launch.argv[0]) is None:
            raise Lacking(f"{step.place}: `{launch.argv[0]}` is not on PATH; install it")
        note = self.scene.transcript.note
        note(self.name, "event", encode(f"(starts {shlex.join(launch.argv)})"))
        try:
            self.process = start(self.name, launch, self.scene.loop, self._environment())
        except CannotStart as error:
            raise NeverReady("a program that starts", str(error)) from None
        self._started = time.monotonic()
        self._look_at(self.process, launch)
        self.note("*", "starts" + "".join(f" {word}" for word in self._told(step)))
        if self.implementation.role == "server" and "arguments" not in step.options:
            self._get_ready(step)

    def _deadline(self, step: Step) -> float:
        """A program that has not written anything yet may still be starting."""
        if "within" in step.options or self.process is None or self.process.output.began:
            return self.scene.until
        return max(self.scene.until, self._started + self.scene.start_seconds)

    @property
    def is_starting(self) -> bool:
        """Whether it runs and has not written anything yet."""
        return self.process is not None and self.process.running and not self.process.output.began

    @property
    def label(self) -> str:
        """What it is, for counting."""
        return self.implementation.label

    @property
    def implementation(self) -> Implementation:
        """Which program it is, this time."""
        return self.build.implementation

    def _launch(self, step: Step) -> Launch:
        under = [self._fill(word) for word in _words(str(step.options.get("under", "")))]
        size = step.options.get("size", (COLUMNS, ROWS))
        assert isinstance(size, tuple)
        return Launch(
            argv=[*under, *self.build.argv, *self._arguments(step)],
            folder=self.implementation.folder,
            medium=self.medium,
            size=size,
            input=self._input(step),
            closed=tuple(fd for fd, n in ((1, "output"), (2, "errors")) if n in step.options),
        )

    def _environment(self) -> Mapping[str, str]:
        if self.medium is not Medium.SCREEN:
            return self.scene.environment
        return {**self.scene.environment, "TERM": "xterm-256color"}

    def _look_at(self, process: Process, launch: Launch) -> None:
        """Take what it writes: line by line, or on a screen."""
        if self.medium is Medium.SCREEN:
            from conformance.play.screen import Screen  # its emulator is slow to import

            self._screen = Screen(process.output, *launch.size, self._reply)
            return
        self.ear = Ear(process.output)
        self._complaints = Ear(process.errors) if process.errors else None

    def _reply(self, data: bytes) -> None:
        """What the emulator answers to a program's questions."""
        self._running().write(data, time.monotonic() + self.scene.seconds)

    def _input(self, step: Step) -> str:
        text = self._fill(str(step.options.get("input", "")))
        return text if text in ("", "closed") else str(self.scene.folder.resolve() / text)

    def _told(self, step: Step) -> list[str]:
        """The options that this very step names, for the transcript."""
        if "arguments" in step.options:
            return [str(step.options["arguments"])]
        options = _options(step).items()
        return [f"without --{k}" if v is None else f"--{k} {v}".rstrip() for k, v in options]

    def _arguments(self, step: Step) -> list[str]:
        if "arguments" in step.options:
            return [self._fill(word) for word in _words(str(step.options["arguments"]))]
        own = self.implementation.arguments
        arguments = self.program.arguments if own is None else own
        words = [self._fill(word, step) for word in _words(arguments)]
        # A program with words of its own knows none of the suite's options.
        usual = (self.program.options or {}) if own is None else {}
        for name, value in {**usual, **_options(step)}.items():
            if value is not None:
                words += [f"--{name}"] + ([self._fill(value)] if value else [])
        return words

    def _fill(self, word: str, step: Step | None = None) -> str:
        values = self.scene.values | {"name": self.name}
        if self.implementation.role == "server" and step and not step.options.get("same_port"):
            values["port"] = str(self.implementation.port or 0)
        return complete(word, values)

    # --- Ready -------------------------------------------------------------------------------

    def _get_ready(self, step: Step) -> None:
        own = self.implementation.ready
        ready = self.program.ready if own is None else own
        told = ready and "output" not in step.options
        port = self._announced(ready, step) if told else self._looked_up(step)
        if self.name == "server":
            self.scene.port = port
        process = self._running()  # it may have ended: the steps that follow tell
        self._resident_at_first = process.resident() if process.running else 0

    def _announced(self, ready: str, step: Step) -> int:
        """Wait for the ready line; the port that it names."""
        wanted = complete(ready, {"host": self.scene.host})
        heard = self._ear(self.ear).line(self._deadline(step))
        line = decode(heard.text)
        pattern = re.escape(wanted).replace(re.escape("{port}"), "([0-9]{1,5})", 1)
        found = re.fullmatch(pattern, line)
        if heard.why or not found:
            raise NeverReady(wanted, line, self._not_ready(heard, step))
        if found.groups():
            return int(found[1])
        return self.implementation.port or self._looked_up(step)

    def _not_ready(self, heard: Heard, step: Step) -> str:
        process = self._running()
        if heard.why == "eof" and process.wait(self._deadline(step)):
            return f"it never got ready: {_status_text(process.status)}"
        why = self._why(heard, step)
        return f"it never got ready: {why}" if why else "not its ready line"

    def _looked_up(self, step: Step) -> int:
        """For a program that announces nothing: wait until it has a listening socket."""
        process, deadline = self._running(), self._deadline(step)
        while (port := listening_port(process.pid) if process.running else None) is None:
            moment = time.monotonic()
            if moment > deadline or not process.running:
                raise NeverReady("a listening socket", "none", "it never got ready")
            # The kernel tells nobody that a socket listens.
            self.scene.loop.wait(lambda: not process.running, moment + LOOK_SECONDS)
        return port

    # --- What is done to it ------------------------------------------------------------------

    def presses(self, step: Step) -> None:
        assert isinstance(step.argument, bytes)
        keys = self._screen.keys(step.argument) if self._screen else step.argument
        self.send(keys, step)
        self.did(f"presses {step.source.partition('presses: ')[2].rstrip('}')}")

    def resizes(self, step: Step) -> None:
        assert isinstance(step.argument, tuple)
        process, screen = self._running(), self._on_screen()
        screen.resize(*step.argument)
        resize(process.output.fd, *step.argument)
        self.did("resizes its window to {}x{}".format(*step.argument))

    def is_sent(self, step: Step) -> None:
        self._running().signal(str(step.argument))
        self.did(f"is sent {step.argument}")

    def ends_input(self, step: Step) -> None:
        self._running().end_input()
        self.did("ends its input")

    def stops_reading(self, step: Step) -> None:
        """Nobody reads its standard output."""
        self._running().output.pause()
        self.did("is not read")

    def reads_again(self, step: Step) -> None:
        self._running().output.resume()
        self.did("is read again")

    def runs(self, step: Step) -> None:
        """Somebody does something to its files, in the case's own folder."""
        words = [self._fill(word) for word in _words(str(step.argument))]
        command = shlex.join(words)
        if shutil.which(words[0]) is None:
            raise Lacking(f"{step.place}: `{words[0]}` is not on PATH; install it")
        try:
            done = subprocess.run(
                words,
                cwd=self.scene.scratch,
                env=dict(self.scene.environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=max(self._deadline(step) - time.monotonic(), 0),
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            raise Missed(
                f"{command} comes to its end", "it does not", f"{late.timeout:.1f} s"
            ) from None
        if done.returncode:
            raise Missed(f"{command}: status 0", decode(done.stdout), f"status {done.returncode}")
        self.did(f"runs {step.argument}")

    # --- What is seen of it ------------------------------------------------------------------

    def exits(self, step: Step) -> None:
        process = self._running()
        assert isinstance(step.argument, tuple)
        wanted = " or ".join(map(_status_words, step.argument))
        if not process.wait(self._deadline(step)):
            seconds = allowance(step, self.scene.seconds)
            raise Missed(wanted, "it is still running", f"after {seconds:g} s")
        if not any(_status_meets(process.status, status) for status in step.argument):
            raise Missed(wanted, _status_text(process.status), "it ended in another way")
        self.left_over += process.end_group(time.monotonic() + GROUP_SECONDS)
        if self.medium is Medium.SCREEN:
            self._leaves_terminal(process, step)
        else:
            self._says_no_more(step)
        self.did(f"exits {' or '.join(map(str, step.argument))}")

    def _says_no_more(self, step: Step) -> None:
        """All that it wrote before its end was named, as far as that is accounted for."""
        if "rest" not in step.options:
            self._ends(self.ear, "nothing more, and its end", step)
        if self.program.errors == "accounted":
            self._ends(self._complaints, "nothing more on standard error, and its end", step)

    def _leaves_terminal(self, process: Process, step: Step) -> None:
        """Whoever uses the terminal next finds it as this program did."""
        self.scene.loop.wait(lambda: bool(process.output.end), self._deadline(step))
        if process.status == -signal.SIGKILL:
            return
        assert process.terminal
        changed = left_changed(process.terminal)
        changed += self._on_screen().left_changed()
        if changed:
            raise Missed("the terminal as it was before", ", ".join(changed), "not put back")

    def shows(self, step: Step) -> None:
        """The screen is, in time, as named: every row of it, or its last ones."""
        assert isinstance(step.argument, tuple)
        which, patterns = step.argument
        wanted = list(self._patterns(patterns, single=True))
        marked = any(CURSOR in one.text for one in wanted)
        screen, source = self._on_screen(), self._running().output
        while wrong := screen.differs(which, wanted, marked):
            self.scene.loop.wait(lambda: bool(source.unread or source.end), self._deadline(step))
            if not source.unread or time.monotonic() > self._deadline(step):  # it may never end
                expected, seen = wrong
                raise Missed(expected, seen, "the screen is another")
        for line in self._shortened(patterns):
            self.note("|", line)

    def _on_screen(self) -> Screen:
        if self._screen is None:
            raise Missed("a program on a screen", "none")
        return self._screen

    def prints(self, step: Step) -> None:
        """For a program that comes to its end by itself: its whole output holds these texts."""
        assert isinstance(step.argument, tuple)
        deadline, output = self._deadline(step), b""
        for heard in self._heard_until(self.ear, deadline):
            output += heard.text + (b"" if heard.why else b"\n")
        for text in step.argument:
            if text not in decode(output):
                raise Missed(f"somewhere in its output: {text}", "it is not there")
        if heard.why != "eof":
            raise Missed("the end of its output", decode(heard.text), self._why(heard, step))
        self.note("<~", " … ".join(step.argument))

    def writes(self, step: Step) -> None:
        """The next lines of a file in the case's own folder; none: nothing more has come."""
        name = str(step.options.get("to", ""))
        deadline = self._deadline(step)
        patterns = list(self._patterns(step.argument, single=True))
        for pattern in patterns:
            line = self._line_of(name, str(pattern), deadline)
            if not pattern.meets(line):
                expected, seen, why = pattern.compared(line)
                raise Missed(expected, seen, f"another line in {name}" + (why and f": {why}"))
        if not patterns:
            self._writes_no_more(name)
        for line in self._shortened(step.argument):
            self.note(f"<{name}", line)

    def makes(self, step: Step) -> None:
        """A file is there, in time; and a line in it matches, where that is asked."""
        path, deadline = self.scene.scratch / str(step.argument), self._deadline(step)
        wanted = re.compile(str(step.options.get("holding", "")), re.MULTILINE)
        while not (path.exists() and wanted.search(decode(path.read_bytes()))):
            if time.monotonic() > deadline:
                seen = "it is there" if path.exists() else "no such file"
                raise Missed(f"{step.argument} {wanted.pattern}".rstrip(), seen, "not in time")
            self.scene.loop.wait(lambda: False, time.monotonic() + LOOK_SECONDS)
        self.did(f"makes {step.argument}")

    def _writes_no_more(self, name: str) -> None:
        rest = self.scene.files.rest(name)
        if rest is None:
            raise Missed(f"the file {name}, with nothing more in it", "there is no such file")
        if rest:
            raise Missed(f"nothing more in {name}", decode(rest).partition("\n")[0], extra=True)

    def _line_of(self, name: str, wanted: str, deadline: float) -> str:
        """The next line of a file, waited for: files tell nobody that they grow."""
        while b"\n" not in (rest := self.scene.files.rest(name) or b""):
            if time.monotonic() > deadline:
                raise Missed(wanted, decode(rest), f"nothing more came in {name}")
            self.scene.loop.wait(lambda: False, time.monotonic() + LOOK_SECONDS)
        line = rest[: rest.index(b"\n")]
        self.scene.files.take(name, len(line) + 1)
        return decode(line)

    def complains(self, step: Step) -> None:
        assert isinstance(step.argument, tuple)
        which, patterns = step.argument
        if which == "last":
            self._last_complaint(patterns, step)
        elif self.program.errors == "accounted":
            self._hear(self._complaints, self._patterns(patterns, single=True), step)
        else:
            self._find_complaints(self._patterns(patterns, single=True), step)
        for line in self._shortened(patterns):
            self.note("!", line)

    def _find_complaints(self, patterns: Iterator[Pattern], step: Step) -> None:
        """Its standard error is free: these lines are among the others, in this order."""
        deadline, last = self._deadline(step), ""
        heard = self._heard_until(self._complaints, deadline)
        lines = (decode(one.text) for one in heard if not one.why)
        for pattern in patterns:
            for last in lines:
                if pattern.meets(last):
                    break
            else:
                wanted = f"among the lines of standard error: {pattern}"
                raise Missed(wanted, last, "no such line; this is the last one that came")

    def _last_complaint(self, patterns: tuple[Pattern, ...], step: Step) -> None:
        last = ""
        deadline = self._deadline(step)
        for heard in self._heard_until(self._complaints, deadline):
            last = last if heard.why else decode(heard.text)
        (pattern,) = self._patterns(patterns, single=True)
        if heard.why != "eof" or heard.text or not pattern.meets(last):
            seen = decode(heard.text) or last
            wanted = f"as the last line of standard error: {pattern}"
            raise Missed(wanted, seen, self._why(heard, step))

    def has_socket_option(self, step: Step) -> None:
        assert isinstance(step.argument, dict)
        process = self._alive()
        for name, (least, most) in step.argument.items():
            if not knows_option(name):
                raise Missed(f"a socket option {name}", "none of that name on this machine")
            values = socket_options(process.pid, process.pidfd, name)
            if not values or not all(least <= value <= most for value in values):
                wanted = f"{least}" if least == most else f"{least} to {most}"
                seen = f"{values}" if values else "no connection"
                raise Missed(f"{name} = {wanted} on every connection", seen)
        self.did(f"has socket options {', '.join(step.argument)}")

    def idles_for(self, step: Step) -> None:
        assert isinstance(step.argument, int | float)
        process = self._alive()
        before = process.cpu_seconds()
        self.scene.loop.wait(lambda: not process.running, time.monotonic() + step.argument)
        used = self._alive().cpu_seconds() - before
        if used > step.argument * _IDLE_SHARE:
            share = f"{used / step.argument:.0%}"
            raise Missed(f"less than {_IDLE_SHARE:.0%} of a processor", share)
        self.did("idles")

    def grows_less_than(self, step: Step) -> None:
        assert isinstance(step.argument, int)
        grown = self._alive().resident() - self._resident_at_first
        if grown >= step.argument:
            limit = f"grown by less than {step.argument >> 10} KiB since it was ready"
            raise Missed(limit, f"grown by {grown >> 10} KiB")
        self.did("has not grown")

    def destroy(self) -> None:
        if self.process:
            self.process.destroy()


@cache
def _words(command: str) -> tuple[str, ...]:
    """A command line's words; there are few, and each is split for every case."""
    return tuple(shlex.split(command))


def _options(step: Step) -> dict[str, str | None]:
    assert step.argument is None or isinstance(step.argument, dict)
    return step.argument or {}


def _status_meets(status: int | None, wanted: int | str) -> bool:
    if wanted == "nonzero":
        return status is not None and status > 0
    if isinstance(wanted, str):
        return status == -signal.Signals[wanted]
    return status == wanted


def _status_words(wanted: int | str) -> str:
    """What a step asks for, in the words of what is seen."""
    if wanted == "nonzero":
        return "an exit status above 0"
    return f"killed by {wanted}" if isinstance(wanted, str) else f"exit status {wanted}"


def _status_text(status: int | None) -> str:
    return ending(status) if status is not None else "it is still running"


@dataclass(slots=True)
class _Line:
    """One connection and what comes over it."""

    connection: Connection
    source: Source
    ear: Ear
    gone: bool = False
    is_free: bool = False  # a step has said that anything may still come

    def close(self, how: Callable[[], None]) -> None:
        if not self.gone:
            self.source.close()
            how()
            self.gone = True


class Peer(Actor):
    """An actor that is a connection: what wires and scripted servers share."""

    def __init__(self, name: str, scene: Scene) -> None:
        super().__init__(name, scene)
        self._lines: list[_Line] = []  # the last one is the one in use

    def _open(self, connection: Connection) -> None:
        source = Source(self.scene.loop, self.name, "seen", connection.fd, connection.read)
        self.ear = Ear(source)
        self._lines.append(_Line(connection, source, self.ear))

    def _line_in_use(self) -> _Line:
        if not self._lines or self._lines[-1].gone:
            raise Missed("a connection", "none", "there is none to act on")
        return self._lines[-1]

    def send(self, data: bytes, step: Step) -> None:
        line = self._line_in_use()
        self.scene.transcript.note(self.name, "sent", data)
        fd, write = line.connection.fd, line.connection.write
        sent = self.scene.loop.write(fd, write, data, self._deadline(step))
        if sent < len(data):
            reason = "the other side does not read"
            raise Missed(f"{len(data)} bytes are taken", f"{sent} are", reason)

    def dribbles(self, step: Step) -> None:
        assert isinstance(step.argument, bytes)
        for byte in step.argument:
            self.send(bytes([byte]), step)
        self.note(">.", decode(step.argument))

    def ends_input(self, step: Step) -> None:
        self._line_in_use().connection.end_writing()
        self.did("ends its side")

    def closes(self, step: Step) -> None:
        line = self._line_in_use()
        self._leave(line, step)
        # What still comes is read and dropped: closing with unread bytes would be a reset.
        line.connection.end_writing()
        self.did("closes")

    def resets(self, step: Step) -> None:
        line = self._line_in_use()
        self._leave(line, step)
        line.close(line.connection.reset)
        self.did("resets")

    def _leave(self, line: _Line, step: Step) -> None:
        """All that has come was named, unless the step leaves that open."""
        line.is_free = "rest" in step.options
        if not line.is_free:
            self._check_rest(line.ear, "nothing more before it closes")

    def stops_reading(self, step: Step) -> None:
        self._line_in_use().source.pause()
        self.did("stops reading")

    def reads_again(self, step: Step) -> None:
        self._line_in_use().source.resume()
        self.did("reads again")

    def is_closed(self, step: Step) -> None:
        end = self._ends(self.ear, "end of file", step)
        if end != "eof":
            seen = "a reset" if end == "reset" else end
            raise Missed("end of file", seen, "closed, but not in order")
        self._let_go()
        self.did("is closed")

    def _let_go(self) -> None:
        """What follows from the other side's end of file: this side ends too."""
        line = self._line_in_use()
        line.close(line.connection.close)

    def is_reset(self, step: Step) -> None:
        end = self._ends(self.ear, "a reset", step)
        if end != "reset":
            raise Missed("a reset", "end of file" if end == "eof" else end)
        line = self._line_in_use()
        line.close(line.connection.close)
        self.did("is reset")

    def destroy(self) -> None:
        for line in self._lines:
            line.close(line.connection.close)


class Wire(Peer):
    """A raw connection to the server."""

    def starts(self, step: Step) -> None:
        size = step.options.get("receive_buffer")
        assert size is None or isinstance(size, int)
        try:
            self._open(connect(self.scene.host, self.scene.port, size, self._deadline(step)))
        except Refused as error:
            raise Missed("a connection", str(error)) from None
        self.did("connects")

    def is_refused(self, step: Step) -> None:
        try:
            connect(self.scene.host, self.scene.port, None, self._deadline(step)).close()
        except Refused as error:
            if not error.at_once:
                raise Missed("a refused connection", str(error)) from None
            self.did("is refused")
            return
        raise Missed("a refused connection", "an accepted one")


class ScriptedServer(Peer):
    """A server that does what the steps say, to judge clients alone."""

    def __init__(self, name: str, scene: Scene) -> None:
        super().__init__(name, scene)
        self._listener: Listener | None = None

    def starts(self, step: Step) -> None:
        self._listener = Listener(self.scene.host)
        self.scene.port = self._listener.port
        self.did("listens")

    def _let_go(self) -> None:
        """A server may go on sending to a client that has ended its side."""

    def accepts(self, step: Step) -> None:
        assert self._listener  # the rehearsal has seen `starts`
        if self._lines and not self._lines[-1].is_free:
            self._check_rest(self.ear, "nothing more on the connection before this one")
        connection = self._listener.accept(self.scene.loop, self._deadline(step))
        if connection is None:
            raise Missed("a connection", "none", "the client does not connect")
        self._open(connection)
        self.did("accepts")

    def _deadline(self, step: Step) -> float:
        """A client that has not written anything yet may still be starting."""
        if step.verb != "accepts" or "within" in step.options or not self.scene.someone_starts():
            return self.scene.until
        return self.scene.until + self.scene.start_seconds

    def finish(self, step: Step) -> None:
        """Every connection is read to its end, and none is left that no step has accepted."""
        for line in self._lines:
            if not line.gone and not line.is_free:
                self._ends(line.ear, "nothing more, and the end of the connection", step)
        if self._listener and self._listener.accept(self.scene.loop, 0.0):
            raise Missed("no further connection", "one", "no step has accepted it", extra=True)

    def destroy(self) -> None:
        super().destroy()
        if self._listener:
            self._listener.close()
