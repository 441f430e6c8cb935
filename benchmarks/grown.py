"""Projects of any number of users, for the growth curves: real files, registry and stages; made-up users and heads.

Texts are the bundled sample's. Heads are random ones on a small, really trained base; where a curve leaves the LLM and
the encoder out, seeded answers and vectors stand in for theirs.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[1]
TASK = "LaMP_2"
FIRST_DAY = np.datetime64("2005-01-01")


def save_params(path: Path, changes: dict[str, dict[str, Any]]) -> Path:
    """params.yaml with the defaults, but for `changes` (section -> key -> value)."""
    from hydra_ml.params import Params

    document = Params(tasks=[TASK]).model_dump(by_alias=True)
    for section, values in changes.items():
        document[section].update(values)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        YAML().dump(document, file)
    return path


def write_sample(raw: Path, n_users: int) -> None:
    """The bundled sample's files, with so many users."""
    from hydra_ml.io.lamp.files import Question, write_split
    from hydra_ml.io.task_files import get_task
    from hydra_ml.sample import generate

    sample = generate(TASK, seed=3, n_users=n_users)
    for split, entries in sample.questions.items():
        asked = [Question(e["id"], e["input"], tuple(e["profile"]), e["user_id"], e["date"]) for e in entries]
        write_split(raw, split, get_task(TASK), asked, sample.golds[split])


def run_stages(root: Path, names: Sequence[str]) -> dict[str, float]:
    """Run stages on root/data; seconds of each."""
    from hydra_ml.io.params_file import load_params
    from hydra_ml.io.task_files import get_task
    from hydra_ml.jobs.update_workspace import run_stage

    task, params = get_task(TASK), load_params(root / "params.yaml")
    caches = {True: root / ".cache", False: root / ".cache"}
    return {
        name: run_stage(name, task, params, data=root / "data", caches=caches, places={})["seconds"] for name in names
    }


STAGES = ("prepare", "validate", "retrieve", "annotate", "train_reranker", "rerank", "generate", "train_adapter")
STAGES = (*STAGES, "evaluate")


def small_chain(root: Path) -> Path:
    """The whole chain on eight users: the base and the prepared texts of the grown projects."""
    if not (root / "data/evaluate").exists():
        save_params(root / "params.yaml", {"train_reranker": {"epochs": 3}, "train_adapter": {"epochs": 3}})
        write_sample(root / "data/raw" / TASK, 8)
        run_stages(root, STAGES)
    return root


def grow(small: Path, root: Path, n_users: int) -> list[str]:
    """A project whose users have 8 to 20 prepared records each, heads for all, and a champion; gives the user ids."""
    from hydra_ml.io.mlflow.registry import Registry
    from hydra_ml.io.params_file import load_params
    from hydra_ml.io.tables import save_table
    from hydra_ml.io.task_files import get_task
    from hydra_ml.io.user_tables import ROW_GROUP
    from hydra_ml.jobs.nightly import register_chain
    from hydra_ml.learning.guard import Guard, guard_table
    from hydra_ml.learning.history import Evaluated
    from hydra_ml.learning.reference_pairs import References
    from hydra_ml.records import RECORD_COLUMNS

    shutil.rmtree(root, ignore_errors=True)
    data, task = root / "data", get_task(TASK)
    shutil.copytree(small, root)
    users = [f"user-{i:07d}" for i in range(n_users)]
    prepared = data / "prepare" / TASK
    some = pd.read_parquet(prepared / "records.parquet")
    some = some[~some["held_out"]].drop_duplicates("text")[[*RECORD_COLUMNS, "held_out"]]
    owner = np.repeat(np.arange(n_users), 8 + np.arange(n_users) % 13)
    rows = some.iloc[np.arange(len(owner)) % len(some)].reset_index(drop=True)
    rows["user_id"] = np.array(users)[owner]
    rows["record_id"] = [f"{i:016d}" for i in range(len(rows))]
    rows = rows.sort_values(["user_id", "date"], kind="stable")
    save_table(rows, prepared / "records.parquet", row_group_size=ROW_GROUP)
    asked = pd.read_parquet(prepared / "queries.parquet")
    asked = asked[asked["role"] == "train"].iloc[np.zeros(2 * n_users, dtype=int)].reset_index(drop=True)
    asked["user_id"], asked["query_id"] = np.repeat(users, 2), [f"{i}" for i in range(len(asked))]
    save_table(asked, prepared / "queries.parquet", row_group_size=ROW_GROUP)
    evaluated = Evaluated(frozenset(f"evaluated {i}" for i in range(8 * n_users)), frozenset())
    save_table(guard_table(Guard(evaluated, References(), dated=True)), prepared / "guard.parquet")
    random_heads(data, users)
    registry = Registry(f"sqlite:///{root / 'mlflow.db'}", cache=root / ".cache")
    params = load_params(root / "params.yaml")
    registry.point(task, {"champion": register_chain(task, params, data=data, run_name="bank", registry=registry)})
    return users


def random_heads(data: Path, users: Sequence[str]) -> None:
    """Heads of all users, for both components, in place of those that are there."""
    from hydra_ml.io.files import load_json
    from hydra_ml.io.head_bank import save_heads
    from hydra_ml.model.heads import Heads, n_parameters

    for component in ("reranker", "adapter"):
        folder = data / f"train_{component}" / TASK / "heads"
        manifest = load_json(folder / "manifest.json")
        width = n_parameters(manifest["head"], manifest["width"])
        random = np.random.default_rng(0).normal(size=(len(users), width)).astype(np.float32) * 0.1
        shutil.rmtree(folder)
        save_heads(Heads(manifest["head"], manifest["width"], tuple(users), random), folder, manifest)


def add_drop(data: Path, users: Sequence[str], per_user: int) -> None:
    """A drop with so many new records of each user."""
    from hydra_ml.io.history_store import append_drop
    from hydra_ml.records import RECORD_COLUMNS

    some = pd.read_parquet(data / "prepare" / TASK / "records.parquet").drop_duplicates("text")
    rows = some[list(RECORD_COLUMNS)].iloc[(np.arange(len(users) * per_user) * 5) % len(some)].reset_index(drop=True)
    rows["user_id"] = np.repeat(list(users), per_user)
    rows["record_id"] = [f"new{i:013d}" for i in range(len(rows))]
    rows["date"] = [f"2031-01-{i % per_user + 1:02d}" for i in range(len(rows))]
    append_drop(data / "history" / TASK, rows)


def write_requests(root: Path, users: Sequence[str], n: int) -> Path:
    """n requests of users spread evenly over all."""
    queries = pd.read_parquet(root / "data/prepare" / TASK / "queries.parquet", columns=["input"])
    inputs = queries["input"].unique()
    spread = np.linspace(0, len(users) - 1, n).astype(int)
    lines = [
        {
            "request_id": str(i),
            "user_id": users[owner],
            "task": "LaMP-2",
            "input": f"{inputs[i % len(inputs)]} Number {i}.",
        }
        for i, owner in enumerate(spread.tolist())
    ]
    path = root / "requests.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return path


def write_files(root: Path, n_users: int, n_records: int) -> None:
    """LaMP files of so many users with so many records each, one train and two test questions; vectors of all texts."""
    from hydra_ml.io.lamp.files import Question, write_split
    from hydra_ml.io.task_files import get_task
    from hydra_ml.sample import generate

    task = get_task(TASK)
    sample = generate(TASK, seed=3, n_users=8)
    films = [item["description"] for entry in sample.questions["test"] for item in entry["profile"]]
    films = list(dict.fromkeys(films))
    random = np.random.default_rng(0)
    days = np.datetime_as_string(FIRST_DAY + np.arange(n_records + 3)).tolist()
    texts: list[str] = []
    asked: dict[str, list[Question]] = {"train": [], "test": []}
    golds: dict[str, dict[str, str]] = {"train": {}, "test": {}}
    for user in range(n_users):
        own = [f"{films[(7 * user + i) % len(films)]} No. {user}-{i}." for i in range(n_records + 3)]
        tags = [task.labels[j] for j in random.integers(len(task.labels), size=n_records + 3)]
        items = [{"id": str(i), "description": own[i], "tag": tags[i], "date": days[i]} for i in range(n_records)]
        for place, split in enumerate(("train", "test", "test"), start=n_records):
            name = f"{user}-{place}"
            asked[split].append(Question(name, task.templated(own[place]), tuple(items), f"u{user:06d}", days[place]))
            golds[split][name] = tags[place]
        texts += own
    for split, questions in asked.items():
        write_split(root / "data/raw" / TASK, split, task, questions, golds[split])
    save_vectors(root, [*texts, *task.labels])


def save_vectors(root: Path, texts: Sequence[str]) -> None:
    """Random unit vectors into the feature cache, so that no stage has to encode."""
    from hydra_ml.io.encoders import find_encoder
    from hydra_ml.io.feature_cache import CachedEncoder
    from hydra_ml.io.params_file import load_params

    files = find_encoder(load_params(root / "params.yaml").encoder)

    class Standin:
        def encode(self, some: Sequence[str], *, done: Any) -> np.ndarray:
            vectors = np.random.default_rng(len(some)).normal(size=(len(some), files.dim)).astype(np.float32)
            return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    path = root / ".cache" / f"features-{files.digest}.sqlite"
    with CachedEncoder(Standin, path, dim=files.dim) as cache:  # type: ignore[arg-type]
        for start in range(0, len(texts), 20_000):
            cache.encode(texts[start : start + 20_000])


def answer_for_annotate(root: Path) -> None:
    """annotations.parquet as `annotate` would write it, right or wrong by chance."""
    from hydra_ml.io.params_file import load_params
    from hydra_ml.io.tables import save_table
    from hydra_ml.io.task_files import get_task
    from hydra_ml.learning.draws import draw_per_user

    params, data = load_params(root / "params.yaml"), root / "data"
    queries = pd.read_parquet(data / "prepare" / TASK / "queries.parquet")
    drawn = draw_per_user(queries[queries["role"] == "train"], params.annotate.queries_per_user, params.seed)
    rows = pd.read_parquet(data / "retrieve" / TASK / "candidates.parquet", columns=["query_id", "ranker", "record_id"])
    rows = rows[rows["ranker"] == "bm25"].merge(drawn[["query_id", "gold"]], on="query_id")
    random = np.random.default_rng(0)
    wrong = np.array(get_task(TASK).labels)[random.integers(len(get_task(TASK).labels), size=len(rows))]
    rows["answer"] = np.where(random.random(len(rows)) < 0.5, rows["gold"], wrong)
    save_table(rows.drop(columns="ranker").assign(is_parsed=True), data / "annotate" / TASK / "annotations.parquet")


def answer_for_generate(root: Path) -> None:
    """answers.parquet as `generate` would write it, any label by chance."""
    from hydra_ml.answering.arms import asked_prompts, rankings_by_name
    from hydra_ml.evaluation.methods import arms_of, chosen_methods
    from hydra_ml.io.params_file import load_params
    from hydra_ml.io.tables import save_table
    from hydra_ml.io.task_files import get_task

    params, data, labels = load_params(root / "params.yaml"), root / "data", np.array(get_task(TASK).labels)
    queries = pd.read_parquet(
        data / "prepare" / TASK / "queries.parquet", columns=["query_id", "user_id", "role", "input"]
    )
    candidates = pd.read_parquet(data / "retrieve" / TASK / "candidates.parquet")
    ranking = pd.read_parquet(data / "rerank" / TASK / "ranking.parquet")
    arms = arms_of(chosen_methods(params.evaluate.methods))
    asked = asked_prompts(queries, rankings_by_name(candidates, ranking), arms, k=params.rerank.k)
    n = 1 + params.generate.n_samples * asked["is_sampled"].to_numpy(dtype=int)
    rows = asked[["query_id", "arm"]].iloc[np.repeat(np.arange(len(asked)), n)].reset_index(drop=True)
    rows["sample_idx"] = np.concatenate([np.arange(count) for count in n]).astype("int16")
    rows["answer"] = labels[np.random.default_rng(0).integers(len(labels), size=len(rows))]
    save_table(rows.assign(is_parsed=True, error=""), data / "generate" / TASK / "answers.parquet")
