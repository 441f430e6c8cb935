"""Opens a registered release for serving: its bases, its head banks lazily, its encoder and its LLM.

`OpenRelease.score` is what batch scoring, the promotion gate and the served model call. What shapes an answer (encoder,
ranker, k, samples, LLM) comes from the release; how the LLM is called, from whoever calls.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from hydra_ml.answering.score_requests import Models, score_and_blame
from hydra_ml.errors import ArtifactError, OtherVersionError, ParamsError
from hydra_ml.io.encoders import open_encoder
from hydra_ml.io.feature_cache import CachedEncoder
from hydra_ml.io.files import load_json
from hydra_ml.io.llm import open_llm
from hydra_ml.io.mlflow.registry import Registry
from hydra_ml.llm.client import LLMClient
from hydra_ml.params import LLM, Params, Train, parse_params
from hydra_ml.predictions import PREDICTION_COLUMNS
from hydra_ml.release import Release, model_name
from hydra_ml.serving.component import Component, torch_threads
from hydra_ml.serving.pair_reader import PairReader
from hydra_ml.serving.signed_release import check_signature
from hydra_ml.tasks.definition import task_from_json
from hydra_ml.tasks.task import Task


@dataclass(frozen=True)
class OpenRelease:
    """A release, ready to answer. One thread at a time; each thread may open its own."""

    version: str
    release: Release
    params: Params  # the release's, but for how its LLM is called
    task: Task  # as it was when the release was made
    reranker: Component
    adapter: Component
    texts: CachedEncoder  # what the models, and the offline LLM, read through
    cache: Path

    def score(self, requests: pd.DataFrame, records: pd.DataFrame, llm: LLMClient | None = None) -> pd.DataFrame:
        """One prediction per request, in order; columns PREDICTION_COLUMNS, see `answering.score_requests`.

        llm: a client of the release's model; None opens one with the response cache. Torch works on one thread: a
        call's numbers depend on its own rows, bit for bit (as far as `model.encoder` promises), not on calls made
        before or beside it, or on the machine's threads. Raises as LLMClient.ask_each does.
        """
        return self.score_and_blame(requests, records, llm)[0]

    def score_and_blame(
        self, requests: pd.DataFrame, records: pd.DataFrame, llm: LLMClient | None = None
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        """What `score` returns, and which requests the LLM left without some answer, as `answering.score_requests`
        has it."""
        if llm is None:
            with self.llm() as opened:
                return self.score_and_blame(requests, records, opened)
        models = self.models(set(requests["user_id"]))
        ask = functools.partial(llm.ask_each, label=f"score {self.task.name}")
        with torch_threads(1):
            table, blame = score_and_blame(requests, records, models, ask, task=self.task, params=self.params)
        return table.assign(release=self.version)[list(PREDICTION_COLUMNS)], blame

    def models(self, user_ids: Collection[str]) -> Models:
        """What of the release computes, opened for these users."""
        with_head = {
            user_id
            for component in (self.reranker, self.adapter)
            for user_id in component.bank.heads_of(user_ids).user_ids
        }
        reranker = self.reranker.score if self.reranker.has_learned else None
        return Models(reranker, self.adapter.score, self.texts.encode, with_head, self.adapter.margin)

    @contextmanager
    def llm(self, settings: LLM | None = None) -> Iterator[LLMClient]:
        """A client of the release's LLM with its response cache; settings: how to call it, its model name aside."""
        how = (settings or self.params.llm).as_asked_by(self.params.llm)
        with open_llm(how, cache=self.cache / "responses.sqlite", encode=self.texts.encode) as client:
            yield client


def open_release(
    registry: Registry,
    task: Task,
    which: str = "champion",
    cache: Path = Path(".cache"),
    *,
    llm: LLM | None = None,
    signed_with: str = "",
) -> OpenRelease:
    """The release an alias or a version names. llm: how its LLM is called now; None means as when it was made.
    signed_with: the public key that must have signed it; "": none.

    Raises ArtifactError if it, or one of its parts, is missing, altered, or reads texts with another encoder than this
    machine has under that name.
    """
    version, release = registry.release(task, which)
    check_signature(task, registry, version, release, signed_with)
    where = f"{model_name(task, 'release')} version {version}"
    params = release_params(release, where, llm)
    texts = open_encoder(params.encoder, cache, progress="")

    def component(name: str, train: Train) -> Component:
        """One of the release's two, its base loaded and its bank opened."""
        reader = PairReader(train, params.encoder, cache, seed=params.seed, text_encoder=texts)
        base, heads = (release.components[f"{name}.{half}"] for half in ("base", "heads"))
        folder = registry.fetch(task, base)
        manifest = load_json(folder / "manifest.json")
        check_encoder(manifest, reader.describe(), where)
        bank = registry.open_bank(task, heads, base_digest=manifest["digest"])
        return Component(folder, bank, reader)

    reranker, adapter = component("reranker", params.train_reranker), component("adapter", params.train_adapter)
    return OpenRelease(version, release, params, task_of(release, task), reranker, adapter, texts, cache)


def task_of(release: Release, now: Task) -> Task:
    """The task as the release answers it: one whose instruction or labels changed since is another to its heads."""
    if not release.definition or release.definition == now.definition:
        return now
    return task_from_json(release.definition)


def release_params(release: Release, where: str, llm: LLM | None = None) -> Params:
    """The settings a release was made with; `llm` replaces how its LLM is called, never which. Raises ArtifactError."""
    try:
        params = parse_params(dict(release.params), where)
    except ParamsError as error:
        raise OtherVersionError(
            f"{where} was made with settings this version of hydra_ml does not know. Run the nightly flow to make a "
            "new release and look at it, then `hydra-ml promote --force REASON`, for the two cannot be compared; or "
            f"install the version it was made with ({release.git_commit or 'unknown commit'}).\n{error}"
        ) from error
    if llm is None:
        return params
    return params.model_copy(update={"llm": llm.as_asked_by(params.llm)})


def check_encoder(manifest: dict[str, object], here: dict[str, object], where: str) -> None:
    """Raises ArtifactError unless the base reads texts with the encoder that this machine has."""
    if manifest["encoder_digest"] != here["encoder_digest"]:
        raise ArtifactError(
            f"{where}: its base reads with encoder {manifest['encoder']!r}, digest {manifest['encoder_digest']}; this "
            f"machine's has {here['encoder_digest']}. The same texts would get other vectors: install the encoder it "
            "was trained with (`make setup`), or run the nightly flow to train on this one."
        )
