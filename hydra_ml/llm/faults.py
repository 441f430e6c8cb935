"""What one attempt at an answer may raise; `failures` says what it means."""

from __future__ import annotations

from typing import Literal

import openai


class MalformedAnswerError(ValueError):
    """The server said 200, but its body is no chat completion."""


class NoAnswerError(ValueError):
    """The server said 200 and sent a chat completion, but no answer in it."""

    def __init__(
        self, kind: Literal["busy", "refused", "cut off"], told: str, *, said: str = "", body: object = None
    ) -> None:
        """told: in our words, what came instead; said: the server's words, which may quote the prompt. body: the error
        that stood in its place, if one did."""
        super().__init__(f"{told}{said}")
        self.kind = kind
        self.told, self.said = told, said
        self.body = body
        self.tokens = (0, 0)  # prompt and answer: paid for all the same


class LateError(ValueError):
    """The answer was not there, whole, in the time an attempt has."""


# Everything that one attempt may raise: the packages we ask through raise bare ones for text that cannot be sent.
ATTEMPT_ERRORS = (openai.APIError, ValueError, RecursionError)
