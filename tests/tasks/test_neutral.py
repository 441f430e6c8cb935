"""Tweets in plain words."""

from __future__ import annotations

import pytest

from hydra_ml.tasks.neutral import neutral_form

PAIRS = [
    ("sooooo tired!!! gonna go to bed :( #fail", "So tired. Going to go to bed fail"),
    ("OMG I LOVE U GUYS!!!! <3", "Oh my god I love you guys."),
    ("I &lt;3 my dog &amp; cat :)", "I my dog and cat"),
    ("wtf??? why r ppl so meannn", "Wtf? Why are people so mean"),
    ("Don't u think it'll rain?! i'm sure", "Do not you think it will rain? I am sure"),
    ("i can’t... 8.5 is GOOOOD, no?", "I cannot. 8.5 is good, no?"),
    ("@Bob_X see http://T.co/Aaaa!! haha", "@Bob_X see http://T.co/Aaaa!!"),
    ("rainy day 🙁 *sigh*", "Rainy day sigh"),
    ("lol so funny hahaha", "So funny"),
]


@pytest.mark.parametrize(("tweet", "plain"), PAIRS)
def test_style_is_taken_out_of_a_tweet(tweet: str, plain: str) -> None:
    assert neutral_form(tweet) == plain


@pytest.mark.parametrize("plain", [plain for _, plain in PAIRS])
def test_plain_words_stay_as_they_are(plain: str) -> None:
    assert neutral_form(plain) == plain


@pytest.mark.parametrize("tweet", [":)", "haha lol!!!!", "!!!"])
def test_a_tweet_of_decoration_alone_is_kept_so_that_no_input_is_empty(tweet: str) -> None:
    assert neutral_form(f" {tweet} ") == tweet


@pytest.mark.timeout(60)
@pytest.mark.parametrize("piece", [",", ".,", " ,", "a", "!", "1.", "@", "#a"])
def test_a_long_tweet_takes_no_more_than_its_length(piece: str) -> None:
    assert neutral_form("x" + piece * 200_000 + "x")


@pytest.mark.parametrize(("tweet", "plain"), [("so,,.. yes", "So. Yes"), ("a,.,?b", "A?b"), ("a,,b", "A,,b")])
def test_a_run_of_stops_is_its_last(tweet: str, plain: str) -> None:
    assert neutral_form(tweet) == plain
