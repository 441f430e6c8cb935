"""Users and time: who there is, how much each has written, and which questions fall into which split.

A user's pieces are dated in order: history first, then the questions of train, dev and test. Each question sees what
its user wrote strictly before its split began, earlier splits' questions included, as in LaMP's time-based files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from random import Random

SPLITS = ("train", "dev", "test")
MAX_PROFILE = 64  # most recent records a question sees
N_DEV, N_TEST = 2, 8  # 8 x 48 users: enough to see a difference of .07 in accuracy 4 times in 5
SHORT_HISTORY_EVERY = 8  # one user in so many has written little
FIRST_DAY = date(2019, 1, 1).toordinal()


@dataclass(frozen=True)
class Timeline:
    """One user's calendar: a date per piece, ascending, and where each split's questions stand among the pieces."""

    user_id: str
    dates: tuple[str, ...]  # one per piece, all different, YYYY-MM-DD
    blocks: dict[str, range]  # split -> indices of its pieces; what stands before the first is history

    def profile(self, split: str) -> range:
        """Indices of the pieces that a question of the split sees: all before its block, at most the last 64."""
        start = self.blocks[split].start
        return range(max(0, start - MAX_PROFILE), start)


def draw_timeline(rng: Random, user_number: int) -> Timeline:
    """The calendar of one user: 20 to 60 history pieces, 30 on average; every eighth user has 3 to 9."""
    is_short = user_number % SHORT_HISTORY_EVERY == SHORT_HISTORY_EVERY - 1
    n_history = rng.randint(3, 9) if is_short else 20 + int(40 * rng.betavariate(1, 2))
    sizes = (rng.randint(1, 2), N_DEV, N_TEST)
    blocks: dict[str, range] = {}
    end = n_history
    for split, size in zip(SPLITS, sizes, strict=True):
        blocks[split] = range(end, end + size)
        end += size
    return Timeline(f"user-{user_number:03d}", _rising_dates(rng, end), blocks)


def _rising_dates(rng: Random, n: int) -> tuple[str, ...]:
    """`n` different days in ascending order, one to 24 days apart."""
    day = FIRST_DAY + rng.randrange(700)
    days = []
    for _ in range(n):
        day += rng.randint(1, 24)
        days.append(date.fromordinal(day).isoformat())
    return tuple(days)


def profile_items(question_id: str, items: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """The items with LaMP's ids: question id and position, so that an id says nothing across questions."""
    return [{"id": f"{question_id}{index}", **item} for index, item in enumerate(items)]
