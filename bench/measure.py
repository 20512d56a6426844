"""One measurement: one contender, one row, once.

It knows nothing of other measurements, of medians and of how figures are shown.
"""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from bench import HOST, CannotMeasure
from bench.child import exits_within
from bench.contenders import Contender
from bench.generator import Marks, Result, defects, generate
from bench.machine import Cores
from bench.rows import Kind, Row, Scale
from bench.server import Server, serving

WARM_UP = ("joins", "--users", "20", "--concurrent", "10")  # afterwards the code is in memory
IDLE_SHARE = 0.8  # the part of the idle time that is measured: at its end, users leave
STUCK = ("--stuck", "1")


@dataclass(frozen=True, slots=True)
class Bed:
    """What every measurement needs."""

    load: Sequence[str]  # the command of the load generator
    cores: Cores
    scale: Scale
    folder: Path  # for configuration files, and for the output of servers


@dataclass(slots=True)
class Sample:
    """The outcome of one measurement."""

    row: str
    contender: str
    repeat: int = 0
    figures: dict[str, float] = field(default_factory=dict)
    defects: dict[str, int] = field(default_factory=dict)
    error: str = ""  # why nothing was measured
    loads: list[Result] = field(default_factory=list)  # all results of the load generator


def measure(bed: Bed, contender: Contender, row: Row) -> Sample:
    """Measure once; if that fails, the sample has the reason."""
    sample = Sample(row.key, contender.name)
    try:
        _KINDS[row.kind](_Measurement(bed, contender, row, sample))
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


@dataclass(frozen=True, slots=True)
class _Measurement:
    """A contender and a row; each kind of row is measured by one method, which fills the sample."""

    bed: Bed
    contender: Contender
    row: Row
    sample: Sample

    def traffic(self) -> None:
        """Messages: how many, how fast, and what they cost."""
        meter, result = self._messages(self._words)
        figures = self.sample.figures
        figures["rate"] = result["rate"]
        if result["deliveries"]:
            if meter.seconds:  # only a flood says where its span begins and ends
                figures["cpu"] = meter.cpu * 1e6 / result["deliveries"]
            for name in ("p50", "p99", "p999"):
                figures[name] = result["latency_us"][name]

    def stuck(self) -> None:
        """The same messages twice: without, and then with a user who never reads."""
        without, result = self._messages(self._words)
        beside, result_beside = self._messages([*self._words, *STUCK])
        self.sample.figures["rate"] = result_beside["rate"]
        self.sample.figures["grown"] = beside.peak - without.peak
        if result["rate"]:
            self.sample.figures["kept"] = result_beside["rate"] / result["rate"]

    def idle(self) -> None:
        """Users who do nothing: the memory that each takes, and what the server still does."""
        with self._serving() as server:
            self._load(server, WARM_UP, {})
            before = server.resident()
            meter = Meter(server)

            def look(load: subprocess.Popen[bytes]) -> None:
                meter.begin()
                exits_within(load, IDLE_SHARE * self.bed.scale.seconds)
                meter.end()

            self._load(server, self._words, {"ready": look})
        users = self.bed.scale.idle_users
        self.sample.figures["per_user"] = (meter.resident - before) / users
        self.sample.figures["idle_cpu"] = 100 * meter.cpu / meter.seconds

    def joins(self) -> None:
        """Users who come and go."""
        with self._serving() as server:
            meter = Meter(server)
            meter.begin()
            result = self._load(server, self._words, {})
            meter.end()
        self.sample.figures["joins"] = result["rate"]
        self.sample.figures["join_cpu"] = meter.cpu * 1e6 / self.bed.scale.joins

    def start(self) -> None:
        """What a server takes before any user is there."""
        with self._serving() as server:
            self.sample.figures["start"] = server.start_seconds * 1e6
            self.sample.figures["resident"] = server.resident()
        self.sample.figures["binary"] = self.contender.program_bytes

    @property
    def _words(self) -> list[str]:
        """The row's words for the load generator."""
        return self.bed.scale.filled(self.row.load)

    def _messages(self, words: Sequence[str]) -> tuple[Meter, Result]:
        """Put load on a new server, and meter it between the marks of the generator."""
        with self._serving() as server:
            meter = Meter(server)
            return meter, self._load(server, words, {"begin": meter.begin, "end": meter.end})

    def _serving(self) -> AbstractContextManager[Server]:
        return serving(self.contender, self.bed.cores.server, self.bed.folder)

    def _load(self, server: Server, words: Sequence[str], marks: Marks) -> Result:
        """Put load on a server that runs."""
        protocol, port = self.contender.protocol, str(server.port)
        address = ("--protocol", protocol, "--host", HOST, "--port", port)
        command = [*self.bed.load, *address, *words]
        result = generate(command, self.bed.cores.load, marks)
        self.sample.loads.append(result)
        return result


_KINDS: dict[Kind, Callable[[_Measurement], None]] = {
    Kind.TRAFFIC: _Measurement.traffic,
    Kind.STUCK: _Measurement.stuck,
    Kind.IDLE: _Measurement.idle,
    Kind.JOINS: _Measurement.joins,
    Kind.START: _Measurement.start,
}
