"""The nouns of the harness: plain data, no behaviour beyond naming themselves.

Everything flows one way, and each stage hands the next one of these:
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

T = TypeVar("T")


class Role(StrEnum):
    """Which side of the wire a program stands on."""

    SERVER = "server"
    CLIENT = "client"


class Kind(StrEnum):
    """How many implementations a scenario needs, and so how its cases multiply."""

    PAIRING = "pairing"  # every server × every client
    SERVER = "server"  # every server; its peers are wire actors
    CLIENT = "client"  # every client; its server is scripted
    MIXED = "mixed"  # every server; each client actor another implementation


class Medium(StrEnum):
    """What a program's standard streams are."""

    TERMINAL = "terminal"  # one that neither echoes nor edits: what is seen is what was written
    PIPES = "pipes"
    SCREEN = "screen"  # a terminal as people have it; what counts is what a person sees on it
    SHELL = "shell"  # such a screen, on which a shell runs the program as its job

    @property
    def is_screen(self) -> bool:
        """Whether what counts is what a person sees."""
        return self in (Medium.SCREEN, Medium.SHELL)


class ActorKind(StrEnum):
    """What an actor is; one class of `play.actors` for each."""

    SERVER = "server"
    CLIENT = "client"
    WIRE = "wire"  # a raw connection to the server
    SCRIPTED = "scripted"  # steps as the server, to judge clients alone


PROGRAMS = frozenset({ActorKind.SERVER, ActorKind.CLIENT})
PEERS = frozenset({ActorKind.WIRE, ActorKind.SCRIPTED})


@dataclass(frozen=True, slots=True)
class CastMember:
    """What one name of a cast stands for: `client on a screen`."""

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

# All that a cast can name, by the words for it.
CAST_MEMBERS = {
    str(member): member
    for member in (
        *(CastMember(kind) for kind in ActorKind),
        *(CastMember(ActorKind(role), medium) for role in Role for medium in Medium),
    )
    if str(member) != "server in a shell"  # which is not ready when its step is done
}


class Verdict(StrEnum):
    """What an outcome means. Never merged, never inferred from failing."""

    PASSED = "PASSED"
    WARNED = "WARNED"  # something that the text only recommends, or allows, is not done
    FAILED = "FAILED"  # a requirement is broken
    UNSUPPORTED = "UNSUPPORTED"  # needs a feature that the manifest does not list
    UNAVAILABLE = "UNAVAILABLE"  # its toolchain is not on this machine
    ERRORED = "ERRORED"  # the harness or the build is at fault


class Origin(StrEnum):
    """Who put a step into a scenario."""

    WRITTEN = "written"  # the person who wrote the scenario
    SHORTHAND = "shorthand"  # one of the suite's own verbs, written by that person
    FENCE = "fence"  # the harness: to prove that nothing else has come
    ENDING = "ending"  # the suite: its ending is played where a server still runs


class FailureKind(StrEnum):
    """What went wrong. Only a failed step is blamed on the rules that its scenario proves."""

    STEP = "step"  # a claim of the scenario is not true
    START = "start"  # a program did not get ready
    FENCE = "fence"  # the line that proves that nothing else has come did not arrive
    ENDING = "ending"  # all steps came true, and then the suite's ending did not
    LEFT_OVER = "left-over"  # a program ended, and processes of its own did not


@dataclass(frozen=True, slots=True)
class Requirement:
    """One rule of the protocol text."""

    id: str  # "CHAT-1"
    level: str  # "MUST", "SHOULD" or "MAY"
    text: str  # the rule's own words, on one line
    feature: str | None  # binds only implementations that list this feature
    place: Place


@dataclass(frozen=True, slots=True)
class Implementation:
    """One program in one role, as its implementation.yaml describes it."""

    name: str
    role: Role
    language: str
    folder: Path  # where its manifest stands; its commands run here
    run: str  # command line; {build}, {cache}, {python} are filled in
    build: str | None = None  # command line; None: nothing to build
    sources: tuple[str, ...] = ()  # what it is built from, as patterns; none: all in its folder
    needs: tuple[str, ...] = ()  # programs that must be on PATH
    features: frozenset[str] = frozenset()
    # Scenario key, a pattern of those, or rule → reason.
    known_failures: Mapping[str, str] = field(default_factory=dict)
    may_fail: Mapping[str, str] = field(default_factory=dict)  # likewise: these fail now and then
    arguments: str | None = None  # its own words for host, port, name; None: the suite's
    environment: Mapping[str, str] = field(default_factory=dict)  # beside what all programs have
    ready: Ready | None = None  # None: as the suite says
    start: float | None = None  # seconds that its start may take; None: the harness's
    host: str | None = None  # the address that it listens at, or connects to, whatever it is told
    port: int | None = None  # for one that cannot be told its port
    children: bool = False  # the process that listens is one that it has started
    place: Place = field(default=Place("", 0))
    places: Mapping[str, Place] = field(default_factory=dict)  # of features and failures

    @property
    def label(self) -> str:
        """Unique over both roles: `servers/c`-like, for messages and folders."""
        return f"{self.role}-{self.name}"


class Trait(StrEnum):
    """What those who play and judge a step must know of its verb, without knowing the verb."""

    LASTS = "its argument is a time in seconds, for which it lasts"
    WAITS_FOR_A_START = "a program may be starting, which has a deadline of its own"
    OF_ITSELF = "a program is seen by itself: where it fails, no other program is at fault"
    HEARS = "it takes lines, a prompt or the end from what the actor gets"
    ACTS = "it sends something, so that times may count from it"


class Split(StrEnum):
    """What is played where a step stands for several dialogues."""

    EITHER = "either"  # the one of which the first step comes true
    TOGETHER = "together"  # all at the same time, each of another actor


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that one actor does or sees, shorthands already spelled out."""

    place: Place
    actor: str
    verb: str
    argument: object = None  # parsed by the verb's own grammar
    options: Mapping[str, object] = field(default_factory=dict)  # `within`, `under`, …
    proves: str | None = None  # the rule this very step proves; None: the scenario's first
    own_rule: str | None = None  # of a step that nobody wrote: the rule that it breaks by itself
    source: str = ""  # the step as written, shortened, for people
    origin: Origin = Origin.WRITTEN
    traits: frozenset[Trait] = frozenset()  # its verb's
    # In place of one step of one actor: several dialogues, and how they are played.
    split: Split | None = None
    branches: tuple[tuple[Step, ...], ...] = ()

    def takes(self, kind: type[T]) -> T:
        """The argument, which must be of this type; raises TypeError where it is not."""
        if isinstance(self.argument, kind):
            return self.argument
        got = type(self.argument).__name__
        raise TypeError(f"{self.place}: `{self.verb}` needs {kind.__name__}, and has {got}")


def single(steps: Iterable[Step]) -> Iterator[Step]:
    """All steps of single actors, those of several dialogues among them."""
    for step in steps:
        if not step.split:
            yield step
        for branch in step.branches:
            yield from single(branch)


# What not every machine has, and some scenarios need.
MACHINE = {
    "ipv6": "this machine has no IPv6 address of its own (::1)",
    "namespaces": "this machine gives no program a network of its own (unshare -rn, ip)",
}


@dataclass(frozen=True, slots=True)
class Scenario:
    """A title, the rules it proves, a cast, and steps; one example of it where it has several."""

    key: str  # "chat/everyone-but-the-sender", ":example" behind it where there are examples
    file: str  # "scenarios/chat.yaml", as given on the command line
    title: str
    proves: tuple[str, ...]
    kind: Kind
    cast: Mapping[str, CastMember]  # by the actor's name
    steps: tuple[Step, ...]
    needs: Mapping[Role, frozenset[str]]  # features that each side must list
    without: Mapping[Role, frozenset[str]]  # played only by those that do not list these
    place: Place
    machine: frozenset[str] = frozenset()  # what this machine must have, names of MACHINE
    in_turn: bool = False  # each start of the server is that of the next implementation

    @property
    def claims(self) -> tuple[str, ...]:
        """The rules that it proves, and those that single steps of it do.

        What shorthands are tagged with is not among them: else everything would prove joining.
        """
        own = (step.proves for step in self.single_steps if step.proves)
        return tuple(dict.fromkeys((*self.proves, *own)))

    @property
    def single_steps(self) -> Iterable[Step]:
        """All steps of single actors."""
        return single(self.steps)

    @property
    def names(self) -> tuple[str, ...]:
        """What names it: its key, and the key without its example, which names all of them."""
        return tuple(dict.fromkeys((self.key, self.key.partition(":")[0])))

    def is_named_by(self, key: str) -> bool:
        """Whether a key names it: one of its names, or a pattern of these, as `join/*`."""
        if "*" not in key:
            return key in self.names
        return re.fullmatch(".*".join(map(re.escape, key.split("*"))), self.key) is not None

    @property
    def id(self) -> str:
        """The name within its file: `everyone-but-the-sender`."""
        return self.key.partition("/")[2]


@dataclass(frozen=True, slots=True)
class Case:
    """One scenario with the implementations that play it: what pytest calls an item."""

    scenario: Scenario
    server: Implementation | None  # None: a scripted server
    clients: tuple[Implementation, ...]  # one (pairing, client), several (mixed), or none
    successors: tuple[Implementation, ...] = ()  # which the server becomes when it starts again

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
        """`chat/everyone-but-the-sender[go+c]`: the same wherever a run was started."""
        return f"{self.scenario.key}[{self.pairing}]"

    @property
    def implementations(self) -> tuple[Implementation, ...]:
        """All that take part, the server first, then those that follow it."""
        return ((self.server,) if self.server else ()) + self.successors + self.clients


@dataclass(frozen=True, slots=True)
class Failure:
    """The step at which a scenario went wrong, with all that a person needs to see why."""

    requirement: str  # the rule's id; "": no rule names it (processes that were left over)
    actor: str
    step: str  # `scenarios/chat.yaml:14:9  bob: {sees: "alice: hello"}`
    expected: str
    seen: str
    reason: str = ""  # what the harness makes of it: "an unexpected line", "nothing for 10 s"
    timeline: tuple[str, ...] = ()  # the last lines of every actor, in the order of their coming
    stderr: tuple[str, ...] = ()  # the first and the last lines on standard error, by program
    kind: FailureKind = FailureKind.STEP
    program: str = ""  # `server-go`: the program at fault, where the kind is not STEP


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happened when a case was played: facts."""

    seconds: float
    failure: Failure | None = None  # None: every step came true
    error: str | None = None  # the harness or the machine is at fault
    afterwards: Failure | None = None  # an ENDING or a LEFT_OVER, where every step came true
    transcript: str = ""  # step by step, without times or ports: equal for equal behaviour
    output: str = ""  # where something went wrong: all that the programs wrote
    reached: int = 0  # how many steps came true
    stalled: bool = False  # the next one let its deadline pass
    hurried: bool = False  # which was shorter than usual: other cases waited for it in vain
    # By who (`server-go`, `wire`) and what (`starts`): how many steps, and their seconds.
    spent: Mapping[tuple[str, str], tuple[int, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Result:
    """What it means: one row of results.json."""

    id: str
    scenario: str
    kind: Kind
    pairing: str  # as in the id: `go+c`, `go+mixed`, `go` or `c`
    server: str | None
    clients: tuple[str, ...]
    requirements: tuple[str, ...]
    verdict: Verdict
    expected: bool  # the verdict is the one that was to be expected
    seconds: float
    reason: str = ""  # why unsupported, unavailable, errored, or expected to fail
    failure: Failure | None = None
    afterwards: Failure | None = None  # see Outcome; it makes the run red, and not this case
    known: str = ""  # the key of the manifest that excuses its failure
    may_fail: bool = False  # and that key says that it fails now and then
    played: int = 1  # how often
    passed: int = 0  # how often, where it was played more than once

    @property
    def repeated(self) -> str:
        """`17 of 20 passed`, of a case that was played several times; else nothing."""
        return f"{self.passed} of {self.played} passed" if self.played > 1 else ""

    @property
    def key(self) -> str:
        """As that of the case."""
        return f"{self.scenario}[{self.pairing}]"


@dataclass(frozen=True, slots=True)
class Program:
    """How the programs of one role are called."""

    arguments: str = ""  # `--host {host} --port {port}`
    proves: str | None = None  # the rule that one breaks that does not get ready
    errors: str = "free"  # "accounted": a line on standard error that no step names is a failure
    options: Mapping[str, str | None] | None = None  # given unless a step says otherwise
    ready: Ready = field(default_factory=Ready)  # how one says that it is ready
    takes: frozenset[str] | None = None  # the options that it can be given; None: any


@dataclass(frozen=True, slots=True)
class Suite:
    """One protocol: its rules, and how its programs are called."""

    folder: Path
    name: str
    requirements: Mapping[str, Requirement]
    implementation_folders: list[Path]
    programs: Mapping[Role, Program]
    # By role and feature: the scenario that must fail where a manifest does not list the feature.
    probes: Mapping[Role, Mapping[str, str]]
    line_end: str = field(default="\n", kw_only=True)  # of what goes over connections
