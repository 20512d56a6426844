"""A run as pictures: a panel for each figure of a row, a bar for each contender.

It knows nothing of how things are measured. It alone imports matplotlib, and only to draw.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench import CannotMeasure
from bench.contenders import Standing
from bench.results import Entry, Run
from bench.rows import FIGURES, Row

# They differ in brightness, too, for people who cannot distinguish colours.
_COLORS = {
    Standing.OURS: "#1f5fa8",
    Standing.YARDSTICK: "#b9b9b9",
    Standing.FIRST: "#d9d9d9",
    Standing.PEER: "#e39a4b",
}
_NAMES = {
    Standing.OURS: "ours",
    Standing.PEER: "peers",
    Standing.YARDSTICK: "bare minimum",
    Standing.FIRST: "written first",
}
_COLUMNS = 4
_PANEL = (3.4, 2.9)  # inches

Panel = tuple[Row, str]  # a row and the key of one of its figures


def panels(run: Run) -> dict[str, list[Panel]]:
    """The panels of each picture, by the name of its file."""
    throughput = [row for row in run.rows if row.is_throughput]
    rates = [row for row in run.rows if row.key.startswith("latency-")]
    others = [row for row in run.rows if row not in throughput and row not in rates]
    return {
        "throughput": [(row, "rate") for row in throughput],
        "cpu": [(row, "cpu") for row in throughput],
        "latency": [(row, key) for row in rates for key in ("p50", "p99", "p999")],
        "rest": [(row, key) for row in others for key in row.figures],
    }


def draw(run: Run, folder: Path) -> list[Path]:
    """Draw the pictures that have panels; their files."""
    pyplot = _pyplot()
    paths = []
    for name, wanted in panels(run).items():
        if wanted:
            paths.append(folder / f"{name}.svg")
            _picture(pyplot, run, wanted, paths[-1])
    return paths


def _pyplot() -> Any:
    """Imported here only, since the rest of the bench works without it."""
    try:
        matplotlib = importlib.import_module("matplotlib")
        matplotlib.use("svg")
        matplotlib.rcParams.update({"svg.hashsalt": "bench", "font.size": 8.5})
        return importlib.import_module("matplotlib.pyplot")
    except ImportError:
        raise CannotMeasure("no plots: matplotlib is missing (pip install -e '.[bench]')") from None


def _picture(pyplot: Any, run: Run, wanted: Sequence[Panel], path: Path) -> None:
    columns = 3 if len(wanted) % 3 == 0 and len(wanted) < 10 else min(_COLUMNS, len(wanted))
    lines = -(-len(wanted) // columns)
    figure, axes = pyplot.subplots(
        lines,
        columns,
        squeeze=False,
        layout="constrained",
        figsize=(_PANEL[0] * columns, _PANEL[1] * lines),
    )
    for axis, panel in zip(axes.flat, wanted, strict=False):
        _panel(axis, run, *panel)
    for axis in axes.flat[len(wanted) :]:
        axis.set_visible(False)
    _legend(pyplot, figure, run)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def _panel(axis: Any, run: Run, row: Row, key: str) -> None:
    """Bars from top to bottom in the order of the contenders, each with its figure at its end."""
    figure = FIGURES[key]
    better = "more" if figure.more_is_better else "less"
    axis.set_title(f"{row.title}\n{figure.title} ({better} is better)", fontsize=8.5)
    names = [entry.name for entry in run.entries]
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.set_xticks([])
    axis.spines[["top", "right", "bottom"]].set_visible(False)
    ends = [_bar(axis, run, row, key, place, one) for place, one in enumerate(run.entries)]
    axis.set_xlim(0, 1.45 * max(ends, default=0) or 1)


def _bar(axis: Any, run: Run, row: Row, key: str, place: int, entry: Entry) -> float:
    """Draw the bar of one contender, a line for its range on it; where it ends."""
    spread = run.spread(row, entry.name, key)
    if not spread:
        axis.text(0, place, " not measured", va="center", color="#777777")
        return 0
    axis.barh(place, max(spread.median, 0), color=_COLORS[entry.standing], height=0.72)
    axis.plot([spread.low, spread.high], [place, place], color="black", linewidth=1.2)
    end = max(spread.high, spread.median, 0)
    wrong = bool(run.defects(row, entry.name))
    text = FIGURES[key].text(spread.median) + (" DEFECT" if wrong else "")
    axis.text(end, place, f" {text}", va="center", color="#b00020" if wrong else "black")
    return end


def _legend(pyplot: Any, figure: Any, run: Run) -> None:
    present = list(_standings(run))
    handles = [pyplot.Rectangle((0, 0), 1, 1, color=_COLORS[one]) for one in present]
    figure.legend(
        handles,
        [_NAMES[one] for one in present],
        loc="outside lower center",
        ncols=len(present),
        frameon=False,
    )


def _standings(run: Run) -> Iterator[Standing]:
    for standing in _NAMES:
        if run.entries_of(standing):
            yield standing
