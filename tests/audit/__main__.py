"""`make audit`: fuzzers and analysis tools at length, and a table of what they found."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "support")]

from variants import play_under  # noqa: E402  (found in the folders above)

from audit import fuzz  # noqa: E402

FOLDER = ROOT / "build" / "audit"
FEWER = 1000  # C and Go play so many inputs for each input of Hypothesis
PART = ["scenarios/join.yaml", "scenarios/chat.yaml"]  # valgrind is slow

C_PROGRAMS = {"servers/c/server.c": "-DACCOUNTS", "clients/c/client.c": "-DLINE_EDITING"}
WARNINGS = "-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror"
# Disabled checks: Annex K, whose functions glibc does not have; strcpy, which is used only for
# known lengths; reserved identifiers, since glibc requires _GNU_SOURCE; products of constants,
# which fit; parameters that look alike, a matter of style.
TIDY = (
    "-*,bugprone-*,clang-analyzer-*,-clang-analyzer-security.insecureAPI.*,"
    "-bugprone-reserved-identifier,-bugprone-implicit-widening-of-multiplication-result,"
    "-bugprone-easily-swappable-parameters"
)
GO_TOOLS = {
    "staticcheck": "honnef.co/go/tools/cmd/staticcheck@v0.8.2",
    "govulncheck": "golang.org/x/vuln/cmd/govulncheck@v1.9.0",
}
UNANSWERED = "govulncheck: fetching vulnerabilities:"  # govulncheck cannot reach vuln.go.dev


@dataclass(frozen=True)
class Check:
    """A check: its name, its input, the tools that it needs, and a function that runs it."""

    name: str
    given: str
    needs: str
    run: Callable[[], fuzz.Played]


def under(tool: str, scenarios: list[str]) -> fuzz.Played:
    """Play scenarios with the programs under a tool."""
    folder = FOLDER / tool
    shutil.rmtree(folder, ignore_errors=True)
    done = play_under(tool, scenarios, folder, folder / "report")
    return fuzz.Played(done.returncode, done.stdout + done.stderr)


def hypothesis(examples: int) -> fuzz.Played:
    """Let Hypothesis make so many inputs for each target in Python."""
    command = [sys.executable, "-m", "pytest", "-q", "tests/audit/test_python.py"]
    return fuzz.call(command, ROOT, {"AUDIT_EXAMPLES": str(examples)})


def go_tool(name: str, folder: Path) -> fuzz.Played:
    """Install an analysis tool, and run it on a program in Go."""
    bin = FOLDER / "bin"
    got = fuzz.call(["go", "install", GO_TOOLS[name]], ROOT, {"GOBIN": str(bin)})
    if got.status:
        return fuzz.Played(got.status, got.output, f"{GO_TOOLS[name]} cannot be installed")
    played = fuzz.call([str(bin / name), "./..."], folder)
    if UNANSWERED in played.output:
        played.missing = "vuln.go.dev does not answer"
    return played


def checks(inputs: int) -> Iterator[Check]:
    """All checks."""
    by = fuzz.compiler()
    for target in fuzz.C_TARGETS:
        run = partial(fuzz.fuzz_c, target, inputs, FOLDER, by)
        yield Check(f"c: {target}", f"{inputs} inputs, {by}", by, run)
    yield Check(
        "c: readline, valgrind", "100 runs", "valgrind", partial(fuzz.press_keys, 100, FOLDER)
    )
    yield Check(
        "c: scenarios, valgrind", " ".join(PART), "valgrind", partial(under, "valgrind", PART)
    )
    for source, feature in C_PROGRAMS.items():
        clang = ["clang", "-std=gnu11", *WARNINGS.split(), "-fsyntax-only", feature, source]
        tidy = ["clang-tidy", "--quiet", "--warnings-as-errors=*", f"--checks={TIDY}", source]
        tidy += ["--", "-std=gnu11", feature]
        yield Check(f"c: clang {source}", "warnings", "clang", partial(fuzz.call, clang, ROOT))
        yield Check(f"c: clang-tidy {source}", "", "clang-tidy", partial(fuzz.call, tidy, ROOT))
    for role, target, package in fuzz.GO_TARGETS:
        run = partial(fuzz.fuzz_go, role, target, package, inputs // 10, FOLDER)
        yield Check(f"go: {role} {target}", f"{inputs // 10} inputs", "go", run)
    for name in GO_TOOLS:
        for role in ("servers", "clients"):
            yield Check(f"go: {name} {role}", "", "go", partial(go_tool, name, ROOT / role / "go"))
    run = partial(hypothesis, inputs // FEWER)
    yield Check("python: Hypothesis", f"{inputs // FEWER} inputs each", "python3", run)
    run = partial(under, "warnings", ["scenarios"])
    yield Check("python: -W error -bb", "scenarios", "python3", run)


def perform(check: Check) -> tuple[str, fuzz.Played]:
    """Run a check; returns its line of the table, and the result."""
    start = time.monotonic()
    if shutil.which(check.needs):
        played = check.run()
    else:
        played = fuzz.Played(1, "", f"{check.needs} is missing")
    if played.missing:
        return f"{check.name:34} NOT RUN: {played.missing}", played
    verdict = "FOUND" if played.finding else "clean"
    seconds = time.monotonic() - start
    return f"{check.name:34} {verdict} {seconds:7.0f} s  {check.given}".rstrip(), played


def main() -> int:
    """Run all checks, or those whose name contains a word; returns 1 if there are findings."""
    parser = argparse.ArgumentParser(prog="make audit", description=__doc__)
    parser.add_argument("--inputs", type=int, default=10_000_000, help="to each target in C")
    parser.add_argument("--only", default="", help="a word of the checks' names")
    options = parser.parse_args()
    os.chdir(ROOT)
    chosen = [check for check in checks(options.inputs) if options.only in check.name]
    table, found, missed = [], 0, 0
    with suppress(KeyboardInterrupt):  # after Ctrl+C, the table shows what was done
        for check in chosen:
            line, played = perform(check)
            print(f"{line}\n{played.finding}", end="", flush=True)
            table.append(line)
            found += bool(played.finding)
            missed += bool(played.missing)
    missed += len(chosen) - len(table)
    print(
        "\n".join(["", *table, f"{len(chosen)} checks: {found} found something, {missed} not run"])
    )
    return 1 if found or not table else 0


if __name__ == "__main__":
    sys.exit(main())
