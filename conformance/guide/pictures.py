"""Draws a beat: a pane for each actor, and below them the scenario with its step marked.

Import it only when needed, because the import of rich is slow.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Sequence
from textwrap import wrap

from rich.console import Console
from rich.layout import Layout
from rich.live import Live
from rich.panel import Panel
from rich.text import Text

from conformance.guide.beats import Beat, source
from conformance.guide.dialogue import COMPLAINS, SAYS, SEES, sign
from conformance.guide.stage import Played
from conformance.model import ActorKind, Requirement

COLUMNS, ROWS = 100, 28  # of a recorded picture
LEAST_PANE = 24  # columns
MOST_SOURCE = 9  # lines of the scenario that are shown
HEAD = 3

LAST_BEATS = 4  # how much longer than the others the last picture of an animation is shown
_CHARACTER = (12.2, 24.4)  # pixels, as rich draws it
_PART = "<style>{styles}</style>{backgrounds}{matrix}"
_CLIPPING = re.compile(r' clip-path="[^"]*"')  # superfluous: each text fits in its line
_FRAME = """<g display="{usual}"><animate attributeName="display" dur="{seconds:g}s" \
repeatCount="indefinite" calcMode="discrete" values="{values}" keyTimes="{times}"/>
{part}
</g>
"""
_WHOLE = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}">
<rect width="100%" height="100%" rx="8" fill="#292929"/>
<g transform="translate(8 8)" font-family="monospace" font-size="20px">
{frames}</g>
</svg>
"""

_STYLES = {SAYS: "bold cyan", SEES: "", COMPLAINS: "yellow"}


class Pictures:
    """Draws the beats of one case."""

    def __init__(self, played: Played, rule: Requirement | None) -> None:
        self._case = played.case
        self._failure = played.outcome.failure
        self._rule = rule
        self._source = source(played.case.scenario)

    def of(self, beat: Beat, columns: int, rows: int) -> Layout:
        """The picture of one beat, in this size."""
        lines = min(len(self._source), MOST_SOURCE, max(rows // 3, 3))
        whole = Layout()
        whole.split_column(
            Layout(self._head(columns), size=HEAD),
            self._panes(beat, columns, rows - HEAD - lines - 2),
            Layout(self._scenario(beat, lines), size=lines + 2),
        )
        return whole

    def _head(self, columns: int) -> Panel:
        text = f"{self._rule.id} ({self._rule.level}) {self._rule.text}" if self._rule else ""
        title = Text(self._case.scenario.title, "bold")
        shown = Text(text, "italic", no_wrap=True, overflow="ellipsis")
        return Panel(shown, title=title, subtitle=Text(self._case.key, "dim"), border_style="dim")

    def _panes(self, beat: Beat, columns: int, rows: int) -> Layout:
        """The panes of all actors, in as many rows as needed."""
        actors = list(self._case.scenario.cast)
        across = min(len(actors), max(columns // LEAST_PANE, 1))
        down = -(-len(actors) // across)
        across = -(-len(actors) // down)
        height = max(rows // down, 3)
        grid = Layout()
        grid.split_column(
            *(
                self._row(beat, actors[start : start + across], columns // across - 4, height - 2)
                for start in range(0, len(actors), across)
            )
        )
        return grid

    def _row(self, beat: Beat, actors: Sequence[str], columns: int, height: int) -> Layout:
        row = Layout()
        row.split_row(*(Layout(self._pane(beat, name, columns, height)) for name in actors))
        return row

    def _pane(self, beat: Beat, actor: str, columns: int, height: int) -> Panel:
        """The last lines of an actor, with the lines of this beat highlighted."""
        lines: list[tuple[str, str]] = []
        mine = [(n, row) for n, row in enumerate(beat.rows) if row.actor == actor][-height:]
        for number, row in mine:
            style = _STYLES.get(sign(row), "magenta")
            style = f"{style} on grey23" if number >= beat.new else f"{style} dim"
            said = f"{sign(row)} {row.text}"
            lines += [(line, style.strip()) for line in wrap(said, columns, subsequent_indent="  ")]
        text = Text(no_wrap=True, overflow="ellipsis")
        for line, style in lines[-height:]:
            text.append(f"{line}\n", style)
        acts = any(number >= beat.new for number, _ in mine)
        return Panel(text, title=self._title(actor), border_style="green" if acts else "dim")

    def _title(self, actor: str) -> Text:
        """The actor, its kind, and its program if only one program has this role."""
        case, member = self._case, self._case.scenario.cast[actor]
        words = [str(member)] if str(member) != actor else []
        if member.kind is ActorKind.SERVER and case.server:
            words.append(case.server.name)
        if member.kind is ActorKind.CLIENT and len(case.clients) == 1:
            words.append(case.clients[0].name)
        return Text(f"{actor}: {' '.join(words)}" if words else actor)

    def _scenario(self, beat: Beat, lines: int) -> Panel:
        """The lines of the scenario around the line of the beat, with the failure as the title."""
        numbers = [number for number, _ in self._source]
        place = numbers.index(beat.line) if beat.line in numbers else len(numbers) - 1
        first = min(max(place - lines // 2, 0), len(numbers) - lines)
        text = Text(no_wrap=True, overflow="ellipsis")
        for number, line in self._source[first : first + lines]:
            marked = number == beat.line
            style = ("bold red" if beat.failed else "bold green") if marked else "dim"
            text.append(f"{'▶' if marked else ' '} {number:4} {line}\n", style)
        title = self._case.scenario.file
        if not beat.line:
            title += ": all steps passed; now the suite's ending"
        if beat.failed and self._failure:
            title = f"expected {self._failure.expected}, seen {self._failure.seen}"
        return Panel(text, title=Text(title), border_style="red" if beat.failed else "dim")


def replay(pictures: Pictures, beats: Iterable[Beat], seen: Callable[[], bool]) -> None:
    """Show the beats on the terminal. `seen` waits after each of them; False ends the replay."""
    console = Console()
    with Live(console=console, auto_refresh=False) as live:
        for beat in beats:
            columns, rows = console.size
            live.update(pictures.of(beat, columns, rows - 1), refresh=True)
            if not seen():
                return


def moving(pictures: Pictures, beats: Sequence[Beat], pace: float) -> str:
    """An animated SVG of all beats. A viewer without animation shows the last one."""
    whole = (len(beats) - 1 + LAST_BEATS) * pace
    frames = ""
    for number, beat in enumerate(beats):
        is_last = number == len(beats) - 1
        times = [0.0, number * pace / whole, *([] if is_last else [(number + 1) * pace / whole])]
        values = ["none", "inline", "none"][: len(times)]
        frames += _FRAME.format(
            usual="inline" if is_last else "none",
            seconds=whole,
            values=";".join(values),
            times=";".join(f"{time:.5f}" for time in times),
            part=_part(pictures.of(beat, COLUMNS, ROWS), f"f{number}"),
        )
    width, height = (size * count for size, count in zip(_CHARACTER, (COLUMNS, ROWS), strict=True))
    return _WHOLE.format(width=width + 16, height=height + 16, frames=frames)


def _part(picture: Layout, name: str) -> str:
    """One picture, as the content of an SVG element."""
    console = Console(
        record=True,
        width=COLUMNS,
        height=ROWS,
        file=io.StringIO(),
        color_system="truecolor",
        force_terminal=True,
        legacy_windows=False,
    )
    console.print(picture, height=ROWS)
    return _CLIPPING.sub("", console.export_svg(code_format=_PART, unique_id=name))
