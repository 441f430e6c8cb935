"""Reads the body of a chat completion: strict where answers hang on it, lenient about everything else.

The openai package hands malformed bodies through as they are (text, nulls, empty lists), so they are checked here.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field, ValidationError

from hydra_ml.llm.chat import Answer
from hydra_ml.llm.failures import MalformedAnswerError

CHARS_PER_TOKEN = 4  # rough; for reservations, and for servers that report no usage


class _Turn(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    message: _Turn


class _Usage(BaseModel):
    prompt_tokens: int
    completion_tokens: int


class _Completion(BaseModel):
    choices: Annotated[list[_Choice], Field(min_length=1)]
    usage: _Usage | None = None


def read_answers(body: object, prompt_tokens: int) -> list[Answer]:
    """The answers in a decoded body, at least one; an answer without content is "". Raises MalformedAnswerError.

    Tokens are as the server reports them, the answers' shares alike, or roughly counted (`prompt_tokens`, and
    `rough_tokens` of each answer) where it reports none.
    """
    if isinstance(body, str):
        raise MalformedAnswerError(f"text instead of JSON: {body[:80]!r}")
    try:
        completion = _Completion.model_validate(body)
    except ValidationError as error:
        problem = error.errors()[0]
        raise MalformedAnswerError(f"{'.'.join(map(str, problem['loc'])) or 'body'}: {problem['msg']}") from None
    # Half a surrogate pair is legal JSON but no text that a file can hold.
    texts = [(choice.message.content or "").encode("utf-8", "replace").decode() for choice in completion.choices]
    shares = [rough_tokens(text) for text in texts]
    if completion.usage is not None:
        prompt_tokens = completion.usage.prompt_tokens
        least, rest = divmod(completion.usage.completion_tokens, len(texts))
        shares = [least + (idx < rest) for idx in range(len(texts))]
    shared = zip(texts, shares, strict=True)
    return [Answer(text, 0 if idx else prompt_tokens, share) for idx, (text, share) in enumerate(shared)]


def rough_tokens(text: str) -> int:
    """About how many tokens a text takes, at least 1."""
    return len(text) // CHARS_PER_TOKEN + 1
