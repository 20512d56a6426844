"""The verbs: what an actor can do or see. Each is one entry of the table at the end.

A verb's name is the name of the method that plays it, of a class of actors in `play`. This module
does not know how a verb is played, nor what a person wrote: see `steps`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TypedDict

from conformance.mistakes import Fault, Place
from conformance.model import PEERS, PROGRAMS, ActorKind, CastMember, Medium, Step, Trait
from conformance.read.grammar import (
    ANY_COMMAND,
    COMMAND,
    OPTIONS,
    closed,
    columns_and_rows,
    file_name,
    ignored,
    input_file,
    key,
    receive_buffer,
    regex,
    rule,
    seconds,
    signal_name,
    signals,
    size,
    socket_options,
    statuses,
    text,
    texts,
    yes,
)
from conformance.read.keys import TEXT, Grammar
from conformance.read.lines import (
    data,
    errors,
    interleaved,
    lines,
    lines_or_none,
    lines_to_say,
    rows,
)

TERMINAL_LINE = 4095  # bytes: a terminal silently cuts a longer line


class When(Enum):
    """When a step with a verb can stand."""

    RUNNING = "while the actor takes part"
    APART = "before its start or after its end, and it connects"
    ANY_TIME = "at any time"


class Effect(Enum):
    """What follows from a step for those after it."""

    STARTS = "the actor takes part, reads, and has an input"
    ENDS = "it takes part no more"
    SAYS = "it needs its input, and that stays open"
    ENDS_INPUT = "it needs its input, and that is closed"
    OPENS_INPUT = "it has an input again"
    STOPS_READING = "it reads no more"
    READS_AGAIN = "it reads again"
    # These three are no steps by themselves.
    ENTERS = "it counts as in a group"
    LEAVES = "it no longer counts as in a group"
    FENCES = "its group says and sees the lines of a fence"


class Misstep(Fault):
    """A step that cannot follow those before it; often the consequence of another mistake."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What the check of a verb can look at."""

    step: Step
    member: CastMember  # what the actor is
    before: Sequence[Step]
    place: Place


@dataclass(frozen=True, slots=True)
class Option:
    """A key that may stand beside a verb."""

    kinds: frozenset[ActorKind]
    value: Grammar[object]
    meaning: str
    needed: str = ""  # the words of a message where it is missing; "": it can be left out
    on_screen: bool = False  # only for programs on a screen


@dataclass(frozen=True, slots=True)
class Verb:
    """One verb, with all that is known of it before it is played."""

    name: str
    kinds: frozenset[ActorKind]
    meaning: str  # one sentence, for people
    argument: Grammar[object] | None = None
    argument_for: frozenset[ActorKind] = frozenset(ActorKind)  # the others give none
    needed: bool = True  # the argument cannot be left out
    options: Mapping[str, Option] = field(default_factory=dict)
    common: bool = True  # it takes the options that all steps take
    media: frozenset[Medium] = frozenset(Medium)  # of programs
    stands: When = When.RUNNING
    effect: Effect | None = None
    acts: bool = False  # it sends something, so what follows may answer it
    observes: bool = False  # it waits for something that a program or a connection does
    decides: bool = False  # it can be tried, and tried again: it may begin a dialogue of `either`
    traits: frozenset[Trait] = frozenset()  # for those who play and judge a step
    check: Callable[[Situation], None] | None = None  # raises Fault where it cannot stand

    @property
    def all_options(self) -> Mapping[str, Option]:
        """Its own options, and those of every step."""
        times = TIME_OPTIONS if self.observes else {}
        return {**self.options, **COMMON_OPTIONS, **times} if self.common else self.options

    @property
    def needs_input(self) -> bool:
        """Whether what it says must be able to arrive."""
        return self.effect in (Effect.SAYS, Effect.ENDS_INPUT)


# --- What only some verbs have to check ---


def _fits_terminal(now: Situation) -> None:
    """A terminal cuts long lines, and acts on control characters."""
    if now.member.kind not in PROGRAMS or now.member.medium is Medium.PIPES:
        return
    for pattern in now.step.takes(tuple):
        if len(pattern.text.encode()) > TERMINAL_LINE:
            message = f"a terminal cuts lines at {TERMINAL_LINE} bytes; use a wire"
            raise Fault(now.place, message)
        if any((char < " " and char != "\t") or char == "\x7f" for char in pattern.text):
            message = "a terminal acts on control characters; use a wire, or `presses`"
            raise Fault(now.place, message)


def _not_just_typed(now: Situation) -> None:
    """Ctrl+C discards the input that a program has not read yet."""
    last = now.before[-1] if now.before else None
    if now.step.argument != b"\x03" or last is None or last.actor != now.step.actor:
        return
    if not last.split and VERBS[last.verb].effect is Effect.SAYS:
        raise Fault(
            now.place,
            "Ctrl+C wipes out what was typed just before, where the program has not read it "
            "yet; first let somebody see its effect",
        )


def _has_an_order(now: Situation) -> None:
    """There must be an order that the other actor saw."""
    other = now.step.takes(str)
    if not any(step.actor == other and step.verb == "sees_all" for step in now.before):
        message = f"`{other}` has seen nothing by `sees_all` before this step"
        raise Misstep(now.place, message)


# --- Groups of actors, grammars and options ---

ALL = PROGRAMS | PEERS
WIRE = frozenset({ActorKind.WIRE})
SERVER = frozenset({ActorKind.SERVER})
SCRIPTED = frozenset({ActorKind.SCRIPTED})

IN_LINES = frozenset({Medium.TERMINAL, Medium.PIPES})  # what is written is what counts
ON_SCREEN = frozenset(medium for medium in Medium if medium.is_screen)
AT_KEYS = frozenset({Medium.TERMINAL}) | ON_SCREEN
BY_ITSELF = frozenset(Medium) - {Medium.SHELL}  # its process is known

ACTOR = Grammar(text.read, "actor", TEXT)
ACT = Grammar(lambda node: " ".join(text(node).split()), "act", TEXT)
GROUP = Grammar(lambda node: node.text("a group"), "group", TEXT)
NAME = Grammar(lambda node: node.text("a name"), "name", TEXT)

COMMON_OPTIONS = {
    "proves": Option(ALL, rule, "the rule that this very step proves; else the scenario's first"),
    "within": Option(ALL, seconds, "seconds that this step may wait, where a rule names a time"),
}
TIME_OPTIONS = {
    "since": Option(
        ALL,
        ACT,
        "the last act of an actor, `ann`, or its last one by a verb, `ann starts`: that step is "
        "the cause, and times count from it",
    ),
    "not_before": Option(
        ALL, seconds, "the least seconds that must pass since the last act of all, or since `since`"
    ),
}
_START_OPTIONS = {
    "arguments": Option(
        PROGRAMS,
        ANY_COMMAND,
        "its whole command line, in place of all options; no ready line is awaited",
    ),
    "under": Option(
        PROGRAMS, COMMAND, "a command that runs the program, such as `prlimit --nofile=20:20`"
    ),
    "blocked": Option(PROGRAMS, signals, "signals that are blocked when it starts"),
    "ignored": Option(PROGRAMS, signals, "signals that are ignored when it starts"),
    "input": Option(PROGRAMS, input_file, "its standard input: `closed`, or a path"),
    "output": Option(PROGRAMS, closed, "it gets no standard output"),
    "errors": Option(PROGRAMS, closed, "it gets no standard error"),
    "size": Option(
        PROGRAMS,
        columns_and_rows,
        "the size of its screen: `40x10`, columns and rows",
        on_screen=True,
    ),
    "same_port": Option(SERVER, yes, "a server starts again where it was"),
    "receive_buffer": Option(WIRE, receive_buffer, "bytes of the connection's receive buffer"),
}
_WRITE_OPTIONS = {
    "to": Option(
        PROGRAMS,
        file_name,
        "the file in the case's own folder",
        needed="the file: `{writes: LINES, to: FILE}`",
    )
}
_MAKE_OPTIONS = {
    "holding": Option(PROGRAMS, regex, "a regular expression that a line of the file matches")
}
_ENTER_OPTIONS = {"as": Option(ALL, NAME, "its name in the group")}

# Where the text leaves open what else comes: at the same time as a signal, or as a closing.
_CLOSE_OPTIONS = {
    "by_reset": Option(
        PEERS, yes, "whether a reset is as good as an end in order, where the text leaves it open"
    )
}
_REST_OPTIONS = {"rest": Option(ALL, ignored, "output that no step names may be left")}


class _Hearing(TypedDict):
    observes: bool
    decides: bool
    traits: frozenset[Trait]


# What all verbs have in common by which an actor gets something.
_HEARING: _Hearing = {"observes": True, "decides": True, "traits": frozenset({Trait.HEARS})}


# --- The table, in the order in which people read it ---

VERBS = {
    verb.name: verb
    for verb in (
        Verb(
            "starts",
            ALL,
            "runs with `{max-clients: 2}` and gets ready; or connects; or listens; in a shell: it "
            "is there to be run, as `client`",
            argument=OPTIONS,
            argument_for=PROGRAMS,
            needed=False,
            options=_START_OPTIONS,
            stands=When.APART,
            effect=Effect.STARTS,
            acts=True,
            traits=frozenset({Trait.WAITS_FOR_A_START, Trait.OF_ITSELF}),
        ),
        Verb(
            "exits",
            PROGRAMS,
            "ends with 0, `nonzero` or by `SIGTERM`, or in one way of a list; steps named all that "
            "it wrote (or `rest: ignored`)",
            argument=statuses,
            options=_REST_OPTIONS,
            effect=Effect.ENDS,
            observes=True,
            decides=True,
            traits=frozenset({Trait.OF_ITSELF}),
        ),
        Verb(
            "presses",
            PROGRAMS,
            "`Ctrl+C`, `Ctrl+D`, `Up`, at its terminal",
            argument=key,
            media=AT_KEYS,
            acts=True,
            check=_not_just_typed,
        ),
        Verb(
            "resizes",
            PROGRAMS,
            "its window is `40x10` from here on",
            argument=columns_and_rows,
            media=ON_SCREEN,
            acts=True,
        ),
        Verb(
            "shows",
            PROGRAMS,
            "what a person sees is these rows, or its `{last: ROWS}`; `‸` is the cursor",
            argument=rows,
            media=ON_SCREEN,
            stands=When.ANY_TIME,
            observes=True,
            decides=True,
        ),
        Verb(
            "is_sent",
            PROGRAMS,
            "`SIGTERM`, to it alone",
            argument=signal_name,
            media=BY_ITSELF,
            acts=True,
        ),
        Verb(
            "types",
            ALL,
            "lines with their ends, in one write",
            argument=lines_to_say,
            effect=Effect.SAYS,
            acts=True,
            check=_fits_terminal,
        ),
        Verb(
            "sends",
            ALL,
            "bytes as they are, in one write",
            argument=data,
            effect=Effect.SAYS,
            acts=True,
        ),
        Verb(
            "pastes",
            PROGRAMS,
            "a text by one key of its terminal, within marks where the program asks for them",
            argument=data,
            media=ON_SCREEN,
            effect=Effect.SAYS,
            acts=True,
        ),
        Verb(
            "dribbles",
            PEERS,
            "bytes, each in a packet of its own",
            argument=data,
            effect=Effect.SAYS,
            acts=True,
        ),
        Verb(
            "ends_input",
            ALL,
            "half-close, end of the pipe, or Ctrl+D",
            effect=Effect.ENDS_INPUT,
            acts=True,
        ),
        Verb(
            "closes",
            PEERS,
            "closes in order; steps named all that has come (or `rest: ignored`)",
            options=_REST_OPTIONS,
            effect=Effect.ENDS,
            acts=True,
        ),
        Verb(
            "resets",
            PEERS,
            "closes by a reset; steps named all that has come (or `rest: ignored`)",
            options=_REST_OPTIONS,
            effect=Effect.ENDS,
            acts=True,
        ),
        Verb(
            "stops_reading",
            ALL,
            "reads no more; what comes, or what the program prints, waits",
            effect=Effect.STOPS_READING,
        ),
        Verb("reads_again", ALL, "reads on", effect=Effect.READS_AGAIN),
        Verb(
            "accepts",
            SCRIPTED,
            "takes the next connection",
            effect=Effect.OPENS_INPUT,
            traits=frozenset({Trait.WAITS_FOR_A_START}),
        ),
        Verb("sees", ALL, "the next lines", argument=lines, media=IN_LINES, **_HEARING),
        Verb("receives", PEERS, "the next lines, as `sees`", argument=lines, **_HEARING),
        Verb(
            "gets",
            ALL,
            "the next bytes, exactly these, where lines cannot say it",
            argument=data,
            media=IN_LINES,
            observes=True,
        ),
        Verb(
            "sees_all",
            ALL,
            "several sequences, mingled in any order",
            argument=interleaved,
            media=IN_LINES,
            **_HEARING,
        ),
        Verb(
            "sees_as",
            ALL,
            "what that actor saw by `sees_all`, in the same order",
            argument=ACTOR,
            media=IN_LINES,
            observes=True,
            check=_has_an_order,
        ),
        Verb(
            "sees_nothing",
            ALL,
            "nothing has come to anyone in the group: a double fence",
            effect=Effect.FENCES,
        ),
        Verb(
            "sees_nothing_for",
            ALL,
            "for so long, nothing comes to it, whatever group it is in",
            argument=seconds,
            media=IN_LINES,
            traits=frozenset({Trait.LASTS}),
        ),
        Verb(
            "is_asked",
            ALL,
            "a prompt: exactly this, without a line end",
            argument=text,
            media=IN_LINES,
            **_HEARING,
        ),
        Verb(
            "prints",
            PROGRAMS,
            "its output, to its end, holds these",
            argument=texts,
            media=IN_LINES,
            observes=True,
        ),
        Verb(
            "writes",
            PROGRAMS,
            "the next lines of the file `to` in `{scratch}`, the case's own folder; `[]`: no "
            "more lines",
            argument=lines_or_none,
            options=_WRITE_OPTIONS,
            stands=When.ANY_TIME,
            observes=True,
        ),
        Verb(
            "makes",
            PROGRAMS,
            "a file is there, in `{scratch}`; a line in it matches `holding`",
            argument=file_name,
            options=_MAKE_OPTIONS,
            stands=When.ANY_TIME,
            observes=True,
        ),
        Verb(
            "runs",
            PROGRAMS,
            "runs this in `{scratch}` to its end, with status 0",
            argument=COMMAND,
            stands=When.ANY_TIME,
        ),
        Verb(
            "complains",
            PROGRAMS,
            "lines of standard error, or its `{last: LINE}`: the next ones where the suite says "
            "`errors: accounted`, else among others",
            argument=errors,
            media=IN_LINES,
            observes=True,
            traits=frozenset({Trait.OF_ITSELF}),
        ),
        Verb(
            "is_closed",
            PEERS,
            "the other side ends in order (or `by_reset: yes`: in either way), and nothing comes "
            "before that",
            options=_CLOSE_OPTIONS,
            effect=Effect.ENDS,
            **_HEARING,
        ),
        Verb("is_reset", PEERS, "the other side resets", effect=Effect.ENDS, **_HEARING),
        Verb("is_refused", WIRE, "connecting is refused", stands=When.APART),
        Verb(
            "has_socket_option",
            PROGRAMS,
            "`{TCP_NODELAY: 1}` on each of its connections",
            argument=socket_options,
            media=BY_ITSELF,
        ),
        Verb(
            "idles_for",
            PROGRAMS,
            "for so long, it uses less than a tenth of a processor",
            argument=seconds,
            traits=frozenset({Trait.LASTS}),
        ),
        Verb(
            "grows_less_than",
            PROGRAMS,
            "its memory has grown by less than `16 MiB` since it was ready",
            argument=size,
            media=BY_ITSELF,
        ),
        Verb(
            "enters",
            ALL,
            "counts as in the group from here on, by this name",
            argument=GROUP,
            options=_ENTER_OPTIONS,
            common=False,
            stands=When.ANY_TIME,
            effect=Effect.ENTERS,
        ),
        Verb(
            "leaves",
            ALL,
            "no longer counts as in the group",
            argument=GROUP,
            common=False,
            stands=When.ANY_TIME,
            effect=Effect.LEAVES,
        ),
    )
}


# --- What messages say of verbs ---

# By which verbs a fence is said and seen.
FENCE_SAYS, FENCE_SEES = VERBS["types"], VERBS["sees"]

# What to do where a verb is not for a program's medium.
MEDIUM_REMEDIES = {
    Medium.TERMINAL: "{actor} is on no screen, so `{verb}` is not for it; see CONTRIBUTING.md",
    Medium.PIPES: "{actor} has no terminal, so `{verb}` is not for it; see `is_sent`, `sees`",
    Medium.SCREEN: "{actor} is on a screen, so `{verb}` is not for it; say what it `shows`",
    Medium.SHELL: "{actor} is in a shell, so `{verb}` is not for it; say what it `shows`, and what "
    "the shell is to do by `types`",
}
READ_REMEDY = "add `reads_again` or `resets`"
SCREEN_REMEDY = "say what its screen `shows`, so that nothing on it is overlooked"
LEAVE_REMEDY = "say so by `- {actor}: {{leaves: {group}}}`"


def end_remedy(kind: ActorKind) -> str:
    """Which verbs name the end of an actor of this kind."""
    ends = [f"`{verb.name}`" for verb in VERBS.values() if _ends(verb, kind)]
    return "name its end by " + " or ".join(ends)


def _ends(verb: Verb, kind: ActorKind) -> bool:
    return verb.effect is Effect.ENDS and kind in verb.kinds
