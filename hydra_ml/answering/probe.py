"""Prompts that an LLM is asked again and again, to find it changed; and what its answers are as numbers.

LaMP's tasks take theirs from the bundled sample: invented users, so no word of a real one is in them. A task of one's
own has no sample: its prompts are some of its frozen questions, without any record.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hydra_ml.learning.history import read_record
from hydra_ml.model.base import surface_features
from hydra_ml.model.interfaces import Encode
from hydra_ml.records import Message, PromptForm, content_digest
from hydra_ml.sample import DOMAINS, generate
from hydra_ml.tasks.task import Task

SEED, USERS = 20, 24  # of the sample
DEMOS = 4  # records shown


def probe_chats(task: Task, frozen: Sequence[str], *, n: int, form: PromptForm) -> list[tuple[str, list[Message]]]:
    """At most n questions, each the input and its chat, always the same. frozen: inputs of the task's frozen questions,
    for a task that the sample does not know."""
    if task.folder not in DOMAINS:
        inputs = sorted(set(frozen), key=content_digest)[:n]
        return [(input, task.messages(input, [], form)) for input in inputs]
    users = USERS
    questions = generate(task.folder, seed=SEED, n_users=users).questions["test"]
    while len(questions) < n:
        users *= 2
        questions = generate(task.folder, seed=SEED, n_users=users).questions["test"]
    return [
        (
            str(one["input"]),
            task.messages(
                str(one["input"]), [read_record(task, "", item) for item in one["profile"][-DEMOS:][::-1]], form
            ),
        )
        for one in questions[:n]
    ]


def answer_vectors(answers: Sequence[str], encode: Encode) -> np.ndarray:
    """What free texts say and how they look, float64 [n, D + S]."""
    return np.concatenate([encode(answers), surface_features(answers)], axis=1, dtype=np.float64)
