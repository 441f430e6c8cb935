"""Text of a user that tries to command an LLM: told by patterns, so that it is not shown to one as an example.

A rule against the plain cases, no more: who knows it gets around it. What keeps users apart does not rest on it, for a
prompt holds one user's records alone.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import numpy as np
import pandas as pd

# Where a command begins: a sentence, a line, or after a word that leads one in.
_START = (
    r"(?:^|[.!?;:,>\]\n\"'(]\s*|\b(?:please|and|then|now|instead|but|first|just|you (?:must|should|will|shall|have to)"
    r"|you to|must|assistant|model|ai)\s+|\d[.)]\s+)"
)
_DROP = r"(?:ignore|disregard|forget|discard|override|overrule|bypass|void|skip)"
_TOLD = r"(?:instruct\w*|directions?|directives?|prompts?|guidelines?|rules|orders|commands|examples|programming)"
_MODEL = r"(?:ai|a\.i\.|llm|language model|chatbot|assistant)"
_HIDDEN = r"(?:system|hidden|initial|secret|original|first|developer)"
_SAY = r"(?:answer|reply|respond|output|return|write|print|say|classify|rate|choose|state)"
# name -> pattern; a text is flagged where one is found
_PATTERNS = {
    "drops its instructions": rf"{_START}{_DROP}\s+(?:\w+\s+){{0,3}}?(?:all|any|every|your|the|these|those|previous"
    rf"|prior|above|preceding|earlier)\s+(?:\w+\s+){{0,2}}?{_TOLD}\b",
    "drops what stands before": rf"{_START}{_DROP}\s+(?:\w+\s+){{0,2}}?(?:everything|anything|all|text|the|question"
    r"|what was said)\s+(?:\w+\s+)?(?:above|below|before|so far)\b",
    "drops its instructions, not in English": r"\b(?:ignorier\w*|vergiss|vergesst|missachte\w*|ignore[zr]?|oublie[zr]?"
    r"|olvid\w{1,3}|ignor[ae]\w?|dimentica\w*|esque[cç]a\w?|negeer)\s+(?:\w+\s+){0,3}?(?:anweisungen|vorgaben|consignes"
    r"|instructions\s+pr[ée]c\w+|instrucciones|istruzioni|instruç\w+|instructies)\b",
    "voids its instructions": rf"\b(?:previous|prior|preceding|above|earlier)\s+{_TOLD}\s+(?:above\s+)?(?:are|do|is)\s+"
    r"(?:now\s+)?(?:void|invalid|cancel|not (?:apply|exist))|\bnew\s+instructions?\s*:",
    "asks for its prompt": rf"\b(?:reveal|print|repeat|leak|disclose|show|output|tell me|what (?:is|was|were))\b[^.\n]"
    rf"{{0,40}}\b(?:{_HIDDEN}\s+(?:prompt|message|instruct\w*)|instructions you (?:were|received|got)|api key"
    r"|(?:records|history|data) of (?:the |all )?(?:other )?users)",
    "speaks to the model": rf"\b(?:note|message|p\.?s\.?|word) to\s+(?:the|any|all|every)\s+{_MODEL}s?\b[^.\n:]{{0,30}}"
    rf":|(?:^|[.!\n]\s*)attention[ ,:]+(?:\w+\s+)?{_MODEL}s?\s*[:,!]|\bif you are (?:an?|the)\s+{_MODEL}\b"
    rf"|\b{_MODEL} (?:reading|processing) this\b",
    "gives it another part": rf"\byou are (?:now|no longer)\s+(?:an?\s+|in\s+)*(?:developer|dan\b|jailbr\w*|unfiltered"
    rf"|unrestricted|{_MODEL})|\bact as an?\s+(?:un\w+ed|evil)\s+{_MODEL}|\byour new (?:role|task)\b[^.\n]*[:.]"
    r"[^.\n]*\b(?:without|answer|confirm|restrict)",
    "sets all its answers": rf"{_START}(?:you )?(?:only |always )?{_SAY}\s+(?:only |always )?(?:\w+\s+){{0,4}}?"
    r"(?:no matter|whatever (?:the|you|is)|every time|for every (?:question|text)|to (?:all|every) (?:following|later))"
    rf"|\bfrom (?:now|here) on\W+(?:you\s+)?(?:\w+\s+)?{_SAY}\b|{_START}you (?:must|should) always {_SAY}\b"
    rf"|{_START}{_SAY} only with (?:the (?:word|string|tag|label|number)|['\"])",
    "marks of a chat": r"<\|\w+\|>|\[/?inst\]|<</?sys>>|</?(?:system|assistant)>|^#+\s*(?:system|instructions?)\s*:",
    "turns of a chat": r"(?:^|\n)\s*system\s*:\s*\w|(?:^|\n)\s*(?:user|human|assistant)\s*:[^\n]*\n\s*(?:user|human"
    r"|assistant)\s*:",
}
# Without one of these a pattern cannot be found: looked for first, they cost a tenth of it.
_STEMS = {
    "drops its instructions": ("ignor", "disregard", "forget", "discard", "overr", "bypass", "void", "skip"),
    "drops what stands before": ("ignor", "disregard", "forget", "discard", "overr", "bypass", "void", "skip"),
    "drops its instructions, not in English": ("anweis", "vorgab", "consign", "instru", "istruz"),
    "voids its instructions": ("instruct", "direct", "prompt", "guidel", "rules", "orders", "commands", "examples"),
    "asks for its prompt": ("prompt", "message", "instruct", "api key", "users"),
    "speaks to the model": (" ai", "a.i.", "llm", "language model", "chatbot", "assistant"),
    "gives it another part": ("you are n", "act as", "your new"),
    "sets all its answers": ("no matter", "whatever", "every", "all ", "on", "always", "only with"),
    "marks of a chat": ("<", "[", "#"),
    "turns of a chat": ("system", "user", "human", "assistant"),
}
_COMPILED = {name: re.compile(pattern, re.I) for name, pattern in _PATTERNS.items()}
_LOOKS = str.maketrans({"0": "o", "1": "i", "3": "e", "4": "a", "5": "s", "@": "a", "$": "s"})
_IN_WORD = re.compile(r"(?<=[A-Za-z])[01345@$](?=[A-Za-z]|\b)")
LONGEST = 20_000  # characters looked at, from both ends


def command_in(text: str) -> str:
    """What in a text tries to command an LLM, in a few words of ours; "" where nothing is found.

    Compatible characters, unseen ones, and digits that stand for letters make no difference.
    """
    if len(text) > 2 * LONGEST:
        text = f"{text[:LONGEST]}\n{text[-LONGEST:]}"
    if not text.isascii():
        text = "".join(char for char in unicodedata.normalize("NFKC", text) if unicodedata.category(char) != "Cf")
    lowered = text.lower().translate(_LOOKS)
    likely = [name for name, stems in _STEMS.items() if any(stem in lowered for stem in stems)]
    if not likely:
        return ""
    spelled = _IN_WORD.sub(lambda found: found[0].translate(_LOOKS), text)
    return next((name for name in likely if _COMPILED[name].search(spelled)), "")


def commanding_records(records: pd.DataFrame) -> np.ndarray:
    """Of each record (text, answer) whether what a prompt would show of it tries to command an LLM; bool [R]."""
    found: np.ndarray = commanding(records["text"].tolist()) | commanding(records["answer"].tolist())
    return found


def commanding(texts: Sequence[str]) -> np.ndarray:
    """Of each text whether it tries to command an LLM; bool [N]."""
    return np.array([bool(command_in(text)) for text in texts], dtype=bool)
