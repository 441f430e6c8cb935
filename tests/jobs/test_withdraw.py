"""A drop taken out of what is learned from stays out, also when it is delivered again, until it is given back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hydra_ml.errors import DataError
from hydra_ml.io import dvc as versions
from hydra_ml.io.history_store import drop_names, records_of
from hydra_ml.jobs.ingest import ingest_drop
from hydra_ml.jobs.withdraw import drops_of, give_back, withdraw
from hydra_ml.params import Ingest, Params
from hydra_ml.tasks import get_task

MOVIES = get_task("LaMP_2")
QUIET = Params(ingest=Ingest(push=False))


def take(root: Path, name: str, *films: str) -> str:
    """The name of the drop that holds these films of ann's."""
    path = root / "data/incoming" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    row = {"task": "LaMP_2", "user_id": "ann", "date": "2020-01-01", "tag": "comedy"}
    path.write_text("".join(json.dumps({**row, "description": film}) + "\n" for film in films))
    return ingest_drop(path, data=root / "data", params=QUIET).history.get("LaMP_2", "")


def films(root: Path) -> set[str]:
    return set(records_of(root / "data/history/LaMP_2", ["ann"])["text"])


def test_what_is_withdrawn_is_not_read_is_versioned_and_does_not_come_in_again(versioned):
    data = versioned / "data"
    take(versioned, "good.jsonl", "a good film")
    spam = take(versioned, "spam.jsonl", "buy this")
    before = versions.content_version(data / "history/LaMP_2", versioned)
    out = withdraw("spam.jsonl", [get_task("LaMP_3"), MOVIES], data=data, reason="spam")
    assert (out.name, out.withdrawn, out.records) == (spam, "spam", 1)
    assert withdraw(spam[:6], [MOVIES], data=data).withdrawn == "spam", "again changes nothing"
    assert films(versioned) == {"a good film"}
    assert versions.content_version(data / "history/LaMP_2", versioned) != before
    assert (data / "withdrawn/LaMP_2.dvc").exists()

    assert take(versioned, "again.jsonl", "buy this", "another film")
    assert films(versioned) == {"a good film", "another film"}
    assert [drop.file for drop in drops_of(MOVIES, data=data) if drop.withdrawn] == ["spam.jsonl"]

    assert give_back(spam, [MOVIES], data=data).withdrawn == ""
    assert give_back(spam, [MOVIES], data=data).withdrawn == ""
    assert films(versioned) == {"a good film", "another film", "buy this"}
    assert not list((data / "withdrawn/LaMP_2").iterdir())


def test_a_drop_that_is_none_or_several_is_told_with_those_there_are(versioned):
    names = [take(versioned, f"{i}.jsonl", f"film {i}") for i in range(2)]
    with pytest.raises(DataError, match=rf"'nothing' names 0 drops; name one of: .*{names[0]} of LaMP-2 \(0.jsonl\)"):
        withdraw("nothing", [MOVIES], data=versioned / "data")
    with pytest.raises(DataError, match="'' names 0 drops"):
        withdraw("", [MOVIES], data=versioned / "data")
    assert len(drop_names(versioned / "data/history/LaMP_2")) == 2
