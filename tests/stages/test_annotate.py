"""annotate: one row per candidate of the drawn training queries, one demo each, resumable."""

import pandas as pd
import pytest

from hydra_ml.errors import LLMError
from hydra_ml.llm.chat import Reply
from hydra_ml.stages.annotate import WORTH_ITS_CALLS, rows_with_record, share_right
from hydra_ml.tasks import get_task


def test_one_row_per_retrieved_candidate_of_drawn_training_queries(chain):
    rows = pd.read_parquet(chain.path("annotate", "annotations.parquet"))
    queries = pd.read_parquet(chain.path("prepare", "queries.parquet")).set_index("query_id")
    assert set(queries.loc[rows["query_id"], "role"]) == {"train"}
    assert queries.loc[rows["query_id"].unique()].groupby("user_id").size().max() == 4
    assert not rows.duplicated(["query_id", "record_id"]).any()
    candidates = pd.read_parquet(chain.path("retrieve", "candidates.parquet"))
    offered = candidates[(candidates["ranker"] == "bm25") & candidates["query_id"].isin(rows["query_id"])]
    assert len(rows) == len(offered)


def test_answers_are_in_the_tasks_own_spelling(chain):
    rows = pd.read_parquet(chain.path("annotate", "annotations.parquet"))
    assert rows["is_parsed"].all()
    assert set(rows["answer"]) <= set(get_task("LaMP_2").labels)


def test_running_again_buys_nothing_and_writes_the_same_bytes(chain, capsys):
    path = chain.path("annotate", "annotations.parquet")
    before = path.read_bytes()
    assert chain.run("annotate") == 0
    assert f'"cached": {chain.summaries["annotate"]["rows"]}' in capsys.readouterr().out
    assert path.read_bytes() == before


@pytest.mark.parametrize(("n_right", "is_worth_it"), [(2, False), (3, True)])
def test_labels_that_are_mostly_luck_are_told(n_right: int, is_worth_it: bool) -> None:
    table = pd.DataFrame({"answer": ["comedy"] * 10, "gold": ["comedy"] * n_right + ["action"] * (10 - n_right)})
    right = share_right(table, get_task("LaMP_2"))
    assert right == n_right / 10
    assert (right >= WORTH_ITS_CALLS) is is_worth_it
    assert share_right(table, get_task("LaMP_4")) is None
    assert share_right(table.iloc[:0], get_task("LaMP_2")) is None


def test_an_answer_that_never_saw_its_record_says_nothing_of_it() -> None:
    table = pd.DataFrame({"record_id": ["seen", "failed", "no room"]})
    replies = [
        Reply(("comedy",), 9, 1, False),
        Reply(("",), 0, 0, False, error="cut off"),
        Reply(("comedy",), 5, 1, False, dropped=1),
    ]
    assert rows_with_record(table, replies, "annotate")["record_id"].tolist() == ["seen"]
    with pytest.raises(LLMError, match=r"annotate: none of 1 prompts fits into the LLM's context with a record"):
        rows_with_record(table.iloc[2:], replies[2:], "annotate")
    assert rows_with_record(table.iloc[:0], [], "annotate").empty
