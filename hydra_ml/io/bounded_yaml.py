"""Whether a YAML text is small enough to be built: its size, its nesting, and what its aliases come to when followed.

Nine lines of aliases to aliases make a billion values, and brackets by the thousand end the interpreter. Both are seen
in the stream of events, which is read without building anything.
"""

from __future__ import annotations

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, ScalarEvent

MAX_CHARS = 256 * 1024
MAX_DEPTH = 32
MAX_VALUES = 20_000  # aliases followed
# What ruamel.yaml raises at a text: its own errors, and Python's where a tag promises what the value is not (!!int x).
NO_YAML = (YAMLError, ValueError, ArithmeticError, LookupError, TypeError, AttributeError, AssertionError)


def check_bounds(text: str) -> None:
    """Raises ValueError if the text is beyond one of the bounds, and YAMLError if it is no YAML."""
    if len(text) > MAX_CHARS:
        raise ValueError(f"it has {len(text):,} characters; settings have at most {MAX_CHARS:,}")
    if text.count("[") + text.count("{") > MAX_VALUES:
        raise ValueError(f"it holds more than {MAX_VALUES:,} values")
    sizes: dict[str, int] = {}  # by anchor: values in it, aliases followed; of one that is still open: nothing
    n_values = 0
    open_at: list[tuple[str | None, int]] = []  # anchor of each open collection, and the count when it began
    for event in YAML(typ="safe", pure=True).parse(text):
        if isinstance(event, AliasEvent):
            if event.anchor not in sizes:
                raise ValueError(f"alias *{event.anchor} names nothing before it, or what it lies in")
            n_values += sizes[event.anchor]
        elif isinstance(event, CollectionStartEvent):
            open_at.append((event.anchor, n_values))
            sizes.pop(event.anchor, None)
            n_values += 1
        elif isinstance(event, CollectionEndEvent):
            anchor, before = open_at.pop()
            if anchor is not None:
                sizes[anchor] = n_values - before
        elif isinstance(event, ScalarEvent):
            n_values += 1
            if event.anchor is not None:
                sizes[event.anchor] = 1
        if len(open_at) > MAX_DEPTH:
            raise ValueError(f"it is nested more than {MAX_DEPTH} deep")
        if n_values > MAX_VALUES:
            raise ValueError(f"it holds more than {MAX_VALUES:,} values, aliases followed")
