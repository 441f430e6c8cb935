"""Takes out of a server's words what they quote of a prompt: users' texts belong in no log and in no table.

A word that stands in the prompt as well is cut unless it is one that servers' messages are made of, and so are these
where several follow each other as they do in the prompt.
"""

from __future__ import annotations

import re

CUT = "[...]"
MOST_IN_A_ROW = 3  # words of servers' messages that may follow each other as they do in the prompt
SHORTEST_PART = 4  # characters of a word that may be part of a longer one of the prompt: servers cut their quotes
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})|\\[nrtbf]|\\(?=[\"'/\\])")
# Writing without spaces has a word to a character.
_WORD = re.compile(r"[぀-ヿ㐀-鿿가-힯฀-๿]|[^\W_぀-ヿ㐀-鿿가-힯฀-๿]+")
_WORDS_OF_SERVERS = """
a about above accepted access account after again all allowed already also an and another answer any api apikey are
argument array as ask assistant at authentication authorization available balance be because been before below billing
body but by bytes call can cannot category changed characters chat check choice choices code completion completions
configured connection contact contain contains content context could credit credits current currently data default
denied deployment details did do does down due empty end endpoint error exceed exceeded exceeds exist expected expired
extra failed false field fields filter filtered filtering find for forbidden format found from gateway generated get
give given greater had has have help here how however http https if in incorrect information input inputs insufficient
integer internal invalid is it item its json key larger later least length less letters like limit limits list llm
loading long longer lower made make malformed management many max maximum may message messages method min minimum
missing model models modify more most must name new no none not null number of on one only openai or organization
other our out output overloaded page parameter parameters passed path payment per permission permitted plan please
policy pool possible post prompt property provide provided provider quota range rate reached reason received reduce
refused request requested requests required resource response result results retry role roles safety sampling see seed
send sent server service set shorter should size small smaller so some something soon sorry stop stopped string
supported support system temperature temporarily text than that the their them then there these they this those time
timeout to token tokens too triggered true try type unable unauthorized unavailable unexpected unknown unrecognized
unsupported up upstream url us use used user uses using valid value values was we were what when where which while
will with within without word words would wrong you your
"""
_USUAL = frozenset(_WORDS_OF_SERVERS.split())


def without_quotes(words: str, prompt: str) -> str:
    """The words with everything cut that they share with the prompt, as far as it may be a user's text."""
    if not prompt:
        return words
    words = _unescaped(words)
    folded = prompt.casefold()
    told = [(found.start(), found.end(), found[0].casefold()) for found in _WORD.finditer(words)]
    known = {found[0] for found in _WORD.finditer(folded)}
    in_line = f" {' '.join(found[0] for found in _WORD.finditer(folded))} "
    cut = {i for i, (_, _, word) in enumerate(told) if _is_telling(word, known, folded)}
    first = 0
    for last in range(len(told)):  # the longest row that ends here and stands so in the prompt
        while first <= last and f" {' '.join(word for _, _, word in told[first : last + 1])} " not in in_line:
            first += 1
        if last - first >= MOST_IN_A_ROW:
            cut |= set(range(first, last + 1))
    return _blotted(words, told, cut)


def _is_telling(word: str, known: set[str], prompt: str) -> bool:
    """Whether a word is the prompt's rather than the server's own."""
    if word in _USUAL or (word.isdigit() and len(word) < SHORTEST_PART):
        return False
    return word in known or (len(word) >= SHORTEST_PART and word in prompt)


def _blotted(words: str, told: list[tuple[int, int, str]], cut: set[int]) -> str:
    pieces, at = [], 0
    for i, (start, end, _) in enumerate(told):
        if i in cut:
            pieces += [CUT] if i - 1 in cut else [words[at:start], CUT]
            at = end
    blotted = "".join([*pieces, words[at:]])
    return re.sub(rf"{re.escape(CUT)}(?:{re.escape(CUT)})+", CUT, blotted)


def _unescaped(words: str) -> str:
    """Text as it was before a server wrote it as JSON or as a Python literal."""
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)) if found[1] else " ", words)
