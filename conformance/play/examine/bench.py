"""A test bench: starts a single program, and collects findings about it.

It plays no scenario and judges no rule: it checks what every case relies on. There is one deadline
for the whole examination. The program runs at a terminal and with pipes at the same time, and each
phase must end within its share of the time.
"""

from __future__ import annotations

import math
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from conformance.builds.build import Build
from conformance.model import Medium, Program, Step
from conformance.play.actors.base import Part, Scene
from conformance.play.actors.command import Command
from conformance.play.case.files import Files
from conformance.play.case.poll import MOST_UNREAD, Flood, Loop, Source
from conformance.play.case.runner import environment
from conformance.play.case.transcript import Transcript
from conformance.play.processes.process import CannotStart, Process, ending, guard, start
from conformance.play.processes.system import children, reap
from conformance.play.schedule.deadlines import Deadlines
from conformance.text import clipped, decode, placeholders, visible

# The ends of the phases, as shares of the whole time.
UP = 0.6  # the program is ready, or connected
TOLD = 0.75  # the problem is diagnosed, or the lines of the test have arrived
ASKED = 0.85  # the program was asked to end
ENDED = 0.9  # the program has ended
GONE = 1.0  # its child processes have ended, too

GROUP_SECONDS = 1.0  # timeout for its child processes to end after the program
WIDTH = 160  # columns of quoted output
KEPT_BYTES = 64 << 10  # how much of its output is examined, from the beginning
CTRL_C = b"\x03"

MEDIA = (Medium.TERMINAL, Medium.PIPES)


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem of a program, and how to correct it."""

    what: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Started:
    """A program that was started."""

    process: Process
    command: str  # its command line

    @property
    def last_words(self) -> str:
        """`; it says: …`, with its last line on standard error, or else on standard output."""
        for source in (self.process.errors, self.process.output):
            if said := [line for line in came(source).split("\n") if line.strip()]:
                return f"; it says: {clipped(visible(said[-1].strip()), WIDTH)}"
        return ""

    def press(self, key: bytes) -> None:
        """Press a key at its terminal."""
        self.process.write(key, time.monotonic() + 1)


def came(source: Source | None) -> str:
    """The text that has come from a source, up to KEPT_BYTES."""
    return decode(bytes(source.unread[:KEPT_BYTES])) if source else ""


def quoted(said: str) -> str:
    """Output of a program as a finding shows it."""
    return f"`{clipped(visible(said), WIDTH)}`"


def lines(source: Source | None) -> list[str]:
    """The complete lines that have come."""
    return came(source).split("\n")[:-1]


@dataclass(slots=True)
class Bench:
    """One examination of a program, and its findings so far."""

    build: Build
    program: Program
    scene: Scene
    seconds: float  # for the whole examination
    cleaning: ExitStack
    findings: list[Finding] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    was_up: float = math.inf

    @property
    def start_seconds(self) -> float:
        """Seconds that it may take to get ready; its manifest may ask for more than usual."""
        return max(UP * self.seconds, self.build.implementation.start or 0.0)

    def by(self, share: float) -> float:
        """The monotonic time at which this share of the time is over."""
        return self._up_by + (share - UP) * self.seconds

    @property
    def _up_by(self) -> float:
        """The monotonic deadline for it to be ready. An early start shortens a long deadline."""
        return min(self.began + self.start_seconds, self.was_up + UP * self.seconds)

    def is_up(self) -> None:
        """Note that it is ready: extra time that its manifest asks for no longer counts."""
        self.was_up = time.monotonic()

    def find(self, what: str, remedy: str) -> None:
        """Add a finding, unless it is there already."""
        finding = Finding(visible(what), visible(remedy))
        if finding not in self.findings:
            self.findings.append(finding)

    def start(self, medium: Medium, with_options: bool = True) -> Started | None:
        """Start the program, with the options of the suite or without; None if it cannot start."""
        program = self.program if with_options else replace(self.program, options=None)
        step = Step(self.build.implementation.place, "it", "")
        launch = Command(Part("it", self.scene, medium, program), self.build, step).launch()
        try:
            process = start("it", launch, self.scene.loop)
        except CannotStart as error:
            self.find(f"it cannot be started: {error}", "correct `run` in its manifest")
            return None
        self.cleaning.callback(process.destroy)
        return Started(process, str(launch))

    def comes(self, done: Callable[[], object], share: float) -> bool:
        """Wait until a condition holds; False if this share of the time is over first."""
        return self.scene.loop.wait(lambda: bool(done()), self.by(share))

    def see_end(self, process: Process, by: str, since: float) -> None:
        """Check that it ends with the right exit status after a signal.

        `by` names the signal, and `since` is the monotonic time at which it was sent.
        """
        wanted = self.program.interrupted
        if not process.wait(self.by(ENDED)):
            what = f"it still runs {time.monotonic() - since:.1f} s after {by}"
            self.find(what, f"end the program on {by}, without waiting for its peers")
        elif process.status != wanted:
            what = f"on {by} it ends with {ending(process.status or 0)}, not {wanted}"
            self.find(what, f"handle {by}, shut down, and exit with {wanted}")
        self.see_group_end(process)

    def see_group_end(self, process: Process) -> None:
        """Check that its child processes end soon after it."""
        if not process.running and process.end_group(self.soon()):
            self.leaves_something()

    def soon(self) -> float:
        """The monotonic deadline for child processes of a program that ends now."""
        return min(time.monotonic() + GROUP_SECONDS, self.by(GONE))

    def leaves_something(self) -> None:
        """Add the finding that child processes still run after its end."""
        remedy = "end its child processes and wait for them; a wrapper should `exec` the program"
        self.find("it ends and leaves processes behind", remedy)


# Examines the program on these media at the same time; returns whether any of them was usable.
Look = Callable[[Bench, Sequence[Medium]], bool]


def examine(
    build: Build, program: Program, seconds: float, look: Look, alone: bool
) -> list[Finding]:
    """All findings. A program that is `alone` cannot run twice at the same time."""
    rounds = [[medium] for medium in MEDIA] if alone else [MEDIA]
    found: dict[Finding, None] = {}
    for media in rounds:
        usable = False
        with bench(build, program, seconds / len(rounds)) as one:
            usable = look(one, media)
        found |= dict.fromkeys(one.findings)
        if not usable:
            break  # the next medium would show the same problem
    return list(found)


@contextmanager
def bench(build: Build, program: Program, seconds: float) -> Iterator[Bench]:
    """A bench for one examination. At its end, all processes that were started are killed."""
    guard()  # started before `children()` is called, so that it does not count as left over
    before = children()
    with ExitStack() as cleaning:
        one = Bench(build, program, _scene(build, seconds, cleaning), seconds, cleaning)
        try:
            yield one
        except Flood:
            what = f"it writes without end: more than {MOST_UNREAD >> 20} MiB"
            one.find(what, "write only what the protocol asks for")
        except BaseException:  # Ctrl+C, above all
            reap(before, 0.0)
            raise
    if reap(before, max(one.soon() - time.monotonic(), 0.0)):
        one.leaves_something()


def _scene(build: Build, seconds: float, cleaning: ExitStack) -> Scene:
    scratch = Path(tempfile.mkdtemp(prefix="conformance-"))
    cleaning.callback(shutil.rmtree, scratch, ignore_errors=True)
    scene = Scene(
        loop=Loop(Transcript()),
        host=build.implementation.host or "127.0.0.1",
        deadlines=Deadlines(seconds),
        environment=environment(),
        folder=build.implementation.folder,
        line_end="\n",
        files=Files(scratch),
    )
    cleaning.callback(scene.files.close)
    return scene


def is_told(build: Build, program: Program, place: str) -> bool:
    """Whether its arguments or environment have the placeholder `place` (`host`, `port`)."""
    one = build.implementation
    words = program.arguments if one.arguments is None else one.arguments
    return any(place in placeholders(text) for text in (words, *one.environment.values()))
