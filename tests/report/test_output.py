"""The output folder: a run replaces the files of earlier runs, and nothing else."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from small_suite import COMMAND, PATIENT, SERVER, add_server, conformance, told

from conformance.report.reports import REPORTS

LISTING = ".conformance.json"

# Writes that it is started, and continues when it is told to.
WAITING_SERVER = f"""\
open("up", "w").write("up\\n")
open("gate").readline()
{SERVER}"""


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """Play the suite; everything it makes goes to `out`."""
    return conformance("run", "echo", "--output", "out", *words)


def everything(folder: str = "out") -> dict[str, bytes]:
    """All files of a folder, except lock files."""
    files = [path for path in Path(folder).rglob("*") if path.is_file()]
    return {str(p.relative_to(folder)): p.read_bytes() for p in files if p.suffix != ".lock"}


def drafts() -> list[Path]:
    return list(Path("out").glob(".run-*"))


def assert_refused(done: subprocess.CompletedProcess[str], path: str) -> None:
    assert done.returncode == 2
    assert done.stderr.startswith(f"{path}: ")
    assert done.stderr.endswith("or name another folder by --output\n")
    assert done.stderr.count("\n") == 1


@pytest.mark.usefixtures("suite")
@pytest.mark.parametrize("name", ["index.html", "junit.xml", "transcripts/notes", "badges/mine"])
def test_what_a_person_has_there_stops_a_run_before_it_plays(name: str) -> None:
    own = Path("out") / name
    own.parent.mkdir(parents=True)
    own.write_text("mine")
    done = run()
    assert_refused(done, f"out/{name.partition('/')[0]}")
    assert "cases" not in done.stderr
    assert [path for path in Path("out").rglob("*") if path.is_file()] == [own]
    assert own.read_text() == "mine"


@pytest.mark.usefixtures("suite")
@pytest.mark.parametrize(
    "words",
    [
        ("run", "echo"),
        ("play", "lines/comes-back", "--suite", "echo"),
        ("explain", "ECHO-1", "--suite", "echo"),
        ("exec", "server-right", "--suite", "echo"),
        ("doctor", "echo/servers/right", "--suite", "echo"),
    ],
)
def test_an_output_that_is_no_folder(words: tuple[str, ...]) -> None:
    Path("taken").write_text("mine")
    done = conformance(*words, "--output", "taken")
    assert done.returncode == 2
    expected = "taken: cannot be written to: it is no folder; name another folder by --output\n"
    assert done.stderr.endswith(expected)
    assert Path("taken").read_text() == "mine"


@pytest.mark.usefixtures("suite")
def test_a_link_of_a_person_is_not_followed() -> None:
    Path("page").write_text("mine")
    Path("out").mkdir()
    Path("out/index.html").symlink_to("../page")
    assert_refused(run(), "out/index.html")
    assert Path("page").read_text() == "mine"


@pytest.mark.usefixtures("suite")
def test_files_of_a_person_beside_those_of_a_run_stay() -> None:
    run()
    for name in ("notes", "transcripts/notes", "badges/notes"):
        (Path("out") / name).write_text("mine")
    assert run().returncode == 0
    for name in ("notes", "transcripts/notes", "badges/notes"):
        assert (Path("out") / name).read_text() == "mine"


def test_what_belongs_to_programs_that_are_gone_goes(suite: Path) -> None:
    add_server(suite / "servers", "guest", SERVER)
    run()
    assert {"badges/server-guest.json", "transcripts/echo_lines.yaml_starts[guest].txt"} <= set(
        everything()
    )
    run("--server", "right")
    assert not any("guest" in name for name in everything())
    listed = json.loads(Path("out", LISTING).read_text())["files"]
    assert set(listed) | {LISTING} == set(everything())


def test_an_output_folder_of_an_older_version_is_taken_over(suite: Path) -> None:
    add_server(suite / "servers", "guest", SERVER)
    run()
    later = set(REPORTS) - {"index.html", "summary.md", "junit.xml", "badges"}
    for name in (LISTING, *later):  # files that the older version did not write
        Path("out", name).unlink(missing_ok=True)
    assert run("--server", "right").returncode == 0
    assert not any("guest" in name for name in everything())


@pytest.mark.usefixtures("suite")
@pytest.mark.parametrize("text", ["", "[]", "{}", "\0", '{"files": 1}', "[" * 100_000])
def test_a_listing_that_is_damaged(text: str) -> None:
    run()
    Path("out", LISTING).write_text(text)
    before = everything()
    assert_refused(run(), f"out/{LISTING}")
    assert everything() == before


@pytest.mark.usefixtures("suite")
def test_a_listing_reaches_no_file_elsewhere() -> None:
    run()
    Path("mine").write_text("mine")
    names = ["../mine", "transcripts/../../mine", str(Path("mine").resolve()), "results.json"]
    Path("out", LISTING).write_text(json.dumps({"files": names}))
    run()
    assert Path("mine").read_text() == "mine"


@contextmanager
def waiting_run(suite: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A run whose first server is started, and waits."""
    home = suite / "servers" / "right"
    (home / "server.py").write_text(WAITING_SERVER)
    for name in ("up", "gate"):
        os.mkfifo(home / name)
    words = ["run", "echo", "--output", "out", "--server", "right", "-j", "1", "--deadline", "600"]
    command = [*COMMAND, *words]
    with subprocess.Popen(command, stdout=-3, stderr=-3, start_new_session=True) as process:
        try:
            assert told(home / "up") == "up\n"
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def test_two_runs_at_the_same_time(suite: Path) -> None:
    add_server(suite / "servers", "guest", SERVER)
    with waiting_run(suite) as first:
        assert run("--server", "guest").returncode == 0
        assert {name for name in everything() if name.startswith("badges")} == {
            "badges/server-guest.json"
        }
        assert len(drafts()) == 1
        gate = suite / "servers" / "right" / "gate"
        (suite / "servers" / "right" / "server.py").write_text(SERVER)
        gate.write_text("go\n")
        assert first.wait(PATIENT) == 0
    cases = json.loads(Path("out/results.json").read_text())["cases"]
    assert {case["server"] for case in cases} == {"right"}
    names = {name for name in everything() if name.startswith("transcripts")}
    assert len(names) == 3 * len(cases) == 6  # three files for each case
    assert all("right" in name for name in names)
    assert drafts() == []


def test_a_run_that_is_killed_leaves_the_earlier_results_whole(suite: Path) -> None:
    run()
    before = everything()
    with waiting_run(suite) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert len(drafts()) == 1
        assert {k: v for k, v in everything().items() if not k.startswith(".run-")} == before
        (suite / "servers" / "right" / "server.py").write_text(SERVER)
        assert run().returncode == 0
        assert drafts() == []


@pytest.mark.usefixtures("suite")
def test_a_folder_that_only_looks_like_a_draft_stays() -> None:
    own = Path("out/.run-1-mine/notes")
    own.parent.mkdir(parents=True)
    own.write_text("mine")
    assert run().returncode == 0
    assert own.read_text() == "mine"


@pytest.mark.usefixtures("suite")
def test_reports_are_all_drawn_before_one_is_replaced() -> None:
    """If the page cannot be written, no report is replaced."""
    run()
    Path("out/summary.md").write_text("old")
    before = everything()
    script = 'ulimit -f 4; exec "$@"'
    words = ["bash", "-c", script, "bash", *COMMAND, "report", "out"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert_refused(done, "out")
    assert everything() == before
    assert drafts() == []


@pytest.mark.usefixtures("suite")
def test_reports_drawn_again_keep_results_transcripts_and_files_of_a_person() -> None:
    run()
    Path("out/notes").write_text("mine")
    before = everything()
    assert conformance("report", "out/results.json").returncode == 0
    assert everything() == before


@pytest.mark.usefixtures("suite")
def test_reports_are_drawn_beside_a_results_json_alone() -> None:
    """Otherwise, they would replace the results of another run."""
    run()
    Path("out/results.json").rename("out/before.json")
    before = everything()
    done = conformance("report", "out/before.json")
    assert done.returncode == 2
    assert done.stderr.startswith("out/before.json: ")
    assert everything() == before


@pytest.mark.usefixtures("suite")
def test_a_report_replaces_no_page_of_a_person() -> None:
    run()
    Path("elsewhere").mkdir()
    Path("elsewhere/results.json").write_bytes(Path("out/results.json").read_bytes())
    assert conformance("report", "elsewhere").returncode == 0
    for path in Path("elsewhere").glob(".conf*"):
        path.unlink()
    Path("elsewhere/results.json").write_text("{}")
    before = everything("elsewhere")
    assert conformance("report", "elsewhere").returncode == 2
    assert everything("elsewhere") == before
