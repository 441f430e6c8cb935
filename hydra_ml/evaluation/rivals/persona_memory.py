"""persona_memory (PersonaMem-v2, arXiv 2512.06688): one readable memory of bounded length that the LLM rewrites as it
reads the user's history, oldest record first; questions see the memory alone.

The paper trains the LLM that rewrites it; ours stays as it is, reads a few records at a time, and keeps less.
"""

from __future__ import annotations

from collections.abc import Sequence

from hydra_ml.answering.arms import ZERO_SHOT
from hydra_ml.answering.written import Rounds, Writing, brief_record
from hydra_ml.evaluation.rival_written import written_rival
from hydra_ml.records import Record
from hydra_ml.tasks.task import Task

RECORDS, AT_ONCE, WORDS = 32, 4, 100  # the newest ones, so many in a prompt, cut to so many words
LONGEST = 1200  # characters of the memory
ASK = (
    "You keep a short memory of one user, to foresee how they will answer. So far it says:\n{memory}\n\n"
    "New from their history, oldest first:\n{records}\n\n"
    "Rewrite the memory: keep what still holds, add what is new, drop what no longer holds, at most 150 words. "
    "Answer with the memory alone."
)
TEXT = "What is remembered of this user: {memory}"


def rounds(task: Task, records: Sequence[Record], seed: int) -> Rounds:
    """A prompt for every AT_ONCE records, each with the memory so far; a reply that failed leaves it as it was."""
    memory, newest = "", records[-RECORDS:]
    for start in range(0, len(newest), AT_ONCE):
        told = "\n".join(brief_record(record, task, WORDS) for record in newest[start : start + AT_ONCE])
        [reply] = yield [ASK.format(memory=memory or "(nothing yet)", records=told)]
        memory = reply[:LONGEST] or memory
    return TEXT.format(memory=memory) if memory else ""


METHOD = written_rival(
    "persona_memory",
    Writing("persona_memory", rounds, reply_tokens=256, longest=LONGEST + len(TEXT)),
    "the LLM shown the memory that it kept of the user while it read their history, and no record",
    paper="arXiv 2512.06688",
    shown=ZERO_SHOT,
)
