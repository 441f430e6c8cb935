"""LaMP folders as people have them: read, with every assumption told; one bad record is one record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hydra_ml.errors import DataError
from hydra_ml.io.lamp.add import add
from hydra_ml.io.lamp.files import is_dated, read_split
from hydra_ml.params import Params, Prepare
from hydra_ml.stages.prepare import prepare
from hydra_ml.tasks import TASKS

MOVIES = TASKS["LaMP_2"]
TAGS = MOVIES.labels
ON_DEV = Params(prepare=Prepare(evaluate_split="dev"))


def item(user: int, number: int, **changes: Any) -> dict[str, Any]:
    return {
        "id": f"{user}{number}",
        "tag": TAGS[number % 3],
        "description": f"Film {user}-{number} about a bell.",
        "date": f"{2015 + number}-03-01",
        **changes,
    }


def questions(split: str, *, n_users: int = 6, n_items: int = 5) -> list[dict[str, Any]]:
    """One question a user, with a profile of the split's own length: a user's later splits know more."""
    more = ("train", "dev", "test").index(split)
    return [
        {
            "id": f"{split}{user}",
            "user_id": f"u{user}",
            "input": MOVIES.templated(f"A judge hides the {split} number {user}."),
            "profile": [item(user, number) for number in range(n_items + more)],
        }
        for user in range(n_users)
    ]


def golds(asked: list[dict[str, Any]], answer: str = "comedy") -> dict[str, Any]:
    return {"task": "LaMP_2", "golds": [{"id": question["id"], "output": answer} for question in asked]}


def put(folder: Path, *splits: str, flat: bool = False, change: Any = None, answer: str = "comedy") -> Path:
    """The splits' files below the folder; `change` gets each split's name and questions first."""
    for split in splits:
        asked = questions(split)
        if change is not None:
            change(split, asked)
        place = folder if flat else folder / split
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{split}_questions.json").write_text(json.dumps(asked))
        (place / f"{split}_outputs.json").write_text(json.dumps(golds(asked, answer)))
    return folder


def taken(tmp_path: Path, **options: Any) -> list[str]:
    """What is noted of the movies when everything in `mine` is added to `raw`."""
    return add(tmp_path / "mine", tmp_path / "raw", **options)["LaMP_2"]


def prepared(tmp_path: Path) -> dict[str, Any]:
    """The manifest of what was taken."""
    raw, none = tmp_path / "raw/LaMP_2", tmp_path / "none"
    return prepare(raw=raw, history=none, feedback=none, out=tmp_path / "out", task=MOVIES, params=ON_DEV)


def split_of(tmp_path: Path, split: str) -> Any:
    """A split as the pipeline reads it, which leaves nothing out."""
    return read_split(tmp_path / "raw/LaMP_2", split, MOVIES)


@pytest.mark.parametrize("name", ["LaMP-2", "LaMP_2M", "lamp_2", "LaMP-2M", "LaMP 2"])
def test_folders_may_have_the_names_that_people_give_them(tmp_path: Path, name: str) -> None:
    put(tmp_path / "mine" / name, "train", "dev", "test")
    assert taken(tmp_path) == [f"folder {name} is taken for LaMP_2"]
    assert len(split_of(tmp_path, "dev")[0]) == 6


def test_two_folders_of_one_task_are_refused(tmp_path: Path) -> None:
    for name in ("LaMP-2", "LaMP_2M", "LaMP_99"):
        put(tmp_path / "mine" / name, "train", "dev")
    with pytest.raises(DataError, match=r"LaMP_2M and LaMP-2 are both LaMP_2. Keep one.\n.*LaMP_99: no such task"):
        taken(tmp_path)


def test_the_folder_of_one_task_may_be_given_itself(tmp_path: Path) -> None:
    put(tmp_path / "LaMP_2", "train", "dev")
    assert add(tmp_path / "LaMP_2", tmp_path / "raw") == {"LaMP_2": []}


def test_files_without_split_folders(tmp_path: Path) -> None:
    put(tmp_path / "mine/LaMP_2", "train", "dev", "test", flat=True)
    assert taken(tmp_path) == ["no split folders: files are taken by their names (train, dev, test)"]
    assert (tmp_path / "raw/LaMP_2/test/test_outputs.json").is_file()
    assert [len(split_of(tmp_path, split)[0]) for split in ("train", "dev", "test")] == [6, 6, 6]


def test_golds_with_space_around_and_ids_that_are_numbers(tmp_path: Path) -> None:
    def number(split: str, asked: list[dict[str, Any]]) -> None:
        for place, question in enumerate(asked):
            question |= {"id": 100 * len(split) + place, "user_id": float(place)}
            question["profile"][0]["tag"] = " comedy\n"

    put(tmp_path / "mine/LaMP_2", "train", "dev", change=number, answer=" comedy\n")
    assert taken(tmp_path) == []
    asked, answers = split_of(tmp_path, "dev")
    assert answers == {str(300 + place): "comedy" for place in range(6)}
    assert [question.user_id for question in asked] == ["0", "1", "2", "3", "4", "5"]
    assert asked[0].profile[0]["tag"] == "comedy"


def test_one_empty_text_is_one_record(tmp_path: Path) -> None:
    def empty(split: str, asked: list[dict[str, Any]]) -> None:
        if split == "train":
            asked[0]["profile"][1]["description"] = ""
            asked[1]["profile"][2]["date"] = 1704238200

    put(tmp_path / "mine/LaMP_2", "train", "dev", change=empty)
    with pytest.raises(DataError, match=r"2 problem\(s\)\n  question 'train0', item 1: 'description' is empty"):
        taken(tmp_path)
    (note,) = taken(tmp_path, max_bad_share=0.2)
    assert note.startswith("train_questions.json: 2 of 36 records left out: question 'train0', item 1: 'desc")
    assert "seconds or milliseconds since 1970, write the day" in note
    asked, _ = split_of(tmp_path, "train")
    assert [len(question.profile) for question in asked] == [4, 4, 5, 5, 5, 5]
    assert [entry["id"] for entry in asked[0].profile] == ["00", "02", "03", "04"]


def test_a_question_goes_with_its_gold(tmp_path: Path) -> None:
    def blank(split: str, asked: list[dict[str, Any]]) -> None:
        if split == "dev":
            asked[0]["input"] = " "

    put(tmp_path / "mine/LaMP_2", "train", "dev", change=blank)
    path = tmp_path / "mine/LaMP_2/dev/dev_outputs.json"
    document = json.loads(path.read_text())
    document["golds"][1]["output"] = ""
    path.write_text(json.dumps(document))
    notes = taken(tmp_path, max_bad_share=0.2)
    assert [note.partition(" records")[0] for note in notes] == [
        "dev_questions.json: 1 of 42",
        "dev_outputs.json: 1 of 6",
    ]
    asked, answers = split_of(tmp_path, "dev")
    assert [question.question_id for question in asked] == [*answers] == ["dev2", "dev3", "dev4", "dev5"]


def test_too_many_bad_records_and_what_no_leaving_out_mends_refuse_the_folder_with_all_faults(tmp_path: Path) -> None:
    def spoil(split: str, asked: list[dict[str, Any]]) -> None:
        if split == "train":
            asked[3]["id"] = asked[2]["id"]
        for question in asked if split == "dev" else []:
            for entry in question["profile"][:3]:
                entry["tag"] = "drama"

    put(tmp_path / "mine/LaMP_2", "train", "dev", change=spoil)
    with pytest.raises(DataError) as caught:
        taken(tmp_path, max_bad_share=0.2)
    assert "question 'train2': id repeated: entries 2 and 3" in str(caught.value)
    assert "dev_questions.json: 18 problem(s)" in str(caught.value)
    assert "Nothing was copied" in str(caught.value)
    assert not (tmp_path / "raw").exists()


@pytest.mark.parametrize("only", ["dev", "train"])
@pytest.mark.parametrize("named", [True, False], ids=["users", "questions"])
def test_one_split_is_divided_by_seed(tmp_path: Path, only: str, named: bool) -> None:
    def nameless(_: str, asked: list[dict[str, Any]]) -> None:
        for question in asked:
            del question["user_id"]
            question["profile"] = [{k: v for k, v in entry.items() if k != "date"} for entry in question["profile"]]

    put(tmp_path / "mine/LaMP_2", only, "test", change=None if named else nameless)
    what = "users" if named else "questions"
    assert taken(tmp_path, seed=3) == [
        f"only {only} is there: of its 6 {what}, 2 drawn by seed 3 are evaluated (dev), the others learned from (train)"
    ]
    train, dev = ({question.question_id for question in split_of(tmp_path, split)[0]} for split in ("train", "dev"))
    assert (len(train), len(dev)) == (4, 2)
    assert train | dev == {f"{only}{user}" for user in range(6)}
    assert len(split_of(tmp_path, "test")[0]) == 6
    before = sorted(dev)
    taken(tmp_path, seed=3)
    assert sorted(question.question_id for question in split_of(tmp_path, "dev")[0]) == before
    manifest = prepared(tmp_path)
    assert manifest["counts"]["evaluated_queries"] == 2


def test_users_without_dates_are_ordered_by_place(tmp_path: Path) -> None:
    def undate(split: str, asked: list[dict[str, Any]]) -> None:
        for question in asked:
            for entry in question["profile"]:
                entry["date"] = None
                if split == "train":
                    del entry["date"]

    put(tmp_path / "mine/LaMP_2", "train", "dev", "test", change=undate)
    (note,) = taken(tmp_path)
    assert (
        note == "users but no dates: each user's items are in the order given, dated 0001-01-01 the first, a day apart"
    )
    asked, _ = split_of(tmp_path, "dev")
    assert is_dated(asked)
    days = [entry["date"] for entry in asked[0].profile]
    assert days == [f"0001-01-0{place}" for place in range(1, 7)]
    assert [entry["date"] for entry in split_of(tmp_path, "train")[0][0].profile] == days[:5]  # the same items
    manifest = prepared(tmp_path)
    assert manifest["counts"]["records"] == 36
    assert manifest["dropped"] == {"records with nothing to see as a pseudo-query": 6}  # each user's first


def test_dates_in_some_splits_only_are_refused(tmp_path: Path) -> None:
    def undate(split: str, asked: list[dict[str, Any]]) -> None:
        for entry in (entry for question in asked for entry in question["profile"]):
            if split == "dev":
                del entry["date"]

    put(tmp_path / "mine/LaMP_2", "train", "dev", change=undate)
    with pytest.raises(DataError, match=r"dev_questions.json: no item has a date.*Date all of them or none"):
        taken(tmp_path)


def test_a_time_of_day_counts_as_its_day(tmp_path: Path) -> None:
    def time(_: str, asked: list[dict[str, Any]]) -> None:
        for entry in (entry for question in asked for entry in question["profile"]):
            entry["date"] += " 10:30:00"

    put(tmp_path / "mine/LaMP_2", "train", "dev", change=time)
    assert taken(tmp_path) == []
    assert split_of(tmp_path, "dev")[0][0].profile[0]["date"] == "2015-03-01"
