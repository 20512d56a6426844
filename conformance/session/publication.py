"""Publishes a run: results.json, transcripts and all reports, in the output folder."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from conformance.judge import unneeded
from conformance.kit import find
from conformance.mistakes import Mistake
from conformance.model import Case, Outcome, Verdict
from conformance.report.folder import results
from conformance.report.folder.output import (
    FILES,
    Draft,
    explained,
    locked,
    refuse_foreign_files,
)
from conformance.report.folder.transcripts import TRANSCRIPTS, Transcripts, transcript_name
from conformance.report.reports import draw
from conformance.report.run import Run


class Publication:
    """The files of a run: in a draft while cases are played, in the output folder at the end."""

    def __init__(self, output: Path) -> None:
        self._output = output
        self._draft: Draft | None = None
        self._transcripts = Transcripts(output / TRANSCRIPTS)

    @property
    def transcripts(self) -> Path:
        """The folder of the transcripts, in the draft."""
        return self._transcripts.folder

    def begin(self, cases: Iterable[Case]) -> None:
        """Make a folder for this run; raises Mistake."""
        transcripts = [f"{TRANSCRIPTS}/{transcript_name(case.id)}" for case in cases]
        refuse_foreign_files(self._output, [*FILES, *transcripts])
        with locked(self._output):
            self._draft = Draft(self._output)
        self._transcripts = Transcripts(self._draft.path / TRANSCRIPTS)
        with explained(self._output):
            self._transcripts.folder.mkdir()

    def join(self, transcripts: Path) -> None:
        """Write transcripts into the draft of another process."""
        self._transcripts = Transcripts(transcripts)

    def keep(self, case: Case, outcome: Outcome) -> None:
        """Write the transcript of a case."""
        self._transcripts.keep(case.id, outcome)

    def finish(self, run: Run) -> None:
        """Write results.json and every report into the output folder; raises Mistake."""
        assert self._draft
        with explained(self._output):
            self._transcripts.check()
            results.write(run, self._draft.path)
        try:
            with explained(self._output):
                draw(run, self._draft.path, self._transcripts.folder)
        except Mistake:
            raise
        except Exception:  # a fault in a report costs the reports, not the results of the run
            self._swap_in(self._draft)
            raise
        self._swap_in(self._draft)

    def _swap_in(self, draft: Draft) -> None:
        with locked(self._output):
            draft.swap_in()

    def close(self) -> None:
        """Remove the draft, if it was not published."""
        if self._draft:
            self._draft.discard()


def unneeded_in(run: Run) -> list[str]:
    """The known failures of manifests that did not fail; only for a run of all cases."""
    untold = (Verdict.ERRORED, Verdict.UNAVAILABLE)
    if any(one.verdict in untold for one in run.results):
        return []
    listed = {(one["role"], one["name"]): one["known_failures"] for one in run.implementations}
    return list(unneeded(listed, run.results, run.requirements))


def sources(cases: Iterable[Case]) -> dict[str, str]:
    """The text of each scenario file, by its name, if no person has removed it since."""
    found = {}
    for file in dict.fromkeys(case.scenario.file for case in cases):
        with suppress(OSError):
            found[file] = find(Path(file)).read_text("utf-8", "replace")
    return found
