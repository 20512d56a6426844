"""`conformance play`: shows one case step by step, slowly enough to follow.

The case is first played at full speed, and then shown, so that its deadlines are not affected.
"""

from __future__ import annotations

import os
import select
import sys
from pathlib import Path
from typing import Any

from conformance.cli.common import GREEN, RED, Arguments
from conformance.cli.streams import finish, show
from conformance.guide.beats import beats
from conformance.guide.dialogue import dialogue
from conformance.guide.stage import Played, Stage, add_options
from conformance.mistakes import Mistake
from conformance.play.schedule.deadlines import DEADLINES
from conformance.play.terminals.terminal import keys_of
from conformance.session.options import PLAYING, seconds
from conformance.text import visible

PACE = 1.0  # seconds for each beat
QUIT = b"q"


def add_command(commands: Any) -> None:
    """Add the parser of the command."""
    parser = commands.add_parser(
        "play",
        help="show a scenario step by step, a pane for each actor",
        epilog="example: conformance play stop/interrupted --server go --client c --step",
    )
    parser.set_defaults(command=play)
    parser.add_argument("scenario", metavar="SCENARIO", help="such as `stop/interrupted`")
    parser.add_argument(
        "--pace",
        type=seconds,
        default=PACE,
        metavar="SECONDS",
        help="how long to show each act (default: %(default)g); any key continues",
    )
    parser.add_argument("--step", action="store_true", help="wait for a key at each act; q quits")
    parser.add_argument(
        "--record",
        type=Path,
        metavar="FILE.svg",
        help="write an animated picture, instead of showing the case",
    )
    parser.add_argument("--deadline", **PLAYING["deadline"])
    parser.set_defaults(deadline=DEADLINES.step)
    add_options(parser)


def play(arguments: Arguments) -> int:
    """Play the case, show it, then show its verdict."""
    if arguments.step and not _has_a_screen():
        raise Mistake(["--step: it needs a terminal, at which a key can be pressed"])
    stage, name = Stage(arguments), arguments.scenario
    some = stage.named(name)
    if not some:
        raise stage.unknown(name)
    played = stage.play(some, name, arguments.deadline)
    if arguments.record:
        _record(played, stage, arguments)
    elif _has_a_screen():
        _replay(played, stage, arguments)
    else:
        show("\n".join(dialogue(played.rows)) + "\n")
    if problem := stage.problem(played):
        show(problem)
        return RED
    result = played.result
    show(f"{result.verdict} {visible(result.id)}, in {result.seconds:.2f} s")
    return GREEN


def _has_a_screen() -> bool:
    """Whether standard input and output are a terminal that can draw."""
    is_dumb = os.environ.get("TERM", "dumb") in ("", "dumb", "unknown")
    return sys.stdin.isatty() and sys.stdout.isatty() and not is_dumb


def _rule(played: Played, stage: Stage) -> Any:
    claims = played.case.scenario.claims
    return stage.suite.requirements.get(claims[0]) if claims else None


def _record(played: Played, stage: Stage, arguments: Arguments) -> None:
    from conformance.guide.pictures import Pictures, moving  # imports rich, which is slow

    path = arguments.record
    if path.suffix != ".svg":
        raise Mistake([f"{path}: the picture is an SVG; name it {path.with_suffix('.svg')}"])
    pictures = Pictures(played, _rule(played, stage))
    path.write_text(moving(pictures, list(beats(played)), arguments.pace), "utf-8")
    show(str(path))


def _replay(played: Played, stage: Stage, arguments: Arguments) -> None:
    from conformance.guide.pictures import Pictures, replay

    finish()
    limit = None if arguments.step else arguments.pace
    with keys_of(sys.stdin.fileno()):
        replay(Pictures(played, _rule(played, stage)), beats(played), lambda: _seen(limit))


def _seen(limit: float | None) -> bool:
    """Wait for a key, for at most `limit` seconds; False if the person quits."""
    if not select.select([sys.stdin], [], [], limit)[0]:
        return True
    return os.read(sys.stdin.fileno(), 100) not in (QUIT, b"")
