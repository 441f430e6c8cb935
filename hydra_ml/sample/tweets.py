"""Tweets for LaMP-7: each user's own voice, and beside it the same said in plain words.

A voice is lower case or not, shorthand or not, drawn-out words, end marks, an emoticon, a hashtag and an opener.
"""

# ruff: noqa: E501 (vocabulary: one entry a line, however long)

from __future__ import annotations

import re
from random import Random

from hydra_ml.sample.piece import Piece, Taste
from hydra_ml.sample.prose import Lexicon, fill, sentence
from hydra_ml.tasks import TASKS

WORDS: Lexicon = {
    "friend": ("[Maya|Jonas|Lucy|Ben|Tasha|Leo|Nina|Sam|Ollie|Zoe|Kim|Raj]",),
    "day": ("today", "tonight", "tomorrow", "this morning", "this weekend"),
    "n": ("two", "three", "four", "five", "six", "ten"),
    "show": ("cooking show", "vampire series", "detective series", "quiz show", "space documentary", "dance contest"),
    "food": ("pancakes", "noodles", "tacos", "lemon cake", "curry", "pizza", "dumplings", "ice cream"),
    "city": ("[Austin|Leeds|Denver|Boston|Lyon|Tampa|Bristol|Portland]",),
    "pet": ("dog", "cat", "parrot", "hamster", "rabbit"),
    "thing": ("phone", "bike", "laptop", "car key", "umbrella", "favorite mug", "headphones case"),
}
# "topic, good + bad - or mixed ~ // plain words // the tweet before the voice is put on". <x> marks the word that some voices draw out.
EVENTS = (
    "work - // I am going to work late {day} because the report is not finished. // going to be stuck at work {day} because that report is <so> not done",
    "work - // My boss cancelled the meeting after {n} hours of preparation. // {n} hours preparing and then the boss <just> cancels the meeting",
    "work + // I received a new project at work and you would like it. // got a new project at work and you would <love> it",
    "food + // I made {food} for {friend} {day}. // making {food} for {friend} {day} and it smells <so> good",
    "food ~ // I want to eat {food} again although I had some yesterday. // want to eat {food} again and I had it yesterday, <no> shame",
    "food - // {friend} burned the {food} and we had to order something. // {friend} burned the {food} <again> so we are ordering",
    "tv + // I am watching the {show} with {friend} {day}. // watching the {show} with {friend} {day}, it is <so> good",
    "tv - // I missed the final of the {show} because I fell asleep. // fell asleep and missed the <whole> final of the {show}",
    "tv ~ // I watched {n} episodes of the {show} and did not study. // {n} episodes of the {show} and <zero> studying",
    "travel ~ // I am travelling to {city} {day} and I have not packed. // off to {city} {day} and I have <not> packed a thing",
    "travel - // The train to {city} was {n} hours late. // the train to {city} is {n} hours late, <great>",
    "travel - // I miss {city} and the people I met there. // missing {city} and you people <so> much",
    "pets - // My {pet} woke me up {n} times last night. // the {pet} woke me up {n} times last night, <why>",
    "pets - // My {pet} is ill and we are waiting at the vet. // at the vet with my {pet}, <please> be okay",
    "pets ~ // {friend} brought a {pet} home and it is sleeping on my bed. // {friend} came home with a {pet} and now it sleeps on <my> bed",
    "study - // I have {n} exams this week and I am not prepared. // {n} exams this week and I am <not> ready",
    "study + // I finished my essay {n} days early, which surprises me. // finished my essay {n} days early, <what> is happening",
    "study + // {friend} helped me to understand statistics. // {friend} explained statistics to me and it <actually> makes sense",
    "lost - // I lost my {thing} somewhere in {city}. // lost my {thing} somewhere in {city}, <ugh>",
    "lost + // I found my {thing} in the fridge after {n} days. // found my {thing} in the fridge after {n} days, <wow>",
    "music + // I am going to a concert with {friend} {day}. // concert with {friend} {day}, <finally>",
    "music - // The same song has been in my head for {n} days. // that song has been in my head for {n} days, <help>",
    "music + // I bought tickets for the festival in {city}. // got tickets for the festival in {city}, <yes>",
    "weather - // It has been raining in {city} for {n} days. // {n} days of rain in {city}, <enough> already",
    "weather - // The sun is shining and I have to stay inside {day}. // the sun is out and I am stuck inside {day}, <not> fair",
    "weather + // It snowed in {city} and we built a snowman. // snow in {city} and we built a <huge> snowman",
    "gym ~ // I ran {n} miles {day} and my legs hurt. // ran {n} miles {day} and my legs are <dead>",
    "gym ~ // I wanted to go to the gym but I ate {food} instead. // was going to hit the gym but {food} happened, <oops>",
    "family ~ // My mother called {n} times to ask about {city}. // mom called {n} times about {city}, <too> cute",
    "family + // My brother is visiting {day} and wants to see the {show}. // little brother visits {day} and wants the {show} on <all> day",
    "home - // The neighbors are playing loud music and I cannot sleep. // neighbors blasting music and I <cannot> sleep",
    "home ~ // I cleaned the kitchen and found {n} spoons. // cleaned the kitchen and found {n} spoons, <really>",
    "friends + // I am meeting {friend} {day} for the first time in {n} months. // seeing {friend} {day} after {n} months, <so> happy",
    "friends ~ // {friend} forgot my birthday and then sent a cake. // {friend} forgot my birthday then sent a cake, <aww>",
)
FEELINGS = (  # (is it a good feeling, plain words, tweet words)
    (True, "I am very happy about it.", "happiest person ever"),
    (True, "It made my day.", "made my day"),
    (True, "I could not ask for more.", "could not ask for more"),
    (True, "I think it is going to be a good week.", "this is going to be a good week"),
    (True, "I am grateful to you all.", "thank you all, love you"),
    (True, "It was a pleasant surprise.", "best surprise"),
    (False, "I am very tired now.", "I am done"),
    (False, "I do not know what to do.", "I do not know what to do"),
    (False, "I wish you were here.", "wish you were here"),
    (False, "It is not my day.", "not my day"),
    (False, "I need some coffee before I continue.", "need coffee before anything else"),
    (False, "I want to go back to bed.", "want to go back to bed"),
    (None, "You know what I mean.", "you know what I mean"),
    (None, "That is how things are.", "it is what it is"),
    (None, "Tell me what you think.", "tell me what you think"),
)
MOODS: dict[str, tuple[bool | None, ...]] = {"+": (True, None), "-": (False, None), "~": (True, False, None)}
SHORTHAND = {
    "going to": "gonna",
    "want to": "wanna",
    "because": "cuz",
    "you": "u",
    "are": "r",
    "love": "luv",
    "tonight": "2nite",
    "tomorrow": "tmrw",
    "before": "b4",
    "please": "plz",
    "thank": "thx",
    "people": "ppl",
    "do not know": "dunno",
    "and": "n",
    "really": "rly",
}
OPENERS = ("", "", "", "omg", "haha", "ugh", "lol", "ok", "well", "hey guys", "aww")
EMOTICONS = (("", ""), (":)", ":("), ("=D", "=/"), ("^_^", "-_-"), (";)", ":/"), ("<3", "</3"), (":-)", ":-("))
MARKS = ("", ".", "!", "!!!", "...")


def draw_taste(rng: Random) -> Taste:
    """A user's voice. Switches are drawn one by one, so that plain and loud voices both occur."""
    return {
        "lower_case": rng.random() < 0.5,
        "shorthand": rng.random() < 0.45,
        "drawn_out": rng.random() < 0.4,
        "hashtag": rng.random() < 0.35,
        "mark": rng.choice(MARKS),
        "emoticons": list(rng.choice(EMOTICONS)),
        "opener": rng.choice(OPENERS),
    }


def draw_piece(rng: Random, taste: Taste) -> Piece:
    """One tweet in the user's voice; its question holds the same in plain words."""
    about, plain, raw = fill(rng.choice(EVENTS), rng, WORDS).split(" // ")
    topic, mood = about.split()
    feelings = [feeling for feeling in FEELINGS if feeling[0] in MOODS[mood]]
    is_good, plain_feeling, raw_feeling = rng.choice(feelings)
    tweet = in_voice(taste, raw, raw_feeling, topic=topic, is_good=is_good)
    question = TASKS["LaMP_7"].templated(f"{sentence(plain)} {plain_feeling}")
    return Piece({"text": tweet}, answer=tweet, cues={"topic": topic, "is_good": is_good}, input=question)


def in_voice(taste: Taste, event: str, feeling: str, *, topic: str, is_good: bool | None) -> str:
    """The tweet a voice makes of an event and a feeling; `is_good` None takes the happy emoticon."""
    text = re.sub(r"<(\w+?)(\w)>", lambda m: m[1] + m[2] * (4 if taste["drawn_out"] else 1), event)
    if taste["shorthand"]:
        text, feeling = _shortened(text), _shortened(feeling)
    if taste["opener"]:
        text = f"{taste['opener']} {text}"
    mark = taste["mark"]
    text = text + (mark if mark else ",") + " " + feeling + mark
    if taste["lower_case"]:
        text = text.lower()
    elif mark and mark != "...":
        text = sentence(text) if mark == "." else re.sub(r"(^|[!] )([a-z])", lambda m: m[1] + m[2].upper(), text)
    else:
        text = text[:1].upper() + text[1:]
    emoticon = taste["emoticons"][1 if is_good is False else 0]
    hashtag = f"#{topic}" if taste["hashtag"] else ""
    return " ".join(part for part in (text, emoticon, hashtag) if part)


def _shortened(text: str) -> str:
    """The text in shorthand, longer expressions first."""
    for long in sorted(SHORTHAND, key=len, reverse=True):
        text = re.sub(rf"\b{long}\b", SHORTHAND[long], text)
    return text
