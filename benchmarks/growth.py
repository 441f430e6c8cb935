"""How cost grows with users and with history: curves of wall time and of peak memory.

    python -m benchmarks.growth [batch_score update_heads nightly history] [--quick | --long] [--work F] [--out F]

Every point is measured in a process of its own, apart from the one that made its data. Prints and writes growth.json
and growth.png; an exponent is the slope between a curve's two largest sizes, 0 flat and 1 in proportion.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import logging
import math
import multiprocessing
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks import grown
from benchmarks.growth_report import plot, slopes, table

FORK = multiprocessing.get_context("fork")
tqdm.monitor_interval = 0  # no thread may run where this process is forked
LIBRARIES = (
    "great_expectations",
    "matplotlib.pyplot",
    "sklearn.metrics",
    "torch",
    "transformers",
    "hydra_ml.answering.score_requests",
)
Figures = dict[str, float]  # phase -> seconds; "all" is their sum
FEW = 10  # users whose heads are updated
REQUESTS = 200
USERS = 20  # of the history curve
LIGHT = {  # of the nightly curve: everybody learns and is asked, but little each
    "prepare": {"train_users": None, "evaluate_users": None},
    "annotate": {"queries_per_user": 4},
    "generate": {"queries_per_user": 4, "n_samples": 4},
    "train_reranker": {"epochs": 2},
    "train_adapter": {"epochs": 2},
}


def make_bank(root: Path, n_users: int) -> None:
    """A project of n users with requests, and a drop of some records of everybody."""
    users = grown.grow(root.parent / "chain", root, n_users)
    grown.add_drop(root / "data", users, 2)
    grown.write_requests(root, users, REQUESTS)


def score_batch(root: Path) -> Figures:
    """Score the requests with the champion."""
    from hydra_ml.io.mlflow.registry import Registry
    from hydra_ml.io.params_file import load_params
    from hydra_ml.io.task_files import get_task
    from hydra_ml.jobs.batch_score import finish_batch, plan_batch, score_shard

    cache = root / ".cache"
    registry, params = Registry(f"sqlite:///{root / 'mlflow.db'}", cache=cache), load_params(root / "params.yaml")
    lap = Laps()
    plan = plan_batch(
        root / "requests.jsonl", get_task(grown.TASK), params, data=root / "data", registry=registry, cache=cache
    )
    lap("plan")
    for shard in range(plan.n_shards):
        score_shard(plan, shard)
    lap("score")
    report = finish_batch(plan)
    lap("finish")
    assert report.personalization["personal"] == REQUESTS
    return lap.seconds


def make_drop(root: Path, n_users: int) -> None:
    """A project of n users, FEW of whom have new records."""
    users = grown.grow(root.parent / "chain", root, n_users)
    grown.add_drop(root / "data", users[:: n_users // FEW][:FEW], 8)


def update_few(root: Path) -> Figures:
    """One update of the heads, from the plan to the new release."""
    from hydra_ml.io.mlflow.registry import Registry
    from hydra_ml.io.params_file import load_params
    from hydra_ml.io.task_files import get_task
    from hydra_ml.jobs.update_heads import plan_update, update_shard
    from hydra_ml.jobs.update_release import finish_update

    cache = root / ".cache"
    registry, params = Registry(f"sqlite:///{root / 'mlflow.db'}", cache=cache), load_params(root / "params.yaml")
    task, lap = get_task(grown.TASK), Laps()
    plan = plan_update(task, params, data=root / "data", registry=registry, cache=cache, root=grown.ROOT)
    lap("plan")
    reports = [update_shard(plan, shard) for shard in range(plan.n_shards)]
    lap("shards")
    finish_update(plan, reports, "update")
    lap("finish")
    assert plan.n_users == FEW
    return lap.seconds


def make_files(root: Path, n_users: int) -> None:
    """LaMP files of n users with 12 records each."""
    grown.save_params(root / "params.yaml", LIGHT)
    grown.write_files(root, n_users, 12)


def make_histories(root: Path, n_records: int) -> None:
    """LaMP files of a few users with n records each, all kept."""
    grown.save_params(root / "params.yaml", {"prepare": {"history": n_records}})
    grown.write_files(root, USERS, n_records)


def stage(name: str) -> Callable[[Path], Figures]:
    """A stage of the chain, on its project's data."""
    return lambda root: {"all": grown.run_stages(root, [name])[name]}


@dataclass(frozen=True)
class Curve:
    """What grows (`x`, of `sizes`), how a point's data is made, and the parts measured, in order."""

    x: str
    sizes: Sequence[int]
    quick: Sequence[int]
    make: Callable[[Path, int], None]
    parts: Mapping[str, Callable[[Path], Any]]  # one that gives None is not measured: it stands in for the LLM
    expected: str
    notes: str = ""
    long: Sequence[int] = ()  # sizes that take too long to be measured unasked


LEARNING = ("prepare", "validate", "retrieve", "annotate", "train_reranker", "rerank", "generate", "train_adapter")
STANDINS: dict[str, Callable[[Path], Any]] = {
    "annotate": grown.answer_for_annotate,
    "generate": grown.answer_for_generate,
}
NIGHTLY = {name: STANDINS.get(name) or stage(name) for name in (*LEARNING, "evaluate")}
BANK, SHORT = (100, 1_000, 10_000, 100_000), (100, 1_000)
CURVES = {
    "batch_score": Curve("users in the bank", BANK, SHORT, make_bank, {"": score_batch}, "flat", "200 requests"),
    "update_heads": Curve("users in the bank", BANK, SHORT, make_drop, {"": update_few}, "flat", "10 changed users"),
    "nightly": Curve(
        "users", BANK[:3], SHORT, make_files, NIGHTLY, "in proportion", "without LLM and encoder", BANK[3:]
    ),
    "history": Curve(
        "records per user",
        (10, 100, 1_000, 5_000),
        (10, 100),
        make_histories,
        {name: stage(name) for name in ("prepare", "validate", "retrieve")},
        "in proportion",
        f"{USERS} users, every record kept",
    ),
}


@dataclass
class Laps:
    """Seconds since the last call, by the name of what was done meanwhile."""

    seconds: Figures = field(default_factory=lambda: {"all": 0.0})
    started: float = field(default_factory=time.monotonic)

    def __call__(self, name: str) -> None:
        now = time.monotonic()
        self.seconds[name] = now - self.started
        self.seconds["all"] += now - self.started
        self.started = now


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("curves", nargs="*", metavar="curve", help=f"of {', '.join(CURVES)}")
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--quick", action="store_true", help="the two smallest sizes: does it run?")
    sizes.add_argument("--long", action="store_true", help="nightly of 100,000 users too: half an hour, 16 GB")
    parser.add_argument("--work", type=Path, help="folder to work in (default: a temporary one, removed)")
    parser.add_argument("--out", type=Path, default=grown.ROOT / "benchmarks/results", help="folder of the results")
    options = parser.parse_args(argv)
    unknown = set(options.curves) - set(CURVES)
    if unknown:
        parser.error(f"no curve {', '.join(sorted(unknown))}; there are {', '.join(CURVES)}")
    os.environ["HF_HUB_OFFLINE"] = "1"
    with contextlib.ExitStack() as stack:
        work = options.work or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        points = measure(options.curves or list(CURVES), work.absolute(), quick=options.quick, long=options.long)
    options.out.mkdir(parents=True, exist_ok=True)
    document = {
        "date": time.strftime("%Y-%m-%d"),
        "quick": options.quick,
        "points": points,
        "exponents": slopes(points),
    }
    (options.out / "growth.json").write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    about = {name: (curve.x, f"{name}: {curve.notes}; {curve.expected} expected") for name, curve in CURVES.items()}
    plot(points, about, options.out / "growth.png")
    print(table(points))
    print(f"\n{options.out / 'growth.json'}\n{options.out / 'growth.png'}")
    return 0


def measure(names: Sequence[str], work: Path, *, quick: bool, long: bool) -> list[dict[str, Any]]:
    """A point per curve, size and part: those, seconds by phase, peak_mb, and idle_mb before the work began."""
    points = []
    load_libraries()
    if {"batch_score", "update_heads"} & set(names):
        apart(partial(grown.small_chain, work / "chain"))
    curves = {name: CURVES[name] for name in names}
    sizes = {name: c.quick if quick else (*c.sizes, *(c.long if long else ())) for name, c in curves.items()}
    with tqdm(total=sum(len(some) for some in sizes.values()), desc="growth", unit=" points") as bar:
        for name in names:
            for size in sizes[name]:
                root = work / f"{name}-{size}"
                apart(partial(CURVES[name].make, root, size))
                for part, run in CURVES[name].parts.items():
                    found = apart(partial(run, root))
                    if found["seconds"]:
                        points.append({"curve": name, "size": size, "part": part, **found})
                shutil.rmtree(root)
                bar.update(1)
    return points


def apart(work: Callable[[], Any]) -> dict[str, Any]:
    """What the work gave as `seconds`, peak_mb and idle_mb of the process of its own in which it was done.

    A fork of this one, which has loaded the libraries and nothing else. Raises RuntimeError with its last words.
    """
    receive, send = FORK.Pipe(duplex=False)
    with tempfile.TemporaryFile("w+") as log:
        process = FORK.Process(target=_report, args=(send, work, log.fileno()))
        process.start()
        send.close()
        try:
            found: dict[str, Any] = receive.recv()
        except EOFError:
            process.join()
            log.seek(0)
            raise RuntimeError(f"a point failed:\n{log.read()[-2000:]}") from None
        process.join()
    return found


def _report(send: Any, work: Callable[[], Any], log: int) -> None:
    os.dup2(log, 1)
    os.dup2(log, 2)
    logging.disable(logging.WARNING)
    idle = memory_mb("VmRSS")
    send.send({"seconds": work(), "peak_mb": memory_mb("VmHWM"), "idle_mb": idle})


def load_libraries() -> None:
    """Whatever a stage imports when it is called: loading it is not what grows."""
    for name in LIBRARIES:
        importlib.import_module(name)


def memory_mb(name: str) -> float:
    """A figure of this process: VmHWM, the most memory it ever held, or VmRSS, what it holds now."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text("utf-8"))
    return int(found[1]) / 1024 if found else math.nan


if __name__ == "__main__":
    sys.exit(main())
