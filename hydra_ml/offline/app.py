"""The offline model as an OpenAI-compatible server: an ASGI application, mounted in process or put on a socket.

Takes what the product asks of any server; what it does not offer (streaming, tools) it refuses, it never ignores it.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from hydra_ml.model.interfaces import Encode
from hydra_ml.offline.model import FINGERPRINT, MODEL_NAME, OfflineModel, count_tokens
from hydra_ml.records import Message


class Turn(BaseModel):
    """One message of a request."""

    model_config = ConfigDict(strict=True)

    role: Literal["system", "user", "assistant"]
    content: str


class ChatRequest(BaseModel):
    """The body of a chat completion request."""

    model_config = ConfigDict(strict=True, extra="forbid")

    model: str
    messages: Annotated[list[Turn], Field(min_length=1)]
    n: Annotated[int, Field(ge=1, le=128)] = 1
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    max_tokens: Annotated[int, Field(ge=1)] = 256
    seed: int = 0
    stream: Literal[False] = False
    user: str = ""


def build_offline_app(encode: Encode) -> Starlette:
    """The application. `encode` gives unit rows, float32 [N, D], and runs in a thread, one call at a time."""
    model = OfflineModel(encode)

    async def chat_completions(request: Request) -> JSONResponse:
        """The completion, or a refusal in OpenAI's form that says what is wrong with the request."""
        try:
            asked = ChatRequest.model_validate(json.loads(await request.body()))
        except ValidationError as error:
            problems = [f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()]
            return refusal(400, "; ".join(problems))
        except ValueError as error:
            return refusal(400, f"the body is not JSON ({error})")
        if asked.model != MODEL_NAME:
            return refusal(404, f"no model {asked.model!r} here; there is only {MODEL_NAME!r}", code="model_not_found")
        messages: list[Message] = [{"role": turn.role, "content": turn.content} for turn in asked.messages]
        answers = await model.answer(
            messages, n=asked.n, temperature=asked.temperature, max_tokens=asked.max_tokens, seed=asked.seed
        )
        tokens_in = sum(count_tokens(message["content"]) for message in messages)
        tokens_out = sum(answer.n_tokens for answer in answers)
        choices = [
            {
                "index": index,
                "message": {"role": "assistant", "content": answer.text},
                "finish_reason": "length" if answer.cut else "stop",
            }
            for index, answer in enumerate(answers)
        ]
        usage = {"prompt_tokens": tokens_in, "completion_tokens": tokens_out, "total_tokens": tokens_in + tokens_out}
        return JSONResponse({**_HEAD, "choices": choices, "usage": usage})

    async def models(request: Request) -> JSONResponse:
        listed = [{"id": MODEL_NAME, "object": "model", "created": 0, "owned_by": "hydra-ml"}]
        return JSONResponse({"object": "list", "data": listed})

    async def health(request: Request) -> JSONResponse:
        return JSONResponse({"status": "ok", "model": MODEL_NAME})

    return Starlette(
        routes=[
            Route("/v1/chat/completions", chat_completions, methods=["POST"]),
            Route("/v1/models", models),
            Route("/health", health),
        ]
    )


# A constant id and date: equal requests get equal bodies.
_HEAD: dict[str, Any] = {
    "id": "chatcmpl-offline",
    "object": "chat.completion",
    "created": 0,
    "model": MODEL_NAME,
    "system_fingerprint": FINGERPRINT,
}


def refusal(status: int, message: str, *, code: str = "invalid_request") -> JSONResponse:
    """An error body as OpenAI's servers write it."""
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    return JSONResponse({"error": error}, status_code=status)
