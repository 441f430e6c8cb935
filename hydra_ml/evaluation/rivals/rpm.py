"""rpm (arXiv 2505.21082): what sways the user, as factors that the LLM names, and how often each went with which
answer.

The LLM names features of each of the user's newest records, then groups all of them into factors; how often a record
that touches a factor was answered how is counted here. Of the paper's steps those are left out that ask for each
question anew: its own features, and paths of reasoning shown beside the records.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from hydra_ml.answering.arms import RAG_K4
from hydra_ml.answering.written import Rounds, Writing, brief_record
from hydra_ml.evaluation.rival_written import written_rival
from hydra_ml.records import Record
from hydra_ml.tasks.task import Task

RECORDS, WORDS = 16, 100  # the newest ones, cut to so many words
FEATURES, FACTORS, ANSWERS = 3, 5, 3  # of a record, of a user, and told of a factor
NAME = 60  # characters of a feature or factor
ASK_FEATURES = (
    "One user answered like this:\n{record}\n\nName up to {n} features of what was asked that may have led the user to "
    "this answer, a few words each, one a line, nothing else."
)
ASK_FACTORS = (
    "Features of things that one user judged, by number:\n{features}\n\n"
    "Group them into at most {n} factors. One factor a line, as `name: numbers`, for example `setting: 1, 4`. "
    "Nothing else."
)
_LEAD = re.compile(r"^[\s\-*•.)\d]+")
_GROUP = re.compile(r"^[\s\-*•]*(?:\d+[.)]\s*)?(?P<name>[^:\n]{1,80}):(?P<numbers>[\d\s,;#and.]+)$")


def named_features(reply: str) -> list[str]:
    """The features of a reply, one a line, without bullets or numbers before them; at most FEATURES."""
    lines = (_LEAD.sub("", line).strip()[:NAME] for line in reply.splitlines())
    return [line for line in lines if line][:FEATURES]


def named_factors(reply: str, n_features: int) -> dict[str, set[int]]:
    """By factor the features, counted from 0, that a reply puts there; lines of another form are passed over."""
    found: dict[str, set[int]] = {}
    for line in reply.splitlines():
        if grouped := _GROUP.match(line):
            numbers = {int(number) - 1 for number in re.findall(r"\d{1,4}", grouped["numbers"])}
            if own := {number for number in numbers if 0 <= number < n_features}:
                found.setdefault(grouped["name"].strip()[:NAME], set()).update(own)
    return dict(list(found.items())[:FACTORS])


def factor_lines(factors: Mapping[str, set[int]], source: Sequence[int], answers: Sequence[str]) -> list[str]:
    """A line a factor: how many records touch it, and their commonest answers with their shares. source: of each
    feature the record it was named of; answers: of each record."""
    lines = []
    for name, features in factors.items():
        touching = sorted({source[feature] for feature in features})
        counts = Counter(answers[record] for record in touching).most_common(ANSWERS)
        shares = ", ".join(f"{answer} {count / len(touching):.0%}" for answer, count in counts)
        lines.append(f"- {name} ({len(touching)} of {len(answers)} records): answered {shares}")
    return lines


def rounds(task: Task, records: Sequence[Record], seed: int) -> Rounds:
    """A prompt for each record, then one for all features together."""
    newest = records[-RECORDS:]
    replies = yield [ASK_FEATURES.format(record=brief_record(record, task, WORDS), n=FEATURES) for record in newest]
    named = [(i, feature) for i, reply in enumerate(replies) for feature in named_features(reply)]
    if not named:
        return ""
    listed = "\n".join(f"{number}. {feature}" for number, (_, feature) in enumerate(named, start=1))
    [reply] = yield [ASK_FACTORS.format(features=listed, n=FACTORS)]
    factors = named_factors(reply, len(named))
    lines = factor_lines(factors, [i for i, _ in named], [record.answer for record in newest])
    return "\n".join(["What sways this user, counted over their own history:", *lines]) if lines else ""


METHOD = written_rival(
    "rpm",
    Writing("rpm", rounds, reply_tokens=128, longest=800),
    "the LLM shown factors that it named of the user's history, how they went with answers, and BM25's 4 records",
    paper="arXiv 2505.21082",
    shown=RAG_K4,
    fits=lambda task: task.kind in ("label", "rating"),
)
