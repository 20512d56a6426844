"""What steps name: lines and patterns, and bytes. Whether a line meets what was expected of it.

It does not know who says or sees a line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import repeat

from conformance.mistakes import Place
from conformance.text import complete, encode, fill, plain, quoted

CURSOR = "\N{CARET}"  # stands in a row of a screen where the cursor is
ANY = "*"  # as a value of a JSON object: any text
ITEMS = "\N{OBJECT REPLACEMENT CHARACTER}"  # stands in a line where its items are, in any order

_MOST_PATTERNS = 4096  # that are kept compiled: more than there are in a suite


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
    return all(_is_value(got, want) for (_, got), (_, want) in zip(pairs, expected, strict=True))


def _is_value(got: object, wanted: object) -> bool:
    """Whether a value is the wanted one; to Python, but not in JSON, `true` is 1."""
    if wanted == ANY:
        return isinstance(got, str)
    return got == wanted and isinstance(got, bool) == isinstance(wanted, bool)


@lru_cache(_MOST_PATTERNS)
def compiled(expression: str) -> re.Pattern[str]:
    """A regular expression, compiled once: when its scenario is read."""
    return re.compile(expression)


def _compared_objects(line: str, wanted: str) -> tuple[str, str, str]:
    """Two JSON objects, reduced to the keys in which they differ, and why these differ."""
    try:
        got = json.loads(line)
    except (ValueError, RecursionError):
        return f"as JSON: {wanted}", line, "not JSON"
    if not isinstance(got, dict):
        return f"as JSON: {wanted}", line, "not a JSON object"
    expected = json.loads(wanted)
    words, keys = [], []
    for key in dict.fromkeys((*expected, *got)):
        want, have = expected.get(key), got.get(key)
        if key not in got or key not in expected:
            words.append(f"`{key}` is {'missing' if key in expected else 'too much'}")
        elif not _is_value(have, want):
            words.append(f"`{key}` is another")
        else:
            continue
        keys.append(key)
    if not keys:
        return f"as JSON: {wanted}", line, "the keys stand in another order, or one of them twice"
    return _only(expected, keys), _only(got, keys), "; ".join(words)


def _only(values: Mapping[str, object], keys: Sequence[str]) -> str:
    return json.dumps({key: values[key] for key in keys if key in values}, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Ready:
    """How a server says that it is ready."""

    line: Pattern | None = None  # with `{host}` and `{port}`; None: it says nothing
    first: bool = True  # no other line comes before it
    in_errors: bool = False  # it stands on standard error


def with_port(line: Pattern) -> re.Pattern[str]:
    """The regular expression of a whole ready line; `{port}` becomes a group `port`."""
    parts = complete(line.text, {"port": "\n"}).split("\n")  # no line holds a line end
    if line.how != "matches":
        parts = list(map(re.escape, parts))
    around = ".*" if line.how == "contains" else ""
    return re.compile(around + "(?P<port>[0-9]{1,5})".join(parts) + around, re.DOTALL)


def named_port(text: str) -> int | None:
    """The port that a ready line names; None if it is no number from 1 to 65535."""
    port = int(text) if re.fullmatch("[0-9]{1,5}", text) else 0
    return port if 1 <= port <= 65535 else None


@dataclass(frozen=True, slots=True)
class Bytes:
    """Bytes that a step sends, each piece as often as is said: a scenario may name megabytes."""

    # A text has places that are filled in when the case is played.
    pieces: tuple[tuple[bytes | str, int], ...]

    @property
    def size(self) -> int:
        """How many bytes these are, before any place is filled in."""
        return sum(len(piece) * times for piece, times in self.pieces)

    def whole(self, values: Mapping[str, str]) -> bytes:
        """All of them, with these values in their places."""
        return b"".join(
            (encode(complete(piece, values)) if isinstance(piece, str) else piece) * times
            for piece, times in self.pieces
        )


@dataclass(frozen=True, slots=True)
class Pattern:
    """What a line must be; with `times`, so many lines, `{n}` in them counting from 1."""

    text: str
    how: str = "is"  # is, starts, ends, contains, matches, json, items
    times: int = 1
    place: Place | None = None
    optional: bool = False  # the line may come, or not
    items: tuple[str, ...] = ()  # of `items`: what stands at its place in the text, in any order
    between: str = ""  # and what stands between two of these
    captures: tuple[str, ...] = ()  # names of parts that are kept for later steps
    kept: dict[str, str] | None = field(default=None, compare=False, repr=False)  # where these go

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
            case "items":
                return self._has_items(line)
            case _:
                return self._matches(line)

    def _has_items(self, line: str) -> bool:
        """Whether the items stand at their place, in any order, and nothing else does."""
        start, _, end = self.text.partition(ITEMS)
        if len(line) < len(start) + len(end) or not (line.startswith(start) and line.endswith(end)):
            return False
        middle = line[len(start) : len(line) - len(end)]
        found = middle.split(self.between) if middle or self.items else []
        return sorted(found) == sorted(self.items)

    def _matches(self, line: str) -> bool:
        """Whether the expression matches the line; then its named parts are kept."""
        found = compiled(self.text).fullmatch(line)
        if found and self.kept is not None:
            self.kept.update({name: found[name] or "" for name in self.captures})
        return found is not None

    def compared(self, line: str) -> tuple[str, str, str]:
        """What was expected, what was seen, and how these differ, where more can be said of it."""
        if self.how == "json":
            return _compared_objects(line, self.text)
        return str(self), line, ""

    def each(self) -> Iterator[Pattern]:
        """The single lines that it stands for."""
        if self.times == 1 and "{" not in self.text and not self.items:
            yield self
            return
        # Where the number goes, as a line end, which no line holds.
        parts = plain(fill(self.text, {"n": "\n"})).split("\n")
        if len(parts) == 1:
            yield from repeat(self._one(parts[0]), self.times)
            return
        for n in range(1, self.times + 1):
            yield self._one(str(n).join(parts))

    def _one(self, text: str) -> Pattern:
        """A single line with this text."""
        if self.how == "is" and not self.optional:  # most are, and there may be thousands
            return Pattern(text)
        items = tuple(map(plain, self.items))
        return replace(self, text=text, times=1, items=items)

    def filled(self, values: Mapping[str, str]) -> Pattern:
        """With what is known only when the server runs filled in, each value as a plain text."""
        if "{" not in self.text and not self.items:
            return self
        meant = {name: quoted(self._spelled(value)) for name, value in values.items()}
        items = tuple(fill(item, meant) for item in self.items)
        return replace(self, text=fill(self.text, meant), items=items)

    def _spelled(self, value: str) -> str:
        """How a text is written in an expectation of this kind."""
        if self.how == "matches":
            return re.escape(value)
        return json.dumps(value, ensure_ascii=False)[1:-1] if self.how == "json" else value

    def __str__(self) -> str:
        words = {"is": "", "starts": "a line that starts with ", "ends": "a line that ends with "}
        words |= {"contains": "a line that contains ", "matches": "a line that matches "}
        words |= {"json": "as JSON: ", "items": "in any order: "}
        return words[self.how] + self.text.replace(ITEMS, self.between.join(self.items))


def patterns_in(argument: object) -> Iterator[Pattern]:
    """All patterns of a step's argument, whatever its grammar."""
    if isinstance(argument, Pattern):
        yield argument
    elif isinstance(argument, tuple):
        for part in argument:
            yield from patterns_in(part)
