"""The guard says the same after a round trip, and tells no text."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from hydra_ml.errors import ArtifactError
from hydra_ml.io.tables import save_json
from hydra_ml.learning.guard import load_guard, save_guard
from hydra_ml.learning.history import Evaluated, held_out, read_record
from hydra_ml.learning.reference_pairs import References
from hydra_ml.tasks import get_task

HEADLINES = get_task("LaMP_4")
NOTHING = Evaluated(frozenset(), frozenset())


def write(folder: Path, evaluated: Evaluated, references: References = References()) -> Path:  # noqa: B008
    save_guard(evaluated, references, folder / "guard.parquet")
    save_json({"dated": True}, folder / "manifest.json")
    return folder


def test_held_out_is_the_same_with_the_guard(tmp_path: Path) -> None:
    evaluated = Evaluated(frozenset({"a storm", "rain"}), frozenset({"sun at last"}))
    guard = load_guard(write(tmp_path, evaluated))
    items = [("A  Storm", "one"), ("snow", "Sun at  last"), ("snow", "two"), ("", "")]
    records = [read_record(HEADLINES, "ann", {"text": text, "title": title}) for text, title in items]
    assert held_out(HEADLINES, records, evaluated).tolist() == [True, True, False, False]
    assert np.array_equal(held_out(HEADLINES, records, guard.evaluated), held_out(HEADLINES, records, evaluated))
    assert guard.dated is True
    carried = pickle.loads(pickle.dumps(guard))  # to workers of another process
    assert held_out(HEADLINES, records, carried.evaluated).tolist() == [True, True, False, False]


def test_it_holds_digests_not_texts(tmp_path: Path) -> None:
    guard = load_guard(write(tmp_path, Evaluated(frozenset({"a secret storm"}), frozenset({"a secret sun"}))))
    assert "a secret storm" in guard.evaluated.texts
    assert "secret" not in " ".join([*guard.evaluated.texts, *guard.evaluated.answers])
    assert b"secret" not in (tmp_path / "guard.parquet").read_bytes()


def test_references_keep_their_order_and_owners(tmp_path: Path) -> None:
    references = References(["Zeta", "Alpha", "Mid"], {"bob": frozenset({"zeta", "mid"}), "ann": frozenset({"alpha"})})
    back = load_guard(write(tmp_path, NOTHING, references)).references
    assert list(back.titles) == ["Zeta", "Alpha", "Mid"]
    assert dict(back.of_user) == dict(references.of_user)
    again = tmp_path / "again"
    save_guard(NOTHING, back, again / "guard.parquet")
    assert (again / "guard.parquet").read_bytes() == (tmp_path / "guard.parquet").read_bytes()


def test_an_empty_guard_guards_nothing(tmp_path: Path) -> None:
    guard = load_guard(write(tmp_path, NOTHING))
    assert "" not in guard.evaluated.texts
    assert list(guard.references.titles) == []


def test_a_missing_guard_is_told(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"guard.parquet: no such table"):
        load_guard(tmp_path)
