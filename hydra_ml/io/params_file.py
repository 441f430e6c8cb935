"""Reads `params.yaml`, and changes single keys of it. What may stand in it is `hydra_ml.params`'s affair."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq
from ruamel.yaml.error import YAMLError

from hydra_ml.errors import ParamsError
from hydra_ml.io.files import atomic_path
from hydra_ml.params import Params, parse_params


def load_params(path: Path) -> Params:
    """The checked settings of the file; defaults if it is empty. Raises ParamsError: no file, not YAML, or bad keys."""
    try:
        raw = YAML(typ="safe").load(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ParamsError(f"{path}: no such file. Name an existing file with --params.") from None
    except (YAMLError, UnicodeDecodeError) as error:
        where = getattr(error, "problem_mark", None)
        line = f" in line {where.line + 1}" if where is not None else ""
        problem = getattr(error, "problem", None) or str(error)
        raise ParamsError(f"{path}: not YAML{line} ({problem}). Mend the file and run again.") from error
    return parse_params(raw, str(path))


def set_params(path: Path, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The values before of the dotted keys that changed ({}: the file is as it was); comments and order are kept, the
    result is checked first."""
    yaml = YAML()  # round trip
    yaml.width = 120
    document = yaml.load(path.read_text("utf-8"))
    before: dict[str, Any] = {}
    for key, value in changes.items():
        *parents, name = key.split(".")
        section = document
        for parent in parents:
            section = section.setdefault(parent, {})
        if section.get(name) != value:
            before[key] = section.get(name)
            section[name] = _flow_list(value) if isinstance(value, list) else value
    if before:
        parse_params(document, str(path))
        with atomic_path(path) as partial, partial.open("w", encoding="utf-8") as file:
            yaml.dump(document, file)
    return before


@contextmanager
def changed_params(path: Path, changes: Mapping[str, Any]) -> Iterator[None]:
    """The file with these changes while the block runs, byte for byte as it was afterwards, whatever happens in it; one
    that somebody else changed meanwhile is left to them. Raises as `set_params`."""
    before = path.read_bytes()
    set_params(path, changes)
    ours = path.read_bytes()
    try:
        yield
    finally:
        if path.read_bytes() == ours:
            with atomic_path(path) as partial:
                partial.write_bytes(before)


def _flow_list(values: list[Any]) -> CommentedSeq:
    sequence = CommentedSeq(values)
    sequence.fa.set_flow_style()
    return sequence
