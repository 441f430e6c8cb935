"""What `prepare` leaves for those who learn between two runs of the chain: what must never be learned from.

guard.parquet names the texts and answers of the whole evaluated split by digest, and holds the train split's reference
titles (LaMP-1 alone), so that nobody has to read the LaMP files again to apply the rules of `learning.history`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from hydra_ml.io.tables import load_json, load_table, save_table
from hydra_ml.learning.history import Evaluated
from hydra_ml.learning.reference_pairs import References
from hydra_ml.records import content_digest


class Digests(frozenset[str]):
    """A set of digests that is asked by text: `text in digests` is whether `content_digest(text)` is a member."""

    __slots__ = ()

    def __contains__(self, text: object) -> bool:
        return isinstance(text, str) and super().__contains__(content_digest(text))


@dataclass(frozen=True)
class Guard:
    """What a prepared folder says about learning from further records."""

    evaluated: Evaluated  # for `history.held_out`
    references: References  # for `pseudo_queries`
    dated: bool  # whether profiles follow time


def save_guard(evaluated: Evaluated, references: References, path: Path) -> None:
    """Write guard.parquet; same guard, same bytes."""
    rows = [("text", "", digest) for digest in sorted(map(content_digest, evaluated.texts))]
    rows += [("answer", "", digest) for digest in sorted(map(content_digest, evaluated.answers))]
    rows += [("title", "", title) for title in references.titles]  # in their order: draws follow it
    rows += [("own", user, title) for user, titles in sorted(references.of_user.items()) for title in sorted(titles)]
    save_table(pd.DataFrame(rows, columns=["kind", "user_id", "value"], dtype=str), path)


def load_guard(folder: Path) -> Guard:
    """The guard of a folder that `prepare` wrote. Raises ArtifactError if it is missing or damaged."""
    table = load_table(folder / "guard.parquet")
    dated = bool(load_json(folder / "manifest.json")["dated"])
    values = {kind: rows["value"].tolist() for kind, rows in table.groupby("kind")}
    evaluated = Evaluated(Digests(values.get("text", ())), Digests(values.get("answer", ())))
    own = table[table["kind"] == "own"]
    of_user = {str(user): frozenset(titles) for user, titles in own.groupby("user_id")["value"]}
    return Guard(evaluated, References(values.get("title", ()), of_user), dated)
