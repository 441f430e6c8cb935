"""The guard says the same after a round trip, and tells no text."""

from __future__ import annotations

import pickle

import numpy as np

from hydra_ml.learning.guard import Guard, guard_of, guard_table
from hydra_ml.learning.history import Evaluated, held_out, read_record
from hydra_ml.learning.reference_pairs import References
from hydra_ml.tasks import get_task

HEADLINES = get_task("LaMP_4")
NOTHING = Evaluated(frozenset(), frozenset())


def kept(evaluated: Evaluated, references: References = References()) -> Guard:  # noqa: B008
    """The guard after a round trip."""
    return guard_of(guard_table(Guard(evaluated, references, dated=True)), dated=True)


def test_held_out_is_the_same_with_the_guard() -> None:
    evaluated = Evaluated(frozenset({"a storm", "rain"}), frozenset({"sun at last"}))
    guard = kept(evaluated)
    items = [("A  Storm", "one"), ("snow", "Sun at  last"), ("snow", "two"), ("", "")]
    records = [read_record(HEADLINES, "ann", {"text": text, "title": title}) for text, title in items]
    assert held_out(HEADLINES, records, evaluated).tolist() == [True, True, False, False]
    assert np.array_equal(held_out(HEADLINES, records, guard.evaluated), held_out(HEADLINES, records, evaluated))
    assert guard.dated is True
    carried = pickle.loads(pickle.dumps(guard))  # to workers of another process
    assert held_out(HEADLINES, records, carried.evaluated).tolist() == [True, True, False, False]


def test_it_holds_digests_not_texts() -> None:
    given = Guard(Evaluated(frozenset({"a secret storm"}), frozenset({"a secret sun"})), References(), dated=True)
    table = guard_table(given)
    guard = guard_of(table, dated=True)
    assert "a secret storm" in guard.evaluated.texts
    assert "secret" not in " ".join([*guard.evaluated.texts, *guard.evaluated.answers])
    assert "secret" not in table.to_csv()


def test_references_keep_their_order_and_owners() -> None:
    references = References(["Zeta", "Alpha", "Mid"], {"bob": frozenset({"zeta", "mid"}), "ann": frozenset({"alpha"})})
    back = kept(NOTHING, references).references
    assert list(back.titles) == ["Zeta", "Alpha", "Mid"]
    assert dict(back.of_user) == dict(references.of_user)
    assert guard_table(kept(NOTHING, back)).equals(guard_table(Guard(NOTHING, references, dated=True)))


def test_an_empty_guard_guards_nothing() -> None:
    guard = kept(NOTHING)
    assert "" not in guard.evaluated.texts
    assert list(guard.references.titles) == []
