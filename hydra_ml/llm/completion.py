"""Reads the body of a chat completion, whatever server wrote it: the one place between body and parser.

The openai package hands malformed bodies through as they are (text, nulls, empty lists), so they are checked here. An
answer without text is none: it is never handed on, so it is never kept.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from hydra_ml.llm.chat import Answer
from hydra_ml.llm.failures import MalformedAnswerError, NoAnswerError, words_of

CHARS_PER_TOKEN = 4  # rough; for reservations, and for servers that report no usage
MOST_TOKENS = 10_000_000  # of one call: what a server reports beyond it is no count
_THOUGHT = re.compile(r"\A.*</think(?:ing)?>", re.DOTALL | re.IGNORECASE)  # the opening tag may be the template's
# Where a turn ends in chat templates: written out by models that were never taught the template they are asked through.
_END_OF_TURN = re.compile(r"<\|im_(?:end|start)\|>|<(?:end|start)_of_turn>|<\|eot_id\|>|<\|endoftext\|>|</s>")
_THINKING = re.compile(r"<think(?:ing)?>", re.IGNORECASE)


def _joined(content: object) -> object:
    """Content as text: some servers send a list of parts, of which only texts are the answer."""
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") != "thinking"]
        return "".join(text for text in texts if isinstance(text, str))
    return content


def _count(value: object) -> int | None:
    """A token count, if it can be one."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS else None


Content = Annotated[str | None, BeforeValidator(_joined)]
Count = Annotated[int | None, BeforeValidator(_count)]


class _Turn(BaseModel):
    content: Content = None
    refusal: str | None = None


class _Choice(BaseModel):
    index: Count = None
    message: _Turn
    finish_reason: str | None = None
    error: Any = None


class _Usage(BaseModel):
    prompt_tokens: Count = None
    completion_tokens: Count = None


class _Completion(BaseModel):
    choices: Annotated[list[_Choice], Field(min_length=1)]
    usage: _Usage | None = None


def read_answers(body: object, prompt_tokens: int) -> list[Answer]:
    """The answers in a decoded body that have text, at least one. Raises MalformedAnswerError, and NoAnswerError, which
    says why, where none has.

    Tokens are as the server reports them, the answers' shares alike, or roughly counted (`prompt_tokens`, and
    `rough_tokens` of each answer) where it reports none.
    """
    if isinstance(body, str):
        raise MalformedAnswerError(f"text instead of JSON: {body[:80]!r}")
    if isinstance(body, dict) and body.get("error") and not body.get("choices"):
        raise NoAnswerError("busy", f"an error inside HTTP 200: {words_of(body)}")
    try:
        completion = _Completion.model_validate(body)
    except ValidationError as error:
        problem = error.errors()[0]
        raise MalformedAnswerError(f"{'.'.join(map(str, problem['loc'])) or 'body'}: {problem['msg']}") from None
    choices = sorted(completion.choices, key=lambda choice: choice.index or 0)  # stable: all alike where none is said
    texts = [text for choice in choices if (text := _text(choice))]
    usage = completion.usage or _Usage()
    if not texts:
        none = _no_answer(completion.choices[0])
        none.tokens = (usage.prompt_tokens or 0, usage.completion_tokens or 0)
        raise none
    shares = [rough_tokens(text) for text in texts]
    if usage.prompt_tokens is not None:
        prompt_tokens = usage.prompt_tokens
    if usage.completion_tokens is not None:
        least, rest = divmod(usage.completion_tokens, len(texts))
        shares = [least + (idx < rest) for idx in range(len(texts))]
    shared = zip(texts, shares, strict=True)
    return [Answer(text, 0 if idx else prompt_tokens, share) for idx, (text, share) in enumerate(shared)]


def shared_tokens(body: object, n: int, prompt_tokens: int) -> int:
    """Prompt tokens that n answers to one request did not take again. 0 where the server reports none, or so many that
    it counts the prompt anew for each. prompt_tokens: of the prompt, roughly."""
    usage = body.get("usage") if isinstance(body, dict) else None
    told = _count(usage.get("prompt_tokens")) if isinstance(usage, dict) else None
    return (n - 1) * told if told is not None and told <= prompt_tokens * (n + 1) / 2 else 0


def _text(choice: _Choice) -> str:
    """The answer itself, without thoughts before and further turns after it; "" where there is none."""
    if choice.error or choice.finish_reason == "error":
        return ""
    said = _END_OF_TURN.split(_THOUGHT.sub("", choice.message.content or ""), maxsplit=1)[0]
    # Half a surrogate pair is legal JSON but no text that a file can hold.
    return "" if _THINKING.search(said) or not said.strip() else said.encode("utf-8", "replace").decode()


def _no_answer(choice: _Choice) -> NoAnswerError:
    """Why a choice has no text."""
    if choice.error or choice.finish_reason == "error":
        return NoAnswerError("busy", f"an error instead of an answer: {words_of({'error': choice.error})}")
    if choice.message.refusal:
        return NoAnswerError("refused", f"a refusal: {' '.join(choice.message.refusal.split())[:200]}")
    if choice.finish_reason == "content_filter":
        return NoAnswerError("refused", "nothing, for its content filter stopped it")
    if choice.finish_reason == "length" or _THINKING.search(choice.message.content or ""):
        return NoAnswerError(
            "cut off",
            "no answer within max_tokens: what it wrote was thinking, or nothing. Raise max_tokens of the stage in "
            "params.yaml (annotate.max_tokens, generate.max_tokens; null leaves no room to think)",
        )
    return NoAnswerError("refused", "an answer without text")


def rough_tokens(text: str) -> int:
    """About how many tokens a text takes, at least 1."""
    return len(text) // CHARS_PER_TOKEN + 1
