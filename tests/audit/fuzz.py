"""Fuzzers of the C and Go programs: builds each target with its program, and plays inputs."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
PROJECT = HERE.parents[1]

C_TARGETS = sorted(path.name for path in (HERE / "corpus").iterdir())
GO_TARGETS = [
    (
        path.relative_to(HERE / "go").parts[0],
        target,
        "/".join(path.relative_to(HERE / "go").parts[1:-1]),
    )
    for path in sorted((HERE / "go").rglob("*_test.go"))
    for target in re.findall(r"func (Fuzz\w+)", path.read_text("utf-8"))
]

SANITIZERS = "-fsanitize=address,undefined -fno-sanitize-recover=all"
# libFuzzer of clang is guided by coverage; for gcc, driver.c mutates the seeds. Comparisons are not
# traced: that would take half of the time, and the seeds hold the words of all commands.
GUIDE = "-fsanitize=fuzzer -fno-sanitize-coverage=trace-cmp"
COMPILERS = {
    "clang": f"clang -std=gnu11 -g -O2 {GUIDE} {SANITIZERS}",
    "gcc": f"gcc -std=gnu11 -g -O1 {SANITIZERS}",
}
# AddressSanitizer keeps little freed memory: touching more memory would take most of the time.
ENVIRONMENT = {"ASAN_OPTIONS": "handle_abort=1:quarantine_size_mb=1"}

# Statuses of a check that somebody ended; libFuzzer catches the signals, and exits with 72.
ENDED = (72, -signal.SIGINT, -signal.SIGTERM)

SUPPRESSED = f"--suppressions={HERE / 'c' / 'readline.supp'}"
VALGRIND = ["valgrind", "-q", "--error-exitcode=99", SUPPRESSED]


@dataclass
class Played:
    """The result of playing inputs."""

    status: int
    output: str
    missing: str = ""  # why the check did not run, or not to its end

    @property
    def finding(self) -> str:
        """The end of the output of a failed run."""
        return "" if self.status == 0 or self.missing else self.output[-4000:]


def call(command: list[str], folder: Path, environment: dict[str, str] | None = None) -> Played:
    """Run a command in a folder, which is created if necessary."""
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | (environment or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    missing = "somebody ended it" if done.returncode in ENDED else ""
    return Played(done.returncode, done.stdout.decode("utf-8", "replace"), missing)


def compiler() -> str:
    """The compiler of C targets: clang if it has libFuzzer, otherwise gcc."""
    nothing = "int LLVMFuzzerTestOneInput(void) { return 0; }"
    probe = f"echo '{nothing}' | clang -fsanitize=fuzzer -xc -o /dev/null -"
    return "clang" if call(["sh", "-c", probe], HERE).status == 0 else "gcc"


def fuzz_c(target: str, inputs: int, folder: Path, by: str) -> Played:
    """Play so many inputs to a target in C; libFuzzer keeps its corpus in the folder."""
    program, kept = folder / f"{target}-{by}", folder / target
    driver = [str(HERE / "c" / "driver.c")] if by == "gcc" else []
    source = str(HERE / "c" / f"{target}.c")
    build = [
        *COMPILERS[by].split(),
        "-o",
        str(program),
        source,
        *driver,
        "-lcrypt",
        "-pthread",
        "-lm",
    ]
    built = call(build, folder)
    if built.status:
        return built
    seeds = HERE / "corpus" / target
    if by == "gcc":
        return call([str(program), str(inputs), *map(str, seeds.iterdir())], kept, ENVIRONMENT)
    options = [f"-runs={inputs}", "-close_fd_mask=3", f"-artifact_prefix={folder}/"]
    return call([str(program), *options, ".", str(seeds)], kept, ENVIRONMENT)


def go_folder(role: str, folder: Path) -> Path:
    """A copy of a program in Go, with the fuzz targets in it."""
    copy = folder / f"{role}-go"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(PROJECT / f"{role}s" / "go", copy)
    shutil.copytree(HERE / "go" / role, copy, dirs_exist_ok=True)
    return copy


def fuzz_go(role: str, target: str, package: str, inputs: int, folder: Path) -> Played:
    """Play the seeds to a target in Go, then so many inputs of Go's fuzzer."""
    command = ["go", "test", "-vet=off", "-run", f"^{target}$", f"./{package}"]
    if inputs:
        command[4:5] = [f"^{target}$", "-fuzz", f"^{target}$", "-fuzztime", f"{inputs}x"]
    return call(command, go_folder(role, folder))


def press_keys(runs: int, folder: Path, under: list[str] = VALGRIND) -> Played:
    """Press random keys in the C client's editor, under valgrind: readline has no sanitizers."""
    program = str(folder / "client_keys")
    build = ["gcc", "-std=gnu11", "-g", "-O1", "-o", program, str(HERE / "c" / "client_keys.c")]
    built = call([*build, "-lreadline", "-lutil"], folder)
    if built.status:
        return built
    for seed in range(1, runs + 1):
        played = call([*under, program, str(seed)], folder)
        if played.status:
            return Played(played.status, f"seed {seed}\n{played.output}")
    return Played(0, "")
