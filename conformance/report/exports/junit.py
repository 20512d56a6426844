"""junit.xml for CI systems. It is valid against Ant's schema, which all of them understand."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from xml.etree import ElementTree as Xml

from conformance.model import Result, Verdict
from conformance.report.run import Run, incomplete
from conformance.report.terminal.failure import failure_text
from conformance.text import visible

SKIPPED = "skipped"
FAILURE = "failure"
ERROR = "error"


def junit_xml(run: Run) -> str:
    """One test suite for each scenario file, and one for the run as a whole."""
    root = Xml.Element("testsuites")
    ordered = sorted(run.results, key=_subject)
    for subject, results in groupby(ordered, key=_subject):
        cases = [_case(run, result) for result in results]
        root.append(_suite(run, subject, len(root), cases))
    root.append(_suite(run, "run", len(root), [_whole(run)]))
    Xml.indent(root)
    return Xml.tostring(root, "unicode", xml_declaration=True) + "\n"


def _subject(result: Result) -> str:
    """`chat` of `chat/everyone-but-the-sender`."""
    return result.scenario.partition("/")[0]


def _suite(run: Run, name: str, number: int, cases: Sequence[Xml.Element]) -> Xml.Element:
    suite = Xml.Element("testsuite", name=visible(name), package=visible(run.suite), id=str(number))
    suite.set("hostname", "localhost")  # required; the machine's own name is private
    suite.set("timestamp", run.started[:19])  # the schema allows no time zone
    suite.set("tests", str(len(cases)))
    for key, tag in (("failures", FAILURE), ("errors", ERROR), ("skipped", SKIPPED)):
        suite.set(key, str(sum(case.find(tag) is not None for case in cases)))
    suite.set("time", f"{sum(float(case.get('time', '0')) for case in cases):.3f}")
    properties = Xml.SubElement(suite, "properties")
    for name, version in {"conformance": run.version, **run.toolchains}.items():
        Xml.SubElement(properties, "property", name=visible(name), value=visible(version))
    suite.extend(cases)
    Xml.SubElement(suite, "system-out")
    Xml.SubElement(suite, "system-err")
    return suite


def _case(run: Run, result: Result) -> Xml.Element:
    subject, _, scenario = result.scenario.partition("/")
    name = visible(f"{scenario}[{result.pairing}]")
    case = _named_case(run, subject, name, result.seconds)
    if (tag := _ending(result)) is None:
        return case
    ending = Xml.SubElement(case, tag, message=visible(_message(result)))
    if tag != SKIPPED:  # Ant's schema allows neither of these in a skipped case
        ending.set("type", visible(_type(result)))
        ending.text = failure_text(result, run.requirements, run.options)
    return case


def _ending(result: Result) -> str | None:
    """The tag of the child element; None: passed. An expected result never fails a CI job."""
    if result.expected:
        return None if result.verdict is Verdict.PASSED else SKIPPED
    return FAILURE if result.verdict in (Verdict.PASSED, Verdict.FAILED) else ERROR


def _message(result: Result) -> str:
    often = f"{result.repeated}; " if result.repeated else ""
    if result.failure and not result.expected:
        return f"{often}expected {result.failure.expected}, seen {result.failure.seen}"
    return f"{often}{result.verdict}: {result.reason}"


def _type(result: Result) -> str:
    """The broken rule, or the verdict if there is no failure."""
    return result.failure.requirement if result.failure else result.verdict


def _whole(run: Run) -> Xml.Element:
    """A test case for problems of the whole run, such as missing results."""
    case = _named_case(run, "run", "is-whole", 0.0)
    if reasons := incomplete(run):
        text = "\n".join(visible(reason) for reason in reasons)
        Xml.SubElement(case, ERROR, message=visible(reasons[0]), type="incomplete").text = text
    return case


def _named_case(run: Run, subject: str, name: str, seconds: float) -> Xml.Element:
    classname = visible(f"{run.suite}.{subject}")
    return Xml.Element("testcase", classname=classname, name=name, time=f"{seconds:.3f}")
