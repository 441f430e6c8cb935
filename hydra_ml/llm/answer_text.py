"""From what a model wrote to what it answers: without thoughts before, turns after, and marks around it.

Knows how models write, not how servers wrap it; `completion` does.
"""

from __future__ import annotations

import re

# What thoughts stand between, by the family that writes them; the opening mark may be the template's, and so unseen.
_OPEN = (
    r"<(?:think|thinking|thought|thoughts|reasoning|reflection|seed:think)>|\[THINK\]|◁think▷"
    r"|<\|begin_of_thought\|>|<\|START_THINKING\|>"
)
_CLOSE = (
    r"</(?:think|thinking|thought|thoughts|reasoning|reflection|seed:think)>|\[/THINK\]|◁/think▷"
    r"|<\|end_of_thought\|>|<\|END_THINKING\|>"
)
_THOUGHT = re.compile(rf"\A.*(?:{_CLOSE})", re.DOTALL | re.IGNORECASE)
_THINKING = re.compile(_OPEN, re.IGNORECASE)
_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>")  # gpt-oss
_BARE_CHANNEL = re.compile(r"\A(?:analysis|commentary).*?assistantfinal", re.DOTALL)  # the same, its marks taken out
_ANSWER = re.compile(
    r"\A\s*(?:<(answer|response|output|final_answer)>|<\|START_(?:RESPONSE|TEXT)\|>)(.*?)"
    r"(?:</\1>|<\|END_(?:RESPONSE|TEXT)\|>|\Z)\s*\Z",
    re.DOTALL | re.IGNORECASE,
)
# Where a turn begins or ends in chat templates: written out by models asked through a template they were not taught.
_MARK = r"<[|｜][^<>|｜\n]{1,40}[|｜]>|</?s>|<(?:eos|bos|pad|unk)>|<(?:end|start)_of_turn>|\[/?INST\]|\[(?:EOS|BOS)\]"
_TURN = re.compile(rf"{_MARK}|(?<=\S)(?:assistant|<\|assistant)\n\n")
_START = r"(?:(?:<s>|<bos>|<\|begin_of_text\|>|<｜begin▁of▁sentence｜>|\[BOS\]|\[/INST\])\s*)"
_SPEAKER = (
    r"(?:(?:<\|(?:im_start|start_header_id|header_start|start)\|>|<start_of_turn>)?(?:assistant|model)"
    r"(?:<\|(?:end_header_id|header_end|message)\|>|[ \t]*\n)|<[|｜][Aa]ssistant[|｜]>)"
)
# A turn's beginning: marks of the text's start, then who speaks, on a line or between marks of its own.
_BEGIN = re.compile(rf"\A\s*(?:{_START}+{_SPEAKER}?|{_SPEAKER})")
_UNSEEN = re.compile("[\\ufeff\\u200b\\u2060\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f]")
_UNSEEN_AT_ENDS = "\u200c\u200d\u200e\u200f\u00ad"


def answer_text(written: str) -> str:
    """The answer in what a model wrote; "" where there is none."""
    said = _UNSEEN.sub("", written).strip(_UNSEEN_AT_ENDS)
    said = _final(said)
    said = _BEGIN.sub("", _THOUGHT.sub("", said), count=1)
    if _THINKING.search(said):
        return ""
    if whole := _ANSWER.match(said):
        said = whole[2]
    said = _TURN.split(said, maxsplit=1)[0]
    # Half a surrogate pair is legal JSON but no text that a file can hold.
    return said.encode("utf-8", "replace").decode() if said.strip(" \t\r\n" + _UNSEEN_AT_ENDS) else ""


def is_thinking(written: str) -> bool:
    """Whether a text without answer is the beginning of thoughts, or thoughts alone."""
    channels = _CHANNEL.findall(written)
    return _THINKING.search(written) is not None or (bool(channels) and "final" not in channels)


def _final(said: str) -> str:
    """What gpt-oss says on its last channel, if it names channels; other models' texts as they are."""
    named = list(_CHANNEL.finditer(said))
    if not named:
        return _BARE_CHANNEL.sub("", said)
    final = [channel for channel in named if channel[1] == "final"]
    return said[final[-1].end() :] if final else ""


def cut_at(text: str, stops: list[str]) -> str:
    """The text up to the first of the stops, as a server that takes them would have written it."""
    text = text.lstrip()
    ends = [at for stop in stops if stop and (at := text.find(stop)) >= 0]
    return text[: min(ends)] if ends else text
