"""suite.yaml: all that is specific to one protocol.

The package itself knows only programs, terminals, connections, lines and steps. The folder of the
suite has the rules of the protocol, the options of its programs, its own verbs and its fence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from conformance.mistakes import Fault, Place, Problems, meant
from conformance.model import ActorKind, Program, Requirement, Role, Suite
from conformance.read.command_line import (
    OPTION_SCHEMA,
    Options,
    check_option,
    options,
    program_arguments,
)
from conformance.read.fences import Fence, Witness
from conformance.read.keys import (
    TEXT,
    Key,
    Keys,
    Schema,
    list_of,
    mapping_schema,
    no_context,
    record,
    record_schema,
    reference,
    words,
)
from conformance.read.protocol import ordered, requirements
from conformance.read.ready import READY_SCHEMA, ready
from conformance.read.yaml_tree import Node, read
from conformance.text import placeholders

SUITE_FILE = "suite.yaml"

_ERRORS = ("free", "accounted")  # see model.Program
_MOST_LINE_END = 8  # characters


@dataclass(frozen=True, slots=True)
class Shorthand:
    """A verb that the suite defines as steps, with placeholders that are filled in at each use."""

    name: str
    argument: str | None  # the placeholder that its argument fills; None: it has no argument
    steps: Mapping[str, list[Node]]  # by the actor's kind; "": for every kind
    place: Place


@dataclass(frozen=True, slots=True)
class SuiteFile(Suite):
    """A suite, with what is needed to read its scenarios."""

    unmatched: list[Node]  # patterns under `implementations` that match no folder
    shorthands: Mapping[str, Shorthand]
    fence: Fence | None
    ending: list[Node]  # steps that are played if a scenario leaves the server running
    probe_nodes: Mapping[Role, Mapping[str, Node]]  # `probes`, with places


def known_features(suite: Suite) -> frozenset[str]:
    """The features that rules of the protocol text are marked with."""
    return frozenset(rule.feature for rule in suite.requirements.values() if rule.feature)


def load_suite(folder: Path) -> SuiteFile:
    """The suite in a folder; raises Mistake with all problems in suite.yaml."""
    path = folder / SUITE_FILE
    if not path.is_file():
        remedy = f"a suite is a folder with a {SUITE_FILE} in it"
        raise Fault(Place(str(path), 1), f"no such file; {remedy}")
    root = read(path)
    parts = record(root, "a suite", KEYS, folder)
    _check_rules(root, parts["protocol"])
    patterns: list[tuple[Node, list[Path]]] = parts.get("implementations", [])
    nodes: dict[Role, dict[str, Node]] = parts.get("probes", {})
    return SuiteFile(
        folder=folder,
        name=parts["name"],
        requirements=ordered(parts["protocol"], parts.get("order", [])),
        implementation_folders=sorted({path for _, found in patterns for path in found}),
        unmatched=[node for node, found in patterns if not found],
        programs=parts["programs"],
        shorthands=parts.get("verbs", {}),
        fence=parts.get("fence"),
        ending=parts.get("ending", []),
        probes={
            role: {feature: str(node.value) for feature, node in some.items()}
            for role, some in nodes.items()
        },
        probe_nodes=nodes,
        line_end=parts.get("line_end", "\n"),
    )


def _check_rules(root: Node, rules: Mapping[str, Requirement]) -> None:
    """Raise Mistake if a `proves` in `programs` or `fence` names no rule of the text."""
    sections = root.mapping("a suite")
    nodes = [*sections["programs"].mapping("`programs`").values()]
    nodes += [sections["fence"]] if "fence" in sections else []
    problems = Problems()
    for node in nodes:
        for key, entry in node.mapping("a section").items():
            if key in ("proves", "alone_proves") and entry.value not in rules:
                message = f"no such rule `{entry.value}`; {meant(str(entry.value), rules)}"
                problems.add(entry.fault(message))
    problems.report()


# --- Implementations ---


def _patterns(node: Node, folder: Path) -> list[tuple[Node, list[Path]]]:
    """The patterns, such as `../servers/*`, and the folders with a manifest that each matches."""
    return [(entry, _folders(folder, entry)) for entry in node.items("`implementations`")]


def _folders(folder: Path, node: Node) -> list[Path]:
    base, pattern = folder, node.text("a folder")
    while pattern.startswith("../"):
        base, pattern = base.resolve().parent, pattern.removeprefix("../")
    try:
        folders = sorted(base.glob(pattern))
    except (ValueError, NotImplementedError, IndexError, OSError):
        remedy = "give a path relative to this file, such as `../servers/*`"
        raise node.fault(f"`{pattern}` is not a pattern of folders; {remedy}") from None
    for path in folders:
        if (path / "implementation.yml").is_file():
            raise Fault(Place(str(path / "implementation.yml"), 1), "rename it to `.yaml`")
    return [path for path in folders if (path / "implementation.yaml").is_file()]


# --- Lines ---


def _line_end(node: Node) -> str:
    end = node.text("`line_end`")
    if not 0 < len(end) <= _MOST_LINE_END:
        message = f"a line end has 1 to {_MOST_LINE_END} characters, in quotes, such as "
        raise node.fault(message + '"\\r\\n"')
    return end


# --- Programs ---


def _takes(node: Node) -> frozenset[str]:
    """The options that scenarios may give, such as `[max-clients, quiet]`."""
    for entry in node.items("`takes`"):
        check_option(entry.text("an option"), entry.place)
    return frozenset(node.texts("an option"))


def _errors(node: Node) -> str:
    word = node.text("`errors`")
    if word not in _ERRORS:
        raise node.fault(f"no such way to treat standard error: `{word}`; {meant(word, _ERRORS)}")
    return word


PROGRAM_KEYS: Keys[object] = {
    "arguments": Key(
        no_context(program_arguments),
        TEXT,
        "The end of its command line; `{host}`, `{port}` and, for a client, `{name}` are filled "
        "in.",
    ),
    "options": Key(
        no_context(options),
        {"$ref": "scenarios.json#/definitions/options"},
        "Options that it gets unless a step says otherwise.",
    ),
    "ready": Key(
        no_context(ready),
        READY_SCHEMA,
        "The first line that a server prints, when it accepts connections, such as `Listening on "
        "{host}:{port}`; or a mapping that describes a later line.",
    ),
    "proves": Key(
        lambda node, _: node.text("`proves`"),
        TEXT,
        "The rule that a program breaks if it does not get ready.",
    ),
    "errors": Key(
        no_context(_errors),
        {"enum": list(_ERRORS)},
        "`accounted`: a line on standard error that no step names is a failure; `free` (the "
        "default): it is not.",
    ),
    "takes": Key(
        no_context(_takes),
        list_of(OPTION_SCHEMA),
        "The options that scenarios may give, without their dashes. If left out: any option.",
    ),
    "interrupted": Key(
        lambda node, _: node.count("`interrupted`", least=0, most=255),
        {"type": "integer", "minimum": 0, "maximum": 255},
        "The exit status after Ctrl+C or SIGTERM, which `conformance doctor` checks. If left out: "
        "it does not check.",
    ),
}


def _program(node: Node, _: object) -> Program:
    program = Program(**record(node, "a program", PROGRAM_KEYS, None))
    if isinstance(program.options, Options):
        program.options.check(program.takes)
    return program


_PROGRAMS: Keys[object] = {str(role): Key(_program, reference("program")) for role in Role}


def _programs(node: Node) -> dict[Role, Program]:
    programs = record(node, "`programs`", _PROGRAMS, None)
    return {Role(role): program for role, program in programs.items()}


# --- Verbs of the suite's own ---


def _parameter(node: Node) -> str:
    name = node.text("`argument`")
    if placeholders(f"{{{name}}}") != [name] or name == "actor":
        remedy = "use lower-case letters and `_`, and not `actor`"
        raise node.fault(f"`{name}` cannot be a placeholder; {remedy}")
    return name


def _steps_by_kind(node: Node) -> dict[str, list[Node]]:
    if not node.is_mapping:
        return {"": _some_steps(node)}
    node.allow(map(str, ActorKind), "steps by the actor's kind")
    if not node.value:
        raise node.fault("no steps; write some")
    return {kind: _some_steps(entry) for kind, entry in node.mapping("`steps`").items()}


def _some_steps(node: Node) -> list[Node]:
    if not node.items("steps"):
        raise node.fault("no steps; write some, or leave the key out")
    return node.items("steps")


STEPS = reference("steps")
_CALL: Schema = {"$ref": "scenarios.json#/definitions/call"}

SHORTHAND_KEYS: Keys[object] = {
    "meaning": Key(words("meaning"), TEXT, "What the actor does or sees, for people."),
    "argument": Key(
        no_context(_parameter),
        TEXT,
        "The placeholder that its argument fills. If left out, the verb takes no argument.",
    ),
    "steps": Key(
        no_context(_steps_by_kind),
        {"anyOf": [STEPS, mapping_schema(dict.fromkeys(map(str, ActorKind), STEPS))]},
        "The steps, or steps by the actor's kind.",
        required=True,
    ),
}


def _shorthands(node: Node) -> dict[str, Shorthand]:
    problems = Problems()
    found = {}
    for name, entry in node.mapping("`verbs`").items():
        with problems.gathered():
            parts = record(entry, f"the verb `{name}`", SHORTHAND_KEYS, None)
            found[name] = Shorthand(name, parts.get("argument"), parts["steps"], entry.place)
    problems.report()
    return found


# --- The fence, and the probes ---


def _rule(key: str, meaning: str) -> Key[object]:
    return Key(words(key), TEXT, meaning)


def _lines(key: str, meaning: str) -> Key[object]:
    return Key(no_context(partial(_some_lines, key)), {"anyOf": [TEXT, list_of(TEXT)]}, meaning)


def _some_lines(key: str, node: Node) -> tuple[str, ...]:
    """One line that is not blank, or a list of lines."""
    if not isinstance(node.value, list):
        return (node.words(f"`{key}`"),)
    if not node.value:
        raise node.fault(f"an empty list; write a line for `{key}`, or leave the key out")
    return tuple(entry.text(f"`{key}`") for entry in node.value)


# Keys of a fence: what is typed, and what is seen of it.
_PAIRS = (("types", "others_see"), ("alone_types", "alone_sees"))

_WITNESS_KEYS: Keys[object] = {
    "comes": Key(lambda node, _: node, _CALL, "How it enters the group: `joins`.", True),
    "goes": Key(lambda node, _: node, _CALL, "How it leaves the group: `quits`.", True),
}


def _witness(node: Node) -> Witness:
    return Witness(**record(node, "a witness", _WITNESS_KEYS, None))


FENCE_KEYS: Keys[object] = {
    "group": Key(words("group"), TEXT, required=True),
    "types": _lines(
        "types",
        "The line that a member of the group sends to all others. If `types` and `others_see` are "
        "left out, nothing is relayed, and each member uses `alone_types`.",
    ),
    "others_see": _lines("others_see", "What the others see of it."),
    "alone_types": _lines("alone_types", "The request of a member that is alone in the group."),
    "alone_sees": _lines("alone_sees", "The answer to it."),
    "witness": Key(
        no_context(_witness),
        record_schema(_WITNESS_KEYS),
        "If nothing is answered to a member that is alone: how another connection enters the "
        "group for a fence, and leaves it again.",
    ),
    "proves": _rule("proves", "The rule that is broken if `types` does not reach the others."),
    "alone_proves": _rule(
        "alone_proves", "The rule that is broken if `alone_types` is not answered."
    ),
}


def _fence(node: Node) -> Fence:
    parts = record(node, "a fence", FENCE_KEYS, None)
    for pair in _PAIRS:
        if len([key for key in pair if key in parts]) == 1:
            raise node.fault(f"a fence needs both or none of `{'` and `'.join(pair)}`")
    if "witness" in parts and "types" not in parts:
        raise node.fault("a fence with a `witness` needs `types`, which the witness sees")
    if ("alone_types" in parts) == ("witness" in parts):
        remedy = "`alone_types` and `alone_sees`, or `witness: {comes: …, goes: …}`"
        raise node.fault(f"a fence needs one of these, for a member that is alone: {remedy}")
    return Fence(**parts)


def _probes(node: Node) -> dict[Role, dict[str, Node]]:
    """By role and feature, such as `{server: {log: log/a-scenario}}`.

    The names are checked when the scenarios are read.
    """
    node.allow(map(str, Role), "`probes`")
    return {
        Role(role): dict(entry.mapping("scenarios by feature"))
        for role, entry in node.mapping("`probes`").items()
    }


# --- The whole ---

KEYS: Keys[Path] = {
    "name": Key(words("name"), TEXT, required=True),
    "protocol": Key(
        requirements,
        TEXT,
        "The file with the rules, relative to this folder; a rule is `- NAME-1 (MUST) text`.",
        required=True,
    ),
    "order": Key(
        lambda node, _: node.items("`order`"),
        list_of(TEXT),
        "The best order to build a program in: sections of the text (`JOIN`), or single rules "
        "(`PROG-3`). Rules that are not named come last, in the order of the text.",
    ),
    "line_end": Key(
        no_context(_line_end),
        {"type": "string", "minLength": 1, "maxLength": _MOST_LINE_END},
        'The line end on connections, in both directions. If left out: "\\n". Lines that programs '
        'print end in "\\n" in any case.',
    ),
    "implementations": Key(
        _patterns, list_of(TEXT), "Folders that hold implementations, such as `../servers/*`."
    ),
    "programs": Key(
        no_context(_programs),
        record_schema(_PROGRAMS),
        "How the programs of each role are started, unless their manifests say otherwise.",
        required=True,
    ),
    "verbs": Key(
        no_context(_shorthands),
        {"type": "object", "additionalProperties": reference("shorthand")},
        "Verbs that this suite defines as steps.",
    ),
    "fence": Key(
        no_context(_fence),
        reference("fence"),
        "The lines that prove that nothing else was received: what a member of the group sends, "
        "and what the others see of it.",
    ),
    "probes": Key(
        no_context(_probes),
        mapping_schema(dict.fromkeys(map(str, Role), reference("probes"))),
        "By role and feature: the scenario that must fail if a manifest does not list the feature.",
    ),
    "ending": Key(
        no_context(_some_steps),
        STEPS,
        "Steps that are played if a scenario leaves the server running.",
    ),
}

DEFINITIONS: dict[str, Schema] = {
    "program": record_schema(PROGRAM_KEYS),
    "shorthand": record_schema(SHORTHAND_KEYS),
    "fence": record_schema(FENCE_KEYS),
    "probes": {"type": "object", "additionalProperties": TEXT},
    "steps": list_of({"$ref": "scenarios.json#/definitions/step"}),
}
