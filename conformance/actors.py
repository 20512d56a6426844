"""The actors: what each kind can do and see. A method's name is the verb that it plays."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

from conformance.build import Build
from conformance.match import Pattern, decode, encode
from conformance.model import Implementation, Medium, Step
from conformance.placeholder import fill, plain
from conformance.process import CannotStart, Launch, Process, start
from conformance.stage import READ_SIZE, Source, Stage
from conformance.suite import Program
from conformance.terminal import COLUMNS, ROWS, Ear, Heard, left_changed, resize
from conformance.transcript import Transcript, visible
from conformance.verbs import CURSOR
from conformance.wire import (
    Connection,
    Listener,
    Refused,
    connect,
    knows_option,
    listening_port,
    socket_options,
)

if TYPE_CHECKING:
    from conformance.screen import Screen

BEHIND_SECONDS = 0.3  # how long a failed step still looks for what it wanted
LOOK_SECONDS = 0.002  # between two looks at what tells nobody that it changes
_IDLE_SHARE = 0.1  # of a processor


class Missed(Exception):
    """A step that did not come true: facts for the failure."""

    def __init__(self, expected: str, seen: str, reason: str = "", extra: bool = False) -> None:
        super().__init__(reason)
        self.expected = expected
        self.seen = seen
        self.reason = reason
        self.extra = extra  # what was expected came too, behind something that nobody named


@dataclass(slots=True)
class Scene:
    """What all actors of a case share."""

    stage: Stage
    transcript: Transcript
    host: str
    seconds: float  # how long a step waits, unless it says `within`
    environment: Mapping[str, str]
    folder: Path  # the suite's, for files that scenarios name
    port: int = 0  # the server's, once it is known
    scratch: Path = Path()  # a folder of the case's own
    read: dict[int, int] = field(default_factory=dict)  # by inode there: bytes that steps named
    orders: dict[str, list[str]] = field(default_factory=dict)  # by actor: its last `sees_all`

    @property
    def values(self) -> dict[str, str]:
        """What is known only now, for the placeholders in texts."""
        return {"host": self.host, "port": str(self.port), "scratch": str(self.scratch)}

    def deadline(self, step: Step) -> float:
        """Until when this step may wait (monotonic)."""
        within = step.options.get("within", self.seconds)
        assert isinstance(within, int | float)
        return time.monotonic() + within


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
        text = plain(fill(step.argument, self.scene.values))
        heard = self._ear(self.ear).text(len(encode(text)), self.scene.deadline(step))
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
                raise Missed(str(pattern), line, reason, extra)

    def _line(self, ear: Ear | None, wanted: object, step: Step) -> str:
        ear = self._ear(ear)
        line = ear.line_at_hand()
        if line is not None:
            return decode(line)
        heard = ear.line(self.scene.deadline(step))
        if heard.why:
            raise Missed(str(wanted), decode(heard.text), self._why(heard, step))
        return decode(heard.text)

    def _is_behind(self, ear: Ear | None, pattern: Pattern) -> bool:
        """Whether the expected line comes after all, behind one that nobody named."""
        deadline = time.monotonic() + BEHIND_SECONDS
        while not (heard := self._ear(ear).line(deadline)).why:
            if pattern.meets(decode(heard.text)):
                return True
        return False

    def _ends(self, ear: Ear | None, wanted: str, step: Step) -> str:
        """How the output ends, "eof" or "reset"; a line or bytes before that are a failure."""
        heard = self._ear(ear).line(self.scene.deadline(step))
        if not heard.why:
            raise Missed(wanted, decode(heard.text), "an unexpected line", extra=True)
        if heard.why == "nothing":
            raise Missed(wanted, decode(heard.text), self._why(heard, step))
        if heard.text:
            raise Missed(wanted, decode(heard.text), "text without a line end", extra=True)
        return heard.why

    def _why(self, heard: Heard, step: Step) -> str:
        if heard.why == "nothing":
            seconds = step.options.get("within", self.scene.seconds)
            rest = ", only this without a line end" if heard.text else ""
            return f"nothing more came within {seconds:g} s{rest}"
        return {"eof": "the output ended", "reset": "the connection was reset"}.get(heard.why, "")

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
        if not process.write(data, self.scene.deadline(step)):
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
        try:
            launch = self._launch(step)
            self.process = start(self.name, launch, self.scene.stage, self._environment())
        except CannotStart as error:
            raise Missed("a program that starts", str(error)) from None
        self._look_at(self.process, launch)
        self.did("starts" + "".join(f" {word}" for word in self._told(step)))
        if self.implementation.role == "server" and "arguments" not in step.options:
            self._get_ready(step)

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
            from conformance.screen import Screen  # its emulator is slow to import

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
        return plain(fill(word, values))

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
        wanted = plain(fill(ready, {"host": self.scene.host}))
        heard = self._ear(self.ear).line(self.scene.deadline(step))
        line = decode(heard.text)
        pattern = re.escape(wanted).replace(re.escape("{port}"), "([0-9]{1,5})", 1)
        found = re.fullmatch(pattern, line)
        if heard.why or not found:
            why = self._why(heard, step)
            reason = f"it never got ready: {why}" if why else "not its ready line"
            raise Missed(wanted, line, reason)
        if found.groups():
            return int(found[1])
        return self.implementation.port or self._looked_up(step)

    def _looked_up(self, step: Step) -> int:
        """For a program that announces nothing: wait until it has a listening socket."""
        process, deadline = self._running(), self.scene.deadline(step)
        while (port := listening_port(process.pid) if process.running else None) is None:
            moment = time.monotonic()
            if moment > deadline or not process.running:
                raise Missed("a listening socket", "none", "it never got ready")
            # The kernel tells nobody that a socket listens.
            self.scene.stage.wait(lambda: not process.running, moment + LOOK_SECONDS)
        return port

    # --- What is done to it ------------------------------------------------------------------

    def presses(self, step: Step) -> None:
        assert isinstance(step.argument, bytes)
        self.send(step.argument, step)
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
        command = self._fill(str(step.argument))
        try:
            done = subprocess.run(
                shlex.split(command),
                cwd=self.scene.scratch,
                env=dict(self.scene.environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=self.scene.deadline(step) - time.monotonic(),
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
        wanted = f"exit status {step.argument}"
        if not process.wait(self.scene.deadline(step)):
            seconds = step.options.get("within", self.scene.seconds)
            raise Missed(wanted, "it is still running", f"after {seconds:g} s")
        if not _status_meets(process.status, step.argument):
            raise Missed(wanted, _status_text(process.status), "another exit status")
        if process.left_behind:
            raise Missed("no process left behind", "others of its group go on without it")
        if self.medium is Medium.SCREEN:
            self._leaves_terminal(process, step)
        else:
            if "rest" not in step.options:
                self._ends(self.ear, "nothing more, and its end", step)
            self._ends(self._complaints, "nothing more on standard error, and its end", step)
        self.did(f"exits {step.argument}")

    def _leaves_terminal(self, process: Process, step: Step) -> None:
        """Whoever uses the terminal next finds it as this program did."""
        self.scene.stage.wait(lambda: bool(process.output.end), self.scene.deadline(step))
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
        deadline = self.scene.deadline(step)
        while wrong := screen.differs(which, wanted, marked):
            self.scene.stage.wait(lambda: bool(source.unread or source.end), deadline)
            if not source.unread or time.monotonic() > deadline:  # it may write for ever
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
        deadline, output = self.scene.deadline(step), b""
        while not (heard := self._ear(self.ear).line(deadline)).why:
            output += heard.text + b"\n"
        output += heard.text
        for text in step.argument:
            if text not in decode(output):
                raise Missed(f"somewhere in its output: {text}", "it is not there")
        if heard.why == "nothing":
            raise Missed("the end of its output", decode(heard.text), self._why(heard, step))
        self.note("<~", " … ".join(step.argument))

    def writes(self, step: Step) -> None:
        """The next lines of a file in the case's own folder; none: nothing more has come."""
        name = str(step.options.get("to", ""))
        deadline = self.scene.deadline(step)
        patterns = list(self._patterns(step.argument, single=True))
        for pattern in patterns:
            line = self._line_of(name, str(pattern), deadline)
            if not pattern.meets(line):
                raise Missed(str(pattern), line, f"another line in {name}")
        if not patterns and (rest := self._rest_of(name)):
            raise Missed(f"nothing more in {name}", decode(rest), extra=True)
        for line in self._shortened(step.argument):
            self.note(f"<{name}", line)

    def makes(self, step: Step) -> None:
        """A file is there, in time; and a line in it matches, where that is asked."""
        path, deadline = self.scene.scratch / str(step.argument), self.scene.deadline(step)
        wanted = re.compile(str(step.options.get("holding", "")), re.MULTILINE)
        while not (path.exists() and wanted.search(decode(path.read_bytes()))):
            if time.monotonic() > deadline:
                seen = "it is there" if path.exists() else "no such file"
                raise Missed(f"{step.argument} {wanted.pattern}".rstrip(), seen, "not in time")
            self.scene.stage.wait(lambda: False, time.monotonic() + LOOK_SECONDS)
        self.did(f"makes {step.argument}")

    def _line_of(self, name: str, wanted: str, deadline: float) -> str:
        """The next line of a file, waited for: files tell nobody that they grow."""
        while b"\n" not in (rest := self._rest_of(name)):
            if time.monotonic() > deadline:
                raise Missed(wanted, decode(rest), f"nothing more came in {name}")
            self.scene.stage.wait(lambda: False, time.monotonic() + LOOK_SECONDS)
        line = rest[: rest.index(b"\n")]
        inode = (self.scene.scratch / name).stat().st_ino
        self.scene.read[inode] = self.scene.read.get(inode, 0) + len(line) + 1
        return decode(line)

    def _rest_of(self, name: str) -> bytes:
        """What no step has named yet. A file that was renamed is known by its inode."""
        try:
            with (self.scene.scratch / name).open("rb") as file:
                file.seek(self.scene.read.get(os.fstat(file.fileno()).st_ino, 0))
                return file.read(READ_SIZE)
        except FileNotFoundError:
            return b""

    def complains(self, step: Step) -> None:
        assert isinstance(step.argument, tuple)
        which, patterns = step.argument
        if which == "last":
            self._last_complaint(patterns, step)
        else:
            self._hear(self._complaints, self._patterns(patterns, single=True), step)
        for line in self._shortened(patterns):
            self.note("!", line)

    def _last_complaint(self, patterns: tuple[Pattern, ...], step: Step) -> None:
        last = ""
        deadline = self.scene.deadline(step)
        while not (heard := self._ear(self._complaints).line(deadline)).why:
            last = decode(heard.text)
        (pattern,) = self._patterns(patterns, single=True)
        if heard.why == "nothing" or heard.text or not pattern.meets(last):
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
        self.scene.stage.wait(lambda: not process.running, time.monotonic() + step.argument)
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


def _status_meets(status: int | None, wanted: object) -> bool:
    if wanted == "nonzero":
        return status != 0
    if isinstance(wanted, str):
        return status == -signal.Signals[wanted]
    return status == wanted


def _status_text(status: int | None) -> str:
    if status is not None and status < 0:
        return f"died of {signal.Signals(-status).name}"
    return f"exit status {status}"


@dataclass(slots=True)
class _Line:
    """One connection and what comes over it."""

    connection: Connection
    source: Source
    gone: bool = False

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
        source = Source(self.scene.stage, self.name, "seen", connection.fd, connection.read)
        self._lines.append(_Line(connection, source))
        self.ear = Ear(source)

    def _line_in_use(self) -> _Line:
        if not self._lines or self._lines[-1].gone:
            raise Missed("a connection", "none", "there is none to act on")
        return self._lines[-1]

    def send(self, data: bytes, step: Step) -> None:
        line = self._line_in_use()
        self.scene.transcript.note(self.name, "sent", data)
        fd, write = line.connection.fd, line.connection.write
        sent = self.scene.stage.write(fd, write, data, self.scene.deadline(step))
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
        # What still comes is read and dropped: closing with unread bytes would be a reset.
        self._line_in_use().connection.end_writing()
        self.did("closes")

    def resets(self, step: Step) -> None:
        line = self._line_in_use()
        line.close(line.connection.reset)
        self.did("resets")

    def stops_reading(self, step: Step) -> None:
        self._line_in_use().source.pause()
        self.did("stops reading")

    def reads_again(self, step: Step) -> None:
        self._line_in_use().source.resume()
        self.did("reads again")

    def is_closed(self, step: Step) -> None:
        end = self._ends(self.ear, "end of file", step)
        if end == "reset":
            raise Missed("end of file", "a reset", "closed, but not in order")
        self._let_go()
        self.did("is closed")

    def _let_go(self) -> None:
        """What follows from the other side's end of file: this side ends too."""
        line = self._line_in_use()
        line.close(line.connection.close)

    def is_reset(self, step: Step) -> None:
        end = self._ends(self.ear, "a reset", step)
        if end != "reset":
            raise Missed("a reset", "end of file")
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
            self._open(connect(self.scene.host, self.scene.port, size, self.scene.deadline(step)))
        except Refused as error:
            raise Missed("a connection", str(error)) from None
        self.did("connects")

    def is_refused(self, step: Step) -> None:
        try:
            connect(self.scene.host, self.scene.port, None, self.scene.deadline(step)).close()
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
        connection = self._listener.accept(self.scene.stage, self.scene.deadline(step))
        if connection is None:
            raise Missed("a connection", "none", "the client does not connect")
        self._open(connection)
        self.did("accepts")

    def destroy(self) -> None:
        super().destroy()
        if self._listener:
            self._listener.close()
