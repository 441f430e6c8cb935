"""What must never be learned from, and what `prepare` leaves of it for those who learn between two runs of the chain.

As a table it names the texts and answers of the whole evaluated split by digest, and holds the train split's reference
titles (LaMP-1 alone), so that nobody has to read the LaMP files again to apply the rules of `learning.history`.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

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
    """What bounds learning from any record, of the files or of later ones."""

    evaluated: Evaluated  # for `history.held_out`
    references: References  # for `pseudo_queries`
    dated: bool  # whether profiles follow time


def guard_table(guard: Guard) -> pd.DataFrame:
    """The guard but for `dated`, as rows of text: kind, user_id, value. Same guard, same rows."""
    evaluated, references = guard.evaluated, guard.references
    rows = [("text", "", digest) for digest in sorted(map(content_digest, evaluated.texts))]
    rows += [("answer", "", digest) for digest in sorted(map(content_digest, evaluated.answers))]
    rows += [("title", "", title) for title in references.titles]  # in their order: draws follow it
    rows += [("own", user, title) for user, titles in sorted(references.of_user.items()) for title in sorted(titles)]
    return pd.DataFrame(rows, columns=["kind", "user_id", "value"], dtype=str)


def guard_of(table: pd.DataFrame, *, dated: bool) -> Guard:
    """The guard that `guard_table` gave; it knows texts by their digests alone."""
    values = {kind: rows["value"].tolist() for kind, rows in table.groupby("kind")}
    evaluated = Evaluated(Digests(values.get("text", ())), Digests(values.get("answer", ())))
    own = table[table["kind"] == "own"]
    of_user = {str(user): frozenset(titles) for user, titles in own.groupby("user_id")["value"]}
    return Guard(evaluated, References(values.get("title", ()), of_user), dated)
