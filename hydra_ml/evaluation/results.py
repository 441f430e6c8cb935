"""What the arena finds, as values and as the documents that are kept, and the methods that reports speak of by name.

`evaluation.arena` fills it; `evaluation.report`, the plots and the page read it as it comes back from JSON.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from hydra_ml.evaluation.statistics import Estimate

OURS = "hydra"  # the full method: the one that is warned about, compared in detail and drawn by history
SWAPPED, CEILING = "hydra_swapped", "best_candidate"  # controls: no personal gain, and all there is to gain
REFERENCE = "rag_k4"  # what users would get without HYDRA: nobody should be worse off than with it
CONTROL = "{}_swapped"  # the control of a method: the same, each user under a stranger's part
HELD_AGAINST = ("zero_shot", REFERENCE)  # whom a method is said to harm beside
HARMED = ("users", "questions")
WORST_DECILE = "worst_decile"  # beside a method's measures: the primary one's mean over the users it serves worst
GOLD = "gold"  # beside the methods where style is told: the users' true answers

Document = dict[str, Any]  # plain JSON types


@dataclass(frozen=True)
class Slice:
    """Some of the queries: what each method reached on them, and how each HYDRA method differs from the others."""

    n_queries: int
    n_users: int
    metrics: dict[str, dict[str, Document]]  # method, measure: value, ci_low, ci_high, n
    # method, against, measure: difference, ci_low, ci_high, p, detectable, n; p_holm where `arena` adjusted p
    paired: dict[str, dict[str, dict[str, Document]]]


@dataclass(frozen=True)
class ArenaResults:
    """Everything the arena found for one task. Interval ends and p are None where there was one user only."""

    task: str  # as reports print it
    measures: tuple[str, ...]  # primary first
    best_baseline: str | None  # best by the primary measure that is neither HYDRA's nor a control; None: there was none
    overall: Slice
    cohorts: dict[str, Slice]  # "known", "new": those that have queries
    bands: dict[str, Slice]  # "0", "1-10", ..: by number of history records, those that have queries
    harm: dict[str, dict[str, dict[str, Document]]]  # method, of HELD_AGAINST, users or questions: shares by verdict
    worst_decile: dict[str, Document]  # method: mean of the primary measure over the tenth of users it serves worst
    responsiveness: dict[str, Document]  # method with a swapped control: changed, gain, n_changed, n
    style: dict[str, dict[str, Document]]  # method or GOLD: `style.DISTANCES`; {} without texts of the users' own
    unparsable: dict[str, int]  # method: predictions that stood for no answer, missing ones included
    missing: dict[str, int]  # method: queries it gave no row for

    def metrics_document(self) -> Document:
        """{method: {measure: {value, ci_low, ci_high, n}}}, WORST_DECILE and style distances beside the task's own
        measures; the caller adds llm, data_version, seed and task."""
        return {
            method: {**found, WORST_DECILE: self.worst_decile[method], **self.style.get(method, {})}
            for method, found in self.overall.metrics.items()
        }

    def details_document(self) -> Document:
        """The rest: measures, best baseline, paired differences, cohorts, bands, harm, responsiveness, style of the
        gold answers, unparsable and missing."""
        document = asdict(self)
        overall = document.pop("overall")
        del document["worst_decile"]
        document["style"] = {GOLD: self.style[GOLD]} if self.style else {}
        document["measures"] = list(self.measures)
        return document | {key: overall[key] for key in ("n_queries", "n_users", "paired")}


def document_of(estimate: Estimate, n: int) -> Document:
    """The estimate as value, ci_low, ci_high and n."""
    return plain(asdict(estimate) | {"n": n})


def plain(document: Document) -> Document:
    """The document with NaN, which JSON does not have, made None."""
    return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in document.items()}
