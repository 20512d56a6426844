"""Writes index.html from a template, a style sheet, the modules of a script, and data.

The data is compressed JSON, so that the page of a large run stays small. Transcripts are a separate
part, which the page loads after its first view. The script makes all elements, and inserts every
text as a text node, never as HTML.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Iterator, Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined

from conformance.report.page.data import first_data, said_data
from conformance.report.run import Run
from conformance.report.terminal.matrix import Look, matrix
from conformance.text import visible

MAIN = "main.js"  # imports all other modules, directly or indirectly

REPORT = files("conformance.report.page")

_IMPORT = re.compile(r'^import {([^}]*)} from "\./(.*)";$', re.MULTILINE)
_EXPORT = re.compile(r"^export (?:async )?(?:function|const) (\w+)", re.MULTILINE)
_EXPORTED = re.compile(r"^export ", re.MULTILINE)


def index_html(run: Run, transcripts: Path | None = None) -> str:
    """The text of the page; `transcripts` is the folder with the transcripts of the run."""
    return drawn(
        (REPORT,),
        "template.html",
        suite=run.suite,
        first=packed(first_data(run)),
        said=packed(said_data(run, transcripts)),
        plain=[visible(line) for line in matrix(run, Look()).splitlines()],
    )


def drawn(homes: Sequence[Traversable], template: str, **values: Any) -> str:
    """A page from a template and its parts. Each part comes from the first folder that has it."""
    loader = FunctionLoader(lambda name: _part(homes, name))
    environment = Environment(autoescape=True, undefined=StrictUndefined, loader=loader)
    environment.filters["visible"] = visible
    return environment.get_template(template).render(
        style=_part(homes, "style.css"),
        script="const modules = {};\n" + "".join(_modules(homes, MAIN, set())),
        **values,
    )


def packed(data: Any) -> str:
    """Data as compressed JSON in base64, which needs no escapes in HTML."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode("utf-8"), 6, mtime=0)).decode("ascii")


def unpacked(text: str) -> Any:
    """The reverse of `packed`."""
    return json.loads(gzip.decompress(base64.b64decode(text)))


def _modules(homes: Sequence[Traversable], name: str, done: set[str]) -> Iterator[str]:
    """A module, after all modules that it imports; each one only once, as a function scope."""
    done.add(name)
    text = _part(homes, f"script/{name}")
    for _, needed in _IMPORT.findall(text):
        if needed not in done:
            yield from _modules(homes, needed, done)
    given = ", ".join(_EXPORT.findall(text))
    body = _EXPORTED.sub("", _IMPORT.sub(r"const {\1} = modules['\2'];", text))
    yield f"modules['{name}'] = (() => {{\n{body}return {{ {given} }};\n}})();\n"


def _part(homes: Sequence[Traversable], name: str) -> str:
    home = next(one for one in homes if one.joinpath(name).is_file())
    return home.joinpath(name).read_text("utf-8")
