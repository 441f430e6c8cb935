import asyncio
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from hydra_ml.offline.model import ModelAnswer, OfflineModel, count_tokens, cut_at
from hydra_ml.records import Message

CATEGORY = "Which category? categories: [politics, sports, food] article: "


def chat(query: str, *examples: tuple[str, str], instruction: str = CATEGORY) -> list[Message]:
    turns: list[Message] = []
    for text, answer in examples:
        turns += [{"role": "user", "content": instruction + text}, {"role": "assistant", "content": answer}]
    return [*turns, {"role": "user", "content": instruction + query}]


def answers(encode: Callable[[Sequence[str]], np.ndarray], messages: list[Message], **sampling: float) -> list[str]:
    model = OfflineModel(encode)
    return [answer.text for answer in asyncio.run(model.answer(messages, **sampling))]  # type: ignore[arg-type]


def test_a_label_of_the_prompt_is_answered(encode) -> None:
    assert answers(encode, chat("This article is about sports."), temperature=0) == ["sports"]


def test_examples_can_outvote_the_label_words(encode) -> None:
    query = "sports of the day"
    alike = [(f"sports of the day {number}", "Politics.") for number in range(8)]
    assert answers(encode, chat(query), temperature=0) == ["sports"]
    assert answers(encode, chat(query, *alike), temperature=0) == ["politics"]


def test_samples_split_over_requests_are_the_same_samples(encode) -> None:
    messages = chat("soup and ball and votes")
    whole = answers(encode, messages, n=8, temperature=1.0, seed=5)
    assert answers(encode, messages, n=3, temperature=1.0, seed=5) == whole[:3]
    assert answers(encode, messages, n=5, temperature=1.0, seed=8) == whole[3:]


def test_temperature_and_seed_make_answers_differ(encode) -> None:
    messages = chat("Generate this. A long text about ships. Ships sail far away.", instruction="Write a headline: ")
    assert len(set(answers(encode, messages, n=8, temperature=1.0))) > 2
    assert len(set(answers(encode, messages, n=8, temperature=0))) == 1
    assert answers(encode, messages, n=8, temperature=1.0) != answers(encode, messages, n=8, temperature=1.0, seed=99)


def test_what_else_is_in_flight_changes_nothing(encode) -> None:
    chats = [chat(f"text {i} about ball number {i % 7}", (f"ball {i}", "food")) for i in range(60)]
    chats += [
        chat(f"Rate {i}. It is fine.", ("Bad.", "1"), instruction="On a scale of 1 to 5? review: ") for i in range(20)
    ]

    async def together() -> list[list[ModelAnswer]]:
        model = OfflineModel(encode)
        return await asyncio.gather(*(model.answer(messages, n=3, seed=1) for messages in chats))

    async def one_by_one() -> list[list[ModelAnswer]]:
        model = OfflineModel(encode)
        return [await model.answer(messages, n=3, seed=1) for messages in reversed(chats)][::-1]

    assert asyncio.run(together()) == asyncio.run(one_by_one())


def test_grades_come_from_the_scale_of_the_prompt(encode) -> None:
    messages = chat("Some words.", instruction="How good, from 1 to 3? review: ")
    assert set(answers(encode, messages, n=50, temperature=1.0)) <= {"1", "2", "3"}


def test_references_are_answered_by_number(encode) -> None:
    question = 'Paper "Deep sea fishing", which is related? [1]: "Gardens of Rome" [2]: "Fishing in the deep sea"'
    assert answers(encode, [{"role": "user", "content": question}], temperature=0) == ["[2]"]


def test_long_answers_are_cut_and_say_so() -> None:
    assert cut_at("one two, three", 3) == ModelAnswer("one two,", 3, cut=True)
    assert cut_at("one two", 2) == ModelAnswer("one two", 2, cut=False)
    assert count_tokens("It's 5 o'clock!") == 8


@pytest.fixture(scope="module")
def minilm() -> Callable[[Sequence[str]], np.ndarray]:
    from hydra_ml.io.encoders import load_text_encoder
    from hydra_ml.params import Encoder

    return load_text_encoder(Encoder()).encode


def test_with_the_real_encoder_it_understands(minilm) -> None:
    news = "Which category? categories: [politics, sports, food & drink, science & technology, religion] article: "
    asked = {
        "The senate passed the bill after the president threatened a veto.": "politics",
        "The goalkeeper saved two penalties in the cup final.": "sports",
        "Roast the garlic, then stir it into the soup with butter.": "food & drink",
        "A telescope found water vapour on a distant planet.": "science & technology",
    }
    found = {text: answers(minilm, chat(text, instruction=news), temperature=0)[0] for text in asked}
    assert found == asked
    scale = "What is the score on a scale of 1 to 5? review: "
    good, bad = (
        int(answers(minilm, chat(text, instruction=scale), temperature=0)[0])
        for text in ("I love it. Works perfectly, best purchase ever!", "Awful. It broke at once and I hate it.")
    )
    assert good >= 4
    assert bad <= 2
