import pytest

from hydra_ml.llm.chat import Answer, Ask, MemoryStore, answer_keys, request_seed

CHAT = ({"role": "user", "content": "Hello"},)


def test_more_samples_share_the_keys_of_fewer() -> None:
    four, eight = (answer_keys("m", Ask(CHAT, n=n, temperature=1.0)) for n in (4, 8))
    assert eight[:4] == four
    assert len(set(eight)) == 8
    assert all(len(key) == 32 for key in eight)


@pytest.mark.parametrize(
    ("model", "ask"),
    [
        ("other", Ask(CHAT)),
        ("m", Ask(({"role": "user", "content": "Hello."},))),
        ("m", Ask(({"role": "system", "content": "Hello"},))),
        ("m", Ask(CHAT, temperature=0.5)),
        ("m", Ask(CHAT, max_tokens=65)),
        ("m", Ask(CHAT, seed=1)),
    ],
)
def test_whatever_changes_the_answer_changes_the_key(model: str, ask: Ask) -> None:
    assert answer_keys(model, ask) != answer_keys("m", Ask(CHAT))


def test_turns_do_not_run_into_each_other() -> None:
    one = Ask(({"role": "user", "content": "a"}, {"role": "user", "content": "b"}))
    other = Ask(({"role": "user", "content": "a user b"},))
    assert answer_keys("m", one) != answer_keys("m", other)


def test_equal_numbers_give_equal_keys() -> None:
    assert answer_keys("m", Ask(CHAT, temperature=1)) == answer_keys("m", Ask(CHAT, temperature=1.0))


def test_request_seed_moves_on_by_one_per_sample_and_never_meets_the_next_seed() -> None:
    assert request_seed(Ask(CHAT, seed=2), 0) == 2018
    assert request_seed(Ask(CHAT, seed=2), 7) == 2025
    assert request_seed(Ask(CHAT, seed=2), 128) < request_seed(Ask(CHAT, seed=3), 0)


@pytest.mark.parametrize(("n", "temperature"), [(0, 1.0), (2, 0.0)])
def test_an_ask_that_makes_no_sense_is_refused(n: int, temperature: float) -> None:
    with pytest.raises(ValueError, match=f"n is {n}"):
        Ask(CHAT, n=n, temperature=temperature)


def test_memory_store_gives_back_what_was_put() -> None:
    store = MemoryStore()
    store.put_many({"a": Answer("x", 3, 1)})
    assert store.get_many(["a", "b"]) == {"a": Answer("x", 3, 1)}
