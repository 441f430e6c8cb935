"""Prompts of a probe: always the same, enough of them, and of LaMP's tasks without a word of a real user."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hydra_ml.answering.probe import answer_vectors, probe_chats
from hydra_ml.sample import DOMAINS
from hydra_ml.tasks import get_task


@pytest.mark.parametrize("folder", list(DOMAINS))
def test_a_task_of_the_sample_asks_invented_users_questions(folder):
    task = get_task(folder)
    found = probe_chats(task, ["SECRET"], n=50, form="lamp")
    assert found == probe_chats(task, [], n=50, form="lamp")
    assert len({input for input, _ in found}) == 50
    has_records = task.kind != "choice"  # of references, users' records have no answer to show
    assert all(chat[-1]["role"] == "user" and (len(chat) > 1) == has_records for _, chat in found)
    assert "SECRET" not in str(found)


def test_more_are_drawn_where_more_are_wanted():
    assert len(probe_chats(get_task("LaMP_2"), [], n=300, form="once")) == 300


def test_another_task_asks_frozen_questions_without_any_record():
    task = replace(get_task("LaMP_2"), folder="own_task")
    frozen = [f"question {i}" for i in range(60)]
    found = probe_chats(task, frozen, n=50, form="lamp")
    assert found == probe_chats(task, frozen[::-1], n=50, form="lamp")
    assert len(found) == 50
    assert all(sum(turn["role"] == "assistant" for turn in chat) == 0 for _, chat in found)
    assert probe_chats(task, [], n=50, form="lamp") == []


def test_a_text_is_what_it_says_and_how_it_looks(encode):
    same, other = answer_vectors(["A storm came", "a storm came"], encode)
    assert same.shape == other.shape
    assert (same[:64] == other[:64]).all()
    assert (same[64:] != other[64:]).any()
