"""The verbs: what an actor can do or see. Each is one entry of the table VERBS.

A verb is played by the method of the same name of an actor's class in `play`. This module does not
depend on how verbs are played; `steps` reads what a person wrote.
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
    columns_and_rows,
    file_name,
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
from conformance.read.keys import TEXT, Grammar, constant
from conformance.read.lines import (
    data,
    errors,
    interleaved,
    lines,
    lines_or_none,
    lines_to_say,
    rows,
)

TERMINAL_LINE = 4095  # bytes; the kernel silently cuts a longer line that is typed at a terminal


class When(Enum):
    """When a verb can be used."""

    RUNNING = "while the actor takes part"
    APART = "before the actor starts or after it ended; the verb needs a server to connect to"
    ANY_TIME = "at any time"


class Effect(Enum):
    """How a step changes the state of its actor."""

    STARTS = "the actor takes part, reads, and its input is open"
    ENDS = "it has ended"
    SAYS = "its input must be open, and stays open"
    ENDS_INPUT = "its input must be open, and is closed"
    OPENS_INPUT = "its input is open again"
    STOPS_READING = "it stops reading"
    READS_AGAIN = "it reads again"
    # Verbs with these effects are expanded, and are not played themselves.
    ENTERS = "it is a member of a group"
    LEAVES = "it is no longer a member of a group"
    FENCES = "the members of its group send and see the lines of a fence"


class Misstep(Fault):
    """A step that cannot follow the steps before it; often a consequence of another mistake."""


@dataclass(frozen=True, slots=True)
class Situation:
    """The context of a step, for the check of its verb."""

    step: Step
    member: CastMember  # the kind of the actor
    before: Sequence[Step]  # all earlier steps
    place: Place


@dataclass(frozen=True, slots=True)
class Option:
    """An option of a verb: a key beside it in a step."""

    kinds: frozenset[ActorKind]  # of the actors that can have it
    value: Grammar[object]
    meaning: str
    required: str = ""  # what a message names if it is missing; "": it is optional
    on_screen: bool = False  # only for programs on a screen


@dataclass(frozen=True, slots=True)
class Verb:
    """One verb, with all that must be known of it before it is played."""

    name: str
    kinds: frozenset[ActorKind]  # of the actors that can do it
    meaning: str  # one sentence, for people
    argument: Grammar[object] | None = None  # None: it has none
    argument_for: frozenset[ActorKind] = frozenset(ActorKind)  # kinds that can give an argument
    argument_required: bool = True
    options: Mapping[str, Option] = field(default_factory=dict)
    common: bool = True  # whether it has COMMON_OPTIONS
    media: frozenset[Medium] = frozenset(Medium)  # of the programs that can do it
    stands: When = When.RUNNING
    effect: Effect | None = None
    acts: bool = False  # it sends something, so later steps may see an answer
    observes: bool = False  # it waits for something that a program or a connection does
    decides: bool = False  # it can be tried repeatedly, so it can begin a dialogue of `either`
    traits: frozenset[Trait] = frozenset()
    check: Callable[[Situation], None] | None = None  # raises Fault if it cannot be used here

    @property
    def all_options(self) -> Mapping[str, Option]:
        """Its own options and those that it shares with other verbs."""
        times = TIME_OPTIONS if self.observes else {}
        return {**self.options, **COMMON_OPTIONS, **times} if self.common else self.options

    @property
    def needs_input(self) -> bool:
        """Whether the input of the actor must be open."""
        return self.effect in (Effect.SAYS, Effect.ENDS_INPUT)


# --- Checks of single verbs ---


def _fits_terminal(now: Situation) -> None:
    """Refuse lines that a terminal would not pass on unchanged."""
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
    """Refuse Ctrl+C right after typing: the terminal discards input that was not read yet."""
    last = now.before[-1] if now.before else None
    if now.step.argument != b"\x03" or last is None or last.actor != now.step.actor:
        return
    if not last.split and VERBS[last.verb].effect is Effect.SAYS:
        raise Fault(
            now.place,
            "Ctrl+C discards what was typed before, if the program has not read it yet; first let "
            "an actor see its effect",
        )


def _has_an_order(now: Situation) -> None:
    """Check that the other actor has seen something by `sees_all`, in some order."""
    other = now.step.takes(str)
    if not any(step.actor == other and step.verb == "sees_all" for step in now.before):
        message = f"`{other}` has no step `sees_all` before this step"
        raise Misstep(now.place, message)


# --- Groups of actors, grammars and options ---

ALL = PROGRAMS | PEERS
WIRE = frozenset({ActorKind.WIRE})
SERVER = frozenset({ActorKind.SERVER})
SCRIPTED = frozenset({ActorKind.SCRIPTED})

IN_LINES = frozenset({Medium.TERMINAL, Medium.PIPES})  # steps see lines as they were written
ON_SCREEN = frozenset(medium for medium in Medium if medium.is_screen)
AT_KEYS = frozenset({Medium.TERMINAL}) | ON_SCREEN
BY_ITSELF = frozenset(Medium) - {Medium.SHELL}  # the harness knows the process of the program

ACTOR = Grammar(text.read, "actor", TEXT)
ACT = Grammar(lambda node: " ".join(text(node).split()), "act", TEXT)
CLOSED, IGNORED = constant("closed"), constant("ignored")
GROUP = Grammar(lambda node: node.text("a group"), "group", TEXT)
NAME = Grammar(lambda node: node.text("a name"), "name", TEXT)

COMMON_OPTIONS = {
    "proves": Option(ALL, rule, "the rule that this step proves; default: the scenario's first"),
    "within": Option(ALL, seconds, "seconds that this step may wait, if a rule names a time"),
}
TIME_OPTIONS = {
    "since": Option(
        ALL,
        ACT,
        "the act from which times are measured: the last one of an actor, `ann`, or its last one "
        "by a verb, `ann starts`",
    ),
    "not_before": Option(
        ALL, seconds, "seconds that must pass after the last act of any actor, or after `since`"
    ),
}
_START_OPTIONS = {
    "arguments": Option(
        PROGRAMS,
        ANY_COMMAND,
        "its whole command line, in place of all options; the step does not wait for a ready line",
    ),
    "under": Option(
        PROGRAMS, COMMAND, "a command that runs the program, such as `prlimit --nofile=20:20`"
    ),
    "blocked": Option(PROGRAMS, signals, "signals that are blocked when it starts"),
    "ignored": Option(PROGRAMS, signals, "signals that are ignored when it starts"),
    "input": Option(PROGRAMS, input_file, "its standard input: `closed`, or a path"),
    "output": Option(PROGRAMS, CLOSED, "`closed`: it has no standard output"),
    "errors": Option(PROGRAMS, CLOSED, "`closed`: it has no standard error"),
    "size": Option(
        PROGRAMS,
        columns_and_rows,
        "the size of its screen in columns and rows, such as `40x10`",
        on_screen=True,
    ),
    "same_port": Option(SERVER, yes, "a server that is started again gets the same port"),
    "receive_buffer": Option(
        WIRE, receive_buffer, "bytes of the connection's receive buffer, until it `reads_again`"
    ),
}
_WRITE_OPTIONS = {
    "to": Option(
        PROGRAMS,
        file_name,
        "the file, in `{scratch}`",
        required="the file: `{writes: LINES, to: FILE}`",
    )
}
_MAKE_OPTIONS = {
    "holding": Option(PROGRAMS, regex, "a regular expression that a line of the file matches")
}
_ENTER_OPTIONS = {"as": Option(ALL, NAME, "its name in the group")}

# For protocols that do not specify what else may arrive, such as at the same time as a signal.
_CLOSE_OPTIONS = {
    "by_reset": Option(
        PEERS, yes, "`yes`: a reset is right too, if the protocol allows either way of closing"
    )
}
_REST_OPTIONS = {"rest": Option(ALL, IGNORED, "`ignored`: there may be output that no step names")}


class _Hearing(TypedDict):
    observes: bool
    decides: bool
    traits: frozenset[Trait]


# What all verbs share that consume something that the actor has received.
_HEARING: _Hearing = {"observes": True, "decides": True, "traits": frozenset({Trait.HEARS})}


# --- The table of verbs, in the order of the documentation ---

VERBS = {
    verb.name: verb
    for verb in (
        Verb(
            "starts",
            ALL,
            "a program runs, with options such as `{max-clients: 2}`, until it is ready; a wire "
            "connects; a scripted server listens; in a shell, `client` can be run from now on",
            argument=OPTIONS,
            argument_for=PROGRAMS,
            argument_required=False,
            options=_START_OPTIONS,
            stands=When.APART,
            effect=Effect.STARTS,
            acts=True,
            traits=frozenset({Trait.WAITS_FOR_A_START, Trait.OF_ITSELF}),
        ),
        Verb(
            "exits",
            PROGRAMS,
            "ends with this exit status, `nonzero`, by a signal such as `SIGTERM`, or in one way "
            "of a list; steps have named all its output (or `rest: ignored`)",
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
            "a key is pressed at its terminal: `Ctrl+C`, `Ctrl+D`, `Up`",
            argument=key,
            media=AT_KEYS,
            acts=True,
            check=_not_just_typed,
        ),
        Verb(
            "resizes",
            PROGRAMS,
            "its window gets this size, such as `40x10`",
            argument=columns_and_rows,
            media=ON_SCREEN,
            acts=True,
        ),
        Verb(
            "shows",
            PROGRAMS,
            "these rows are on its screen, or these `{last: ROWS}`; `‸` is the cursor",
            argument=rows,
            media=ON_SCREEN,
            stands=When.ANY_TIME,
            observes=True,
            decides=True,
        ),
        Verb(
            "is_sent",
            PROGRAMS,
            "a signal such as `SIGTERM` is sent to its process alone; after `SIGSTOP`, all its "
            "threads have stopped",
            argument=signal_name,
            media=BY_ITSELF,
            acts=True,
        ),
        Verb(
            "types",
            ALL,
            "sends lines, with line ends, in one write",
            argument=lines_to_say,
            effect=Effect.SAYS,
            acts=True,
            traits=frozenset({Trait.SAYS}),
            check=_fits_terminal,
        ),
        Verb(
            "sends",
            ALL,
            "sends bytes, in one write",
            argument=data,
            effect=Effect.SAYS,
            acts=True,
            traits=frozenset({Trait.SAYS}),
        ),
        Verb(
            "pastes",
            PROGRAMS,
            "a text is pasted at its terminal, between the markers of bracketed paste if the "
            "program asked for these",
            argument=data,
            media=ON_SCREEN,
            effect=Effect.SAYS,
            acts=True,
        ),
        Verb(
            "dribbles",
            PEERS,
            "sends bytes, each in its own packet",
            argument=data,
            effect=Effect.SAYS,
            acts=True,
        ),
        Verb(
            "ends_input",
            ALL,
            "its input ends: a half-close, the end of the pipe, or Ctrl+D",
            effect=Effect.ENDS_INPUT,
            acts=True,
        ),
        Verb(
            "closes",
            PEERS,
            "closes the connection, even if the other side has already ended it; steps have named "
            "all that was received (or `rest: ignored`)",
            options=_REST_OPTIONS,
            effect=Effect.ENDS,
            acts=True,
        ),
        Verb(
            "resets",
            PEERS,
            "resets the connection, even if the other side has already ended it; steps have named "
            "all that was received (or `rest: ignored`)",
            options=_REST_OPTIONS,
            effect=Effect.ENDS,
            acts=True,
        ),
        Verb(
            "stops_reading",
            ALL,
            "stops reading: what arrives, or what the program prints, is not taken",
            effect=Effect.STOPS_READING,
        ),
        Verb("reads_again", ALL, "continues to read", effect=Effect.READS_AGAIN),
        Verb(
            "accepts",
            SCRIPTED,
            "accepts the next connection",
            effect=Effect.OPENS_INPUT,
            traits=frozenset({Trait.WAITS_FOR_A_START}),
        ),
        Verb("sees", ALL, "these are its next lines", argument=lines, media=IN_LINES, **_HEARING),
        Verb("receives", PEERS, "the same as `sees`", argument=lines, **_HEARING),
        Verb(
            "gets",
            ALL,
            "these are exactly its next bytes, for data that is not lines",
            argument=data,
            media=IN_LINES,
            observes=True,
            traits=frozenset({Trait.HEARS}),
        ),
        Verb(
            "sees_all",
            ALL,
            "gets several sequences of lines, interleaved in any order",
            argument=interleaved,
            media=IN_LINES,
            **_HEARING,
        ),
        Verb(
            "sees_as",
            ALL,
            "gets what another actor saw by `sees_all`, in the same order",
            argument=ACTOR,
            media=IN_LINES,
            observes=True,
            traits=frozenset({Trait.HEARS}),
            check=_has_an_order,
        ),
        Verb(
            "sees_nothing",
            ALL,
            "no member of its group has received anything else, which a double fence proves",
            effect=Effect.FENCES,
        ),
        Verb(
            "sees_nothing_for",
            ALL,
            "gets nothing for so many seconds, not even an end; this needs no group",
            argument=seconds,
            media=IN_LINES,
            traits=frozenset({Trait.LASTS}),
        ),
        Verb(
            "is_asked",
            ALL,
            "gets a prompt: exactly this text, without a line end",
            argument=text,
            media=IN_LINES,
            **_HEARING,
        ),
        Verb(
            "prints",
            PROGRAMS,
            "its output, read to its end, contains these texts",
            argument=texts,
            media=IN_LINES,
            observes=True,
            traits=frozenset({Trait.HEARS}),
        ),
        Verb(
            "writes",
            PROGRAMS,
            "these are the next lines of the file `to` in `{scratch}`, the folder of the case; "
            "`[]`: it has no more lines",
            argument=lines_or_none,
            options=_WRITE_OPTIONS,
            stands=When.ANY_TIME,
            observes=True,
        ),
        Verb(
            "makes",
            PROGRAMS,
            "this file exists in `{scratch}`; a line in it matches `holding`",
            argument=file_name,
            options=_MAKE_OPTIONS,
            stands=When.ANY_TIME,
            observes=True,
        ),
        Verb(
            "runs",
            PROGRAMS,
            "the harness runs this command in `{scratch}`, and its exit status is 0",
            argument=COMMAND,
            stands=When.ANY_TIME,
        ),
        Verb(
            "complains",
            PROGRAMS,
            "writes these lines on standard error, or `{last: LINE}` as the last one; with "
            "`errors: accounted` in the suite they are the next lines, else others may be between",
            argument=errors,
            media=IN_LINES,
            observes=True,
            traits=frozenset({Trait.OF_ITSELF}),
        ),
        Verb(
            "is_closed",
            PEERS,
            "the other side closes the connection, and nothing arrives before that; with "
            "`by_reset: yes`, a reset is right too",
            options=_CLOSE_OPTIONS,
            effect=Effect.ENDS,
            **_HEARING,
        ),
        Verb(
            "is_reset",
            PEERS,
            "the other side resets the connection",
            effect=Effect.ENDS,
            **_HEARING,
        ),
        Verb("is_refused", WIRE, "its attempt to connect is refused", stands=When.APART),
        Verb(
            "has_socket_option",
            PROGRAMS,
            "each of its connections has these options, such as `{TCP_NODELAY: 1}`",
            argument=socket_options,
            media=BY_ITSELF,
        ),
        Verb(
            "notices_loss_within",
            PROGRAMS,
            "each of its connections ends within so many seconds if the peer vanishes when nothing "
            "is sent, by its socket options (keepalive, `TCP_USER_TIMEOUT`)",
            argument=seconds,
            media=BY_ITSELF,
        ),
        Verb(
            "idles_for",
            PROGRAMS,
            "uses less than a tenth of a processor for so many seconds, and does not spin",
            argument=seconds,
            traits=frozenset({Trait.LASTS}),
        ),
        Verb(
            "grows_less_than",
            PROGRAMS,
            "its memory has grown by less than this, such as `16 MiB`, since it was ready",
            argument=size,
            media=BY_ITSELF,
        ),
        Verb(
            "enters",
            ALL,
            "is a member of this group from now on, by the name `as` or its own",
            argument=GROUP,
            options=_ENTER_OPTIONS,
            common=False,
            stands=When.ANY_TIME,
            effect=Effect.ENTERS,
        ),
        Verb(
            "leaves",
            ALL,
            "is no longer a member of this group",
            argument=GROUP,
            common=False,
            stands=When.ANY_TIME,
            effect=Effect.LEAVES,
        ),
    )
}


# The verbs of the steps of a fence.
FENCE_SAYS, FENCE_SEES = VERBS["types"], VERBS["sees"]

# --- Remedies for messages ---

# If a verb is not for a program's medium.
MEDIUM_REMEDIES = {
    Medium.TERMINAL: "{actor} is not on a screen, so `{verb}` is not for it; see docs/scenarios.md",
    Medium.PIPES: "{actor} has no terminal, so `{verb}` is not for it; see `is_sent`, `sees`",
    Medium.SCREEN: "{actor} is on a screen, so `{verb}` is not for it; use `shows`",
    Medium.SHELL: "{actor} is in a shell, so `{verb}` is not for it; use `shows`, and `types` for "
    "commands of the shell",
}
READ_REMEDY = "add `reads_again` or `resets`"
SCREEN_REMEDY = "add what its screen `shows`, so that nothing on it is overlooked"
LEAVE_REMEDY = "add `- {actor}: {{leaves: {group}}}`"


def end_remedy(kind: ActorKind) -> str:
    """Name the verbs that end an actor of this kind."""
    ends = [f"`{verb.name}`" for verb in VERBS.values() if _ends(verb, kind)]
    return "end it by " + " or ".join(ends)


def _ends(verb: Verb, kind: ActorKind) -> bool:
    return verb.effect is Effect.ENDS and kind in verb.kinds
