"""Names, and the promise every task keeps: an item's pseudo-query reads like an official input."""

from __future__ import annotations

import pytest

from hydra_ml.errors import ParamsError
from hydra_ml.records import Record
from hydra_ml.tasks import TASKS, get_task

MOVIE_TAGS = (
    "sci-fi, based on a book, comedy, action, twist ending, dystopia, dark comedy, classic, psychology, fantasy, "
    "romance, thought-provoking, social commentary, violence, true story"
)
# folder -> (item, official input for it, query text, document, answer)
OFFICIAL = {
    "LaMP_2": (
        {"id": "10", "tag": "dystopia", "description": "A clerk fights a ministry: description: unknown."},
        "Which tag does this movie relate to among the following tags? Just answer with the tag name without further "
        f"explanation. tags: [{MOVIE_TAGS}] description: A clerk fights a ministry: description: unknown.",
        "A clerk fights a ministry: description: unknown.",
        "A clerk fights a ministry: description: unknown.",
        "dystopia",
    ),
    "LaMP_2N": (
        {"id": "10", "title": "Peace At Last", "text": "An article: of faith.", "category": "religion"},
        "Which category does this article relate to among the following categories? Just answer with the category name "
        "without further explanation. categories: [women, religion, politics, style & beauty, entertainment, culture & "
        "arts, sports, science & technology, travel, business, crime, education, healthy living, parents, food & "
        "drink] article: An article: of faith.",
        "An article: of faith.",
        "Peace At Last An article: of faith.",
        "religion",
    ),
    "LaMP_3": (
        {"id": "10", "text": "Broke in a week.", "score": "1.0"},
        "What is the score of the following review on a scale of 1 to 5? just answer with 1, 2, 3, 4, or 5 without "
        "further explanation. review: Broke in a week.",
        "Broke in a week.",
        "Broke in a week.",
        "1",
    ),
    "LaMP_4": (
        {"id": "10", "title": "Rain Again", "text": "It rained."},
        "Generate a headline for the following article: It rained.",
        "It rained.",
        "Rain Again It rained.",
        "Rain Again",
    ),
    "LaMP_5": (
        {"id": "10", "title": "On Heads", "abstract": "We fit heads."},
        "Generate a title for the following abstract of a paper: We fit heads.",
        "We fit heads.",
        "On Heads We fit heads.",
        "On Heads",
    ),
    "LaMP_6": (
        {"id": "10", "title": "lunch?", "text": "Are you free at noon?"},
        "Generate a subject for the following email: Are you free at noon?",
        "Are you free at noon?",
        "Are you free at noon?",
        "lunch?",
    ),
    "LaMP_7": (
        {"id": "10", "text": "sooo tired!!! cant sleep :("},
        "Paraphrase the following tweet without any explanation before or after it: So tired. Cannot sleep",
        "So tired. Cannot sleep",
        "sooo tired!!! cant sleep :(",
        "sooo tired!!! cant sleep :(",
    ),
}


@pytest.mark.parametrize("folder", OFFICIAL)
def test_an_item_becomes_the_official_input_and_back(folder: str) -> None:
    task = TASKS[folder]
    item, official, query, document, answer = OFFICIAL[folder]
    assert task.record_input(item) == official
    assert task.query_text(official) == query
    assert task.record_text(item) == document
    assert task.record_answer(item) == answer


def test_every_task_is_declared_whole() -> None:
    assert list(TASKS) == ["LaMP_1", "LaMP_2", "LaMP_2N", "LaMP_3", "LaMP_4", "LaMP_5", "LaMP_6", "LaMP_7"]
    for folder, task in TASKS.items():
        assert task.folder == folder
        assert task.name == folder.replace("_", "-")
        assert (
            task.measures
            == {
                "label": ("accuracy", "f1"),
                "choice": ("accuracy", "f1"),
                "rating": ("mae", "rmse"),
                "text": ("rouge_1", "rouge_l"),
            }[task.kind]
        )
        assert bool(task.labels) == (task.kind != "text")
        assert (
            len(task.labels) == len(set(task.labels)) == {"label": 15, "choice": 2, "rating": 5, "text": 0}[task.kind]
        )


@pytest.mark.parametrize("name", ["LaMP-2N", "LaMP_2N", "lamp-2n", " LAMP_2n "])
def test_a_task_is_found_however_it_is_spelled(name: str) -> None:
    assert get_task(name) is TASKS["LaMP_2N"]


@pytest.mark.parametrize("name", ["LaMP-8", "", "2N"])
def test_an_unknown_task_is_refused_with_what_is_allowed(name: str) -> None:
    with pytest.raises(ParamsError) as error:
        get_task(name)
    assert repr(name) in str(error.value)
    assert "LaMP-1, LaMP-2, LaMP-2N, LaMP-3" in str(error.value)


def test_question_110_of_lamp_2_dev_is_its_own_query_text() -> None:
    assert (
        get_task("LaMP-2").query_text("x A man wakes up in a world of apes. ") == "x A man wakes up in a world of apes."
    )


def test_demos_are_earlier_turns_most_useful_first() -> None:
    task = get_task("LaMP-4")
    demos = [Record("a", "u", "t", "in a", "out a"), Record("b", "u", "t", "in b", "out b")]
    assert [turn["content"] for turn in task.messages("now", demos)] == ["in a", "out a", "in b", "out b", "now"]
    assert [turn["role"] for turn in task.messages("now", demos)] == ["user", "assistant"] * 2 + ["user"]


@pytest.mark.parametrize("name", ["LaMP-2", "LaMP-2N", "LaMP-3", "LaMP-4", "LaMP-5", "LaMP-6", "LaMP-7"])
def test_the_instruction_is_said_once_on_the_last_turn(name: str) -> None:
    task = get_task(name)
    demos = [
        Record("1", "u", "", task.templated("first: text"), "a"),
        Record("2", "u", "", task.templated("next"), "b"),
    ]
    chat = task.messages(task.templated("now: this"), demos, "once")
    assert [turn["content"] for turn in chat] == ["first: text", "a", "next", "b", task.templated("now: this")]
    assert task.messages(task.templated("now"), [], "once") == [{"role": "user", "content": task.templated("now")}]


@pytest.mark.parametrize(
    ("folder", "needed"),
    [("LaMP_1", 18), ("LaMP_2", 25), ("LaMP_2N", 26), ("LaMP_3", 17), ("LaMP_4", 64), ("LaMP_7", 64)],
)
def test_an_answer_gets_the_tokens_its_kind_needs_unless_told_otherwise(folder: str, needed: int) -> None:
    task = get_task(folder)
    assert task.answer_tokens(None) == needed
    assert task.answer_tokens(4000) == 4000
    assert task.answer_tokens(1) == 1


def test_movies_are_known_by_the_name_that_tells_them_from_news():
    assert get_task("LaMP-2M") is get_task("LaMP_2M") is get_task("LaMP_2")
