"""One measurement: one contender, one row, once."""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench import CannotMeasure
from bench.child import exits_within
from bench.contenders import Contender
from bench.generator import Marks, Result, defects, generate
from bench.machine import Cores
from bench.rows import Kind, Row, Scale
from bench.server import Server, serving

WARM_UP = ("joins", "--users", "20", "--concurrent", "10")  # the code of it is in memory afterwards
IDLE_SHARE = 0.8  # of the idle time that is looked at: users leave at its end
STUCK = ("--stuck", "1")


@dataclass(frozen=True, slots=True)
class Bed:
    """What every measurement needs."""

    load: Sequence[str]  # the load generator
    cores: Cores
    scale: Scale
    folder: Path  # for configuration files, and for what servers say


@dataclass(slots=True)
class Sample:
    """What came of it."""

    row: str
    contender: str
    repeat: int = 0
    figures: dict[str, float] = field(default_factory=dict)
    defects: dict[str, int] = field(default_factory=dict)
    error: str = ""  # why nothing was measured
    loads: list[Result] = field(default_factory=list)  # all that the load generator said


def measure(bed: Bed, contender: Contender, row: Row) -> Sample:
    """Measure once; a failure is told in the sample."""
    sample = Sample(row.key, contender.name)
    try:
        _KINDS[row.kind](bed, contender, row, sample)
    except CannotMeasure as problem:
        sample.error = str(problem)
    total: Counter[str] = Counter()
    for result in sample.loads:
        total.update(defects(result))
    sample.defects = dict(total)
    return sample


class Meter:
    """What a server uses from the beginning of a span to its end."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._cpu = self._time = 0.0
        self.cpu = self.seconds = 0.0
        self.resident = self.peak = 0

    def begin(self, _load: object = None) -> None:
        """The span begins here."""
        self._cpu, self._time = self._server.cpu_seconds(), time.perf_counter()

    def end(self, _load: object = None) -> None:
        """It ends here."""
        self.cpu = self._server.cpu_seconds() - self._cpu
        self.seconds = time.perf_counter() - self._time
        self.resident, self.peak = self._server.resident(), self._server.peak()


# --- The kinds of rows ---------------------------------------------------------------------------


def _traffic(bed: Bed, contender: Contender, row: Row, sample: Sample) -> None:
    """Messages: how many, how fast, and what they cost."""
    meter, result = _messages(bed, contender, bed.scale.filled(row.load), sample)
    sample.figures["rate"] = result["rate"]
    if result["deliveries"]:
        if meter.seconds:  # only a flood tells where its span begins and ends
            sample.figures["cpu"] = meter.cpu * 1e6 / result["deliveries"]
        for name in ("p50", "p99", "p999"):
            sample.figures[name] = result["latency_us"][name]


def _stuck(bed: Bed, contender: Contender, row: Row, sample: Sample) -> None:
    """The same twice, without and with one who never reads."""
    words = bed.scale.filled(row.load)
    without, result = _messages(bed, contender, words, sample)
    beside, result_beside = _messages(bed, contender, [*words, *STUCK], sample)
    sample.figures["rate"] = result_beside["rate"]
    sample.figures["grown"] = beside.peak - without.peak
    if result["rate"]:
        sample.figures["kept"] = result_beside["rate"] / result["rate"]


def _messages(
    bed: Bed, contender: Contender, words: Sequence[str], sample: Sample
) -> tuple[Meter, Result]:
    """One run on a server of its own."""
    with serving(contender, bed.cores.server, bed.folder) as server:
        meter = Meter(server)
        marks: Marks = {"begin": meter.begin, "end": meter.end}
        return meter, _load(bed, contender, server, words, marks, sample)


def _idle(bed: Bed, contender: Contender, row: Row, sample: Sample) -> None:
    """Users who do nothing: the memory that each takes, and whether the server rests."""
    with serving(contender, bed.cores.server, bed.folder) as server:
        _load(bed, contender, server, WARM_UP, {}, sample)
        before = server.resident()
        meter = Meter(server)

        def look(load: subprocess.Popen[bytes]) -> None:
            meter.begin()
            exits_within(load, IDLE_SHARE * bed.scale.seconds)
            meter.end()

        _load(bed, contender, server, bed.scale.filled(row.load), {"ready": look}, sample)
    sample.figures["per_user"] = (meter.resident - before) / bed.scale.idle_users
    sample.figures["idle_cpu"] = 100 * meter.cpu / meter.seconds


def _joins(bed: Bed, contender: Contender, row: Row, sample: Sample) -> None:
    """Users who come and go."""
    with serving(contender, bed.cores.server, bed.folder) as server:
        meter = Meter(server)
        meter.begin()
        result = _load(bed, contender, server, bed.scale.filled(row.load), {}, sample)
        meter.end()
    sample.figures["joins"] = result["rate"]
    sample.figures["join_cpu"] = meter.cpu * 1e6 / bed.scale.joins


def _start(bed: Bed, contender: Contender, _row: Row, sample: Sample) -> None:
    """What a server takes before anybody is there."""
    with serving(contender, bed.cores.server, bed.folder) as server:
        sample.figures["start"] = server.start_seconds * 1e6
        sample.figures["resident"] = server.resident()
    sample.figures["binary"] = contender.program_bytes


def _load(
    bed: Bed,
    contender: Contender,
    server: Server,
    words: Sequence[str],
    marks: Marks,
    sample: Sample,
) -> Result:
    """Put load on a server that runs."""
    result = generate(bed.load, bed.cores.load, contender.protocol, server.port, words, marks)
    sample.loads.append(result)
    return result


_KINDS: dict[Kind, Callable[[Bed, Contender, Row, Sample], None]] = {
    Kind.TRAFFIC: _traffic,
    Kind.STUCK: _stuck,
    Kind.IDLE: _idle,
    Kind.JOINS: _joins,
    Kind.START: _start,
}
