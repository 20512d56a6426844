"""The rows of the bench: what is done to a server, and the figures that this yields.

It knows nothing of contenders, processes and results.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from conformance.text import fill


class Kind(StrEnum):
    """How a row is measured."""

    TRAFFIC = "traffic"
    STUCK = "stuck"
    IDLE = "idle"
    JOINS = "joins"
    START = "start"


@dataclass(frozen=True, slots=True)
class Figure:
    """A quantity that is measured: its name, and how its values are written."""

    key: str
    title: str
    phrase: str  # for a line of progress, with a place for the value
    more_is_better: bool
    text: Callable[[float], str]

    @property
    def with_unit(self) -> str:
        """Its title, for values that are not written by `text`."""
        unit = {_time: ", µs", _bytes: ", bytes"}.get(self.text, "")
        return f"{self.title}{unit} ({'more' if self.more_is_better else 'less'} is better)"


@dataclass(frozen=True, slots=True)
class Scale:
    """Durations and numbers of users: all that `--quick` makes smaller."""

    seconds: float = 1.0
    warm_up: float = 0.3
    idle_users: int = 5000
    joins: int = 5000

    def filled(self, words: str) -> list[str]:
        """The words for the load generator, with the numbers filled in."""
        places = {
            "seconds": f"{self.seconds:g}",
            "warm_up": f"{self.warm_up:g}",
            "idle_users": str(self.idle_users),
            "joins": str(self.joins),
        }
        return fill(words, places).split()


QUICK = Scale(seconds=0.5, warm_up=0.1, idle_users=500, joins=500)


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of work."""

    key: str
    title: str
    kind: Kind
    figures: tuple[str, ...]  # keys of FIGURES; ratios are of the first one
    load: str = ""  # words for the load generator; {seconds} and others are filled in
    once: bool = False  # measured in the first repeat only: it is slow, and hardly varies

    @property
    def leading(self) -> Figure:
        """The figure of which ratios are shown."""
        return FIGURES[self.figures[0]]

    @property
    def is_throughput(self) -> bool:
        """Whether it shows how much a server can do, and not how quickly it answers."""
        return self.kind is Kind.TRAFFIC and self.figures[0] == "rate"


# --- How figures are written ---------------------------------------------------------------------


def significant(value: float, digits: int = 3) -> str:
    """A value with so many significant digits and no exponent: 13.8, 0.0471, 21,900."""
    rounded = float(f"{value:.{digits}g}")
    if rounded == 0:
        return "0"
    before = (
        math.floor(math.log10(abs(rounded))) + 1
    )  # digits before the point; below 0: zeros behind it
    return f"{rounded:,.{max(digits - before, 0)}f}"


def scaled(units: Sequence[tuple[float, str]]) -> Callable[[float], str]:
    """A function that writes a value in the first unit that it reaches, else in the last one."""

    def text(value: float) -> str:
        size, name = next((unit for unit in units if abs(value) >= unit[0]), units[-1])
        return f"{significant(value / size)} {name}".rstrip()

    return text


_count = scaled([(1e6, "M"), (1e3, "k"), (1, "")])
_bytes = scaled([(2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"), (1, "B")])
_whole = "{:,.0f}".format
_share = "{:.2f}".format
_time = scaled([(1e6, "s"), (1e3, "ms"), (1, "µs")])  # from microseconds

FIGURES = {
    figure.key: figure
    for figure in (
        Figure("rate", "deliveries a second", "{} a second", True, _count),
        Figure("joins", "joins a second", "{} a second", True, _count),
        Figure("cpu", "server CPU a delivery, µs", "{} µs of CPU each", False, significant),
        Figure("join_cpu", "server CPU a join, µs", "{} µs of CPU each", False, significant),
        Figure("p50", "latency p50", "p50 {}", False, _time),
        Figure("p99", "latency p99", "p99 {}", False, _time),
        Figure("p999", "latency p99.9", "p99.9 {}", False, _time),
        Figure("per_user", "bytes a user", "{} bytes a user", False, _whole),
        Figure("idle_cpu", "CPU while idle, %", "{} % of a processor", False, significant),
        Figure("kept", "rate with ÷ without", "{} of the rate without", True, _share),
        Figure("grown", "memory added at the peak", "{} more at the peak", False, _bytes),
        Figure("start", "start-up", "up in {}", False, _time),
        Figure("resident", "memory at start", "{} resident", False, _bytes),
        Figure("binary", "program file", "{} of program", False, _bytes),
    )
}

# --- The rows ------------------------------------------------------------------------------------

_LATENCY = ("p50", "p99", "p999")
_IN_FLIGHT = 1024  # ten for each of a hundred; with 1, no batching is possible
_FLOOD = (
    "flood --seconds {seconds} --warm-up {warm_up}"
    " --senders {senders} --receivers {receivers} --in-flight {in_flight}"
)

_THROUGHPUT = (
    ("1-100", "1→100", 1, 100),
    ("10-100", "10→100", 10, 100),
    ("100-all", "100 all talk", 100, 100),
    ("1-1000", "1→1000", 1, 1000),
)
_RATES = (("2k", 2_000), ("50k", 50_000))


def _flood(senders: int, receivers: int, in_flight: int) -> str:
    numbers = {"senders": senders, "receivers": receivers, "in_flight": in_flight}
    return fill(_FLOOD, {name: str(number) for name, number in numbers.items()})


def _throughput(key: str, title: str, senders: int, receivers: int, one: bool = False) -> Row:
    load = _flood(senders, receivers, 1 if one else _IN_FLIGHT)
    if one:
        key, title = f"{key}-one", f"{title}, one in flight"
    return Row(key, title, Kind.TRAFFIC, ("rate", "cpu", *_LATENCY), load)


def _at_rate(key: str, deliveries: int) -> Row:
    load = (
        "rate --seconds {seconds} --warm-up {warm_up} --senders 10 --receivers 100"
        f" --deliveries {deliveries}"
    )
    title = f"latency at {deliveries:,} deliveries a second"
    return Row(f"latency-{key}", title, Kind.TRAFFIC, ("p99", "p50", "p999"), load)


ROWS = (
    *(_throughput(*row) for row in _THROUGHPUT),
    *(_throughput(*row, one=True) for row in _THROUGHPUT),
    *(_at_rate(*rate) for rate in _RATES),
    Row(
        "idle",
        "idle users",
        Kind.IDLE,
        ("per_user", "idle_cpu"),
        "idle --users {idle_users} --seconds {seconds}",
        once=True,
    ),
    Row(
        "joins",
        "joins",
        Kind.JOINS,
        ("joins", "join_cpu"),
        "joins --users {joins} --concurrent 500",  # InspIRCd admits users once a second
    ),
    Row(
        "stuck",
        "one user who never reads beside 100 who talk",
        Kind.STUCK,
        ("kept", "rate", "grown"),
        _flood(100, 100, _IN_FLIGHT),
    ),
    Row("start", "start-up and size", Kind.START, ("start", "resident", "binary")),
)
