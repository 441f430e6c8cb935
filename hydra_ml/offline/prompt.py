"""How the offline model reads a chat: what is asked, what may be answered, and the examples shown.

It sees the messages alone, as any black box would; the kind of question is told from the wording of the last user turn.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from hydra_ml.records import Message

Form = Literal["options", "scale", "references", "rephrase", "text"]

INSTRUCTION_START = 20  # characters that tell two instructions apart
# Each is read once from left to right, whatever the text: one of 400,000 letters used to take the time of its square.
_OPTIONS = re.compile(r"\b\w+:\s*\[([^\[\],]*,[^\[\]]*)\]")  # "tags: [comedy, action]"
_SCALE = re.compile(r"\b([0-9]{1,2})\s*(?:to|-)\s*([0-9]{1,2})\b")  # "on a scale of 1 to 5"
_REFERENCE = re.compile(r"\[([0-9]+)\]:\s*")  # '[1]: "..."'
_QUOTED = re.compile(r'"(.{1,500}?)"(?=[,.;]|\s|$)')  # a title; without a bound, as above
_REPHRASE = re.compile(r"\b(?:paraphrase|rephrase|rewrite|reword)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Prompt:
    """One chat, read."""

    form: Form
    query: str  # the last user turn without its instruction
    noun: str  # what the instruction calls the query: "article"
    examples: tuple[tuple[str, str], ...]  # (query, answer) of the turns before, as the chat orders them
    options: tuple[str, ...] = ()  # what may be answered, in the prompt's spelling; () for free text
    references: tuple[str, ...] = ()  # what the options point to, where they point
    titles: tuple[str, ...] = ()  # other quoted titles beside the references
    background: str = ""  # system turns


def read_prompt(messages: Sequence[Message]) -> Prompt:
    """The chat as a Prompt: the last user turn asks; an earlier one is an example if an assistant turn follows it."""
    users = [idx for idx, message in enumerate(messages) if message["role"] == "user"]
    question = messages[users[-1]]["content"] if users else messages[-1]["content"]
    instruction, query = split_instruction(question)
    examples = tuple(
        (_text_of(asked["content"], instruction), answered["content"].strip())
        for asked, answered in pairwise(messages)
        if asked["role"] == "user" and answered["role"] == "assistant" and answered["content"].strip()
    )
    background = "\n".join(message["content"] for message in messages if message["role"] == "system")
    noun = instruction.rstrip(": ").rpartition(" ")[2].lower()

    pieces = _REFERENCE.split(question)
    if len(pieces) >= 5:  # lead-in, "1", first reference, "2", second reference, ...
        lead_in = pieces[0].rstrip()
        titles = tuple(_QUOTED.findall(lead_in))
        references = tuple(piece.rstrip().strip(' "') for piece in pieces[2::2])
        options = tuple(f"[{number}]" for number in pieces[1::2])
        return Prompt("references", lead_in, noun, examples, options, references, titles, background)
    if listed := _OPTIONS.search(instruction):
        options = tuple(option.strip(" '\"") for option in listed[1].split(",") if option.strip(" '\""))
        return Prompt("options", query, noun, examples, options, background=background)
    if (scale := _SCALE.search(instruction)) and int(scale[1]) < int(scale[2]):
        options = tuple(str(grade) for grade in range(int(scale[1]), int(scale[2]) + 1))
        return Prompt("scale", query, noun, examples, options, background=background)
    form: Form = "rephrase" if _REPHRASE.search(instruction) else "text"
    return Prompt(form, query, noun, examples, background=background)


def _text_of(turn: str, instruction: str) -> str:
    """An earlier user turn without its instruction: all of it, if it does not begin as the last turn's does."""
    begins_alike = turn.startswith(instruction[:INSTRUCTION_START])
    return split_instruction(turn)[1] if begins_alike else turn.strip()


def split_instruction(turn: str) -> tuple[str, str]:
    """Instruction and text of a user turn: cut after the option list, if there is one, and the first colon from there.

    A turn without such a colon is all text.
    """
    listed = _OPTIONS.search(turn)
    colon = turn.find(":", listed.end() if listed else 0)
    return (turn[: colon + 1], turn[colon + 1 :].strip()) if colon >= 0 else ("", turn.strip())
