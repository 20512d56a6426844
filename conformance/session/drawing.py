"""Draws reports of earlier runs: of one run again, or of the parts of a run together."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from conformance.mistakes import Mistake
from conformance.report.folder import attached, results
from conformance.report.folder.merge import merged
from conformance.report.folder.output import (
    FILES,
    Draft,
    explained,
    listing,
    locked,
    refuse_foreign_files,
)
from conformance.report.folder.transcripts import TRANSCRIPTS
from conformance.report.reports import draw
from conformance.report.run import Run, with_attached
from conformance.session.publication import unneeded_in

_NOT_DRAWN = (results.RESULTS_FILE, TRANSCRIPTS)  # files of a run that are no reports


def draw_again(path: Path, attach: Sequence[Path] = ()) -> Run:
    """Draw every report again, beside the results.json from which it is drawn; raises Mistake.

    The data of the files in `attach` is added to results.json, so that it is shown again the next
    time.
    """
    more = attached.read_all(attach)
    if path.is_file() and path.name != results.RESULTS_FILE:
        remedy = f"put it into a folder of its own, as {results.RESULTS_FILE}"
        raise Mistake([f"{path}: reports are drawn beside a {results.RESULTS_FILE}; {remedy}"])
    output = path if path.is_dir() else path.parent
    results.read(path)  # before anything is written: the folder may hold no results
    refuse_foreign_files(output, [name for name in FILES if name not in _NOT_DRAWN])
    with locked(output):
        run = with_attached(results.read(path), more)
        draft = Draft(output)
        try:
            with explained(output):
                if more:
                    results.write(run, draft.path)
                draw(run, draft.path, output / TRANSCRIPTS)
            kept = [name for name in listing(output) if name.partition("/")[0] in _NOT_DRAWN]
            draft.swap_in(kept)
        finally:
            draft.discard()
    return run


def merge(folders: Sequence[Path], output: Path) -> Run:
    """Join the parts of a run into one, with transcripts and reports; raises Mistake."""
    homes = [folder if folder.is_dir() else folder.parent for folder in folders]
    parts = [results.read(folder) for folder in folders]
    _refuse_what_would_be_lost(homes, output)
    run = merged(list(zip(map(str, folders), parts, strict=True)))
    if len(run.results) == run.planned and not any(one.part and one.part.chosen for one in parts):
        run = replace(run, unneeded=unneeded_in(run))
    refuse_foreign_files(output, FILES)
    with locked(output):
        draft = Draft(output)
        try:
            with explained(output):
                for home in homes:
                    target = draft.path / TRANSCRIPTS
                    shutil.copytree(home / TRANSCRIPTS, target, dirs_exist_ok=True)
                results.write(run, draft.path)
                draw(run, draft.path, draft.path / TRANSCRIPTS)
            draft.swap_in()
        finally:
            draft.discard()
    return run


def _refuse_what_would_be_lost(homes: Sequence[Path], output: Path) -> None:
    """Raise Mistake if the whole would replace a part, or a part lacks its transcripts."""
    for home in homes:
        if home.resolve() == output.resolve():
            raise Mistake([f"{home}: this is a part; name another folder by --output"])
        if not (home / TRANSCRIPTS).is_dir():
            problem = (
                f"{home}: has no folder {TRANSCRIPTS}; copy all files that the part has written"
            )
            raise Mistake([problem])
