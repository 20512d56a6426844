"""The folder with what was said in each case: how its files are called. It knows no verdict."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from conformance.model import Outcome

TRANSCRIPTS = "transcripts"  # in the output folder
MOST_NAME = 200  # characters of a file's name; file systems allow 255


def transcript_name(case_id: str) -> str:
    """The file of a case's transcript. Archives of CI systems allow only some characters."""
    name = re.sub(r"[^A-Za-z0-9.+_\[\]-]+", "_", case_id)
    if len(name) > MOST_NAME:  # the suite was named by a long path
        digest = hashlib.sha256(case_id.encode("utf-8", "backslashreplace")).hexdigest()
        name = f"{digest[:12]}_{name[-MOST_NAME:]}"
    return name + ".txt"


def output_name(case_id: str) -> str:
    """The file of all that the programs wrote in a case in which something went wrong."""
    return transcript_name(case_id).removesuffix(".txt") + ".output.txt"


def output_of(folder: Path | None, case_id: str) -> Path | None:
    """The path of that file in an output folder, if it is there."""
    path = folder / TRANSCRIPTS / output_name(case_id) if folder else None
    return path if path and path.is_file() else None


class Transcripts:
    """Writes what was said in each case.

    A full disk does not end a run: the error is kept, and `check` raises it at the end.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._error: OSError | None = None

    def keep(self, case_id: str, outcome: Outcome) -> None:
        """Write the files of one case."""
        self._write(transcript_name(case_id), outcome.transcript)
        if outcome.output:
            self._write(output_name(case_id), outcome.output)

    def check(self) -> None:
        """Raise the error of a file that could not be written."""
        if self._error:
            raise self._error

    def _write(self, name: str, text: str) -> None:
        try:
            (self.folder / name).write_text(text, encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            self._error = error
