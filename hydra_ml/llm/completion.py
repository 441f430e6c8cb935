"""Reads the decoded body of a chat completion, whatever server wrote it: the one place between body and parser.

Malformed bodies come here as they are (text, nulls, empty lists), so they are checked. An answer without text is none:
it is never handed on, so it is never kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, model_validator

from hydra_ml.llm.answer_text import answer_text, cut_at, is_thinking
from hydra_ml.llm.chat import Answer
from hydra_ml.llm.complaint import words_of
from hydra_ml.llm.faults import MalformedAnswerError, NoAnswerError

CHARS_PER_TOKEN = 4  # rough; for reservations, and for servers that report no usage
MOST_TOKENS = 10_000_000  # of one call: what a server reports beyond it is no count
_NO_TEXT = ("thinking", "reasoning", "redacted_thinking", "refusal", "tool_use", "image_url")  # kinds of parts
_FILTERED = (
    "content_filter",
    "safety",
    "recitation",
    "blocklist",
    "prohibited_content",
    "spii",
    "refusal",
    "sensitive",
)
_CUT = ("length", "max_tokens", "max_output_tokens", "model_length")
_TOOL = ("tool_calls", "tool_use", "function_call")


def _joined(content: object) -> object:
    """Content as text: some servers send a list of parts, of which only texts are the answer."""
    if content is None:
        return ""
    if not isinstance(content, (list, dict)):
        return content
    parts = content if isinstance(content, list) else [content]
    texts = [part.get("text") if isinstance(part, dict) else part for part in parts if not _is_no_text(part)]
    return "".join(text for text in texts if isinstance(text, str))


def _is_no_text(part: object) -> bool:
    return isinstance(part, dict) and part.get("type") in _NO_TEXT


def _count(value: object) -> int | None:
    """A token count, if it can be one."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= MOST_TOKENS:
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS else None


Content = Annotated[str, BeforeValidator(_joined)]
Count = Annotated[int | None, BeforeValidator(_count)]
Word = Annotated[str, BeforeValidator(lambda value: value if isinstance(value, str) else "")]


class _Turn(BaseModel):
    content: Content = ""
    refusal: Word = ""
    reasoning_content: Any = None
    reasoning: Any = None

    @property
    def is_thought(self) -> bool:
        """Whether it holds thoughts, apart from the content or in it."""
        return bool(self.reasoning_content or self.reasoning) or is_thinking(self.content)


class _Choice(BaseModel):
    index: Count = None
    message: _Turn
    finish_reason: Word = ""
    error: Any = None

    @model_validator(mode="before")
    @classmethod
    def _turned(cls, choice: Any) -> Any:
        """The message wherever it stands: as a delta, or as the text of a plain completion."""
        if not isinstance(choice, dict):
            return choice
        said = choice.get("message") or choice.get("delta")
        if not said and any(choice.get(name) for name in ("text", "finish_reason", "error")):
            said = {"content": choice.get("text")}
        return {**choice, "message": {"content": said} if isinstance(said, str) else said}

    @property
    def ended(self) -> str:
        """Why it ended, in lower case: servers spell it as they like."""
        return self.finish_reason.lower()


class _Usage(BaseModel):
    prompt_tokens: Count = None
    completion_tokens: Count = None


class _Completion(BaseModel):
    choices: Annotated[list[_Choice], Field(min_length=1)]
    usage: Annotated[_Usage, BeforeValidator(lambda value: value if isinstance(value, dict) else {})] = _Usage()


def read_answers(body: object, prompt_tokens: int, stops: Sequence[str] = ()) -> list[Answer]:
    """The answers in a decoded body that have text, at least one. Raises MalformedAnswerError, and NoAnswerError, which
    says why, where none has.

    Tokens are as the server reports them, the answers' shares alike, or roughly counted (`prompt_tokens`, and
    `rough_tokens` of each answer) where it reports none. stops: where answers end that the server was not told.
    """
    if isinstance(body, str):
        raise MalformedAnswerError(f"text instead of JSON: {body[:80]!r}")
    instead = isinstance(body, dict) and not body.get("choices") and ("choices" not in body or body.get("error"))
    if instead and (words := words_of(body)):
        raise NoAnswerError("busy", "", said=words, body=body)
    try:
        completion = _Completion.model_validate(body)
    except ValidationError as error:
        problem = error.errors()[0]
        raise MalformedAnswerError(f"{'.'.join(map(str, problem['loc'])) or 'body'}: {problem['msg']}") from None
    choices = sorted(completion.choices, key=lambda choice: choice.index or 0)  # stable: all alike where none is said
    texts = [text for choice in choices if (text := _text(choice, list(stops)))]
    usage = completion.usage
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


def _text(choice: _Choice, stops: list[str]) -> str:
    """The answer itself; "" where there is none. What a filter left of one is none either."""
    if choice.error or choice.ended == "error" or choice.ended in _FILTERED:
        return ""
    text = answer_text(choice.message.content)
    return cut_at(text, stops) if stops else text


def _no_answer(choice: _Choice) -> NoAnswerError:
    """Why a choice has no text."""
    if choice.error:
        return NoAnswerError("busy", "", said=words_of({"error": choice.error}), body={"error": choice.error})
    if choice.ended == "error":
        return NoAnswerError("busy", "an error instead of an answer")
    if choice.message.refusal:
        return NoAnswerError("refused", "a refusal: ", said=" ".join(choice.message.refusal.split())[:200])
    if choice.ended in _FILTERED:
        return NoAnswerError("refused", f"nothing whole, for its content filter stopped it ({choice.ended})")
    if choice.ended in _CUT or choice.message.is_thought:
        return NoAnswerError(
            "cut off",
            "no answer within max_tokens: what it wrote was thinking, or nothing. Raise max_tokens of the stage in "
            "params.yaml (annotate.max_tokens, generate.max_tokens; null leaves no room to think)",
        )
    if choice.ended in _TOOL:
        return NoAnswerError("refused", "a call of a tool, of which it was offered none")
    return NoAnswerError("refused", "an answer without text (base models end at once where they are shown no example)")


def rough_tokens(text: str) -> int:
    """About how many tokens a text takes, at least 1."""
    return len(text) // CHARS_PER_TOKEN + 1
