"""One row of the table: the same work done by us and by peers, in turns, several times over.

Ratios are taken within a turn, where the machine is the same for both; a row shows their median and their spread.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from tqdm import tqdm


@dataclass(frozen=True)
class Side:
    """One way to do the work. run: does it and returns what it did; items: how much of the work that was."""

    name: str
    run: Callable[[], object]
    items: float


@dataclass(frozen=True)
class Spread:
    """Of several repeats."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Row:
    """Ours beside one peer."""

    work: str
    unit: str  # of `ours` and `peer`, items per second: "pairs/s"
    peer_name: str
    ours: Spread
    peer: Spread
    ratio: Spread  # ours / peer, above 1 is faster
    goal: float | None = None  # the ratio aimed at
    limit: dict[str, Any] | None = None  # {"name", "unit", "value", "reached", "fraction"} of the machine's own limit
    notes: dict[str, Any] = field(default_factory=dict)  # sizes, threads, precision, deviations

    def document(self) -> dict[str, Any]:
        """The row as plain data."""
        return asdict(self)


def compare(
    work: str,
    unit: str,
    ours: Side,
    peers: Mapping[str, tuple[Side, float | None]],
    *,
    repeats: int = 5,
    limit: Callable[[Spread], dict[str, Any]] | None = None,
    notes: Mapping[str, Any] | None = None,
) -> list[Row]:
    """A row per peer. peers: name -> (side, goal). All sides run once to warm up, then `repeats` times in turns."""
    sides = [ours, *(side for side, _ in peers.values())]
    speeds: dict[str, list[float]] = {side.name: [] for side in sides}
    for turn in tqdm(range(repeats + 1), desc=work, unit=" turns"):
        for side in sides:
            gc.collect()
            started = time.perf_counter()
            side.run()
            elapsed = time.perf_counter() - started
            if turn:
                speeds[side.name].append(side.items / elapsed)
    mine = spread(speeds[ours.name])
    return [
        Row(
            work,
            unit,
            name,
            mine,
            spread(speeds[side.name]),
            spread([a / b for a, b in zip(speeds[ours.name], speeds[side.name], strict=True)]),
            goal,
            limit(mine) if limit else None,
            {**(notes or {}), "repeats": repeats},
        )
        for name, (side, goal) in peers.items()
    ]


def spread(values: list[float]) -> Spread:
    """Median, least and most."""
    return Spread(median(values), min(values), max(values))


def share_of_limit(name: str, unit: str, value: float, reached: float) -> dict[str, Any]:
    """What `Row.limit` says of work that reached so much of a limit that was measured in the same run."""
    return {"name": name, "unit": unit, "value": value, "reached": reached, "fraction": reached / value}
