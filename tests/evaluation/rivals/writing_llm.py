"""A tiny LLM that writes: asked about records, it names the commonest answer among them; asked a question, it answers
what the system turn says the user likes, and without one with the first tag there is."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from starlette.responses import Response

from hydra_ml.tasks.movie_tag import TAGS
from tests.llm.scripted_server import ScriptedServer, say


def written_by(prompt: str) -> str:
    """What it writes about the records of a prompt."""
    answers = re.findall(r"=> (.+)", prompt)
    return f"LIKES {Counter(answers).most_common(1)[0][0]}"


def answered_by(messages: list[dict[str, str]]) -> str:
    """What it answers to a chat."""
    last = messages[-1]["content"]
    if "=>" in last:
        return written_by(last)
    told = re.search(r"LIKES (.+)", messages[0]["content"]) if messages[0]["role"] == "system" else None
    return told[1] if told else TAGS[0]


async def _behave(number: int, body: dict[str, Any]) -> Response:
    return say(body, answered_by(body["messages"]))


def writing_server() -> ScriptedServer:
    return ScriptedServer(_behave)
