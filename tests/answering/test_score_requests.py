"""scoring: what a request may see, what is told of its answers, and who pays; with models and an LLM made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from hydra_ml.answering.score_requests import (
    PREDICTION_COLUMNS,
    UNREADABLE,
    Models,
    Request,
    give_profiles,
    remembering,
    score_requests,
)
from hydra_ml.errors import DataError
from hydra_ml.llm.chat import Ask, Reply
from hydra_ml.params import Generate, Params
from hydra_ml.records import RECORD_COLUMNS, Record
from hydra_ml.tasks import get_task

TASK = get_task("LaMP_2")
PARAMS = Params(generate=Generate(n_samples=8))


def encode(texts: Sequence[str]) -> np.ndarray:
    """Unit vectors that depend on the text alone."""
    rows = [[len(text) % 7 + 1.0, text.count("a") + 1.0, text.count("e") + 1.0] for text in texts]
    vectors = np.array(rows, dtype=np.float32).reshape(-1, 3)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def likes(answer: str):
    """A model whose personal score prefers one answer and whose shared score prefers the longest."""

    def score(a, b, evidence, user_ids):
        personal = np.array([float(text == answer) for text in b], dtype=np.float32)
        return personal, np.array([float(len(text)) for text in b], dtype=np.float32)

    return score


def models(with_head: Sequence[str] = ()) -> Models:
    return Models(likes(""), likes("comedy"), encode, set(with_head))


class Llm:
    """Says one greedy answer and cycles through its samples; what its text contains may fail."""

    def __init__(self, greedy: str = "action", samples: Sequence[str] = ("comedy", "romance"), failing: str = "\0"):
        self.greedy, self.samples, self.failing = greedy, samples, failing
        self.asked: list[Ask] = []

    def __call__(self, asks: Sequence[Ask]) -> list[Reply]:
        self.asked += asks
        return [self.reply(ask) for ask in asks]

    def reply(self, ask: Ask) -> Reply:
        if self.failing in ask.messages[-1]["content"] and not (ask.temperature and self.failing == "half"):
            return Reply(("",) * ask.n, 0, 0, cached=False, error="the server is ill.", calls=5)
        answers = [self.greedy] if ask.temperature == 0 else [self.samples[i % len(self.samples)] for i in range(ask.n)]
        return Reply(tuple(answers), 10, len(answers), cached=False, calls=1)


def record(user: str, text: str, answer: str = "comedy", date: str = "2020") -> Record:
    return Record(f"{user}-{text}", user, text, TASK.templated(text), answer, date)


def table(records: Sequence[Record]) -> pd.DataFrame:
    return pd.DataFrame([[getattr(r, name) for name in RECORD_COLUMNS] for r in records], columns=list(RECORD_COLUMNS))


def asked(request_id: str, user: str, text: str, history: tuple[Record, ...] | None = None) -> Request:
    return Request(request_id, user, TASK.templated(text), 1, history)


STORED = [record("ann", f"film {i}", date=f"20{i:02d}") for i in range(10, 16)] + [record("bob", "a bee")]


def scored(requests: Sequence[Request], llm: Llm, with_head: Sequence[str] = ()) -> pd.DataFrame:
    profiled, records = give_profiles(requests, table(STORED), TASK, limit=64)
    found = score_requests(profiled, records, models(with_head), llm, task=TASK, params=PARAMS)
    assert list(found.columns) == [name for name in PREDICTION_COLUMNS if name != "release"]
    return found.set_index("request_id")


def test_a_request_sees_its_users_newest_records_but_not_its_own_text():
    requests = [asked("1", "ann", "film 14"), asked("2", "bob", "new"), asked("3", "cat", "new")]
    profiled, records = give_profiles(requests, table(STORED), TASK, limit=3)
    assert profiled["profile"].tolist() == [["ann-film 12", "ann-film 13", "ann-film 15"], ["bob-a bee"], []]
    assert set(records["record_id"]) == {"ann-film 12", "ann-film 13", "ann-film 15", "bob-a bee"}
    assert list(records.columns) == list(RECORD_COLUMNS)


def test_a_history_that_came_along_replaces_the_stored_one_for_that_request_alone():
    sent = (record("ann", "late", date="2030"), record("ann", "early", date="1990"))
    requests = [asked("1", "ann", "new", sent), asked("2", "ann", "new"), asked("3", "ann", "new", ())]
    profiled, _ = give_profiles(requests, table(STORED), TASK, limit=2)
    assert profiled["profile"].tolist() == [["ann-early", "ann-late"], ["ann-film 14", "ann-film 15"], []]


def test_personal_and_generic_choices_come_from_the_same_candidates():
    found = scored([asked("1", "ann", "new")], Llm())
    row = found.loc["1"]
    longest = max(sorted(TASK.labels), key=len)  # proposed by nobody, and still to be chosen
    assert (row["prediction"], row["generic_prediction"]) == ("comedy", longest)
    assert row["score"] == 1.0
    told = [one["answer"] for one in row["candidates"]]
    assert told == [
        "action",
        "comedy",
        "romance",
        longest,
    ]  # greedy first, then votes, then what was chosen all the same
    votes = sum(one["votes"] for one in row["candidates"])
    assert votes == PARAMS.generate.n_samples  # this reranker prefers none: both arms show the same records
    assert set(row["candidates"][0]) == {"answer", "votes", "personal", "shared", "greedy_share"}
    assert len(row["chosen_record_ids"]) == PARAMS.rerank.k
    assert row["error"] == ""


def test_plain_rags_answer_is_kept_where_no_other_leads_it_enough():
    requests, records = give_profiles([asked("1", "ann", "new")], table(STORED), TASK, limit=9)
    said = {
        margin: score_requests(
            requests, records, replace(models(), margin=margin), Llm(), task=TASK, params=PARAMS
        ).iloc[0]["prediction"]
        for margin in (None, 0.5, 50.0)
    }
    assert said == {None: "comedy", 0.5: "comedy", 50.0: "action"}  # which the LLM says at temperature 0


def test_how_personal_an_answer_was_and_for_whom():
    requests = [asked("p", "ann", "new"), asked("s", "bob", "new"), asked("n", "cat", "new"), asked("e", "dan", "new")]
    found = scored(requests, Llm(), with_head=["ann", "dan"])
    assert found["personalization"].tolist() == ["personal", "shared", "none", "personal"]
    assert found["n_history"].tolist() == [6, 1, 0, 0]
    assert found["chosen_record_ids"].map(len).tolist() == [4, 1, 0, 0]


def test_a_prompt_that_rows_share_is_paid_for_by_the_first():
    requests = [asked("1", "cat", "new"), asked("2", "dan", "new"), asked("3", "cat", "other")]
    found = scored(requests, Llm())
    assert found["llm_calls"].tolist() == [2, 0, 2]  # without history both arms are one prompt: greedy and samples
    assert found["tokens_in"].tolist() == [20, 0, 20]
    assert found["tokens_out"].tolist() == [1 + PARAMS.generate.n_samples, 0, 1 + PARAMS.generate.n_samples]


def test_a_request_whose_answers_all_failed_has_no_prediction_but_a_reason():
    found = scored([asked("ok", "ann", "new"), asked("ill", "bob", "poison")], Llm(failing="poison"))
    assert found.loc["ok", "prediction"] == "comedy"
    row = found.loc["ill"]
    assert pd.isna(row["prediction"])
    assert pd.isna(row["generic_prediction"])
    assert pd.isna(row["score"])
    assert row["candidates"] == []
    assert row["error"].endswith("answers failed: the server is ill.")
    assert row["llm_calls"] == 10  # what failed was asked all the same; both arms are one prompt


def test_some_failed_answers_are_told_and_the_others_suffice():
    row = scored([asked("1", "cat", "half")], Llm(failing="half")).loc["1"]
    assert row["prediction"] == "comedy"
    assert row["error"] == "2 of 18 answers failed: the server is ill."


@pytest.mark.parametrize("kind", ["LaMP_1", "LaMP_2", "LaMP_3", "LaMP_7"])
def test_a_lone_request_that_nobody_answered_is_told_whatever_the_task(kind):
    task = get_task(kind)
    request = Request("1", "ann", task.templated("new"), 1, None)
    requests, records = give_profiles([request], table([]), task, limit=9)
    found = score_requests(requests, records, models(), Llm(failing=""), task=task, params=PARAMS).iloc[0]
    assert pd.isna(found["prediction"])
    assert "answers failed: the server is ill." in found["error"]


@pytest.mark.parametrize("kind", ["LaMP_1", "LaMP_2", "LaMP_3"])
def test_an_answer_that_the_task_cannot_read_is_no_prediction(kind):
    task = get_task(kind)
    request = Request("1", "ann", task.templated("new"), 1, None)
    requests, records = give_profiles([request], table([]), task, limit=9)
    llm = Llm("I would say", ["who knows", "who knows"])
    found = score_requests(requests, records, models(), llm, task=task, params=PARAMS).iloc[0]
    assert pd.isna(found["prediction"])
    assert found["error"] == UNREADABLE
    assert found["candidates"] == []


def test_rows_do_not_depend_on_their_neighbours():
    requests = [asked("1", "ann", "new"), asked("2", "bob", "other"), asked("3", "cat", "third")]
    together = scored(requests, Llm(), with_head=["ann"])
    alone = pd.concat([scored([request], Llm(), with_head=["ann"]) for request in reversed(requests)])
    pd.testing.assert_frame_equal(alone.loc[together.index], together)


def test_a_text_is_asked_for_once_and_its_vector_stays_the_same():
    heard: list[str] = []

    def counted(texts: Sequence[str]) -> np.ndarray:
        heard.extend(texts)
        return encode(texts)

    once = remembering(counted)
    for texts in (["a", "bee", "a"], ["sea", "bee"], [], ["a"]):
        np.testing.assert_array_equal(once(texts), encode(texts))
    assert heard == ["a", "bee", "sea"]


def test_no_request_gives_no_row():
    profiled, records = give_profiles([], table(STORED), TASK, limit=4)
    found = score_requests(profiled, records, models(), Llm(), task=TASK, params=PARAMS)
    assert found.empty
    assert list(found.columns) == [name for name in PREDICTION_COLUMNS if name != "release"]


def test_tables_that_do_not_belong_together_are_refused():
    profiled, records = give_profiles([asked("1", "ann", "new")], table(STORED), TASK, limit=4)
    with pytest.raises(DataError, match="'1' stands on several requests"):
        score_requests(pd.concat([profiled, profiled]), records, models(), Llm(), task=TASK, params=PARAMS)
    with pytest.raises(DataError, match=r"its profile names record 'ann-film 15'.*of user 'ann'"):
        score_requests(profiled, records.iloc[:-1], models(), Llm(), task=TASK, params=PARAMS)


def test_records_that_the_prompt_had_no_room_for_are_not_told_as_shown():
    profiled, records = give_profiles([asked("1", "ann", "new")], table(STORED), TASK, limit=9)

    def narrow(asks: Sequence[Ask]) -> list[Reply]:
        return [replace(Llm().reply(ask), dropped=ask.demos - 1) for ask in asks]

    wide, short = (
        score_requests(profiled, records, models(), ask, task=TASK, params=PARAMS) for ask in (Llm(), narrow)
    )
    assert len(wide["chosen_record_ids"][0]) == PARAMS.rerank.k
    assert short["chosen_record_ids"][0] == wide["chosen_record_ids"][0][:1]
