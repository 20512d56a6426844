"""Shell completion (TAB) of implementations, rules, cases and files, by argcomplete.

To turn it on, put `eval "$(register-python-argcomplete conformance)"` into the shell's start file.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable

import argcomplete
from argcomplete.completers import FilesCompleter

from conformance.cli.common import SUITE, suite_folder
from conformance.mistakes import Mistake
from conformance.model import Implementation, Role
from conformance.read import scenario
from conformance.read.suite import load_suite
from conformance.session.request import implementations_of

Completer = Callable[..., Iterable[str]]


def offer(parser: argparse.ArgumentParser) -> None:
    """Print the completions that the shell asks for, and exit."""
    for action in _actions(parser):
        if completer := COMPLETERS.get(action.dest):
            action.completer = completer  # type: ignore[attr-defined]  # argcomplete reads it
    argcomplete.autocomplete(parser)


def _actions(parser: argparse.ArgumentParser) -> Iterable[argparse.Action]:
    """The options and positional arguments of all commands."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)
        else:
            yield action


def _paths(prefix: str, **_: object) -> Iterable[str]:
    """Ids of cases after `::`, rules after a capital letter, else files."""
    try:
        file, colons, _rest = prefix.partition("::")
        if colons:
            return [f"{file}::{one.id}" for one in scenario.load([suite_folder(file)])[1]]
        if prefix[:1].isupper():
            return load_suite(suite_folder(SUITE)).requirements
    except Mistake:  # the command itself will report it
        return []
    return FilesCompleter(("yaml",))(prefix)


def _scenarios(**_: object) -> Iterable[str]:
    try:
        return [one.key for one in scenario.load([suite_folder(SUITE)])[1]]
    except Mistake:
        return []


def _rules_or_scenarios(prefix: str, **_: object) -> Iterable[str]:
    return _paths(prefix) if prefix[:1].isupper() else _scenarios()


def _listed(prefix: str, names: Iterable[str]) -> Iterable[str]:
    """The names as completions of the last item of a comma-separated list."""
    before = prefix[: prefix.rfind(",") + 1]
    return [before + name for name in names]


def _names(role: Role) -> Completer:
    def complete(prefix: str, **_: object) -> Iterable[str]:
        return _listed(prefix, (one.name for one in _implementations() if one.role is role))

    return complete


def _labels(**_: object) -> Iterable[str]:
    return [one.label for one in _implementations()]


def _implementations() -> list[Implementation]:
    try:
        return implementations_of(load_suite(suite_folder(SUITE)), [])
    except Mistake:
        return []


COMPLETERS: dict[str, Completer] = {
    "paths": _paths,
    "server": _names(Role.SERVER),
    "client": _names(Role.CLIENT),
    "name": _labels,
    "scenario": _scenarios,
    "rule_or_scenario": _rules_or_scenarios,
}
