"""Each verb is one entry in the table, and other modules do not name it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import conformance
from conformance.model import PEERS, PROGRAMS, ActorKind
from conformance.read.verbs import VERBS, Effect, Verb

PACKAGE = Path(conformance.__file__).parent

# Names of verbs that also have another meaning: keys of a line or a fence, and words of
# transcripts.
OTHERS = {
    "read/lines.py": {"starts"},
    "read/suite.py": {"types"},
    "arguments.py": {"starts"},
    "play/actors/base.py": {"sees_all"},
    "play/actors/connection.py": {"accepts", "closes", "resets"},
    "play/actors/program.py": {"starts"},
}


def texts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """All strings of a module, including docstrings, with their lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_no_other_module_names_a_verb(path: Path) -> None:
    name = str(path.relative_to(PACKAGE))
    if name == "read/verbs.py":
        return
    words = "|".join(VERBS.keys() - OTHERS.get(name, set()))
    named = re.compile(rf"({words})|.*`({words})`.*", re.DOTALL)
    found = [(line, text) for line, text in texts(ast.parse((PACKAGE / name).read_text("utf-8")))]
    assert [(line, text) for line, text in found if named.fullmatch(text)] == []


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS.keys())
def test_an_entry_is_whole(verb: Verb) -> None:
    assert verb.meaning
    assert verb.kinds <= PROGRAMS | PEERS
    assert not (verb.acts and verb.observes)
    assert all(option.meaning for option in verb.all_options.values())


def test_each_kind_of_actor_can_start_and_end() -> None:
    for kind in ActorKind:
        effects = {verb.effect for verb in VERBS.values() if kind in verb.kinds}
        assert {Effect.STARTS, Effect.ENDS} <= effects
