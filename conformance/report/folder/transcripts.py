"""Names, writes and reads the files of cases: transcripts, and what the actors wrote."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from conformance.model import Outcome, Written
from conformance.text import encodable

TRANSCRIPTS = "transcripts"  # in the output folder
MOST_NAME = 200  # characters of a file name; file systems allow 255

_HEAD = re.compile(r"^--- (\S+): (.*) ---$", re.MULTILINE)  # the line before a stream's text
_LIKE_A_HEAD = re.compile(r"^(?=\\*--- )", re.MULTILINE)  # gets a backslash in front
_WITH_BACKSLASH = re.compile(r"^\\(?=\\*--- )", re.MULTILINE)


def transcript_name(case_id: str) -> str:
    """The name of a transcript. It has only characters that the archives of CI systems allow."""
    case_id = encodable(case_id)
    name = re.sub(r"[^A-Za-z0-9.+_\[\]-]+", "_", case_id)
    # The path of the suite is long, or other letters became the same `_`.
    if len(name) > MOST_NAME or not case_id.isascii():
        digest = hashlib.sha256(case_id.encode()).hexdigest()
        name = f"{digest[:12]}_{name[-MOST_NAME:]}"
    return name + ".txt"


def timed_name(case_id: str) -> str:
    """The name of the file with the same lines, each with its time and its line in the scenario."""
    return transcript_name(case_id).removesuffix(".txt") + ".timed.txt"


def output_name(case_id: str) -> str:
    """The name of the file with all output of the programs and all input of other actors."""
    return transcript_name(case_id).removesuffix(".txt") + ".output.txt"


def output_of(folder: Path | None, case_id: str) -> Path | None:
    """The path of the file `output_name` in an output folder, if it exists."""
    path = folder / TRANSCRIPTS / output_name(case_id) if folder else None
    return path if path and path.is_file() else None


def output_text(streams: Iterable[Written]) -> str:
    """The text of the file `output_name`. No line of a stream can look like the head of one."""
    texts = [(one, _LIKE_A_HEAD.sub(r"\\", one.text)) for one in streams]
    return "\n".join(f"--- {one.actor}: {one.stream} ---\n{text}\n" for one, text in texts)


def streams(text: str) -> Iterator[Written]:
    """The reverse of `output_text`; what is before the first head is left out."""
    heads = list(_HEAD.finditer(text))
    ends = [head.start() - 1 for head in heads[1:]]  # without the empty line before a head
    for head, end in zip(heads, [*ends, len(text)], strict=False):
        written = text[head.end() + 1 : end].removesuffix("\n")
        yield Written(head[1], head[2], _WITH_BACKSLASH.sub("", written))


class Transcripts:
    """Writes the transcripts of cases.

    An error such as a full disk does not end the run: `check` raises it at the end.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._error: OSError | None = None

    def keep(self, case_id: str, outcome: Outcome) -> None:
        """Write the files of one case."""
        self._write(transcript_name(case_id), outcome.transcript)
        if outcome.timed:
            self._write(timed_name(case_id), outcome.timed)
        if outcome.output:
            self._write(output_name(case_id), output_text(outcome.output))

    def check(self) -> None:
        """Raise the error of a file that could not be written, if there was one."""
        if self._error:
            raise self._error

    def _write(self, name: str, text: str) -> None:
        try:
            (self.folder / name).write_text(text, encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            self._error = error
