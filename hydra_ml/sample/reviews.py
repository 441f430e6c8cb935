"""Product reviews for LaMP-3. Each praises some aspects and faults others; what a user makes of that is a habit.

The habit is a weight per aspect and a place on the scale: the same mixed review is a 2 from one user, a 5 from another.
"""

# ruff: noqa: E501 (vocabulary: one entry a line, however long)

from __future__ import annotations

from collections.abc import Mapping
from random import Random

from hydra_ml.sample.piece import NOISE, Piece, Taste
from hydra_ml.sample.prose import fill, sentence

MIDDLE = 4.0  # scores lie high, as in LaMP
MANNERS = {  # (share of users in percent, shift of the scale, how strongly aspects move the score)
    "even": (30, 0.0, 1.0),
    "generous": (30, 0.8, 0.8),
    "harsh": (20, -1.3, 1.0),
    "extreme": (20, -0.2, 2.4),
}
N_CARED_FOR = 2  # aspects that count for a user; the rest hardly do
POSITIVE_SHARE = 0.64

WORDS = {
    "product": (
        "[kettle|backpack|desk lamp|blender|tent|office chair|vacuum cleaner|keyboard|coffee grinder|rain jacket|bike pump|air fryer|phone case|guitar stand|yoga mat|bookshelf|toaster|alarm clock|baby monitor|camera bag|label printer|garden hose|toothbrush|sewing machine|picnic basket|waffle iron|telescope|dog bed|space heater|webcam]",
    ),
    "who": ("[husband|wife|daughter|son|mother|father|neighbor|roommate|sister|brother|boss]",),
    "occasion": ("birthday", "graduation", "new apartment", "first job", "camping trip", "retirement", "wedding"),
    "n": ("two", "three", "four", "five", "six", "eight", "ten"),
    "part": ("hinge", "handle", "casing", "seam", "switch", "frame", "lid", "cord", "base"),
}

OPENINGS = (
    "bought this {product} for my {who}'s {occasion}",
    "I have had this {product} for {n} [weeks|months] now",
    "this is my [second|third|first] {product} from this brand",
    "needed a new {product} after the old one [gave up|got lost in the move|was borrowed for good]",
    "my {who} [picked out|talked me into|uses] this {product}",
    "we use the {product} [every morning|most weekends|twice a week]",
    "ordered the {product} on a [Sunday|Tuesday] after reading {n} reviews",
    "after {n} [weeks|months] with this {product} here is what I can say",
    "I was in two minds about this {product} before I bought it",
    "my {who} and I share this {product}",
    "the {product} was a present from my {who}",
    "we took the {product} along on our last trip",
    "here is my honest opinion of the {product}",
    "got the {product} in [gray|green|blue|red|black] for the [office|cabin|kitchen|kids]",
)

# What is said of an aspect: bad first, good second.
ASPECTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "quality": (
        (
            "the {part} [broke|cracked|came loose] within {n} [days|weeks]",
            "it feels [flimsy|cheaply made|fragile], and the {part} already [wobbles|rattles|peels]",
            "[poor|shoddy] workmanship: the {part} is [badly glued|crooked|made of thin plastic]",
            "it did not survive {n} [weeks|months], so much for durability",
            "the {part} bent the first time my {who} [leaned on|touched] it",
            "mine came with a [loose|scratched|dented] {part}, and the replacement was no better made",
        ),
        (
            "it is [solidly built|sturdy|made to last], and the {part} feels [rock solid|reassuringly heavy]",
            "excellent workmanship, down to the {part}",
            "after {n} months the {part} still looks and works like new",
            "the materials are [first rate|top quality|superb], nothing [wobbles|rattles|creaks]",
            "my {who} dropped it {n} times and there is not a scratch on the {part}",
            "you can tell that somebody cared about how the {part} was made",
        ),
    ),
    "price": (
        (
            "it is [badly overpriced|far too expensive] for what you get",
            "you pay {n} times as much as for [the same thing elsewhere|a plain one]",
            "for this much money I expected [more|better]; poor value",
            "the cheaper one my {who} has does exactly the same",
            "not worth the money, and the [extras|spare parts] cost even more",
            "the price went down by [a third|half] {n} days after I paid, what a rip-off",
        ),
        (
            "for the price it is [a steal|a bargain|unbeatable]",
            "great value: it cost [half|a third] of what others charge",
            "cheaper than {n} rivals I looked at, and worth every penny",
            "my {who} paid twice as much for the same thing",
            "I got it at [half price|a discount] and would have paid the full price",
            "you will not find [a better deal|more for your money] anywhere",
        ),
    ),
    "delivery": (
        (
            "shipping took {n} weeks longer than promised",
            "the box arrived [crushed|soaked|torn open], {n} days late",
            "delivery was a [mess|nightmare]: wrong address, no tracking, no apology",
            "the parcel went to [the wrong town|a neighbor who was away] and came back {n} days later",
            "half of the parts were missing from the box and came {n} weeks later",
            "the courier [left it in the rain|threw it over the fence]",
        ),
        (
            "it arrived {n} days early and perfectly packed",
            "delivery was [fast|quick|on the dot], and the courier was friendly",
            "shipping took [one day|two days], in a neat box without plastic",
            "it came within {n} days although I live [on an island|in the mountains|far from everything]",
            "tracking was accurate to the minute and the parcel well padded",
            "ordered at noon, on my doorstep [the next morning|by breakfast]",
        ),
    ),
    "ease": (
        (
            "setting it up took {n} hours and the instructions are [useless|gibberish]",
            "it is [awkward|fiddly|a pain] to use, with too many [buttons|steps|clips]",
            "even my {who} could not work out how to use it",
            "I had to watch {n} videos before it did anything",
            "storing it is impossible, it does not fold and weighs too much",
            "cleaning it is a [chore|nightmare], there is always a corner you cannot reach",
        ),
        (
            "setup took {n} minutes and needed no manual",
            "it is so [easy|simple|intuitive] that my {who} uses it without asking",
            "[a single button|one click] and it works, very convenient",
            "no tools, no app, no fuss, it just works",
            "light, handy and quick to put away, my {who} loves that",
            "cleaning it is [a breeze|quick and easy], everything comes apart",
        ),
    ),
    "looks": (
        (
            "it is [ugly|an eyesore], and the color is nothing like the [photo|picture]",
            "the design looks [dated|clumsy|cheap] next to my other things",
            "the shade of [gray|green|brown] is hideous in daylight",
            "the finish is blotchy and the logo far too [big|loud]",
            "my {who} asked why I had bought something so ugly",
            "I keep it in the cupboard because of how [dull|ugly] it looks",
        ),
        (
            "it looks [gorgeous|stunning|beautiful], and guests ask about it",
            "the design is [elegant|sleek|charming], prettier than in the [photo|pictures]",
            "lovely color, it suits the [room|hallway|desk] perfectly",
            "my {who} wants one in [green|red|blue] because it is so pretty",
            "the finish is flawless and the lines are [clean|graceful]",
            "such a stylish piece, I leave it out just to look at it",
        ),
    ),
    "service": (
        (
            "customer service [never answered|hung up on me|blamed me]",
            "the seller refused a refund after {n} emails",
            "support kept me on hold for {n} [hours|days] and then did nothing, terrible service",
            "I wrote to the seller {n} times and got {n} copies of the same answer",
            "getting a return label from them took {n} calls",
            "the warranty turned out to be worthless and support was rude",
        ),
        (
            "customer service [answered within minutes|could not have been kinder]",
            "the seller sent a [spare part|replacement] at once, no questions asked",
            "support called back [the same day|within the hour] and was very helpful",
            "a real person answered my question, and with humor",
            "the seller wrote {n} days later to ask whether all was well",
            "the {n}-year warranty was honored without a fuss, great service",
        ),
    ),
}
LINKS = ("", "", "", "also, ", "for the record, ", "on top of that, ", "in fairness, ", "then again, ")


def draw_taste(rng: Random) -> Taste:
    """How a user scores: weights per aspect, a shift and a gain."""
    manner = rng.choices(list(MANNERS), weights=[share for share, _, _ in MANNERS.values()])[0]
    cared_for = rng.sample(list(ASPECTS), N_CARED_FOR)
    _, shift, gain = MANNERS[manner]
    weights = {aspect: round(gain * (rng.uniform(0.8, 1.2) if aspect in cared_for else 0.15), 3) for aspect in ASPECTS}
    return {"manner": manner, "shift": shift, "weights": weights}


def expected_score(taste: Taste, sentiments: Mapping[str, int]) -> int:
    """The score this user gives when nothing disturbs the habit, 1 to 5. Sentiments are -1 or +1 per aspect told of."""
    raw: float = MIDDLE + taste["shift"] + sum(taste["weights"][aspect] * sign for aspect, sign in sentiments.items())
    return max(1, min(5, round(raw)))


def draw_piece(rng: Random, taste: Taste) -> Piece:
    """One review of three or four aspects, and the user's score."""
    sentiments = {
        aspect: 1 if rng.random() < POSITIVE_SHARE else -1 for aspect in rng.sample(list(ASPECTS), rng.choice((3, 4)))
    }
    product = {"product": fill("{product}", rng, WORDS)}
    lines = [rng.choice(OPENINGS)]
    lines += [rng.choice(ASPECTS[aspect][(sign + 1) // 2]) for aspect, sign in sentiments.items()]
    lines[-1] = rng.choice(LINKS) + lines[-1]
    score = expected_score(taste, sentiments)
    if rng.random() < NOISE:
        score = max(1, min(5, score + rng.choice((-1, 1))))
    item = {"text": " ".join(sentence(fill(line, rng, WORDS, product)) for line in lines), "score": str(score)}
    return Piece(item, answer=str(score), cues=sentiments)
