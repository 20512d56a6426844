"""What a person asked for, and the implementations that the request names."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conformance.model import Implementation, Suite
from conformance.plan import Selection
from conformance.play.case.hold import Hold
from conformance.play.schedule.deadlines import DEADLINES
from conformance.read import manifest
from conformance.report.folder import results

OUTPUT = Path("build") / "conformance"


@dataclass(frozen=True, slots=True)
class Request:
    """What a person asked for, by options and arguments."""

    paths: Sequence[Path]
    selection: Selection
    folders: Sequence[str] = ()  # with implementations besides the suite's; may be patterns
    required: bool = False  # an implementation that cannot run makes the run red
    strict: bool = False  # a SHOULD counts as a MUST
    probing: bool = False  # a feature that a manifest does not list must be absent
    deadline: float = DEADLINES.step  # seconds
    output: Path = OUTPUT
    against: str = ""  # judge only implementations of `folders`, each paired with this one
    repeat: int = 1  # how often each case is played
    shard: tuple[int, int] | None = None  # play only part I of N
    measured: Mapping[str, float] = field(default_factory=dict)  # seconds by case key: see Shard
    minutes: int = 0  # play all cases again and again for this long; 0: see `repeat`
    delivery: str = "whole"  # one of options.DELIVERIES
    hold: Hold | None = None  # pauses at each failure; cases are played one at a time
    attach: Sequence[Path] = ()  # files that the reports show, too

    @property
    def is_choice(self) -> bool:
        """Whether the request leaves out some cases of the suite."""
        return (
            self.selection != Selection()
            or bool(self.against)
            or not any(map(Path.is_dir, self.paths))
        )


def request(
    paths: Sequence[Path],
    options: Mapping[str, Any],
    ids: tuple[str, ...] = (),
    keyword: str = "",
) -> Request:
    """Make a request from options. The keys are the names in `options.py`, with `_` for `-`."""
    return Request(
        paths=list(dict.fromkeys(paths)),
        selection=Selection(options["server"], options["client"], ids, keyword),
        folders=options["implementation"],
        against=options.get("against", ""),
        required=options.get("require", False),
        strict=options.get("strict", False),
        probing=options.get("probe_features", False),
        deadline=options.get("deadline") or DEADLINES.step,
        output=Path(options.get("output") or OUTPUT),
        repeat=options.get("repeat") or 1,
        shard=options.get("shard"),
        measured=_measured(options.get("measured")),
        delivery=options.get("delivery") or "whole",
        attach=options.get("attach") or (),
    )


def named_folders(names: Iterable[str]) -> list[Path]:
    """The named folders; a pattern stands for all folders that match it, sorted."""
    found: list[Path] = []
    for name in names:
        is_pattern = glob.has_magic(name) and not Path(name).exists()
        some = sorted(path for path in glob.glob(name) if Path(path).is_dir()) if is_pattern else []
        found += map(Path, some or [name])
    return found


def implementations_of(suite: Suite | None, names: Iterable[str]) -> list[Implementation]:
    """The implementations of a suite and of the named folders, each once; raises Mistake."""
    own = suite.implementation_folders if suite else []
    every = {folder.resolve(): folder for folder in (*named_folders(names), *own)}
    return manifest.find(every.values())


def _measured(path: str | None) -> dict[str, float]:
    """The seconds that each case took in an earlier run, by case key; raises Mistake."""
    return {one.key: one.seconds for one in results.read(Path(path)).results} if path else {}
