"""Reads `params.yaml`, and changes single keys of it, for good or for one run. What may stand in it is
`hydra_ml.params`'s affair."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from hydra_ml.errors import ParamsError
from hydra_ml.io.bounded_yaml import NO_YAML, check_bounds
from hydra_ml.io.files import atomic_path
from hydra_ml.io.lent_file import lent, take_back
from hydra_ml.io.task_files import get_task
from hydra_ml.params import Params, parse_params


def load_params(path: Path) -> Params:
    """The checked settings of the file; defaults if it is empty. Raises ParamsError: no file, not YAML, bad keys, or a
    task that is neither LaMP's nor the project's."""
    document = _document(path, YAML(typ="safe"))
    unknown = [f"{path}: {problem}" for problem in _unknown_tasks(document)]
    try:
        params = parse_params(document, str(path))
    except ParamsError as error:
        raise ParamsError("\n".join([*unknown, str(error)])) from None
    if unknown:
        raise ParamsError("\n".join(unknown))
    return params


def _unknown_tasks(document: Any) -> list[str]:
    """What is wrong with each name of `tasks`."""
    names = document.get("tasks") if isinstance(document, dict) else None
    problems = []
    for place, name in enumerate(names if isinstance(names, list) else []):
        try:
            folder = get_task(str(name)).folder
        except ParamsError as error:
            problems.append(f"tasks.{place}: {error}")
            continue
        if folder != name:
            problems.append(f"tasks.{place}: {name} is spelled {folder} here. Write it so.")
    return problems


def set_params(path: Path, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The values before of the dotted keys that changed ({}: the file is as it was); comments and order are kept, the
    result is checked first."""
    before, content = _changed(path, changes)
    if before:
        with atomic_path(path) as partial:
            partial.write_bytes(content)
    return before


def _changed(path: Path, changes: Mapping[str, Any]) -> tuple[dict[str, Any], bytes]:
    """The values before of the dotted keys that these changes change, and what the file would then hold. Raises
    ParamsError if that is unfit."""
    yaml = YAML()  # round trip
    yaml.width = 120
    document = _document(path, yaml)
    document = CommentedMap() if document is None else document
    before: dict[str, Any] = {}
    for key, value in changes.items():
        *parents, name = key.split(".")
        section = document
        for parent in parents:
            section = section.setdefault(parent, {}) if isinstance(section, dict) else section
        if not isinstance(section, dict):
            raise ParamsError(f"{path}: {key} cannot be set, for what it would lie in is no section. Mend the file.")
        if section.get(name) != value:
            before[key] = section.get(name)
            section[name] = _flow_list(value) if isinstance(value, list) else value
    if before:
        parse_params(document, str(path))
    content = io.BytesIO()
    yaml.dump(document, content)
    return before, content.getvalue()


def _document(path: Path, yaml: YAML) -> Any:
    """What the file holds, built by `yaml`, once what a killed run left in it is put back. Raises ParamsError: no file,
    no YAML, or beyond what settings can be."""
    take_back(path)
    try:
        text = path.read_text("utf-8")
        check_bounds(text)
        return yaml.load(text)
    except FileNotFoundError:
        raise ParamsError(f"{path}: no such file. Name an existing file with --params.") from None
    except NO_YAML as error:
        where = getattr(error, "problem_mark", None)
        line = f" in line {where.line + 1}" if where is not None else ""
        problem = getattr(error, "problem", None) or str(error).partition("\n")[0] or type(error).__name__
        raise ParamsError(f"{path}: not YAML{line} ({problem}). Mend the file and run again.") from error


@contextmanager
def changed_params(path: Path, changes: Mapping[str, Any]) -> Iterator[None]:
    """The file with these changes while the block runs, byte for byte as it was afterwards, whatever happens in it; if
    the process is killed, from when the file is next read. One that somebody else changed meanwhile is left to them.
    Raises as `set_params`."""

    def make() -> tuple[bytes, str]:
        before, content = _changed(path, changes)
        return content if before else path.read_bytes(), ", ".join(before)

    with lent(path, make):
        yield


def _flow_list(values: list[Any]) -> CommentedSeq:
    sequence = CommentedSeq(values)
    sequence.fa.set_flow_style()
    return sequence
