"""Does this line meet that expectation, and what does a person call the expectation."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import repeat

from conformance.model import Place
from conformance.placeholder import fill, plain

ANY = "*"  # as a value of a JSON object: any text


def decode(data: bytes) -> str:
    """Bytes as text, reversibly: what is not UTF-8 becomes lone surrogates."""
    return data.decode("utf-8", "surrogateescape")


def encode(text: str) -> bytes:
    """The reverse of `decode`."""
    return text.encode("utf-8", "surrogateescape")


class _Object(list[tuple[str, object]]):
    """A JSON object as its pairs, which a JSON array is not."""


def _is_object(line: str, wanted: str) -> bool:
    """Whether a line is one JSON object with these keys, in this order, and these values."""
    try:
        pairs = json.loads(line, object_pairs_hook=_Object)
    except (ValueError, RecursionError):
        return False
    expected = json.loads(wanted, object_pairs_hook=_Object)
    if not isinstance(pairs, _Object) or [key for key, _ in pairs] != [key for key, _ in expected]:
        return False
    values = [(got, want) for (_, got), (_, want) in zip(pairs, expected, strict=True)]
    return all(got == want or (want == ANY and isinstance(got, str)) for got, want in values)


def _object_difference(line: str, wanted: str) -> str:
    try:
        got = json.loads(line)
    except (ValueError, RecursionError):
        return "not JSON"
    if not isinstance(got, dict):
        return "not a JSON object"
    expected = json.loads(wanted)
    words = [f"`{key}` is missing" for key in expected if key not in got]
    words += [f"`{key}` is too much" for key in got if key not in expected]
    for key in [key for key in expected if key in got]:
        want, have = expected[key], got[key]
        if have != want and not (want == ANY and isinstance(have, str)):
            kind = "any text" if want == ANY else json.dumps(want, ensure_ascii=False)
            words.append(f"`{key}` is {json.dumps(have, ensure_ascii=False)}, expected {kind}")
    return "; ".join(words) or "the keys stand in another order, or one of them twice"


@dataclass(frozen=True, slots=True)
class Pattern:
    """What a line must be; with `times`, so many lines, `{n}` in them counting from 1."""

    text: str
    how: str = "is"  # is, starts, ends, contains, matches, json
    times: int = 1
    place: Place | None = None

    def meets(self, line: str) -> bool:
        """Whether the line, without its end, is as it must be."""
        match self.how:
            case "is":
                return line == self.text
            case "starts":
                return line.startswith(self.text)
            case "ends":
                return line.endswith(self.text)
            case "contains":
                return self.text in line
            case "json":
                return _is_object(line, self.text)
            case _:
                return re.fullmatch(self.text, line) is not None

    def difference(self, line: str) -> str:
        """Where two JSON objects differ, key by key; nothing where that cannot be said."""
        return _object_difference(line, self.text) if self.how == "json" else ""

    def each(self) -> Iterator[Pattern]:
        """The single lines that it stands for."""
        if self.times == 1 and "{" not in self.text:
            yield self
            return
        # Where the number goes, as a line end, which no line holds.
        parts = plain(fill(self.text, {"n": "\n"})).split("\n")
        if len(parts) == 1:
            yield from repeat(Pattern(parts[0], self.how), self.times)
            return
        for n in range(1, self.times + 1):
            yield Pattern(str(n).join(parts), self.how)

    def filled(self, values: Mapping[str, str]) -> Pattern:
        """With what is known only when the server runs filled in."""
        return replace(self, text=fill(self.text, values)) if "{" in self.text else self

    def __str__(self) -> str:
        words = {"is": "", "starts": "a line that starts with ", "ends": "a line that ends with "}
        words |= {"contains": "a line that contains ", "matches": "a line that matches "}
        words["json"] = "as JSON: "
        return words[self.how] + self.text
