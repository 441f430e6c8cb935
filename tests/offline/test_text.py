from random import Random

import pytest

from hydra_ml.offline.manner import (
    DEFAULT,
    Manner,
    case_of,
    in_manner,
    manner_of,
    shared_closing,
    shared_opening,
    usual_manner,
)
from hydra_ml.offline.text import Writer
from hydra_ml.offline.voice import Voice, respellings, split_tail

ABSTRACT = (
    "Documents in many languages are hard to sort. In this work, we propose a meta-learning approach to document "
    "classification in low-resource languages. Results are good. Document classification gains most."
)


@pytest.mark.parametrize(
    ("text", "case"),
    [
        ("How to Sail a Boat", "title"),
        ("how to sail", "lower"),
        ("HOW TO SAIL", "upper"),
        ("How to sail a boat", "sentence"),
        ("How to sail to Rome with Ann", "sentence"),
        ("123", "sentence"),
    ],
)
def test_case_of(text: str, case: str) -> None:
    assert case_of(text) == case


def test_a_manner_is_read_and_put_on() -> None:
    manner = manner_of("Ships: The Sea Is Calling You!!")
    assert manner == Manner(n_words=6, case="title", ending="!!", two_parts=True)
    assert in_manner("the winds of change.", manner) == "The Winds of Change!!"
    assert in_manner("The Winds,", Manner(2, "lower", "", False)) == "the winds"
    assert in_manner('"quoted" words', DEFAULT) == '"Quoted" words'


def test_usual_manner_is_what_most_do() -> None:
    assert usual_manner([]) == DEFAULT
    usual = usual_manner([manner_of("Oh no!"), manner_of("Oh yes my dear!"), manner_of("well then what now my")])
    assert usual == Manner(n_words=11 / 3, case="sentence", ending="!", two_parts=False)


def test_shared_openings_are_habits_not_topics() -> None:
    examples = [("wolves came", "Report: wolves are here"), ("rain fell", "Report: rain falls"), ("a cat", "A cat!")]
    assert shared_opening(examples) == "Report:"
    topical = [("wolves came", "wolves are here"), ("wolves left", "wolves are gone")]
    assert shared_opening(topical) == ""
    assert shared_opening(examples[:1]) == ""
    assert shared_opening([("a", "The sea"), ("b", "The sky")]) == ""
    assert shared_closing([("x", "Cold water - opinion"), ("y", "Hot air - opinion")]) == "- opinion"


def test_the_best_phrase_of_an_abstract_follows_the_cue() -> None:
    title = Writer(ABSTRACT, []).write(0, Random(0))
    assert title.lower().startswith("meta-learning approach to document classification")


def test_answers_follow_the_examples_length_case_and_ending() -> None:
    long = [("x", "A Very Long Title About Many Different Things in Our World Today!")] * 2
    short = [("x", "tiny words here"), ("y", "other small thing")]
    assert len(Writer(ABSTRACT, long).write(0, Random(0)).split()) > 8
    assert Writer(ABSTRACT, long).write(0, Random(0)).endswith("!")
    written = Writer(ABSTRACT, short).write(0, Random(0))
    assert written == written.lower()
    assert 2 <= len(written.split()) <= 4


def test_an_opening_habit_is_kept() -> None:
    habit = [("rain fell", "Breaking: rain all day"), ("snow fell", "Breaking: snow at night")]
    assert (
        Writer("The mayor of Leeds opened a bridge over the river.", habit).write(0, Random(0)).startswith("Breaking: ")
    )


def test_an_author_who_always_answers_the_same_is_taken_at_the_word() -> None:
    assert Writer("Please send me the report.", [("a", "Quick question"), ("b", "Quick question")]).write(
        0, Random(0)
    ) == ("Quick question")


def test_the_authors_own_words_attract() -> None:
    text = "Apples grow on old trees near town. Pears grow on young trees near rivers."
    about_pears = [("x", "Pears and rivers"), ("y", "More pears, please")]
    assert "pears" in Writer(text, about_pears).write(0, Random(0)).lower()


@pytest.mark.parametrize("text", ["", "   ", "?!", "the of and", "Word", "a" * 5000])
@pytest.mark.parametrize("examples", [[], [("", "How To: Do It!"), ("", "How To: Be It!")]])
def test_no_text_is_too_odd(text: str, examples: list[tuple[str, str]]) -> None:
    writer = Writer(text, examples)
    for seed in range(5):
        assert isinstance(writer.write(1.0, Random(seed)), str)
    assert isinstance(Voice(examples).write(text, 1.0, Random(0)), str)


def test_samples_differ_and_the_best_one_does_not() -> None:
    writer = Writer(ABSTRACT, [])
    assert len({writer.write(1.0, Random(seed)) for seed in range(8)}) >= 4
    assert len({writer.write(0, Random(seed)) for seed in range(8)}) == 1


def test_respellings_are_learnt_word_by_word() -> None:
    assert respellings("I love you and me", "i luv u n me") == [("love", "luv"), ("you", "u"), ("and", "n")]
    assert respellings("We do not go", "we don't go") == [("do not", "don't")]


def test_tails_are_emoticons_and_laughter_but_not_hashtags() -> None:
    assert split_tail("so tired lol :)") == ("so tired", "lol :)")
    assert split_tail("new song #music <3") == ("new song", "<3")
    assert split_tail("lol") == ("lol", "")


def test_a_voice_is_taken_over() -> None:
    tweets = [
        ("I love you.", "i luv u :)"),
        ("You are late again.", "u are late again :)"),
        ("I see you.", "i see u :)"),
    ]
    assert Voice(tweets).write("Do you love me.", 0, Random(0)) == "do u luv me :)"
    shouted = [("It is hot.", "It's hot!!"), ("We are here.", "We're here!!")]
    assert Voice(shouted).write("It is late. You are tired.", 0, Random(0)) == "It's late!! You're tired!!"
    greeting = [("Hey guys I am home.", "Hey guys I am home"), ("Hey guys it rains.", "Hey guys it rains")]
    assert Voice(greeting).write("It is late.", 0, Random(0)) == "Hey guys It is late"


def test_without_examples_a_paraphrase_keeps_the_words_and_contracts() -> None:
    assert Voice([]).write("I am not sure. We will see.", 0, Random(0)) == "I'm not sure. We'll see"
