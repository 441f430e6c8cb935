"""generate: the frozen answers of every arm, greedy always among them, bought once."""

import json
import shutil

import pandas as pd
import pytest

from hydra_ml.answering.arms import asked_prompts, rankings_by_name
from hydra_ml.answering.written import WRITTEN_COLUMNS
from hydra_ml.evaluation.methods import arms_of, chosen_methods
from hydra_ml.io.params_file import load_params
from hydra_ml.llm.chat import answer_keys
from hydra_ml.stages.generate import generate_asks
from hydra_ml.tasks import get_task

NOTHING_WRITTEN = pd.DataFrame(columns=list(WRITTEN_COLUMNS))
ARMS = arms_of(chosen_methods(None))


def test_every_evaluated_query_has_its_answers_under_every_arm(chain):
    answers = pd.read_parquet(chain.path("generate", "answers.parquet"))
    queries = pd.read_parquet(chain.path("prepare", "queries.parquet"))
    evaluated = queries[queries["role"] == "evaluate"]["query_id"]
    counts = answers[answers["query_id"].isin(evaluated)].groupby(["arm", "query_id"])["sample_idx"].agg(list)
    for arm in ARMS:
        assert set(counts[arm.name].index) == set(evaluated)
        expected = [0, 1, 2, 3, 4] if arm.sampled else [0]
        assert all(sorted(found) == expected for found in counts[arm.name])


def test_training_queries_are_asked_under_the_served_prompts_alone(chain):
    answers = pd.read_parquet(chain.path("generate", "answers.parquet"))
    queries = pd.read_parquet(chain.path("prepare", "queries.parquet")).set_index("query_id")
    train = answers[answers["query_id"].map(queries["role"]) == "train"]
    assert set(train["arm"]) == {"hydra", "rag_k4"}
    assert train.groupby(train["query_id"].map(queries["user_id"]))["query_id"].nunique().max() <= 8


def test_running_again_asks_the_llm_nothing(chain, capsys):
    before = chain.path("generate", "answers.parquet").read_bytes()
    assert chain.run("generate") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["failed"] == 0
    assert told["cached"] == told["asks"] > 0
    assert chain.path("generate", "answers.parquet").read_bytes() == before
    told = json.loads(chain.path("generate", "llm.json").read_text())
    assert told == {"model": "offline-minilm", "served": ""}


def test_no_gold_answer_reaches_a_prompt_or_what_an_answer_is_kept_under(chain, tmp_path):
    candidates = pd.read_parquet(chain.path("retrieve", "candidates.parquet"))
    ranking = pd.read_parquet(chain.path("rerank", "ranking.parquet"))
    task, params = get_task("LaMP_2"), load_params(chain.root / "params.yaml")
    queries = pd.read_parquet(chain.path("prepare", "queries.parquet"))
    for name in ("records.parquet", "choices.parquet"):
        shutil.copy(chain.path("prepare", name), tmp_path)
    asks = []
    for golds in (queries["gold"], "fantasy"):
        queries.assign(gold=golds).to_parquet(tmp_path / "queries.parquet")
        asks.append(generate_asks(tmp_path, candidates, ranking, task, params, NOTHING_WRITTEN).asks)
    keys = [[answer_keys(params.llm.identity, ask) for ask in some] for some in asks]
    assert asks[0] == asks[1]
    assert keys[0] == keys[1]


@pytest.mark.parametrize("k", [1, 4])
def test_prompts_name_the_right_records(k):
    queries = pd.DataFrame(
        {"query_id": ["e", "t", "lonely"], "user_id": "u", "role": ["evaluate", "train", "evaluate"], "input": "?"}
    )
    records = [f"r{i}" for i in range(6)]
    candidates = pd.concat(
        [
            pd.DataFrame({"query_id": "e", "ranker": ranker, "rank": range(6), "record_id": order})
            for ranker, order in (("bm25", records), ("recency", records[::-1]), ("random", records[3:] + records[:3]))
        ]
    )
    ranking = pd.concat(
        [
            pd.DataFrame({"arm": arm, "query_id": query_id, "rank": range(6), "record_id": order})
            for arm, query_id, order in (
                ("hydra", "e", records[::2] + records[1::2]),
                ("hydra_shared", "e", records),
                ("hydra", "t", records),
            )
        ]
    )
    asked = asked_prompts(queries, rankings_by_name(candidates, ranking), ARMS, k=k)
    table = asked.set_index(["query_id", "arm"])["demos"]
    assert table["e", "zero_shot"] == []
    assert table["e", "rag_k1"] == ["r0"]
    assert table["e", "rag_k4"] == ["r0", "r1", "r2", "r3"]
    assert table["e", "recency"] == ["r5", "r4", "r3", "r2"][:k]
    assert table["e", "icl_random"] == ["r3", "r4", "r5", "r0"][:k]
    assert table["e", "hydra"] == ["r0", "r2", "r4", "r1"][:k]
    assert table["lonely", "hydra"] == []  # no history: still asked, without demos
    assert set(table["t"].index) == {"hydra", "rag_k4"}
