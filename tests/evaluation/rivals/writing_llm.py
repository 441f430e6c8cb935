"""A tiny LLM that writes: asked about records, it names the commonest answer among them; asked to group lines, it puts
equal ones together, the commonest first; asked a question, it answers what the system turn says the user likes, and
without one with the first tag there is."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from starlette.responses import Response

from hydra_ml.tasks import TASKS
from tests.llm.scripted_server import ScriptedServer, say


def written_by(prompt: str) -> str:
    """What it writes about the records of a prompt."""
    answers = re.findall(r"=> (.+)", prompt)
    return f"LIKES {Counter(answers).most_common(1)[0][0]}"


def grouped_by(prompt: str) -> str:
    """Equal lines of a numbered list, by number."""
    places: dict[str, list[str]] = {}
    for number, line in re.findall(r"^(\d+)\. (.+)$", prompt, flags=re.MULTILINE):
        places.setdefault(line, []).append(number)
    ordered = sorted(places.items(), key=lambda item: -len(item[1]))
    return "\n".join(f"{line}: {', '.join(numbers)}" for line, numbers in ordered)


def liked_in(text: str) -> str | None:
    """What a text says the user likes."""
    told = re.search(r"LIKES ([a-z -]+[a-z])", text)
    return told[1] if told else None


def is_writing(messages: list[dict[str, str]]) -> bool:
    """Whether it is asked to write and not to answer."""
    return "=>" in messages[-1]["content"] or "Group them" in messages[-1]["content"]


def answered_by(messages: list[dict[str, str]]) -> str:
    """What it answers to a chat."""
    last = messages[-1]["content"]
    if is_writing(messages):
        return written_by(last) if "=>" in last else grouped_by(last)
    return (messages[0]["role"] == "system" and liked_in(messages[0]["content"])) or TASKS["LaMP_2"].labels[0]


async def _behave(number: int, body: dict[str, Any]) -> Response:
    return say(body, answered_by(body["messages"]))


def writing_server() -> ScriptedServer:
    return ScriptedServer(_behave)
