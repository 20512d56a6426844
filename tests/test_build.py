"""Builds: done once for the same inputs, and again for others; errors have clear messages."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TextIO

import pytest

from conformance.builds.build import (
    LOG_LABEL,
    Build,
    build_all,
    find_program,
    toolchains,
    version_of,
)
from conformance.builds.cache import COMPLETE, KEPT, UNUSED_SECONDS
from conformance.mistakes import Place
from conformance.model import Implementation, Role

# Notes each time that it runs, then makes a program out of the source.
BUILD = "sh -c 'echo built >> ../builds.txt; install source \"$0\"' {build}/program"


@pytest.fixture
def program(tmp_path: Path) -> Implementation:
    """An implementation whose program says `one`, in a folder with a space in its name."""
    folder = tmp_path / "my program"
    folder.mkdir()
    (folder / "source").write_text("#!/bin/sh\necho one $1\n")
    return Implementation(
        name="sample",
        role=Role.SERVER,
        language="sh",
        folder=folder,
        run="{build}/program 'two words'",
        build=BUILD,
        needs=("sh",),
        place=Place("sample/implementation.yaml", 1),
    )


def built(program: Implementation, output: Path) -> Build:
    """The build of one implementation."""
    return build_all([program], output)[program.label]


def times_built(program: Implementation) -> int:
    """How often its build command ran."""
    return len((program.folder.parent / "builds.txt").read_text().splitlines())


def says(build: Build) -> str:
    """What the program that was built prints."""
    done = subprocess.run(build.argv, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_build_can_be_run(program: Implementation, tmp_path: Path) -> None:
    build = built(program, tmp_path / "output folder")
    assert (build.unavailable, build.error) == ("", "")
    assert says(build) == "one two words"


def test_the_same_inputs_are_built_once(program: Implementation, tmp_path: Path) -> None:
    first = built(program, tmp_path)
    assert built(program, tmp_path) == first
    assert times_built(program) == 1


def test_a_cache_outlives_builds(program: Implementation, tmp_path: Path) -> None:
    keeps = 'sh -c \'cp source "$1"; echo kept >> "$0"/notes; cat "$0"/notes > "$1.notes"\''
    program = replace(
        program, build=f"{keeps} {{cache}} {{build}}/program", run="cat {build}/program.notes"
    )
    assert says(built(program, tmp_path)) == "kept"
    (program.folder / "source").write_text("another")
    assert says(built(program, tmp_path)) == "kept\nkept"
    assert says(built(replace(program, run="cat {cache}/notes"), tmp_path)) == "kept\nkept"


def test_a_folder_without_a_build_may_have_a_cache(program: Implementation, tmp_path: Path) -> None:
    build = built(replace(program, build=None, run="ls -d {cache}"), tmp_path)
    assert says(build) == str(tmp_path / "builds" / "server-sample.cache")


def test_another_source_is_built_again(program: Implementation, tmp_path: Path) -> None:
    built(program, tmp_path)
    (program.folder / "source").write_text("#!/bin/sh\necho other\n")
    assert says(built(program, tmp_path)) == "other"


def test_another_command_is_built_again(program: Implementation, tmp_path: Path) -> None:
    built(program, tmp_path)
    built(replace(program, build=f"{program.build} more"), tmp_path)
    assert times_built(program) == 2


def source(program: Implementation, text: str) -> None:
    (program.folder / "source").write_text(f"#!/bin/sh\necho {text}\n")


def folders(output: Path) -> set[str]:
    """The builds that are there, by what their programs say."""
    found = (output / "builds").glob("server-sample-*/*/program")
    return {subprocess.run([path], capture_output=True, text=True).stdout.strip() for path in found}


def use(build: Build, moment: int) -> None:
    """Let the build have been used at a time of the past: so many seconds after the first."""
    home = Path(build.argv[0]).parents[1]
    then = time.time() - 1000 + moment
    os.utime(home, (then, then))


def test_old_builds_are_removed_and_the_latest_used_ones_stay(
    program: Implementation, tmp_path: Path
) -> None:
    for number in range(KEPT + 1):
        source(program, str(number))
        use(built(program, tmp_path), number)
    source(program, "0")
    use(built(program, tmp_path), 100)  # again: now the second is the one that was used first
    assert folders(tmp_path) == {"0", "1", "2", "3"}
    source(program, "new")
    built(program, tmp_path)
    assert folders(tmp_path) == {"new", "0", "3", "2"}
    found = list((tmp_path / "builds").glob("server-sample-*"))
    logs = {path.stem for path in found if path.suffix == ".log"}
    assert logs == {path.name for path in found if path.is_dir()}


def test_builds_of_a_program_with_a_longer_name_are_not_its_own(
    program: Implementation, tmp_path: Path
) -> None:
    for number in range(KEPT + 1):
        source(program, str(number))
        built(replace(program, name="sample-b"), tmp_path)
    built(program, tmp_path)
    homes = [path.name for path in (tmp_path / "builds").iterdir() if path.is_dir()]
    assert sum(name.startswith("server-sample-b-") for name in homes) == KEPT + 1


def test_builds_that_nothing_has_used_for_long_are_removed(
    program: Implementation, tmp_path: Path
) -> None:
    """Also those of programs that are gone."""
    gone, recent = (replace(program, name=name) for name in ("gone", "recent"))
    use(built(gone, tmp_path), -int(UNUSED_SECONDS))
    use(built(recent, tmp_path), 0)
    (tmp_path / "builds" / "a-folder-of-a-person").mkdir()
    built(program, tmp_path)
    found = {path.name.rpartition("-")[0] for path in (tmp_path / "builds").glob("*-*[!k]")}
    assert found == {"server-recent", "server-sample", "a-folder-of-a"}


def test_a_build_that_someone_plays_is_not_removed(program: Implementation, tmp_path: Path) -> None:
    source(program, "played")
    playing = built(program, tmp_path)
    use(playing, 0)
    for number in range(1, KEPT + 2):
        source(program, str(number))
        use(built(program, tmp_path), number)
    assert says(playing) == "played"
    del playing
    source(program, "new")
    built(program, tmp_path)
    assert "played" not in folders(tmp_path)


def test_where_the_file_system_locks_no_folders_nothing_is_held(
    program: Implementation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NFS, for instance, refuses to lock what cannot be written."""
    lock = fcntl.flock

    def of_files_only(file: int | TextIO, how: int) -> None:
        if isinstance(file, int):
            raise OSError(errno.EBADF, "Bad file descriptor")
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", of_files_only)
    kept = [built(program, tmp_path)]
    for number in range(KEPT + 1):
        source(program, str(number))
        kept.append(built(program, tmp_path))
    assert [build.error for build in kept] == [""] * len(kept)
    assert len(folders(tmp_path)) == KEPT + 1


def test_what_is_built_while_its_source_changes_is_not_kept(
    program: Implementation, tmp_path: Path
) -> None:
    """Else it would be taken for the build of the old source, when that comes back."""
    editing = replace(program, build="sh -c '. ../edit; install source \"$0\"' {build}/program")
    edit = program.folder.parent / "edit"
    edit.write_text("echo 'echo edited' >> source")
    source(program, "old")
    assert says(built(editing, tmp_path)) == "old\nedited"
    edit.write_text("")
    source(program, "old")
    assert says(built(editing, tmp_path)) == "old"


def test_named_sources_alone_are_inputs(program: Implementation, tmp_path: Path) -> None:
    (program.folder / "lib" / "deep").mkdir(parents=True)
    (program.folder / "lib" / "deep" / "part").write_text("one")
    named = replace(program, sources=("sou*", "lib"))
    built(named, tmp_path)
    for other in ("data", "state.db"):
        (program.folder / other).write_text("written by the program")
    built(named, tmp_path)
    assert times_built(program) == 1
    (program.folder / "lib" / "deep" / "part").write_text("another")
    built(named, tmp_path)
    source(program, "another")
    built(named, tmp_path)
    assert times_built(program) == 3


def test_run_time_words_are_no_inputs(program: Implementation, tmp_path: Path) -> None:
    built(program, tmp_path)
    words = {"arguments": "{port}", "features": frozenset({"x"}), "environment": {"A": "b"}}
    built(replace(program, run="{build}/program", **words), tmp_path)  # type: ignore[arg-type]
    assert times_built(program) == 1


def test_what_is_built_among_the_sources_is_only_the_last(
    program: Implementation, tmp_path: Path
) -> None:
    """Going back to other sources builds again, and so does the lack of what was built."""
    inside = replace(
        program, build=BUILD.replace("{build}", "."), run="./program", sources=("source",)
    )
    first = (program.folder / "source").read_text()
    built(inside, tmp_path)
    built(inside, tmp_path)
    assert times_built(program) == 1
    source(program, "other")
    assert says(built(inside, tmp_path)) == "other"
    (program.folder / "source").write_text(first)
    assert says(built(inside, tmp_path)) == "one"
    (program.folder / "program").unlink()
    assert says(built(inside, tmp_path)) == "one"
    assert times_built(program) == 4


def test_an_environment_knows_the_build(program: Implementation, tmp_path: Path) -> None:
    given = {"HOME": "{build}/{scratch}", "PORT": "{port}"}
    build = built(replace(program, environment=given), tmp_path / "a {port}")
    made = str(Path(build.argv[0]).parent).replace("{", "{{")
    assert build.environment == {"HOME": f"{made}/{{scratch}}", "PORT": "{port}"}


@pytest.mark.parametrize(
    "name", [".hidden", "__pycache__/x.pyc", "target/debug/x", "server.log", "run/server.pid"]
)
def test_what_tools_leave_behind_is_no_input(
    program: Implementation, tmp_path: Path, name: str
) -> None:
    built(program, tmp_path)
    file = program.folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("left behind")
    built(program, tmp_path)
    assert times_built(program) == 1


def test_the_manifest_and_what_runs_write_are_no_inputs(program: Implementation) -> None:
    output = program.folder / "build" / "conformance"
    built(program, output)
    (program.folder / "implementation.yaml").write_text("ready: up")
    (output / "results.json").write_text("{}")
    built(program, output)
    assert times_built(program) == 1


def test_a_build_that_was_cut_short_is_done_again(program: Implementation, tmp_path: Path) -> None:
    made = Path(built(program, tmp_path).argv[0]).parent
    (made.parent / COMPLETE).unlink()
    (made / "program").write_text("half of it")
    assert says(built(program, tmp_path)) == "one two words"


@pytest.mark.parametrize("note", [b"", b"nowhere", b"\xff"])
def test_a_note_of_a_build_that_was_not_written_whole_counts_for_nothing(
    program: Implementation, tmp_path: Path, note: bytes
) -> None:
    made = Path(built(program, tmp_path).argv[0]).parent
    (made.parent / COMPLETE).write_bytes(note)
    assert says(built(program, tmp_path)) == "one two words"
    assert times_built(program) == 2


def test_two_runs_at_a_time_build_once(program: Implementation, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        builds = list(pool.map(lambda _: built(program, tmp_path), range(4)))
    assert times_built(program) == 1
    assert len({build.argv for build in builds}) == 1


def test_a_failed_build_shows_its_output_and_is_not_kept(
    program: Implementation, tmp_path: Path
) -> None:
    broken = replace(program, build="sh -c 'echo compiling; echo 3:1 no such word >&2; exit 7'")
    build = built(broken, tmp_path)
    assert build.argv == ()
    assert "ended with status 7" in build.error
    assert "\ncompiling\n3:1 no such word\n" in build.error
    assert built(broken, tmp_path) == build


def test_a_long_build_log_is_shown_from_its_end(program: Implementation, tmp_path: Path) -> None:
    build = built(replace(program, build="sh -c 'seq 1000; exit 1'"), tmp_path)
    *shown, path = build.error.splitlines()[1:]
    assert shown == [str(number) for number in range(981, 1001)]
    log = Path(path.removeprefix(LOG_LABEL))
    assert len(log.read_text().splitlines()) == 1000


def test_what_a_build_leaves_running_does_not_hold_it_up(
    program: Implementation, tmp_path: Path
) -> None:
    """As a daemon of a compiler does, in a session of its own and with the build's output open."""
    os.mkfifo(tmp_path / "gate")
    left = f"setsid sh -c 'read line < {tmp_path}/gate' & "
    build = built(
        replace(program, build=f'sh -c "{left}install source {{build}}/program"'), tmp_path
    )
    assert says(build) == "one two words"
    (tmp_path / "gate").write_text("go\n")


def test_a_build_that_is_killed_says_by_what(program: Implementation, tmp_path: Path) -> None:
    build = built(replace(program, build="sh -c 'kill -SEGV $$'"), tmp_path)
    assert build.error.startswith("the build was killed by SIGSEGV: ")


def test_a_build_command_that_is_no_program(program: Implementation, tmp_path: Path) -> None:
    build = built(replace(program, build="no-such-compiler source"), tmp_path)
    assert "could not be started: " in build.error


def test_a_missing_tool_is_unavailable(program: Implementation, tmp_path: Path) -> None:
    build = built(replace(program, needs=("sh", "no-such-a", "no-such-b")), tmp_path)
    assert build.error == ""
    assert build.unavailable == (
        "no-such-a and no-such-b are not on PATH, needed by sample/implementation.yaml"
    )


def test_a_missing_interpreter_is_unavailable(program: Implementation, tmp_path: Path) -> None:
    build = built(replace(program, build=None, run="no-such-interpreter x"), tmp_path)
    assert build.unavailable.startswith("no-such-interpreter is not on PATH")


def test_a_build_that_makes_no_program(program: Implementation, tmp_path: Path) -> None:
    build = built(replace(program, run="{build}/another"), tmp_path)
    assert build.error.startswith("sample/implementation.yaml: `run` names")
    assert build.error.endswith("another, which cannot be executed")


def test_programs_that_need_no_build(program: Implementation, tmp_path: Path) -> None:
    script = program.folder / "script"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    runs = {"./script x": str(script), "{python} x": sys.executable, "sh x": find_program("sh")}
    for run, argv0 in runs.items():
        build = built(replace(program, build=None, run=run), tmp_path)
        assert build.argv == (argv0, "x")


def test_a_relative_command_is_that_of_its_own_folder(
    program: Implementation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, word in ((tmp_path, "another"), (program.folder, "own")):
        (folder / "make.sh").write_text(f"#!/bin/sh\necho echo {word} > $1; chmod +x $1\n")
        (folder / "make.sh").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    own = replace(program, build="./make.sh {build}/program", run="sh {build}/program")
    assert says(built(own, tmp_path)) == "own"


def test_progress_names_what_is_built_and_not_what_is_kept(
    program: Implementation, tmp_path: Path
) -> None:
    said: list[str] = []
    build_all([program], tmp_path, said.append)
    build_all([program], tmp_path, said.append)
    assert len(said) == 1
    assert said[0].startswith("building server-sample: ")


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program on PATH that, like Go's, knows `version` and not `--version`."""
    tool = tmp_path / "tools" / "sample-tool"
    tool.parent.mkdir()
    tool.write_text('#!/bin/sh\n[ "$1" = version ] && echo "sample 1.2" || { echo huh; exit 2; }\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}{os.pathsep}{os.environ['PATH']}")
    version_of.cache_clear()
    return tool


def test_a_service_is_found_outside_of_path(
    tmp_path: Path, tool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("conformance.builds.build.SERVICES", (str(tool.parent),))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_program("sample-tool") == str(tool)


@pytest.mark.usefixtures("tool")
def test_toolchains_say_their_versions(program: Implementation) -> None:
    needing = replace(program, needs=("sample-tool", "no-such-tool"))
    found = toolchains([needing])
    assert found["sample-tool"] == "sample 1.2"
    assert list(found) == ["python", "sample-tool"]


def test_another_version_of_a_tool_is_built_again(
    program: Implementation, tmp_path: Path, tool: Path
) -> None:
    needing = replace(program, needs=("sample-tool",))
    built(needing, tmp_path)
    tool.write_text("#!/bin/sh\necho sample 1.3\n")
    version_of.cache_clear()
    built(needing, tmp_path)
    assert times_built(program) == 2
