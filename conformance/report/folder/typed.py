"""Converts plain data, as a JSON parser returns it, into dataclasses."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping
from dataclasses import is_dataclass
from enum import Enum
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints


def typed(hint: Any, data: Any, name: str) -> Any:
    """The data as a value of the type `hint`. `name` is for errors. Raises ValueError."""
    kind, inner = get_origin(hint) or hint, get_args(hint)
    if kind is Any:
        return data
    if kind is UnionType:  # `X | None`
        return None if data is None else typed(inner[0], data, name)
    if is_dataclass(kind):
        return _record(kind, typed(dict[str, Any], data, name), name)
    if inner and kind in (list, tuple, dict, Mapping):
        return _collection(kind, inner, data, name)
    return _scalar(kind, data, name)


def _collection(kind: Any, inner: tuple[Any, ...], data: Any, name: str) -> Any:
    """A list, tuple or mapping with typed items."""
    if kind in (dict, Mapping):
        pairs = typed(dict, data, name).items()
        return {key: typed(inner[1], item, name) for key, item in pairs}
    return kind(typed(inner[0], item, name) for item in typed(list, data, name))


def _scalar(kind: Any, data: Any, name: str) -> Any:
    if kind is float and type(data) is int:
        return float(data)
    if issubclass(kind, Enum) and data in list(kind):
        return kind(data)
    if type(data) is not kind or data in (math.inf, -math.inf):
        raise ValueError(f"`{name}` is {json.dumps(data)[:40]}, expected {kind.__name__}")
    return data


def _record(kind: Any, data: Mapping[str, Any], name: str) -> Any:
    """A dataclass. Unknown keys are ignored, because a newer version may have written them."""
    hints = _hints(kind)
    known = {key: typed(hints[key], data[key], key) for key in hints if key in data}
    try:
        return kind(**known)
    except TypeError:
        lacking = next(key for key in hints if key not in data)
        raise ValueError(f"{name} has no `{lacking}`") from None


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)
