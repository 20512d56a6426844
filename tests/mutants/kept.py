"""Verdicts of earlier runs; one is valid for the same program, edit and cases."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from .mutant import Found, Mutant, Verdict


class Kept:
    """A file of verdicts, by the hash of program and edit."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._found: dict[str, Found] = {}
        with suppress(FileNotFoundError, ValueError, TypeError):  # of another version: ignored
            data = json.loads(path.read_text("utf-8"))
            self._found = {name: _found(one) for name, one in data.items()}

    def before(self, mutant: Mutant) -> Found | None:
        """The last verdict, which may be for other cases."""
        return self._found.get(mutant.hash)

    def holds(self, mutant: Mutant, fingerprints: Mapping[str, str]) -> Found | None:
        """The last verdict, if it is still valid for the cases."""
        found = self.before(mutant)
        match found and found.verdict:
            case Verdict.SURVIVED if found and {*fingerprints.values()} <= {*found.passed}:
                return found
            case Verdict.KILLED if found and found.case in fingerprints.values():
                return found
            case Verdict.DID_NOT_BUILD:
                return found
        return None

    def keep(self, mutant: Mutant, found: Found) -> None:
        """Write it for the next run at once, since this run may be interrupted."""
        self._found[mutant.hash] = found
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_suffix(".new")
        data = {name: one.as_data() for name, one in self._found.items()}
        draft.write_text(json.dumps(data), "utf-8")
        draft.replace(self.path)


def _found(data: Mapping[str, object]) -> Found:
    lists = {name: tuple(value) for name, value in data.items() if isinstance(value, list)}
    verdict = Verdict(str(data["verdict"]))
    return Found(**{**data, **lists, "verdict": verdict})  # type: ignore[arg-type]
