"""What is particular to one protocol: its rules, its programs' options, its shorthands.

All of it stands in a folder of YAML (`suite.yaml` and scenario files), so that the package itself
knows programs, terminals, connections, lines and steps, and no chat.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from conformance.mistakes import Fault, Place, Problems, meant
from conformance.model import ActorKind, Program, Requirement, Role, Suite
from conformance.read.yaml_tree import Node, read, record
from conformance.text import lone_brace, places

SUITE_FILE = "suite.yaml"


_TOLD = ("host", "port", "name")  # what a program's arguments can be told

# `- CHAT-1 (MUST) *(feature: NAME)* text`, continued by indented lines.
_RULE = re.compile(
    r"^- (?P<id>[A-Z][A-Z0-9]*-[0-9]+) \((?P<level>MUST|SHOULD|MAY)\)"
    r"(?: \*\(feature: (?P<feature>[a-z0-9-]+)\)\*)? (?P<text>.*)$"
)
_NEARLY_RULE = re.compile(r"^\s*[-*] [A-Za-z][A-Za-z0-9]*-[0-9]+\b")
_REMEDY = "write rules as `- NAME-1 (MUST) text`, or `- NAME-1 (MUST) *(feature: NAME)* text`"


class Options(dict[str, str | None]):
    """A program's options as they are given: text, "" for a bare flag, None for one left out."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        self.places = node.keys  # where each stands

    def check(self, takes: frozenset[str] | None) -> None:
        """Refuse those that a program does not take; None: it takes any."""
        problems = Problems()
        for name, place in self.places.items():
            if takes is not None and name not in takes:
                message = (
                    f"no such option `{name}`; {meant(name, takes)} (see `takes` in the suite)"
                )
                problems.add(Fault(place, message))
        problems.report()


@dataclass(frozen=True, slots=True)
class Shorthand:
    """A verb that only stands for other steps; its parts are filled in where it is used."""

    name: str
    argument: str | None  # the placeholder that its argument fills; None: it takes none
    steps: Mapping[str, list[Node]]  # by the actor's kind; "": for every kind
    place: Place


@dataclass(frozen=True, slots=True)
class Fence:
    """How to prove that nothing else came: what a group's member says, and what others see."""

    group: str
    types: str
    others_see: str
    alone_types: str  # for a group of one: a request that is answered to the asker
    alone_sees: str
    proves: str | None = None  # the rule that is broken where a fence line does not arrive
    alone_proves: str | None = None


@dataclass(frozen=True, slots=True)
class SuiteFile(Suite):
    """A suite with what its scenarios are read by: verbs of its own, a fence, an ending."""

    unmatched: list[Node]  # patterns of implementations' folders that name none
    shorthands: Mapping[str, Shorthand]
    fence: Fence | None
    ending: list[Node]  # played where a scenario leaves the server running
    probe_nodes: Mapping[Role, Mapping[str, Node]]  # where each probe stands


def known_features(suite: Suite) -> frozenset[str]:
    """The features that some rule of the protocol text is marked with."""
    return frozenset(rule.feature for rule in suite.requirements.values() if rule.feature)


def load_suite(folder: Path) -> SuiteFile:
    """The suite in a folder; raises Mistake."""
    path = folder / SUITE_FILE
    if not path.is_file():
        remedy = f"a suite is a folder with a {SUITE_FILE} in it"
        raise Fault(Place(str(path), 1), f"no such file; {remedy}")
    root = read(path)
    readers: dict[str, Callable[[Node], object]] = {
        "name": partial(Node.words, what="`name`"),
        "protocol": partial(_requirements, folder),
        "implementations": partial(_patterns, folder),
        "programs": _programs,
        "verbs": _shorthands,
        "fence": _fence,
        "ending": _some_steps,
        "probes": _probes,
    }
    problems = Problems()
    parts = record(root, "a suite", readers, ("name", "protocol", "programs"), problems)
    problems.report()
    _check_rules(root, parts["protocol"])
    patterns: list[tuple[Node, list[Path]]] = parts.get("implementations", [])
    nodes: dict[Role, dict[str, Node]] = parts.get("probes", {})
    return SuiteFile(
        folder=folder,
        name=parts["name"],
        requirements=parts["protocol"],
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
    )


def _check_rules(root: Node, rules: Mapping[str, Requirement]) -> None:
    """Raise Mistake where `proves` in `programs` or `fence` names a rule that is none."""
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


def _patterns(folder: Path, node: Node) -> list[tuple[Node, list[Path]]]:
    """Patterns such as `../servers/*`, and the folders with a manifest that each of them names."""
    return [(entry, _folders(folder, entry)) for entry in node.items("`implementations`")]


def _folders(folder: Path, node: Node) -> list[Path]:
    base, pattern = folder, node.text("a folder")
    while pattern.startswith("../"):
        base, pattern = base.resolve().parent, pattern.removeprefix("../")
    try:
        folders = sorted(base.glob(pattern))
    except (ValueError, NotImplementedError, IndexError, OSError):
        remedy = "give folders from this file's own on, such as `../servers/*`"
        raise node.fault(f"`{pattern}` names no folders; {remedy}") from None
    for path in folders:
        if (path / "implementation.yml").is_file():
            raise Fault(Place(str(path / "implementation.yml"), 1), "call it `.yaml`")
    return [path for path in folders if (path / "implementation.yaml").is_file()]


def _requirements(folder: Path, node: Node) -> dict[str, Requirement]:
    name = node.text("`protocol`")
    path = folder / name
    try:
        lines = path.read_text("utf-8").splitlines()
    except OSError as error:
        raise node.fault(f"the protocol text {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise node.fault(f"the protocol text {path} cannot be read: not UTF-8") from None
    except ValueError:
        raise node.fault("a file's name holds no NUL") from None
    rules: dict[str, Requirement] = {}
    problems = Problems()
    for number, line in enumerate(lines, 1):
        if found := _RULE.match(line):
            place = Place(os.path.normpath(path), number)
            if other := rules.get(found["id"]):
                problems.add(Fault(place, f"{other.id} is a rule already at {other.place}"))
            text = " ".join([found["text"], *_continuation(lines[number:])])
            rule = Requirement(found["id"], found["level"], text, found["feature"], place)
            rules[rule.id] = rule
        elif _NEARLY_RULE.match(line):
            place = Place(os.path.normpath(path), number)
            problems.add(Fault(place, f"not quite a rule; {_REMEDY}"))
    problems.report()
    if not rules:
        raise node.fault(f"{path} holds no rule; {_REMEDY}")
    return rules


def _continuation(lines: list[str]) -> list[str]:
    rest = []
    for line in lines:
        if not line.startswith("  ") or line.lstrip().startswith("|"):
            break
        rest.append(line.strip())
    return rest


def _programs(node: Node) -> dict[Role, Program]:
    problems = Problems()
    readers = {str(role): _program for role in Role}
    programs = record(node, "`programs`", readers, (), problems)
    problems.report()
    return {Role(role): program for role, program in programs.items()}


def _program(node: Node) -> Program:
    problems = Problems()
    readers: dict[str, Callable[[Node], object]] = {
        "arguments": program_arguments,
        "options": options,
        "ready": ready_line,
        "proves": lambda entry: entry.text("`proves`"),
        "errors": _errors,
        "takes": _takes,
    }
    parts = record(node, "a program", readers, (), problems)
    problems.report()
    program = Program(**parts)
    if isinstance(program.options, Options):
        program.options.check(program.takes)
    return program


def _takes(node: Node) -> frozenset[str]:
    """`[max-clients, quiet]`: the options that scenarios may give."""
    for entry in node.items("`takes`"):
        _check_option(entry.text("an option"), entry.place)
    return frozenset(node.texts("an option"))


def _check_option(name: str, place: Place) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise Fault(place, f"`{name}` is no name of an option; write it without its dashes")


def _errors(node: Node) -> str:
    word = node.text("`errors`")
    if word not in (known := ("free", "accounted")):
        raise node.fault(f"no such way to treat standard error: `{word}`; {meant(word, known)}")
    return word


def program_arguments(node: Node) -> str:
    """A command line's end, `--host {host} --port {port}`."""
    arguments = any_command_line(node)
    check_filled(node, arguments, _TOLD)
    return arguments


def ready_line(node: Node) -> str:
    """What a server prints once it is ready, `Listening on {host}:{port}`."""
    text = node.text("`ready`")
    check_filled(node, text, ("host", "port"))
    if "\n" in text:
        raise node.fault("a ready line is one line")
    return text


def command_line(node: Node) -> str:
    """Words as a shell cuts them; nothing else of a shell is there."""
    text = any_command_line(node)
    if not (words := shlex.split(text)) or not words[0]:
        raise node.fault("an empty command; say what is to be run")
    return text


def any_command_line(node: Node) -> str:
    """The same, or none at all."""
    text = node.text("a command line")
    try:
        shlex.split(text)
    except ValueError as error:
        raise node.fault(f"not a command line: {str(error).lower()}") from None
    if "\0" in text:
        raise node.fault("not a command line: no program can be given a NUL")
    if "n" in places(text):
        raise node.fault("`{n}` counts lines; write `{{n}` for itself")
    return text


def check_filled(node: Node, text: str, known: tuple[str, ...]) -> None:
    """See that something fills every place in a text, and that no brace stands there by itself."""
    for name in places(text):
        if name not in known:
            raise node.fault(f"nothing fills the placeholder `{{{name}}}`; {meant(name, known)}")
    if lone_brace(text):
        remedy = f"write `{{{known[0]}}}` for a placeholder, and `{{{{` for a brace itself"
        raise node.fault(f"a `{{` that begins no placeholder; {remedy}")


def options(node: Node) -> Options:
    """`{max-clients: 2, members-only: yes, quiet: no}`: each value as it was typed."""
    values = Options(node)
    for name, entry in node.mapping("options").items():
        _check_option(name, node.keys[name])
        values[name] = _option(name, entry)
    return values


def _option(name: str, node: Node) -> str | None:
    """Text, "" for a bare flag, None for an option that is left out."""
    if isinstance(node.value, bool):
        return "" if node.value else None
    if node.value is None or isinstance(node.value, list | dict):
        raise node.fault(f"the option `{name}` must be a text, a number, yes or no")
    text = node.value if isinstance(node.value, str) else node.typed
    if not text:
        raise node.fault(f"the option `{name}` is empty; write `yes` where it takes no value")
    if "\0" in text or "n" in places(text):
        raise node.fault(f"the option `{name}` cannot hold a NUL, or `{{n}}`, which counts lines")
    return text


def _shorthands(node: Node) -> dict[str, Shorthand]:
    problems = Problems()
    found = {}
    for name, entry in node.mapping("`verbs`").items():
        with problems.gathered():
            found[name] = _shorthand(name, entry)
    problems.report()
    return found


def _shorthand(name: str, node: Node) -> Shorthand:
    problems = Problems()
    readers: dict[str, Callable[[Node], object]] = {
        "meaning": partial(Node.words, what="`meaning`"),
        "argument": _parameter,
        "steps": _steps_by_kind,
    }
    parts = record(node, f"the verb `{name}`", readers, ("steps",), problems)
    problems.report()
    return Shorthand(name, parts.get("argument"), parts["steps"], node.place)


def _parameter(node: Node) -> str:
    name = node.text("`argument`")
    if places(f"{{{name}}}") != [name] or name == "actor":
        remedy = "use lower-case letters and `_`, and not `actor`"
        raise node.fault(f"`{name}` cannot be a placeholder; {remedy}")
    return name


def _steps_by_kind(node: Node) -> dict[str, list[Node]]:
    if not node.is_mapping:
        return {"": _some_steps(node)}
    node.allow(map(str, ActorKind), "steps by the actor's kind")
    if not node.value:
        raise node.fault("no steps; name some")
    return {kind: _some_steps(entry) for kind, entry in node.mapping("`steps`").items()}


def _some_steps(node: Node) -> list[Node]:
    if not node.items("steps"):
        raise node.fault("no steps; name some, or leave the key out")
    return node.items("steps")


def _probes(node: Node) -> dict[Role, dict[str, Node]]:
    """`{server: {log: log/a-scenario}}`; once scenarios are read, the names are checked."""
    node.allow(map(str, Role), "`probes`")
    return {
        Role(role): dict(entry.mapping("scenarios by feature"))
        for role, entry in node.mapping("`probes`").items()
    }


def _fence(node: Node) -> Fence:
    keys = ("group", "types", "others_see", "alone_types", "alone_sees")
    problems = Problems()
    optional = ("proves", "alone_proves")
    readers = {key: partial(Node.words, what=f"`{key}`") for key in (*keys, *optional)}
    parts = record(node, "a fence", readers, keys, problems)
    problems.report()
    return Fence(**parts)
