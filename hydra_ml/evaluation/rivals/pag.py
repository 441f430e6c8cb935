"""pag (PAG-1: arXiv 2310.20081, Richardson et al.): a profile that the LLM wrote of the user, then one record, then
the question.

The profile is one reply about at most ten of the user's records, drawn by seed, each cut to 200 words. What is asked
for depends on the task, as in the paper; the wording is ours. `pag_k0` shows no record beside it.
"""

from __future__ import annotations

from collections.abc import Sequence

from hydra_ml.answering.arms import RAG_K1
from hydra_ml.answering.written import Rounds, Writing, brief_record
from hydra_ml.evaluation.rival_written import written_rival
from hydra_ml.learning.history import seeded_number
from hydra_ml.records import Record
from hydra_ml.tasks.task import Task

RECORDS, WORDS = 10, 200
WANTED = {  # by folder of the task, or else by its kind: what the profile should say
    "LaMP_1": "In two sentences: which topics and methods does this author work on?",
    "LaMP_2": "Name the tags this user gives most often, the commonest first, and what kind of movie gets which.",
    "LaMP_2N": "Name the categories this author files articles under, the commonest first, and what gets which.",
    "LaMP_3": "Which score does this user give when content, and which when disappointed? Which is the commonest?",
    "LaMP_4": "Describe how this author's headlines are built: length, capitals, punctuation, turns of phrase.",
    "LaMP_5": "Describe how this author's titles are built: length, capitals, punctuation, turns of phrase.",
    "LaMP_6": "Describe how this user's subject lines are built: length, capitals, punctuation, turns of phrase.",
    "LaMP_7": "Describe how this user writes: spelling, punctuation, emoticons, slang, length.",
    "label": "Which of these answers does this user give most often, the commonest first, and to what?",
    "rating": "Which rating does this user give when content, and which when disappointed? Which is the commonest?",
    "text": "Describe how this user answers: tone, length, punctuation, turns of phrase, what recurs.",
    "choice": "In two sentences: what does this user deal with, and what do they prefer?",
}
ASK = (
    "Below are things one user wrote or judged.\n\n{records}\n\n"
    "{wanted} Answer with that description alone, in at most 60 words."
)
TEXT = "About this user, from their own history: {profile}"


def drawn(records: Sequence[Record], seed: int) -> list[Record]:
    """At most RECORDS of them, drawn whatever their order, oldest first."""
    luck = sorted(records, key=lambda record: seeded_number(seed, "pag", record.user_id, record.record_id))
    kept = {record.record_id for record in luck[:RECORDS]}
    return [record for record in records if record.record_id in kept]


def rounds(task: Task, records: Sequence[Record], seed: int) -> Rounds:
    """One prompt; its reply is the profile."""
    told = "\n".join(brief_record(record, task, WORDS) for record in drawn(records, seed))
    [profile] = yield [ASK.format(records=told, wanted=WANTED.get(task.folder, WANTED[task.kind]))]
    return TEXT.format(profile=profile) if profile else ""


WRITING = Writing("pag", rounds, reply_tokens=128, longest=800)
METHOD = written_rival(
    "pag",
    WRITING,
    "the LLM shown a profile that it wrote of the user, and the best record by BM25",
    paper="arXiv 2310.20081",
    shown=RAG_K1,
)
