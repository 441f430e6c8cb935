"""What an update of ten users costs when the bank holds a thousand users, and when it holds a hundred thousand.

    python benchmarks/update_heads_scale.py [--users 1000 100000] [--changed 10] [--work FOLDER]

Users are synthetic, each with eight prepared records of the bundled sample's kind and a random head on a small, really
trained base; the changed ones get eight new records each. Everything runs as in production: MLflow on SQLite, the
chain's stages, the offline LLM. Prints wall time by phase, and the bytes of the new heads versions.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[1]
TASK = "LaMP_2"
PER_USER = 8  # records, prepared and new


def main() -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, nargs="+", default=[1_000, 100_000], help="sizes of the bank")
    parser.add_argument("--changed", type=int, default=10, help="users with new records")
    parser.add_argument("--work", type=Path, help="folder to work in (default: a temporary one, removed)")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    with contextlib.ExitStack() as stack:
        work = options.work or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        small = small_chain(work / "chain")
        measure(small, work / "warm", 100, 1)  # loads every library, so that the first measured update does not
        measured = {n: measure(small, work / str(n), n, options.changed) for n in options.users}
    print(table(measured))
    return 0


def small_chain(root: Path) -> Path:
    """Data of a chain on eight users: the real base."""
    from hydra_ml.io.lamp_files import Question, write_split
    from hydra_ml.jobs.update_workspace import chain_to, run_stage
    from hydra_ml.params import Params
    from hydra_ml.sample import generate
    from hydra_ml.tasks import get_task

    task, data = get_task(TASK), root / "data"
    if (data / "evaluate").exists():
        return root
    sample = generate(TASK, seed=3, n_users=8)
    for split, entries in sample.questions.items():
        questions = [Question(e["id"], e["input"], tuple(e["profile"]), e["user_id"], e["date"]) for e in entries]
        write_split(data / "raw" / TASK, split, task, questions, sample.golds[split])
    document = Params(tasks=[TASK]).model_dump(by_alias=True)
    document["annotate"]["queries_per_user"], document["generate"]["queries_per_user"] = 10, 16
    for section in ("train_reranker", "train_adapter"):
        document[section].update(epochs=3)
    with (root / "params.yaml").open("w") as file:
        YAML().dump(document, file)
    caches = {True: root / ".cache", False: root / ".cache"}
    for stage in chain_to(["evaluate"], ROOT / "dvc.yaml", task, ()):
        run_stage(stage, data=data, params=root / "params.yaml", caches=caches, extra=())
    return root


def measure(small: Path, root: Path, n_users: int, n_changed: int) -> dict[str, float]:
    """Seconds by phase, and bytes, of one update."""
    from hydra_ml.io.params_file import load_params
    from hydra_ml.io.registry import Registry
    from hydra_ml.jobs.nightly import register_chain
    from hydra_ml.jobs.update_heads import finish_update, plan_update, update_shard
    from hydra_ml.tasks import get_task

    task, params = get_task(TASK), load_params(small / "params.yaml")
    shutil.rmtree(root, ignore_errors=True)
    data = root / "data"
    users = grow(small / "data", data, n_users)
    registry = Registry(f"sqlite:///{root / 'mlflow.db'}", cache=root / ".cache")
    version = register_chain(task, params, data=data, run_name="bank", registry=registry)
    registry.point(task, {"champion": version})
    step = len(users) // n_changed
    add_records(data, users[::step][:n_changed])

    before = sizes(root)
    started = time.monotonic()
    seconds: dict[str, float] = {}

    def lap(phase: str) -> None:
        nonlocal started
        seconds[phase] = time.monotonic() - started
        started = time.monotonic()

    plan = plan_update(task, params, data=data, registry=registry, cache=root / ".cache", pipeline=ROOT / "dvc.yaml")
    lap("plan")
    with contextlib.redirect_stderr(io.StringIO()):
        reports = [update_shard(plan, shard) for shard in range(plan.n_shards)]
    lap("shards")
    for name, summary in reports[0].stages.items():
        seconds[f"  {name}"] = summary["seconds"]
    started = time.monotonic()
    report = finish_update(plan, reports, "update")
    lap("finish")
    seconds["all"] = sum(seconds[phase] for phase in ("plan", "shards", "finish"))
    assert plan.n_users == n_changed
    written = {path: size for path, size in sizes(root).items() if before.get(path) != size}
    heads = sum(
        size
        for path, size in written.items()
        if "artifacts" in path and path.endswith((".safetensors", "manifest.json"))
    )
    shards = sum(int(figures["shards_written"] or 0) for figures in report.components.values())
    return {**seconds, "heads, kB": heads / 1e3, "shards written": shards}


def grow(small: Path, data: Path, n_users: int) -> list[str]:
    """A project of n users: prepared tables of PER_USER records each, and random heads for all on the real bases."""
    from hydra_ml.io.head_bank import save_heads
    from hydra_ml.io.history_store import ROW_GROUP
    from hydra_ml.io.tables import load_json, save_table
    from hydra_ml.model.heads import Heads, n_parameters
    from hydra_ml.records import RECORD_COLUMNS

    for stage in small.iterdir():
        shutil.copytree(stage, data / stage.name)
    users = [f"user-{i:07d}" for i in range(n_users)]
    some = pd.read_parquet(data / "prepare" / TASK / "records.parquet")
    some = some[~some["held_out"]].drop_duplicates("text")[[*RECORD_COLUMNS, "held_out"]]
    rows = some.iloc[np.arange(n_users * PER_USER) % (len(some) - PER_USER)].reset_index(drop=True)
    rows["user_id"] = np.repeat(users, PER_USER)
    rows["record_id"] = [f"{i:016d}" for i in range(len(rows))]
    rows = rows.sort_values(["user_id", "date"], kind="stable")
    save_table(rows, data / "prepare" / TASK / "records.parquet", row_group_size=ROW_GROUP)
    asked = pd.read_parquet(data / "prepare" / TASK / "queries.parquet")
    asked = asked[asked["role"] == "train"].iloc[np.zeros(2 * n_users, dtype=int)].reset_index(drop=True)
    asked["user_id"], asked["query_id"] = np.repeat(users, 2), [f"{i}" for i in range(len(asked))]
    save_table(asked, data / "prepare" / TASK / "queries.parquet", row_group_size=ROW_GROUP)
    for component in ("reranker", "adapter"):
        folder = data / f"train_{component}" / TASK / "heads"
        manifest = load_json(folder / "manifest.json")
        width = n_parameters(manifest["head"], manifest["width"])
        random = np.random.default_rng(0).normal(size=(n_users, width)).astype(np.float32) * 0.1
        shutil.rmtree(folder)
        save_heads(Heads(manifest["head"], manifest["width"], tuple(users), random), folder, manifest)
    return users


def add_records(data: Path, users: list[str]) -> None:
    """A drop with PER_USER new records of each user."""
    from hydra_ml.io.history_store import append_drop
    from hydra_ml.records import RECORD_COLUMNS

    some = pd.read_parquet(data / "prepare" / TASK / "records.parquet").drop_duplicates("text")[list(RECORD_COLUMNS)]
    rows = some.iloc[[(i * 5) % len(some) for i in range(len(users) * PER_USER)]].reset_index(drop=True)
    rows["user_id"] = np.repeat(users, PER_USER)
    rows["record_id"] = [f"new{i:013d}" for i in range(len(rows))]
    rows["date"] = [f"2031-01-{i % PER_USER + 1:02d}" for i in range(len(rows))]
    append_drop(data / "history" / TASK, rows)


def sizes(root: Path) -> dict[str, int]:
    return {str(path): path.stat().st_size for path in root.rglob("*") if path.is_file()}


def table(measured: dict[int, dict[str, float]]) -> str:
    """One column per size of the bank, in seconds unless the row says otherwise."""
    names = next(iter(measured.values()))
    lines = ["".join([f"{'seconds':18}", *(f"{f'{n:,} users':>16}" for n in measured)])]
    for name in names:
        lines.append("".join([f"{name:18}", *(f"{found[name]:16,.2f}" for found in measured.values())]))
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
