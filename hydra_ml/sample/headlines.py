"""News stories and headlines for LaMP-4. A story has an action, its consequence and a quotation.

An author's headlines have one form, length and case, and make use of one part of the story; every content word of a
headline stands in the article.
"""

# ruff: noqa: E501 (vocabulary: one entry a line, however long)

from __future__ import annotations

from random import Random

from hydra_ml.sample.piece import NOISE, Piece, Taste
from hydra_ml.sample.prose import Lexicon, capitalized, fill, person, sentence, title_case

WORDS: Lexicon = {
    "city": (
        "[Austin|Boston|Tampa|Denver|Portland|Memphis|Oakland|Toledo|Savannah|Tucson|Leeds|Lyon|Turin|Halifax|Osaka]",
    ),
    "state": ("[Ohio|Texas|Oregon|Georgia|Maine|Nevada|Kansas|Michigan|Vermont|Alabama|Utah|Iowa]",),
    "n": ("two", "three", "four", "five", "six", "seven", "nine", "eleven"),
    "share": ("a fifth", "a quarter", "a third", "half"),
    "when": (
        "[days|weeks] before [the holidays|the election|the harvest|a wedding]",
        "for the first time in {n} [years|decades]",
        "in the middle of [a heat wave|the night|the holiday season]",
        "while [the mayor was|half the town was] [asleep|away]",
        "for {n} hours on a [Sunday|Tuesday|Friday]",
    ),
    "circumstance": (
        "after {n} [weeks|months|years] of [debate|silence|protests|delays]",
        "despite [warnings|doubts|a lawsuit] from [neighbors|experts|rivals]",
        "[days|weeks] before [the holidays|the election|the school year]",
        "for the first time in {n} [years|decades]",
        "with help from {n} [volunteers|students|retirees|neighbors]",
    ),
    "background": (
        "[Few|Only {n} people] had expected it",
        "A similar plan failed in {state} {n} years ago",
        "It began with a letter from {n} [schoolchildren|retirees|shopkeepers]",
        "Officials in {state} are watching closely",
        "More than {n} hundred people came to see it",
        "The next decision is due in {n} weeks",
    ),
}

# topic: actions, consequences, quotations. A clause is "subject / base form / present / past / rest".
STORIES: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "city streets": (
        (
            "{city} / ban / bans / banned / cars from the [harbor|old town|market square]",
            "the {city} council / approve / approves / approved / a [tram line|bike bridge|night market]",
            "[cyclists|bus drivers|street vendors] in {city} / win / win / won / the right to a lane of their own",
        ),
        (
            "[rents|shop rents] downtown / fall / fall / fell / by {share}",
            "air in the city center / clear / clears / cleared / within {n} weeks",
            "delivery vans / clog / clog / clogged / the side streets",
        ),
        ("we can hear birds again", "nobody asked the people who live here", "a street is more than a place to park"),
    ),
    "health": (
        (
            "a {city} hospital / replace / replaces / replaced / waiting rooms with [gardens|libraries]",
            "nurses in {city} / test / test / tested / a [{n}-minute|two-question] check for [sleep loss|heart trouble]",
            "doctors in {state} / prescribe / prescribe / prescribed / [choir singing|cold swims|long walks]",
        ),
        (
            "patients / need / need / needed / {share} fewer painkillers",
            "emergency visits / drop / drop / dropped / by {share}",
            "insurers / refuse / refuse / refused / to pay the bill",
        ),
        (
            "my back has not felt this young in years",
            "the cure was cheaper than the parking",
            "we had stopped listening to patients",
        ),
    ),
    "weather": (
        (
            "a [hailstorm|tornado|dust storm] / flatten / flattens / flattened / [orchards|vineyards|barns] near {city}",
            "engineers in {state} / raise / raise / raised / a sea wall by {n} feet",
            "{city} / brace / braces / braced / for the [warmest winter|heaviest snow] in {n} decades",
        ),
        (
            "food prices / double / double / doubled / within {n} weeks",
            "{n} villages / lose / lose / lost / power and drinking water",
            "insurance costs / climb / climb / climbed / by {share}",
        ),
        (
            "the sky went green, and then it roared",
            "we will plant again in spring",
            "the river always takes back its bed",
        ),
    ),
    "technology": (
        (
            "a {city} start-up / teach / teaches / taught / a robot to [pick strawberries|sort recycling|fold shirts]",
            "[librarians|farmers|pilots] in {state} / build / build / built / their own [search engine|weather app|chatbot]",
            "a {state} laboratory / shrink / shrinks / shrank / a [battery|radar|microscope] to the size of a coin",
        ),
        (
            "{n} hundred jobs / change / change / changed / overnight",
            "repair costs / shrink / shrink / shrank / by {share}",
            "privacy groups / demand / demand / demanded / an inquiry",
        ),
        (
            "it makes mistakes, but never the same one twice",
            "the machine is polite, I will give it that",
            "we only wanted to save an afternoon",
        ),
    ),
    "sports": (
        (
            "{city} / beat / beats / beat / the champions in [overtime|the rain|a shoot-out]",
            "a {n}-time champion / retire / retires / retired / to coach [girls|beginners] in {city}",
            "the {city} team / sell / sells / sold / its [stadium|star goalkeeper] to pay old debts",
        ),
        (
            "ticket prices / rise / rise / rose / by {share}",
            "fans / fill / fill / filled / the stadium {n} hours early",
            "the league / rewrite / rewrites / rewrote / its oldest rule",
        ),
        ("my knees told me before my heart did", "we stopped counting the minutes", "you cannot buy a crowd like that"),
    ),
    "schools": (
        (
            "{state} / drop / drops / dropped / [homework|letter grades|Latin] from its public schools",
            "pupils in {city} / grow / grow / grew / their own lunch [on the roof|behind the gym]",
            "a {city} school / hire / hires / hired / [grandparents|poets|carpenters] as teachers",
        ),
        (
            "test scores / improve / improve / improved / by {share}",
            "absences / fall / fall / fell / to a record low",
            "parents / ask / ask / asked / for {n} more places",
        ),
        (
            "I did my best thinking with dirty hands",
            "children notice when adults are curious",
            "the carrots were my idea",
        ),
    ),
    "food": (
        (
            "bakers in {city} / revive / revive / revived / a lost [rye|acorn|chestnut] bread",
            "a {city} chef / cook / cooks / cooked / with [weeds|leftovers|seawater] only",
            "[oyster|apple|garlic] growers in {state} / open / open / opened / a shop without staff",
        ),
        (
            "queues / stretch / stretch / stretched / around {n} blocks",
            "supermarkets / copy / copy / copied / the recipe",
            "food waste in the district / drop / drops / dropped / by {share}",
        ),
        (
            "it tastes like my grandmother's kitchen",
            "the secret is patience, and a bad oven",
            "people pay what they think is fair",
        ),
    ),
    "money": (
        (
            "the last bank in {city} / close / closes / closed / its [counter|doors|vault]",
            "a {state} town / print / prints / printed / its own [money|stamps]",
            "[a janitor|a widow|a bus driver] from {city} / leave / leaves / left / {n} million dollars to [a library|strangers]",
        ),
        (
            "small shops / win back / win back / won back / {share} of their customers",
            "house prices / slip / slip / slipped / by {share}",
            "the tax office / open / opens / opened / an investigation",
        ),
        ("money is a story we agree on", "she wore the same coat for forty years", "I still keep my coins in a jar"),
    ),
    "museums": (
        (
            "a {city} museum / return / returns / returned / {n} [masks|bronzes|letters]",
            "thieves / steal / steal / stole / a [violin|tapestry|globe] from a {city} museum",
            "students in {state} / find / find / found / a lost [opera|map|portrait] in an attic",
        ),
        (
            "visitor numbers / triple / triple / tripled / in {n} weeks",
            "other museums / lock / lock / locked / their cellars",
            "an auction house / offer / offers / offered / {n} million dollars",
        ),
        ("it was behind the piano all along", "art belongs where it is missed", "I thought it was a tablecloth"),
    ),
    "animals": (
        (
            "[wolves|beavers|otters] / return / return / returned / to the rivers of {state}",
            "a {city} zoo / release / releases / released / {n} [vultures|lynxes|tortoises]",
            "[a swan|a seal|a stray dog] / halt / halts / halted / traffic in {city}",
        ),
        (
            "photographers / crowd / crowd / crowded / the banks and bridges",
            "children / write / write / wrote / {n} hundred letters to the mayor",
            "tourists / book / book / booked / every room for {n} miles",
        ),
        (
            "it looked at me as if I were late",
            "nature does not read our maps",
            "we gave up the lawn, and gained a pond",
        ),
    ),
}
UNPLANNED = ("weather", "animals")  # nobody debates a hailstorm
FORMS = ("plain", "question", "how", "reasons", "colon")
PARTS = ("action", "consequence", "quote")
CASES = ("title", "sentence", "lower")
ADVERBS = ("", "", "", "finally", "quietly", "suddenly", "really")


def draw_taste(rng: Random) -> Taste:
    """How an author writes headlines."""
    return {
        "form": rng.choice(FORMS),
        "length": rng.choice(("short", "long")),
        "case": rng.choice(CASES),
        "part": rng.choice(PARTS),
        "adverb": rng.choice(ADVERBS),
        "number": rng.choice((3, 5, 7, 10)),
    }


def draw_piece(rng: Random, taste: Taste) -> Piece:
    """One article and the headline its author gives it; now and then in a form that is not the author's."""
    topic = rng.choice(list(STORIES))
    actions, consequences, quotes = STORIES[topic]
    place = {name: fill(f"{{{name}}}", rng, WORDS) for name in ("city", "state")}
    action, consequence = (
        fill(rng.choice(clauses), rng, WORDS, place).split(" / ") for clauses in (actions, consequences)
    )
    adjunct = fill(rng.choice(WORDS["when" if topic in UNPLANNED else "circumstance"]), rng, WORDS)
    quote = rng.choice(quotes)
    speaker = person(rng)
    lines = [
        f"{_clause(action, 'past')} {adjunct}",
        fill(
            f"[As a result,|Within days,|Now it turns out that|Soon afterwards,|A month later,|By the end of the week,] {_clause(consequence, 'past')}",
            rng,
            WORDS,
        ),
        fill(
            f'"{quote[0].upper()}{quote[1:]}," said {{full_name}}, [who was there|a resident|who has waited {{n}} years]',
            rng,
            WORDS,
            speaker,
        ),
        fill(rng.choice(WORDS["background"]), rng, WORDS, place),
    ]
    del lines[rng.choice((2, 3)) if taste["part"] != "quote" else 3 :]
    form = taste["form"] if rng.random() >= NOISE else rng.choice(FORMS)
    headline = _headline(taste | {"form": form}, topic, action, consequence, adjunct=adjunct, quote=quote)
    return Piece({"text": " ".join(map(sentence, lines)), "title": headline}, answer=headline, cues={"form": form})


def _clause(clause: list[str], tense: str, adverb: str = "") -> str:
    """Subject, adverb, verb and rest of a clause in one of its tenses."""
    subject, base, present, past, rest = clause
    verb = {"base": base, "present": present, "past": past}[tense]
    return " ".join(part for part in (subject, adverb, verb, rest) if part)


def _headline(style: Taste, topic: str, action: list[str], consequence: list[str], *, adjunct: str, quote: str) -> str:
    """The headline of a story in one style."""
    main, other = (consequence, action) if style["part"] == "consequence" else (action, consequence)
    adverb = style["adverb"]
    text = {
        "plain": _clause(main, "present", adverb),
        "question": f"why did {_clause(main, 'base', adverb)}",
        "how": f"how {_clause(main, 'past', adverb)}",
        "reasons": f"{style['number']} reasons why {_clause(main, 'present', adverb)}",
        "colon": f"{topic}: {_clause(main, 'present', adverb)}",
    }[style["form"]]
    if style["length"] == "long":
        text += f" as {_clause(other, 'present')}" if style["part"] == "consequence" else f" {adjunct}"
    if style["form"] == "question":
        text += "?"
    if style["part"] == "quote":
        text = f"{topic}: '{quote}'" if style["form"] == "colon" else f"'{quote}': {text}"
    return in_case(text, style["case"])


def in_case(text: str, case: str) -> str:
    """The headline in title, sentence or lower case. Names keep their capitals in sentence case."""
    if case == "lower":
        return text.lower()
    if case == "title":
        return title_case(text)
    return capitalized(text)
