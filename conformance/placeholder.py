"""Texts with places to fill: `{name}`, and `{{` for a brace."""

from __future__ import annotations

import re
from collections.abc import Mapping

_PLACE = re.compile(r"\{\{|\{([a-z_]+)\}")
_BRACE = re.compile(r"\{\{|\{[a-z_]+\}|(\{)")


def fill(text: str, values: Mapping[str, str]) -> str:
    """The text with what is known filled in; the rest, and `{{`, stay for a later filling."""
    if "{" not in text:  # most texts are as they are
        return text
    return _PLACE.sub(lambda found: values.get(found[1], found[0]), text)


def plain(text: str) -> str:
    """What is meant, once all is filled."""
    return text.replace("{{", "{")


def complete(text: str, values: Mapping[str, str]) -> str:
    """What is meant: all filled in, where braces in a value are nothing but braces."""
    return _PLACE.sub(lambda found: values.get(found[1], found[0]) if found[1] else "{", text)


def quoted(text: str) -> str:
    """A text whose braces are nothing but braces, for a later filling."""
    return text.replace("{", "{{")


def places(text: str) -> list[str]:
    """The names of the places that are still to be filled."""
    return [found[1] for found in _PLACE.finditer(text) if found[1]]


def lone_brace(text: str) -> bool:
    """Whether some `{` is neither part of a place nor doubled, and so probably a slip."""
    return any(found[1] for found in _BRACE.finditer(text))
