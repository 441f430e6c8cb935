"""The promotion gate: may a release take the place of the one that is live? Both answered the same frozen queries.

Non-inferiority, not superiority: heads refitted on an hour's records rarely move a figure that can be told from luck,
and must not have to. Heads may have learned records later than the evaluated questions (the service answers tomorrow's
questions), so the gate's figures are a check against regressions and never a claim of quality; that is `arena`'s.
Knows nothing of files, registries or clocks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from hydra_ml import params
from hydra_ml.errors import DataError
from hydra_ml.evaluation.decision import AnswersCompared, Reason
from hydra_ml.evaluation.harm import TIE
from hydra_ml.evaluation.statistics import ROUNDING, resample
from hydra_ml.measures import measure_named, per_query
from hydra_ml.model.heads import Heads
from hydra_ml.model.interfaces import wrong_base
from hydra_ml.release import Release
from hydra_ml.tasks.task import Task

ANSWER_COLUMNS = ("query_id", "user_id", "gold", "champion", "challenger", "champion_failed", "challenger_failed")
ONE_SIDED = 5.0  # percentile that is the lower end of a one-sided 95 % interval
MAX_FAILED = 0.01  # share of queries the LLM may fail on; more says something of the LLM, not of a release
_DEFAULTS = params.Params().model_dump(by_alias=True)
# Sections of params.yaml that can change an answer of a release whose bases and heads stay; of `llm` those of SHAPING.
ANSWERING = (
    "seed",
    "encoder",
    "prompts",
    "answers",
    "retrieve",
    "rerank",
    "generate",
    "train_reranker",
    "train_adapter",
)


def judge_comparison(found: AnswersCompared, rules: params.Promote) -> list[Reason]:
    """The rules on figures: answered, not inferior, users worse."""
    title = measure_named(found.measure).title
    failed = max(found.champion_failed, found.challenger_failed)
    scope = f"{found.n_affected:,} affected of {found.n:,} queries of {found.n_users:,} users"
    if found.ci_low is None:
        interval = "one user only, so that no interval can be given"
    else:
        interval = f"95 % sure to be above {found.ci_low:+.4f}, allowed is down to {-rules.margin:+.4f}"
    return [
        Reason(
            "answered",
            failed <= MAX_FAILED * found.n,
            f"the LLM failed on {found.champion_failed:,} of {found.n:,} queries for the champion, on "
            f"{found.challenger_failed:,} for the challenger; allowed are {MAX_FAILED:.0%}. Judge again if it was down",
        ),
        Reason(
            "not inferior",
            found.ci_low is not None and found.ci_low >= -rules.margin,
            f"{title} {found.champion:.4f} -> {found.challenger:.4f}, a gain of {found.difference:+.4f}; {interval}; "
            f"{scope}",
        ),
        Reason(
            "users worse",
            found.users_worse <= rules.max_users_worse,
            f"{found.users_worse:.1%} of users worse, {found.users_better:.1%} better; allowed are "
            f"{rules.max_users_worse:.1%} worse",
        ),
    ]


def compare_answers(
    answers: pd.DataFrame, task: Task, *, n_affected: int, resamples: int, seed: int
) -> AnswersCompared:
    """Both releases measured on the same queries, users resampled together.

    answers: ANSWER_COLUMNS, one row per query; champion and challenger hold their predictions, None where there is
    none, which counts as wrong; *_failed say whether the LLM failed there. n_affected is passed on. Row order changes
    nothing. Raises DataError for an empty table, and as `per_query`.
    """
    if answers.empty:
        raise DataError(
            f"{task.name}: there are no evaluated queries to judge by. Run `dvc repro prepare` on data with an "
            "evaluated split."
        )
    answers = answers.sort_values(["user_id", "query_id"])
    measure = task.measures[0]
    golds = answers["gold"].tolist()
    sides = [per_query(task, _answers(answers[side]), golds)[measure] for side in ("champion", "challenger")]
    sign = 1.0 if measure_named(measure).higher_is_better else -1.0
    components = np.stack(sides, axis=1)  # [Q, 2, C]
    users, names = pd.factorize(answers["user_id"])
    drawn = resample(
        components, users, measure_named(measure).aggregate, resamples=resamples, rng=np.random.default_rng(seed)
    )
    gains = sign * (drawn.resamples[:, 1] - drawn.resamples[:, 0])  # [R]
    per_user = np.zeros(len(names))
    np.add.at(per_user, users, sign * (sides[1][:, 0] - sides[0][:, 0]))
    return AnswersCompared(
        measure=measure,
        champion=float(drawn.values[0]),
        challenger=float(drawn.values[1]),
        difference=float(sign * (drawn.values[1] - drawn.values[0])),
        ci_low=_lower_end(gains, same=np.array_equal(sides[0], sides[1])),
        users_worse=float((per_user < -TIE).mean()),
        users_better=float((per_user > TIE).mean()),
        n=len(answers),
        n_users=len(names),
        n_affected=n_affected,
        champion_failed=int(answers["champion_failed"].sum()),
        challenger_failed=int(answers["challenger_failed"].sum()),
    )


def judge_llms(
    champion: Release, challenger: Release, *, cannot_ask: str = "", is_other_model: bool = False, as_kept: bool = False
) -> list[Reason]:
    """In words what a comparison means when the two answer with different LLMs, or another model came behind the name
    that they share; [] when nothing changed.

    cannot_ask: why the champion's LLM could not be asked; then there is nothing to compare with. is_other_model: its
    server tells of another model than when it last answered, and so it was asked anew. as_kept: it could not be asked,
    but its answers were kept.
    """
    before, after = champion.llm, challenger.llm
    if before == after:
        told = (
            f"behind {after} its server tells of another model than when these questions were last answered: they were "
            "asked anew, and both releases are judged on the answers of the one there now"
        )
        return [Reason("llm", True, told)] if is_other_model else []
    if cannot_ask:
        told = (
            f"the LLM changed from {before} to {after}, and {before}, which the champion answers with, cannot be asked "
            f"here any more: {cannot_ask} Nothing can be compared; whether the challenger's own evaluation is good "
            "enough is yours to say (--force REASON)"
        )
        return [Reason("comparable", False, told)]
    told = (
        f"the LLM changed from {before} to {after}: each release answered the same questions with its own, so a "
        "difference may be the LLM's as well as the heads'"
    )
    if as_kept:
        told += f"; {before} cannot be asked any more, and its answers are those it gave when it was last judged"
    return [Reason("llm", True, told)]


def judge_other_version(champion: str, why: str) -> Reason:
    """The live release, of this number, was made by another version of this software. why: it cannot be opened."""
    told = (
        f"release {champion}, which is live, cannot be opened by this version of hydra_ml: {why} Nothing can be "
        "compared, and requests wait; whether the challenger's own evaluation is good enough is yours to say (--force "
        "REASON)"
    )
    return Reason("comparable", False, told)


def judge_hold(reason: str, since: str) -> list[Reason]:
    """A task whose promotion is held takes no release by itself. reason: "" where it is not held."""
    told = (
        f"promotion is held since {since}: {reason}. `hydra-ml release-hold` lifts that; or promote with --force REASON"
    )
    return [Reason("not held", False, told)] if reason else []


def judge_past(rolled_back_at: str) -> list[Reason]:
    """A release that was rolled back (ISO 8601; "" if not) does not come back by itself, though its figures pass."""
    told = f"it was rolled back at {rolled_back_at}; promote it again with a reason (--force), or make a new release"
    return [Reason("not rolled back", False, told)] if rolled_back_at else []


def judge_fit(manifests: Mapping[str, Mapping[str, Any]], task: Task) -> Reason:
    """Whether the heads of both components were fitted on the very base they are pinned with, for this task.

    manifests: manifest.json of every part of PARTS.
    """
    wrong = []
    for component in ("reranker", "adapter"):
        base, heads = manifests[f"{component}.base"], manifests[f"{component}.heads"]
        if told := wrong_base(heads, base.get("digest")):
            wrong.append(f"{component} {told}")
        wrong += [
            f"{component}.{part} is of {manifest.get('task')} {manifest.get('component')}"
            for part, manifest in (("base", base), ("heads", heads))
            if (manifest.get("task"), manifest.get("component")) != (task.folder, component)
        ]
    digests = (
        f"on reranker base {manifests['reranker.base']['digest']}, adapter base {manifests['adapter.base']['digest']}"
    )
    text = f"{'; '.join(wrong)}. Refit the heads on their base" if wrong else f"heads were fitted {digests}"
    return Reason("compatible", not wrong, text)


def judge_heads(manifests: Mapping[str, Mapping[str, Any]]) -> list[Reason]:
    """In words whether users have heads of their own, and what spoke for that when the bases were fitted.

    manifests: as for `judge_fit`. Nothing for bases that say nothing of it.
    """
    told = []
    for component in ("reranker", "adapter"):
        found = manifests[f"{component}.base"].get("fit", {}).get("heads")
        if found is not None:
            gain = "" if found["gain"] is None else f", gain in log loss {found['gain']:+.3f}"
            gain += "" if found["error"] is None else f", standard error {found['error']:.3f}"
            told.append(f"{component} {'yes' if found['used'] else 'none'}{gain} on {found['n_judged']:,} questions")
    return [Reason("personal heads", True, "; ".join(told))] if told else []


def answers_alike(champion: Release, challenger: Release) -> bool:
    """Whether a user with equal heads gets equal answers from both: bases, and settings that matter, are equal."""
    parts = ("reranker.base", "adapter.base")
    same_bases = all(champion.components[part].digest == challenger.components[part].digest for part in parts)
    return same_bases and _settings(champion) == _settings(challenger)


def differing_users(some: Heads, others: Heads) -> set[str]:
    """Users whose head is in one of the two only, or not the same bits in both."""
    left = dict(zip(some.user_ids, (row.tobytes() for row in some.table), strict=True))
    right = dict(zip(others.user_ids, (row.tobytes() for row in others.table), strict=True))
    return {user_id for user_id in left.keys() | right.keys() if left.get(user_id) != right.get(user_id)}


def _settings(release: Release) -> list[Any]:
    """What of a release's settings can change an answer; what an older release does not name has its default."""
    settings = {**_DEFAULTS, **release.params}
    llm = {**_DEFAULTS["llm"], **settings["llm"]}
    return [settings.get(name) for name in ANSWERING] + [llm[name] for name in params.SHAPING]


def _answers(column: pd.Series) -> Sequence[str | None]:
    return [None if pd.isna(answer) else str(answer) for answer in column]


def _lower_end(gains: np.ndarray, *, same: bool) -> float | None:
    """The 5th percentile of resampled gains; equal answers are 0 even where there is only one user to resample."""
    if same:
        return 0.0
    low = float(np.percentile(np.where(np.abs(gains) < ROUNDING, 0.0, gains), ONE_SIDED))
    return None if math.isnan(low) else low
