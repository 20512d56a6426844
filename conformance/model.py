"""The data types that all parts of the harness share; their methods only derive names.

Data flows one way, and each stage hands one of these types to the next:
scenario file → Scenario → Case → (processes, steps) → Outcome → Result → report.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from conformance.arguments import Ready
from conformance.mistakes import Place

MOST_NAME = 64  # characters of a program's name: files in the output folder are named after it
NAME = f"[A-Za-z0-9][A-Za-z0-9-]{{0,{MOST_NAME - 1}}}"  # an expression

T = TypeVar("T")


class Role(StrEnum):
    """The side of the connection that a program plays."""

    SERVER = "server"
    CLIENT = "client"


def is_name(text: str) -> bool:
    """Whether this can be the name of a program."""
    return re.fullmatch(NAME, text) is not None and text != "mixed"


class Kind(StrEnum):
    """Which implementations a scenario combines, and so how many cases it makes."""

    PAIRING = "pairing"  # every server × every client
    SERVER = "server"  # every server; its peers are wire actors
    CLIENT = "client"  # every client; its server is scripted
    MIXED = "mixed"  # every server; each client actor is a different implementation


class Medium(StrEnum):
    """What the standard streams of a program are connected to."""

    TERMINAL = "terminal"  # without echo and line editing: steps see what the program wrote
    PIPES = "pipes"
    SCREEN = "screen"  # a terminal with echo and editing: steps see what a person sees on it
    SHELL = "shell"  # a SCREEN on which a shell runs the program as a job

    @property
    def is_screen(self) -> bool:
        """Whether steps see the rows of a screen, in place of the bytes that were written."""
        return self in (Medium.SCREEN, Medium.SHELL)


class Delivery(StrEnum):
    """How the bytes for a program are cut into reads, which must make no difference to it."""

    WHOLE = "whole"  # as they were written
    BYTES = "bytes"  # one byte at a time
    SPLIT = "split"  # cut where programs often go wrong, such as within a character
    MERGED = "merged"  # several writes arrive as one


class ActorKind(StrEnum):
    """What an actor is; each kind has a class in `play.actors`."""

    SERVER = "server"
    CLIENT = "client"
    WIRE = "wire"  # a raw connection to the server
    SCRIPTED = "scripted"  # the server's side, played by steps, to judge clients alone


PROGRAMS = frozenset({ActorKind.SERVER, ActorKind.CLIENT})
PEERS = frozenset({ActorKind.WIRE, ActorKind.SCRIPTED})


@dataclass(frozen=True, slots=True)
class CastMember:
    """The kind of one actor of a cast: `client on a screen`."""

    kind: ActorKind
    medium: Medium = Medium.TERMINAL  # of a program

    def __str__(self) -> str:
        return f"{self.kind}{_BEHIND[self.medium]}"


_BEHIND = {
    Medium.TERMINAL: "",
    Medium.PIPES: " on pipes",
    Medium.SCREEN: " on a screen",
    Medium.SHELL: " in a shell",
}

# Every kind of actor, by the words that name it in a cast.
CAST_MEMBERS = {
    str(member): member
    for member in (
        *(CastMember(kind) for kind in ActorKind),
        *(CastMember(ActorKind(role), medium) for role in Role for medium in Medium),
    )
    if str(member) != "server in a shell"  # its step would end before the server is ready
}


class Verdict(StrEnum):
    """What the outcome of a case means."""

    PASSED = "PASSED"
    WARNED = "WARNED"  # the program does not keep a SHOULD or a MAY
    FAILED = "FAILED"  # the program breaks a rule
    UNSUPPORTED = "UNSUPPORTED"  # the case needs a feature that the manifest does not list
    UNAVAILABLE = "UNAVAILABLE"  # this machine lacks what the program needs
    ERRORED = "ERRORED"  # the harness or the build failed, so nothing is known of the program


class Origin(StrEnum):
    """Where a step of a scenario comes from."""

    WRITTEN = "written"  # it is in the scenario file
    SHORTHAND = "shorthand"  # it comes from a verb of the suite, in the scenario file
    FENCE = "fence"  # the harness added it, to prove that nothing else was received
    ENDING = "ending"  # the suite's ending, played if the server still runs after all other steps


class FailureKind(StrEnum):
    """What went wrong. Only a STEP is blamed on the rules that its scenario proves."""

    STEP = "step"  # a step of the scenario did not come true
    START = "start"  # a program did not get ready
    FENCE = "fence"  # a fence line did not arrive
    ENDING = "ending"  # all steps of the scenario came true, but a step of the ending did not
    LEFT_OVER = "left-over"  # a program ended, but processes that it started did not
    LIMIT = "limit"  # a program exceeded a resource limit of the run


FLOOD = "a flood"  # the reason of a failure where an actor sends more than any scenario names


@dataclass(frozen=True, slots=True)
class Requirement:
    """One rule of the protocol text."""

    id: str  # "CHAT-1"
    level: str  # "MUST", "SHOULD" or "MAY"
    text: str  # the rule's own words, on one line
    feature: str | None  # None: the rule binds every implementation, else those that list this
    place: Place


@dataclass(frozen=True, slots=True)
class Implementation:
    """A program in one role, as its manifest (implementation.yaml) describes it."""

    name: str
    role: Role
    language: str
    folder: Path  # of its manifest; its commands run here
    run: str  # command line with the placeholders {build}, {cache}, {python}
    build: str | None = None  # command line, with the same; None: nothing to build
    sources: tuple[str, ...] = ()  # glob patterns of what it is built from; (): all in its folder
    needs: tuple[str, ...] = ()  # programs that must be on PATH
    features: frozenset[str] = frozenset()
    # The keys are scenarios (FILE/ID), patterns of these (FILE/*) or rules; the values are reasons.
    known_failures: Mapping[str, str] = field(default_factory=dict)  # fail always
    may_fail: Mapping[str, str] = field(default_factory=dict)  # fail now and then
    arguments: str | None = None  # the end of its command line; None: the suite's
    environment: Mapping[str, str] = field(default_factory=dict)  # added to that of all programs
    ready: Ready | None = None  # None: as the suite says
    start: float | None = None  # seconds that its start may take; None: the harness's
    host: str | None = None  # the fixed address at which it listens, or to which it connects
    port: int | None = None  # the fixed port, if its port cannot be chosen
    children: bool = False  # a child process of it listens, and not the process that was started
    place: Place = field(default=Place("", 0))
    places: Mapping[str, Place] = field(default_factory=dict)  # of its features and failures

    @property
    def label(self) -> str:
        """`server-c`: unique over both roles, for messages and names of folders."""
        return f"{self.role}-{self.name}"


class Trait(StrEnum):
    """A property of a verb, so that players and judges need not know the verb itself."""

    LASTS = "its argument is the time in seconds that the step takes"
    WAITS_FOR_A_START = "it may wait for a program to start, which has its own deadline"
    SAYS = "it only sends bytes, and these may be delivered merged with the next ones"
    OF_ITSELF = "it involves one program alone, so no other program is to blame for its failure"
    HEARS = "it consumes received lines, a prompt or the end of the input"
    ACTS = "it sends something, so later steps may measure times from it"


class Split(StrEnum):
    """How the dialogues of a split step are played."""

    EITHER = "either"  # only the dialogue whose first step comes true
    TOGETHER = "together"  # all at the same time; each belongs to one actor


@dataclass(frozen=True, slots=True)
class Step:
    """One action or observation of one actor, after shorthands were expanded.

    If `split` is set, it is several dialogues instead: `actor` is empty, `branches` has the steps.
    """

    place: Place
    actor: str
    verb: str
    argument: object = None  # parsed by the grammar of the verb
    options: Mapping[str, object] = field(default_factory=dict)  # `within`, `under`, …
    proves: str | None = None  # the rule that this step proves; None: the scenario's first rule
    own_rule: str | None = None  # blamed before `proves`, except for an extra line
    source: str = ""  # the step as written, shortened, for messages
    origin: Origin = Origin.WRITTEN
    traits: frozenset[Trait] = frozenset()  # of its verb
    split: Split | None = None
    branches: tuple[tuple[Step, ...], ...] = ()

    def takes(self, kind: type[T]) -> T:
        """The argument; raises TypeError if it is not of this type."""
        if isinstance(self.argument, kind):
            return self.argument
        got = type(self.argument).__name__
        raise TypeError(f"{self.place}: `{self.verb}` needs {kind.__name__}, and has {got}")


def single(steps: Iterable[Step]) -> Iterator[Step]:
    """All steps of single actors, in their order; split steps are replaced by their branches."""
    for step in steps:
        if not step.split:
            yield step
        for branch in step.branches:
            yield from single(branch)


# What some scenarios need from the machine, and the reason why they are unavailable without it.
MACHINE = {
    "ipv6": "this machine has no IPv6 loopback address (::1)",
    "namespaces": "this machine cannot make network namespaces (unshare -rn, ip)",
    "processors": "a program on this machine can use one processor only",
}


@dataclass(frozen=True, slots=True)
class Scenario:
    """A scenario that can be played: one that has examples is a Scenario for each of them."""

    key: str  # "chat/everyone-but-the-sender"; of an example, ":EXAMPLE" is appended
    file: str  # "scenarios/chat.yaml", as given on the command line
    title: str
    proves: tuple[str, ...]
    kind: Kind
    cast: Mapping[str, CastMember]  # by the actor's name
    steps: tuple[Step, ...]
    needs: Mapping[Role, frozenset[str]]  # features that an implementation must list to play it
    without: Mapping[Role, frozenset[str]]  # features that an implementation must not list
    place: Place
    machine: frozenset[str] = frozenset()  # what the machine must have; keys of MACHINE
    in_turn: bool = False  # each time the server starts, it is the next implementation

    @property
    def claims(self) -> tuple[str, ...]:
        """The rules that it proves as a whole, then those that its written steps prove.

        Rules of shorthands do not count: nearly every scenario would prove those of joining.
        """
        own = (step.proves for step in self.single_steps if step.proves)
        return tuple(dict.fromkeys((*self.proves, *own)))

    @property
    def single_steps(self) -> Iterable[Step]:
        """All steps of single actors, see `single`."""
        return single(self.steps)

    @property
    def names(self) -> tuple[str, ...]:
        """Its key, and the key without `:EXAMPLE`, which names all examples."""
        return tuple(dict.fromkeys((self.key, self.key.partition(":")[0])))

    def is_named_by(self, key: str) -> bool:
        """Whether a key of a manifest is one of its names, or a pattern such as `join/*`."""
        if "*" not in key:
            return key in self.names
        return re.fullmatch(".*".join(map(re.escape, key.split("*"))), self.key) is not None

    @property
    def id(self) -> str:
        """The name within its file: `everyone-but-the-sender`."""
        return self.key.partition("/")[2]


@dataclass(frozen=True, slots=True)
class Case:
    """One scenario and the implementations that play it; pytest calls it an item."""

    scenario: Scenario
    server: Implementation | None  # None: the server is scripted
    clients: tuple[Implementation, ...]  # one (pairing, client), several (mixed), or none
    successors: tuple[Implementation, ...] = ()  # of a scenario that is `in_turn`: later servers
    delivery: Delivery = Delivery.WHOLE

    @property
    def pairing(self) -> str:
        """`go+c`, `go+mixed`, `go` or `c`."""
        mixed = self.scenario.kind is Kind.MIXED
        clients = ["mixed"] if mixed else [one.name for one in self.clients]
        return "+".join(([self.server.name] if self.server else []) + clients)

    @property
    def id(self) -> str:
        """`scenarios/chat.yaml::everyone-but-the-sender[go+c]`."""
        return f"{self.scenario.file}::{self.scenario.id}[{self.pairing}]"

    @property
    def key(self) -> str:
        """`chat/everyone-but-the-sender[go+c]`: unlike the id, it names no folder."""
        return f"{self.scenario.key}[{self.pairing}]"

    @property
    def implementations(self) -> tuple[Implementation, ...]:
        """All that take part: the server, its successors, the clients."""
        return ((self.server,) if self.server else ()) + self.successors + self.clients


@dataclass(frozen=True, slots=True)
class Failure:
    """The step at which a case failed, and what a person needs to see why."""

    requirement: str  # id of the broken rule; "": no rule is about it, such as left-over processes
    actor: str
    step: str  # `scenarios/chat.yaml:14:9  bob: {sees: "alice: hello"}`
    expected: str
    seen: str
    reason: str = ""  # how they differ: "an unexpected line", "nothing for 10 s"
    timeline: tuple[str, ...] = ()  # the last lines of all actors, in the order of arrival
    stderr: tuple[str, ...] = ()  # the first and last lines of standard error of each program
    kind: FailureKind = FailureKind.STEP
    program: str = ""  # `server-go`: the program at fault; "" if unknown, or if the kind is STEP
    sent: int = 0  # how many lines all actors had sent: so many answers are no flood


@dataclass(frozen=True, slots=True)
class Written:
    """What one actor wrote on one stream."""

    actor: str
    stream: str  # `its output`
    text: str  # its control characters are visible; the middle of a long text is left out


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happened when a case was played; `judge` says what it means."""

    seconds: float
    failure: Failure | None = None  # None: every step came true
    error: str | None = None  # why the harness or the machine could not play it
    afterwards: Failure | None = None  # an ENDING or a LEFT_OVER, after every step came true
    transcript: str = ""  # step by step, without times or ports: equal for equal behaviour
    timed: str = ""  # the transcript, with the time and the place in the file on each line
    output: tuple[Written, ...] = ()  # what the actors wrote, by stream
    reached: int = 0  # how many steps came true
    timed_out: bool = False  # the step after these waited until its deadline
    shortened: bool = False  # that deadline was shortened, as other cases had timed out there, too
    # (who, verb), such as (`server-go`, `starts`) → how many steps, and their seconds in all.
    spent: Mapping[tuple[str, str], tuple[int, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Result:
    """The verdict on a case, with its reasons: one row of results.json."""

    id: str
    scenario: str
    kind: Kind
    pairing: str  # as in the id: `go+c`, `go+mixed`, `go` or `c`
    server: str | None
    clients: tuple[str, ...]
    requirements: tuple[str, ...]
    verdict: Verdict
    expected: bool  # False makes the run red: a known failure is expected, for instance
    seconds: float
    reason: str = ""  # why it is unsupported, unavailable, errored, or expected to fail
    failure: Failure | None = None
    afterwards: Failure | None = None  # see Outcome; it makes the run red, but not this case
    known: str = ""  # the key of the manifest that excuses its failure
    may_fail: bool = False  # whether that key is in `may_fail`
    played: int = 1  # how many times
    passed: int = 0  # how many times, if it was played more than once
    delivery: Delivery = Delivery.WHOLE

    @property
    def repeated(self) -> str:
        """`17 of 20 passed`; "" if it was played once."""
        return f"{self.passed} of {self.played} passed" if self.played > 1 else ""

    @property
    def delivered(self) -> str:
        """`delivered by bytes`; "" if bytes were delivered as they were written."""
        return "" if self.delivery is Delivery.WHOLE else f"delivered by {self.delivery}"

    @property
    def key(self) -> str:
        """The key of the case."""
        return f"{self.scenario}[{self.pairing}]"


@dataclass(frozen=True, slots=True)
class Program:
    """How the programs of one role are started, and what is expected of them."""

    arguments: str = ""  # `--host {host} --port {port}`
    proves: str | None = None  # the rule that a program breaks if it does not get ready
    errors: str = "free"  # "accounted": a line on standard error that no step names is a failure
    options: Mapping[str, str | None] | None = None  # given unless a step says otherwise
    ready: Ready = field(default_factory=Ready)  # how a program says that it is ready
    takes: frozenset[str] | None = None  # the options that scenarios may give; None: any
    interrupted: int | None = None  # exit status after Ctrl+C or SIGTERM; None: unspecified


@dataclass(frozen=True, slots=True)
class Suite:
    """One protocol: its rules, and how its programs are started."""

    folder: Path
    name: str
    requirements: Mapping[str, Requirement]
    implementation_folders: list[Path]
    programs: Mapping[Role, Program]
    # By role and feature: key of the scenario that must fail if a manifest omits the feature.
    probes: Mapping[Role, Mapping[str, str]]
    line_end: str = field(default="\n", kw_only=True)  # on connections, in both directions
