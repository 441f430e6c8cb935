"""JSON from a file, whatever stands in it: a value, or a ValueError that says why there is none.

Nesting is bounded, not by what Python's stack happens to hold: a value a few hundred deep can be read, and then ends
whatever writes, shows or compares it.
"""

from __future__ import annotations

import json
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

MAX_DEPTH = 64  # of lists and objects in each other; LaMP's files have four
T = TypeVar("T")
_adapters: dict[Any, TypeAdapter[Any]] = {}  # building one costs a millisecond


def parse_json(content: bytes | str) -> Any:
    """The value that the content is. Raises ValueError (json.JSONDecodeError where it is a matter of syntax)."""
    try:
        value = json.loads(content)
    except RecursionError:
        raise ValueError("nested too deep") from None
    opening: tuple[Any, Any] = (b"[", b"{") if isinstance(content, bytes) else ("[", "{")
    if sum(map(content.count, opening)) > MAX_DEPTH and is_deep(value):
        raise ValueError(f"nested more than {MAX_DEPTH} deep")
    return value


def is_deep(value: Any) -> bool:
    """Whether lists and objects lie in each other beyond MAX_DEPTH."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [
            inner
            for holder in level
            if type(holder) in (list, dict)
            for inner in (holder.values() if type(holder) is dict else holder)
            if type(inner) in (list, dict)
        ]
        if not level:
            return False
    return True


def checked_as(kind: type[T], value: Any) -> T:
    """The value as a dataclass or another type of that shape; keys beyond the known ones are overlooked. Raises
    ValueError with the first thing that is not as it should be."""
    try:
        if kind not in _adapters:
            _adapters[kind] = TypeAdapter(kind)
        checked: T = _adapters[kind].validate_python(value)
        return checked
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ValueError(": ".join(filter(None, (".".join(map(str, first["loc"])), first["msg"])))) from None
    except RecursionError:
        raise ValueError("nested too deep") from None
