"""What differs between two runs, or between two implementations in one run."""

from __future__ import annotations

from collections.abc import Container, Mapping

from conformance.mistakes import Mistake, meant
from conformance.model import Kind, Result, Role, Verdict
from conformance.report.run import Run
from conformance.text import counted, visible

BAD = (Verdict.FAILED, Verdict.ERRORED)
RACES = "may fail"  # what changes between these cases means nothing

Groups = dict[str, list[str]]  # title → one line for each case
Verdicts = Mapping[str, Verdict]  # by a name of the case


def _grouped(groups: Groups) -> str:
    return "\n\n".join(
        f"{title} ({len(lines)}):\n" + "\n".join(f"  {line}" for line in lines)
        for title, lines in groups.items()
        if lines
    )


# Two runs


def difference(old: Run, new: Run) -> str:
    """What broke, what was mended, what changed otherwise, what is new, and what is gone."""
    before, after = _verdicts(old), _verdicts(new)
    nothing = f"no case of {len(new.results)} changed its verdict"
    racing = {visible(one.key) for run in (old, new) for one in run.results if one.may_fail}
    return _grouped(_changes(before, after, racing)) or nothing


def _verdicts(run: Run) -> Verdicts:
    """By names that do not depend on where the run was started: `chat/to-all[go+c]`."""
    return {visible(one.key): one.verdict for one in run.results}


def _changes(before: Verdicts, after: Verdicts, racing: Container[str]) -> Groups:
    """The cases whose verdict is not what it was, by what that means."""
    groups: Groups = {"broke": [], "mended": [], "changed": [], RACES: [], "new": [], "gone": []}
    for name, verdict in after.items():
        was = before.get(name)
        if was is None:
            groups["new"].append(f"{name}: {verdict}")
        elif was is not verdict:
            meaning = RACES if name in racing else _meaning(was, verdict)
            groups[meaning].append(f"{name}: {was} → {verdict}")
    groups["gone"] = [f"{name}: was {was}" for name, was in before.items() if name not in after]
    return groups


def _meaning(was: Verdict, verdict: Verdict) -> str:
    """FAILED and ERRORED are equally bad. A case that was not played cannot break or be mended."""
    if was is Verdict.PASSED and verdict in BAD:
        return "broke"
    return "mended" if was in BAD and verdict is Verdict.PASSED else "changed"


# Two implementations of one run


def comparison(run: Run, role: Role, first: str, second: str) -> str:
    """The cases that two implementations of one role did not end alike; raises Mistake."""
    known = {name for one in run.results if (name := _played_by(one, role))}
    strangers = [name for name in (first, second) if name not in known]
    if strangers:
        problem = f"no such {role} in this run"
        raise Mistake([f"--{role} {name}: {problem}; {meant(name, known)}" for name in strangers])
    ours, theirs = (_verdicts_of(run, role, name) for name in (first, second))
    nothing = f"{first} and {second} ended all of {counted(len(ours), 'case')} alike"
    return _grouped(_differences(first, ours, second, theirs)) or nothing


def _played_by(result: Result, role: Role) -> str | None:
    """The only implementation that has the role in a case."""
    if role is Role.SERVER:
        return result.server
    return None if result.kind is Kind.MIXED or not result.clients else result.clients[0]


def _verdicts_of(run: Run, role: Role, name: str) -> Verdicts:
    """The verdicts of one implementation, by names of cases in which its own name is left out."""
    mine = (result for result in run.results if _played_by(result, role) == name)
    return {_name_without(result, role): result.verdict for result in mine}


def _name_without(result: Result, role: Role) -> str:
    """`chat/to-all[*+c]`: with any server."""
    server, plus, client = result.pairing.partition("+")
    if role is Role.SERVER:
        server = "*"
    elif plus:
        client = "*"
    else:  # the client is judged alone
        server = "*"
    return visible(f"{result.scenario}[{server}{plus}{client}]")


def _differences(first: str, ours: Verdicts, second: str, theirs: Verdicts) -> Groups:
    better, worse = f"passed by {first} alone", f"passed by {second} alone"
    other = "otherwise different"
    groups: Groups = {better: [], worse: [], other: []}
    groups[f"without {second}"] = [f"{n}: {v}" for n, v in ours.items() if n not in theirs]
    groups[f"without {first}"] = [f"{n}: {v}" for n, v in theirs.items() if n not in ours]
    for name in ours.keys() & theirs.keys():
        one, another = ours[name], theirs[name]
        if one is another:
            continue
        passed = better if one is Verdict.PASSED else worse
        group = passed if Verdict.PASSED in (one, another) else other
        groups[group].append(f"{name}: {first} {one}, {second} {another}")
    return {title: sorted(lines) for title, lines in groups.items()}
