"""The tables of mutants in this folder, one for each program, such as `server-c.yaml`:

    program: server-c
    folder: servers/c
    file: server.c          # the default for entries without `file`
    generated: 60           # how many edits of the operators are played
    mutants:
      - rule: CHAT-1
        what: a message comes back to its sender
        in: say             # the function, if the text occurs more than once in the file
        change: broadcast(s, formatted("%s: %s\\n", name, text), user);
        to: broadcast(s, formatted("%s: %s\\n", name, text), NULL);
    equivalent:             # edits of the operators that break no rule
      - {in: accept_users, change: BEFORE, to: AFTER, why: REASON}

An entry of `mutants` with `why` is equivalent, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from conformance.mistakes import Mistake, Problems

from .functions import functions
from .mutant import PROJECT, Mutant, text_of
from .operators import generated

TABLES = Path(__file__).parent
LINE = "line of the table"  # a key that no entry can have

_KEYS = {"program", "folder", "file", "generated", "mutants", "equivalent"}
_ENTRY = {"rule", "what", "file", "in", "change", "to", "why"}
_REMEDY = "take the source as it is now into the entry, or remove the entry"

Entry = Mapping[str, Any]


class _Loader(yaml.CSafeLoader):  # ten times as fast as the one in Python
    """Adds to each mapping the line at which it begins."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        return {**super().construct_mapping(node, deep=deep), LINE: node.start_mark.line + 1}


@dataclass(frozen=True, slots=True)
class Table:
    """All mutants of one program."""

    program: str
    folder: Path
    made: list[Mutant]  # written by a person
    generated: list[Mutant]  # made by operators; the table says how many

    @property
    def mutants(self) -> list[Mutant]:
        """All mutants that are played."""
        return [*self.made, *self.generated]


def load(folder: Path = TABLES) -> list[Table]:
    """All tables; raises Mistake if an entry does not fit its source."""
    problems, tables = Problems(), []
    for path in sorted(folder.glob("*.yaml")):
        with problems.gathered():
            tables.append(read(path))
    problems.report()
    return tables


def read(path: Path) -> Table:
    """One table; raises Mistake."""
    try:
        data = yaml.load(path.read_text("utf-8"), _Loader)  # a SafeLoader
    except yaml.YAMLError as error:
        raise Mistake([f"{path}: {error}"]) from None
    _check_keys(path, data, _KEYS, {"program", "folder", "mutants"})
    problems, made = Problems(), []
    for number, entry in enumerate(data["mutants"], 1):
        with problems.gathered():
            made.append(_mutant(path, data, entry, number))
    others = {one.id: one for one in generated(data["program"], Path(data["folder"]))}
    for entry in data.get("equivalent", []):
        with problems.gathered():
            others |= _explained(path, data, entry, others.values())
    problems.report()
    share = list(others.values())[: data.get("generated", 0)]
    return Table(data["program"], Path(data["folder"]), made, share)


def _mutant(path: Path, data: Entry, entry: Entry, number: int) -> Mutant:
    _check_keys(path, entry, _ENTRY, {"rule", "what", "change", "to"})
    file, function = str(entry.get("file", data.get("file", ""))), entry.get("in")
    source = Path(data["folder"]) / file
    if not (PROJECT / source).is_file():
        raise Mistake([f"{path}:{entry[LINE]}: there is no {source}; name the `file`"])
    before = str(entry["change"]).rstrip("\n")
    places = list(_places(source, function, before))
    if len(places) != 1:
        where = f"{source}, {function}" if function else f"{source}"
        many = "not" if not places else f"{len(places)} times"
        remedy = _REMEDY if not places else "make it longer, or name the function as `in`"
        raise Mistake([f"{path}:{entry[LINE]}: `{before}` is {many} in {where}; {remedy}"])
    after, why = str(entry["to"]).rstrip("\n"), entry.get("why", "")
    name = f"{data['program']}/{number:03}"
    return Mutant(
        name, data["program"], Path(data["folder"]), file, places[0], before, after,
        entry["rule"], entry["what"], why,
    )  # fmt: skip


def _places(source: Path, function: str | None, before: str) -> Iterator[int]:
    """All places of a text in a source, or in one of its functions."""
    text = text_of(source)
    if function is None:
        spans = [(0, len(text))]
    else:
        found = functions(source.name, text)
        spans = [(one.start, one.end) for one in found if one.name == function]
    for start, end in spans:
        place = text.find(before, start, end)
        while place >= 0:
            yield place
            place = text.find(before, place + 1, end)


def _explained(
    path: Path, data: Entry, entry: Entry, mutants: Iterable[Mutant]
) -> dict[str, Mutant]:
    """The generated mutants that this entry declares equivalent, by id."""
    _check_keys(path, entry, _ENTRY, {"change", "to", "why"})
    file = str(entry.get("file", data.get("file", "")))
    before, after = str(entry["change"]).rstrip("\n"), str(entry["to"]).rstrip("\n")
    starts = {*_places(Path(data["folder"]) / file, entry.get("in"), before)}
    found = [one for one in mutants if (one.file, one.before, one.after) == (file, before, after)]
    if explained := {
        one.id: replace(one, equivalent=entry["why"]) for one in found if one.start in starts
    }:
        return explained
    edit = f"no operator makes `{before}` into `{after}` in {file}"
    raise Mistake([f"{path}:{entry[LINE]}: {edit}; {_REMEDY}"])


def _check_keys(path: Path, entry: object, known: set[str], needed: set[str]) -> None:
    if not isinstance(entry, dict):
        raise Mistake([f"{path}: a table, and each of its entries, is a mapping"])
    line = entry.get(LINE, 1)
    if strange := sorted({*entry} - known - {LINE}):
        raise Mistake([f"{path}:{line}: unknown: {', '.join(strange)}; known: {sorted(known)}"])
    if missing := sorted(needed - {*entry}):
        raise Mistake([f"{path}:{line}: missing: {', '.join(missing)}"])
