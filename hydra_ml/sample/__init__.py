"""The bundled sample: every LaMP task, in LaMP's own shape, about invented users whose tastes are planted and known.

Seeded and pure: the same arguments give the same sample. Writing it is `io.sample_files`'s work.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any

from hydra_ml.records import normalized
from hydra_ml.sample import emails, headlines, movies, news, papers, reviews, tweets
from hydra_ml.sample.piece import Piece, Taste
from hydra_ml.sample.users import SPLITS, draw_timeline, profile_items
from hydra_ml.tasks import get_task
from hydra_ml.tasks.task import Task

# Task folder -> (draws a user's taste, draws one piece of that user).
DOMAINS: dict[str, tuple[Callable[[Random], Taste], Callable[[Random, Taste], Piece]]] = {
    "LaMP_1": (papers.draw_citation_taste, papers.draw_citing_paper),
    "LaMP_2": (movies.draw_taste, movies.draw_piece),
    "LaMP_2N": (news.draw_taste, news.draw_piece),
    "LaMP_3": (reviews.draw_taste, reviews.draw_piece),
    "LaMP_4": (headlines.draw_taste, headlines.draw_piece),
    "LaMP_5": (papers.draw_title_taste, papers.draw_titled_paper),
    "LaMP_6": (emails.draw_taste, emails.draw_piece),
    "LaMP_7": (tweets.draw_taste, tweets.draw_piece),
}


@dataclass(frozen=True)
class SampleTask:
    """One task's sample. Questions and golds by split, as LaMP's files have them; the truth stays apart from both."""

    questions: dict[str, list[dict[str, Any]]]  # {"id", "user_id", "date", "input", "profile": [item, ...]}
    golds: dict[str, dict[str, str]]  # question id -> answer
    truth: dict[
        str, dict[str, Any]
    ]  # user_id -> {"taste": what is planted, "cues": {question id: what its text shows}}


def generate(task_folder: str, *, seed: int, n_users: int = 48) -> SampleTask:
    """The sample of one task. Every text in it is different. Raises ParamsError for an unknown task.

    More users leave the users before them as they are.
    """
    task = get_task(task_folder)
    draw_taste, draw_piece = DOMAINS[task.folder]
    sample = SampleTask({split: [] for split in SPLITS}, {split: {} for split in SPLITS}, {})
    seen: set[str] = set()
    for user_number in range(n_users):
        rng = Random(f"{seed}/{task.folder}/{user_number}")  # a string, so that seeds of users do not collide
        timeline = draw_timeline(rng, user_number)
        taste = draw_taste(rng)
        draw = partial(draw_piece, rng, taste)
        pieces = [_unseen_piece(task, draw, seen) for _ in timeline.dates]
        items = [{"date": day, **piece.item} for day, piece in zip(timeline.dates, pieces, strict=True)]
        cues: dict[str, Any] = {}
        for split in SPLITS:
            for index in timeline.blocks[split]:
                question_id = _question_id(task, split, len(sample.questions[split]))
                sample.questions[split].append(
                    {
                        "id": question_id,
                        "user_id": timeline.user_id,
                        "date": timeline.dates[index],
                        "input": _input(task, pieces[index]),
                        "profile": profile_items(question_id, [items[earlier] for earlier in timeline.profile(split)]),
                    }
                )
                sample.golds[split][question_id] = pieces[index].answer
                cues[question_id] = pieces[index].cues
        sample.truth[timeline.user_id] = {"taste": taste, "cues": cues}
    return sample


def _unseen_piece(task: Task, draw: Callable[[], Piece], seen: set[str]) -> Piece:
    """The first piece drawn whose input and document nobody has written before; both are then taken."""
    for _ in range(10_000):
        piece = draw()
        texts = {normalized(_input(task, piece)), normalized(task.record_text(piece.item))}
        if not texts & seen:
            seen |= texts
            return piece
    raise RuntimeError(f"{task.folder}: the grammar has no text left that is new after {len(seen)} texts.")


def _input(task: Task, piece: Piece) -> str:
    return piece.input if piece.input is not None else task.record_input(piece.item)


def _question_id(task: Task, split: str, number: int) -> str:
    """LaMP's ids in time-based files: task number plus six, split number, running number."""
    return f"{int(task.folder[5]) + 6}{SPLITS.index(split)}{number}"
