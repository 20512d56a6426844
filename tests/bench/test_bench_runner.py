"""The runner of the benchmarks: how it combines measurements; it leaves no process behind."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from bench import PROJECT, CannotMeasure, child, proc, results
from bench.__main__ import ours_failed, read_options, scale_of
from bench.build import names, servers
from bench.collecting import measured, write_copies
from bench.collecting import table as collecting_table
from bench.contenders import Contender, Standing, threads
from bench.machine import Cores, choose_cores, numbers
from bench.measure import Bed, Sample, measure
from bench.peers import PEERS, Peer
from bench.plots import draw, panels
from bench.results import Entry, Run, Spread
from bench.rows import FIGURES, QUICK, ROWS, Kind, Row, Scale, significant
from bench.server import own_port, serving
from bench.session import Progress, outcome, turns
from bench.table import grid, markdown
from conformance.report.folder.attached import Table, read

BY_KEY = {row.key: row for row in ROWS}
CORE = min(os.sched_getaffinity(0))
PATIENT = 60.0  # seconds: enough on a busy machine


# --- Figures and rows ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.0471, "0.0471"),
        (0.5, "0.500"),
        (1, "1.00"),
        (13.84, "13.8"),
        (999.96, "1,000"),
        (21899.7, "21,900"),
    ],
)
def test_three_digits_mean_something(value: float, text: str) -> None:
    assert significant(value) == text


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("rate", 13_840_000, "13.8 M"),
        ("rate", 6_650, "6.65 k"),
        ("rate", 12, "12.0"),
        ("p99", 41.3, "41.3 µs"),
        ("p99", 1_640_000, "1.64 s"),
        ("binary", 829_944, "810 KiB"),
        ("grown", -3 * 2**20, "-3.00 MiB"),
        ("per_user", 21899.4, "21,899"),
    ],
)
def test_figures_have_units(key: str, value: float, text: str) -> None:
    assert FIGURES[key].text(value) == text


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.key)
@pytest.mark.parametrize("scale", [Scale(), QUICK], ids=["usual", "quick"])
def test_every_row_is_complete(row: Row, scale: Scale) -> None:
    words = scale.filled(row.load)
    assert not re.search("[{}]", " ".join(words))
    assert bool(words) == (row.kind is not Kind.START)
    assert set(row.figures) <= set(FIGURES)


def test_rows_have_names_of_their_own() -> None:
    assert len(BY_KEY) == len(ROWS)
    assert len({row.title for row in ROWS}) == len(ROWS)


# --- The command line ----------------------------------------------------------------------------


def test_without_options_all_is_measured() -> None:
    options = read_options([])
    assert options.only == [row.key for row in ROWS]
    assert options.contender == names(servers())
    assert scale_of(options) == Scale()


def test_what_is_asked_for_comes_in_the_usual_order() -> None:
    options = read_options(["--only", "start, 1-100", "--contender", "redis,c"])
    assert options.only == ["1-100", "start"]
    assert options.contender == ["c", "redis"]


def test_quick_takes_a_duration_too() -> None:
    assert scale_of(read_options(["--quick"])) == QUICK
    scale = scale_of(read_options(["--quick", "--seconds", "0.05"]))
    assert (scale.seconds, scale.warm_up, scale.joins) == (0.05, 0.05, QUICK.joins)


@pytest.mark.parametrize(
    "words",
    [
        ["--only", "1-99"],
        ["--contender", "irssi"],
        ["--repeats", "0"],
        ["--seconds", "-1"],
        ["--seconds", "nan"],
    ],
    ids=" ".join,
)
def test_a_mistake_in_the_command_line(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        read_options(words)
    assert ended.value.code == 2
    assert words[1] in capsys.readouterr().err


# --- The contenders ------------------------------------------------------------------------------


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_a_peer_gets_its_port(peer: Peer, tmp_path: Path) -> None:
    contender = Contender(
        peer.name,
        peer.title,
        Standing.PEER,
        peer.protocol,
        (peer.program, *peer.options),
        tmp_path,
        peer.config,
    )
    command = contender.command(4711, tmp_path)
    path = tmp_path / f"{peer.name}.conf"
    assert command == [peer.program, *(w.replace("{config}", str(path)) for w in peer.options)]
    assert str(path) in command
    assert "4711" in path.read_text()
    assert not re.search(r"\{\w+\}", path.read_text())


def test_make_installs_what_the_peers_need() -> None:
    (listed,) = re.findall("^PEERS := (.*)$", (PROJECT / "Makefile").read_text(), re.M)
    assert listed.split() == [peer.package for peer in PEERS]


def test_the_size_of_a_program_is_that_of_its_script() -> None:
    assert threads().program_bytes == (PROJECT / "bench" / "threads.py").stat().st_size


# --- The machine ---------------------------------------------------------------------------------


def test_lists_of_the_kernel() -> None:
    assert numbers("0\n") == {0}
    assert numbers("0-2,8,10-11") == {0, 1, 2, 8, 10, 11}


@pytest.mark.parametrize(
    ("usable", "threads_of_a_core", "cores"),
    [
        ([0], 1, Cores(0, 0, 0)),
        ([0, 1], 1, Cores(0, 1, 1)),
        ([2, 3, 5], 1, Cores(2, 3, 5)),
        ([0, 1], 2, Cores(0, 1, 1)),
        ([0, 1, 2, 3], 2, Cores(0, 2, 1)),
        ([0, 1, 2, 3, 4, 5], 2, Cores(0, 2, 4)),
    ],
)
def test_server_and_load_have_cores_of_their_own(
    usable: list[int], threads_of_a_core: int, cores: Cores
) -> None:
    def siblings(core: int) -> range:
        first = core - core % threads_of_a_core
        return range(first, first + threads_of_a_core)

    assert choose_cores(usable, siblings) == cores


def test_processor_time_is_that_of_the_kernel() -> None:
    before = sum(os.times()[:4])
    assert proc.cpu_seconds(os.getpid()) >= before - 0.05  # each of the four is cut to ticks


def test_sizes_are_in_kib() -> None:
    text = "VmPeak:\t  999 kB\nVmHWM:\t   12 kB\nRss: 3 kB\n"
    assert proc.size_of(text, "VmHWM") == 12 * 1024
    assert proc.size_of(text, "Rss") == 3 * 1024
    assert proc.size_of(text, "Pss") == 0


def test_a_program_counts_with_its_children() -> None:
    script = ["sh", "-c", "exec 3<&0; cat <&3 & echo $!; wait"]
    with subprocess.Popen(script, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        below = int(process.stdout.readline())
        assert set(proc.family(process.pid)) == {process.pid, below}
        assert proc.resident(process.pid) > 0
        assert proc.peak(process.pid) > 0
        process.kill()
        os.kill(below, 9)
    assert proc.resident(process.pid) == proc.cpu_seconds(process.pid) == 0


# --- Results -------------------------------------------------------------------------------------


def entry(name: str, standing: Standing) -> Entry:
    return Entry(name, f"title of {name}", standing, "1.0")


def made_run(figures: Mapping[tuple[str, str], list[float]], figure: str = "rate") -> Run:
    """A run with these values of one figure, by row and contender."""
    return Run(
        time="2026-01-01 12:00 UTC",
        machine={
            "processor": "a processor",
            "kernel": "Linux 6",
            "cores": {"server": 0, "load": 1, "runner": 1},
            "load_average": 0.1,
        },
        scale=Scale(),
        repeats=3,
        entries=[
            entry("c", Standing.OURS),
            entry("yardstick", Standing.YARDSTICK),
            entry("redis", Standing.PEER),
            entry("nats", Standing.PEER),
        ],
        left_out={"ngircd": "ngircd is not installed"},
        samples=[
            Sample(row, name, repeat, {figure: value})
            for (row, name), values in figures.items()
            for repeat, value in enumerate(values)
        ],
    )


RATES = {
    ("1-100", "c"): [10e6, 12e6, 11e6],
    ("1-100", "redis"): [5e6, 5.5e6, 9e6],
    ("1-100", "nats"): [4e6, 4e6],
}
FLOOD = BY_KEY["1-100"]


def test_medians_with_their_ends() -> None:
    assert Spread.of([3, 1, 2]) == Spread(2, 1, 3)
    assert Spread.of([4, 1]) == Spread(2.5, 1, 4)


def test_ratios_are_of_medians() -> None:
    run = made_run(RATES)
    assert run.ratio(FLOOD, "rate", "c", "redis") == 2
    assert run.ratio(FLOOD, "rate", "nats", "c") == pytest.approx(4 / 11)
    assert run.ratio(FLOOD, "rate", "c", "yardstick") is None
    assert run.ratio(FLOOD, "cpu", "c", "redis") is None


def test_the_best_peer_depends_on_the_figure() -> None:
    assert made_run(RATES).best_peer(FLOOD, "rate") == "redis"
    assert made_run(RATES, "p99").best_peer(FLOOD, "p99") == "nats"
    assert made_run({}).best_peer(FLOOD, "rate") is None


def test_defects_add_up_and_errors_are_listed_once() -> None:
    run = made_run(RATES)
    for sample in run.samples[:2]:
        sample.defects = {"lost": 2, "echoes": 1}
        sample.error = "the server was ended by SIGSEGV"
    assert run.defects(FLOOD, "c") == {"lost": 4, "echoes": 2}
    assert run.errors(FLOOD, "c") == ["the server was ended by SIGSEGV"]
    assert run.defects(FLOOD, "redis") == {}


def test_only_our_own_failures_count() -> None:
    run = made_run(RATES)
    run.samples[-1].defects = {"lost": 1}
    assert not ours_failed(run)
    run.samples[0].error = "it does not come up"
    assert ours_failed(run)


def test_results_come_back_as_they_went(tmp_path: Path) -> None:
    run = made_run(RATES)
    results.save(run, tmp_path / "results.json")
    assert results.load(tmp_path / "results.json") == run
    summary = json.loads((tmp_path / "results.json").read_text())["summary"]
    figure = summary["1-100"]["c"]["rate"]
    assert (figure["median"], figure["low"], figure["high"]) == (11e6, 10e6, 12e6)
    assert figure["ratios"] == {"redis": 2, "nats": 2.75}


def test_what_is_not_a_result_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    for text in ("", "[]", '{"time": 1}'):
        path.write_text(text)
        with pytest.raises(CannotMeasure, match=r"results\.json is not a result of this bench"):
            results.load(path)


# --- What is shown -------------------------------------------------------------------------------


def test_a_grid_is_aligned() -> None:
    assert grid(["", "rate"], [["c", "11.0 M"], ["redis", "–"]]).splitlines() == [
        "|       |   rate |",
        "| :---- | -----: |",
        "| c     | 11.0 M |",
        "| redis |      – |",
    ]


def test_the_table_shows_median_spread_and_ratios() -> None:
    page = markdown(made_run(RATES))
    (line,) = re.findall(r"^\| c +\| 11\.0 M \(10\.0 M–12\.0 M\).*", page, re.M)
    assert [cell.strip() for cell in line.split("|")][-4:] == ["2.00×", "2.75×", "2.00×", ""]
    assert "- `ngircd`: ngircd is not installed" in page
    assert "DEFECT" not in page


def test_a_defect_is_loud() -> None:
    run = made_run(RATES)
    run.samples[0].defects = {"lost": 12_345}
    page = markdown(run)
    assert "- **⚠ `c`, 1→100: 12,345 lost**" in page
    assert page.index("DEFECTS") < page.index("## Deliveries a second")
    assert "⚠ 11.0 M" in page


def test_what_could_not_be_measured_is_listed() -> None:
    run = made_run(RATES)
    run.samples.append(Sample("1-100", "yardstick", error="it does not come up\n    oh"))
    assert "- `yardstick`, 1→100: it does not come up oh" in markdown(run)


def test_nothing_measured_is_a_table_too() -> None:
    assert "# The bench" in markdown(made_run({}))


def test_every_figure_has_a_panel() -> None:
    run = made_run({(row.key, "c"): [1.0] for row in ROWS})
    drawn = {panel for wanted in panels(run).values() for panel in wanted}
    assert {(row, row.figures[0]) for row in ROWS} <= drawn


def test_plots_are_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    run = made_run(RATES)
    run.samples[0].defects = {"lost": 1}
    paths = draw(run, tmp_path)
    assert [path.name for path in paths] == ["throughput.svg", "cpu.svg"]
    assert all(path.read_text().startswith("<?xml") for path in paths)


# --- The order of measurements -------------------------------------------------------------------


def contender(name: str, script: Path) -> Contender:
    argv = (sys.executable, "-I", "-S", str(script), "{port}")
    return Contender(name, name, Standing.FIRST, "chat", argv, script.parent)


def test_contenders_take_turns() -> None:
    everyone = [contender(name, Path("/x")) for name in "abc"]
    rows = [BY_KEY["1-100"], BY_KEY["start"]]
    planned = list(turns(rows, everyone, 2))
    assert len(planned) == 2 * 2 * 3
    assert [one.name for _, row, one in planned if row is rows[0]] == list("abcbca")
    assert [row.key for _, row, _ in planned[:6]] == ["1-100"] * 3 + ["start"] * 3


def test_what_hardly_varies_is_measured_once() -> None:
    planned = list(turns([BY_KEY["idle"], BY_KEY["start"]], [contender("a", Path("/x"))], 3))
    assert [row.key for _, row, _ in planned] == ["idle", "start", "start", "start"]


def test_progress_knows_what_took_long() -> None:
    planned = list(turns([FLOOD], [contender(name, Path("/x")) for name in "ab"], 2))
    progress = Progress(planned)
    assert progress.done("1-100", "a", 10) == "[1/4,   30 s left]"
    assert progress.done("1-100", "b", 200) == "[2/4,  4 min left]"


def test_a_measurement_in_a_line() -> None:
    sample = Sample("1-100", "c", figures={"rate": 2e6, "p99": 40}, defects={"lost": 3})
    assert outcome(sample) == "DEFECT: 3 lost, 2.00 M a second, p99 40.0 µs"
    assert outcome(Sample("1-100", "c", error="no such thing")) == "FAILED: no such thing"


# --- Measuring -----------------------------------------------------------------------------------

SERVER = """
import socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    listener.accept()[0].close()
"""

# Prints what the load generator prints, and that messages were lost.
LOAD = """
import json, socket, sys
words = sys.argv[1:]
host, port = words[words.index("--host") + 1], int(words[words.index("--port") + 1])
socket.create_connection((host, port)).close()
for mode, marks in (("flood", ["begin", "end"]), ("idle", ["ready"])):
    if mode in words:
        print(*marks, sep="\\n", flush=True)
latency = {"p50": 1.5, "p99": 2.5, "p999": 3.5, "max": 9}
lost = 7 if "flood" in words else 0
result = {"rate": 1000.0 / (1 + words.count("--stuck")), "deliveries": 500, "lost": lost}
print(json.dumps({**result, "echoes": 0, "latency_us": latency, "dropped": 0}), flush=True)
"""


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    (tmp_path / "server.py").write_text(SERVER)
    (tmp_path / "load.py").write_text(LOAD)
    load = [sys.executable, "-I", "-S", str(tmp_path / "load.py")]
    return Bed(load, Cores(CORE, CORE, CORE), Scale(seconds=0.01), tmp_path)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.key)
def test_every_row_is_measured(row: Row, bed: Bed) -> None:
    sample = measure(bed, contender("stub", bed.folder / "server.py"), row)
    assert sample.error == ""
    assert set(row.figures) <= set(sample.figures)
    if row.kind is Kind.STUCK:
        assert sample.figures["kept"] == 0.5
        assert sample.defects == {"lost": 14}
    elif row.is_throughput:
        assert (sample.figures["rate"], sample.figures["p999"]) == (1000, 3.5)
        assert sample.defects == {"lost": 7}
    else:
        assert sample.defects == {}


@pytest.mark.parametrize(
    ("server", "load", "why"),
    [
        (
            "raise SystemExit('no room')",
            LOAD,
            "does not come up; the server ended: exit status 1\n    no room",
        ),
        (SERVER, "raise SystemExit('load: refused')", "load: refused"),
        (SERVER, "", "the load generator ended: exit status 0"),
    ],
    ids=["server does not start", "load fails", "load says nothing"],
)
def test_what_cannot_be_measured_is_an_error(server: str, load: str, why: str, bed: Bed) -> None:
    (bed.folder / "server.py").write_text(server)
    (bed.folder / "load.py").write_text(load)
    sample = measure(bed, contender("stub", bed.folder / "server.py"), FLOOD)
    assert re.search(why, sample.error)


def test_a_server_that_ends_early_is_an_error(bed: Bed) -> None:
    """Even if the load found nothing wrong; the server has certainly ended before it is checked."""
    pid = bed.folder / "pid"
    telling = f"import os\nopen({str(pid)!r}, 'w').write(str(os.getpid()))\n"
    ending = SERVER.replace("while True", "for _ in 'us', 'load'")
    (bed.folder / "server.py").write_text(telling + ending)
    fd = f"os.pidfd_open(int(open({str(pid)!r}).read()))"
    waiting = f"import os, select\nselect.select([{fd}], [], [])\n"
    (bed.folder / "load.py").write_text(LOAD + waiting)
    sample = measure(bed, contender("stub", bed.folder / "server.py"), FLOOD)
    assert sample.error == "the server ended: exit status 0"
    assert sample.defects == {"lost": 7}


def test_no_server_is_left_behind(bed: Bed) -> None:
    one = contender("stub", bed.folder / "server.py")
    with pytest.raises(KeyboardInterrupt), serving(one, CORE, bed.folder) as server:
        raise KeyboardInterrupt
    assert not Path(f"/proc/{server.process.pid}").exists()


def test_nothing_outlives_a_runner_that_was_killed(tmp_path: Path) -> None:
    """Neither a program nor what it started; their pipe closes with the last of them."""
    script = f"""
import os, sys
from pathlib import Path
sys.path.insert(0, {str(PROJECT)!r})
from bench.child import spawned
with spawned(["sh", "-c", "cat <> gone & cat <> gone"], {CORE}, Path.cwd(), 1):
    os.kill(os.getpid(), 9)
"""
    os.mkfifo(tmp_path / "gone")
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        stdout=subprocess.PIPE,  # read until no process has it open
        timeout=PATIENT,
        check=False,
    )
    assert done.returncode == -9


def test_a_program_that_does_not_exist(tmp_path: Path) -> None:
    spawning = child.spawned(["./nothing"], CORE, tmp_path, subprocess.DEVNULL)
    with pytest.raises(CannotMeasure, match="nothing cannot be started: "), spawning:
        pass


def test_ports_are_not_used_twice() -> None:
    with own_port() as one, own_port() as other:
        assert one != other
    with own_port() as third:
        assert third not in (one, other)


def test_a_whole_run(tmp_path: Path) -> None:
    """Our server in C and the threaded one, with the real load; their speed does not matter."""
    rows = "1-100,idle,joins,start"
    words = ["--quick", "--seconds", "0.05", "--only", rows, "--contender", "c,threads"]
    done = subprocess.run(
        [sys.executable, "-m", "bench", *words, "--output", str(tmp_path)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    run = results.load(tmp_path / "results.json")
    assert [sample.error for sample in run.samples] == [""] * 8, done.stderr
    assert all(run.spread(row, "c", row.figures[0]) for row in run.rows)
    assert done.stdout == (tmp_path / "table.md").read_text() + "\n"
    assert done.stderr.count("/8, ") == 8
    table = read(tmp_path / "table.json")
    assert isinstance(table, Table)
    assert table.columns == ["", "server-c", "threads"]
    assert len(table.rows) == sum(len(row.figures) for row in run.rows)
    (start,) = [row for row in table.rows if row[0].endswith("start-up, µs (less is better)")]
    assert start[1] > 0


# --- Collecting ----------------------------------------------------------------------------------


def test_two_copies_of_all_scenarios_are_twice_as_many_cases(tmp_path: Path) -> None:
    for copies in (1, 2):
        write_copies(tmp_path / str(copies), copies)
    once, twice = (measured(tmp_path / str(copies)) for copies in (1, 2))
    assert once.cases * 2 == twice.cases > 0
    assert "\n".join(collecting_table([once])).splitlines()[1].split()[0] == f"{once.cases:,}"
