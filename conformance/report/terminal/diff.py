"""Compares the verdicts of two runs, or of two implementations in one run."""

from __future__ import annotations

from collections.abc import Mapping

from conformance.mistakes import Mistake, meant
from conformance.model import Kind, Result, Role, Verdict
from conformance.report.run import Run, without_verdict
from conformance.text import counted, visible

GOOD = (Verdict.PASSED, Verdict.WARNED)
BAD = (Verdict.FAILED, Verdict.ERRORED)
BROKE = "broke"
RACES = "may fail"  # changes of cases that `may_fail` of a manifest allows

Groups = dict[str, list[str]]  # title → one line for each case
Results = Mapping[str, Result]  # by a name of the case


def _grouped(groups: Groups) -> str:
    return "\n\n".join(
        f"{title} ({len(lines)}):\n" + "\n".join(f"  {line}" for line in lines)
        for title, lines in groups.items()
        if lines
    )


# Two runs


def difference(old: Run, new: Run) -> tuple[str, bool]:
    """The cases that changed, as text, grouped by kind of change; and whether anything broke.

    A new run that lacks verdicts broke, too, unless the old one lacked the same.
    Raises Mistake if the runs are of different suites.
    """
    if old.suite != new.suite:
        names = f"{visible(old.suite)} and {visible(new.suite)}"
        raise Mistake([f"diff: these are runs of different suites: {names}"])
    groups = _changes(_by_name(old), _by_name(new))
    known = without_verdict(old)
    groups[BROKE] += [visible(it) for it in without_verdict(new) if it not in known]
    nothing = f"no case of {len(new.results)} changed its verdict"
    return _grouped(groups) or nothing, bool(groups[BROKE])


def _by_name(run: Run) -> Mapping[str, Result]:
    """Results by the case's key, `chat/to-all[go+c]`, which is the same in every folder."""
    return {visible(one.key): one for one in run.results}


def _changes(before: Mapping[str, Result], after: Mapping[str, Result]) -> Groups:
    """The cases that did not end as before, grouped by kind of change."""
    groups: Groups = {BROKE: [], "mended": [], "changed": [], RACES: [], "new": [], "gone": []}
    for name, now in after.items():
        was = before.get(name)
        if was is None:
            groups["new"].append(f"{name}: {_ending(now)}")
        elif not _alike(was, now):
            meaning = RACES if was.may_fail or now.may_fail else _meaning(was, now)
            groups[meaning].append(f"{name}: {_ending(was)} → {_ending(now)}")
    gone = {name: was for name, was in before.items() if name not in after}
    groups["gone"] = [f"{name}: was {_ending(was)}" for name, was in gone.items()]
    return groups


def _alike(one: Result, other: Result) -> bool:
    """Whether two cases have the same verdict, also after the last step."""
    return (one.verdict, bool(one.afterwards)) == (other.verdict, bool(other.afterwards))


def _ending(result: Result) -> str:
    """The verdict, with failures after the last step and an unusual delivery."""
    after = result.afterwards and (result.afterwards.requirement or "something was left over")
    aside = [f"but then {after}" if after else "", result.delivered]
    return ", ".join([str(result.verdict), *filter(None, aside)])


def _meaning(was: Result, now: Result) -> str:
    """The kind of change. A case that was not played before or now only `changed`."""
    if _is_good(was) and _is_bad(now):
        return BROKE
    return "mended" if _is_bad(was) and _is_good(now) else "changed"


def _is_bad(result: Result) -> bool:
    return result.verdict in BAD or result.afterwards is not None


def _is_good(result: Result) -> bool:
    return result.verdict in GOOD and result.afterwards is None


# Two implementations of one run


def comparison(run: Run, role: Role, first: str, second: str) -> str:
    """The cases with different verdicts for two implementations of one role, as text.

    Raises Mistake if one of them is not in the run.
    """
    known = {name for one in run.results if (name := _played_by(one, role))}
    strangers = [name for name in (first, second) if name not in known]
    if strangers:
        problem = f"no such {role} in this run"
        raise Mistake([f"--{role} {name}: {problem}; {meant(name, known)}" for name in strangers])
    ours, theirs = (_results_of(run, role, name) for name in (first, second))
    nothing = f"no difference between {first} and {second} in {counted(len(ours), 'case')}"
    return _grouped(_differences(first, ours, second, theirs)) or nothing


def _played_by(result: Result, role: Role) -> str | None:
    """The implementation that has the role in a case, if there is exactly one."""
    if role is Role.SERVER:
        return result.server
    return None if result.kind is Kind.MIXED or not result.clients else result.clients[0]


def _results_of(run: Run, role: Role, name: str) -> Results:
    """The results of one implementation, by names of cases without its own name."""
    mine = (result for result in run.results if _played_by(result, role) == name)
    return {_name_without(result, role): result for result in mine}


def _name_without(result: Result, role: Role) -> str:
    """The name of a case with `*` for the implementation that has the role: `chat/to-all[*+c]`."""
    server, plus, client = result.pairing.partition("+")
    if role is Role.SERVER:
        server = "*"
    elif plus:
        client = "*"
    else:  # a client-only case
        server = "*"
    return visible(f"{result.scenario}[{server}{plus}{client}]")


def _differences(first: str, ours: Results, second: str, theirs: Results) -> Groups:
    better, worse = f"passed by {first} alone", f"passed by {second} alone"
    other = "other differences"
    groups: Groups = {better: [], worse: [], other: []}
    groups[f"without {second}"] = [_line(n, it) for n, it in ours.items() if n not in theirs]
    groups[f"without {first}"] = [_line(n, it) for n, it in theirs.items() if n not in ours]
    for name in ours.keys() & theirs.keys():
        one, another = ours[name], theirs[name]
        if _alike(one, another):
            continue
        passed = better if _passed(one) else worse
        group = passed if _passed(one) or _passed(another) else other
        groups[group].append(f"{name}: {first} {_ending(one)}, {second} {_ending(another)}")
    return {title: sorted(lines) for title, lines in groups.items()}


def _passed(result: Result) -> bool:
    return result.verdict is Verdict.PASSED and not result.afterwards


def _line(name: str, result: Result) -> str:
    return f"{name}: {_ending(result)}"
