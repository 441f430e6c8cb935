"""A stored component (reranker or adapter), opened to score with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from hydra_ml.io.head_bank import HeadBank
from hydra_ml.io.weights import load_base
from hydra_ml.model.factored import score_features
from hydra_ml.model.fit_base import SharedPart, base_features, with_evidence
from hydra_ml.model.heads import no_heads
from hydra_ml.serving.pair_reader import PairReader


@contextmanager
def torch_threads(n: int | None) -> Iterator[None]:
    """Run with n torch threads, or as many as before for None. Steps as small as the dual base's and the heads' batched
    solves run several times faster on one thread than on two that wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(n or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Component:
    """A stored component, ready to score pairs for known, new and unseen users."""

    def __init__(self, base: Path, heads: Path | HeadBank, reader: PairReader) -> None:
        """base: its folder; heads: a folder, or an open bank. Raises ArtifactError unless they belong together."""
        self.reader = reader
        self.shared: SharedPart
        self.shared, self.manifest = load_base(base, reader.new_base)
        self.bank = HeadBank(heads, base_digest=self.manifest["digest"]) if isinstance(heads, Path) else heads

    @property
    def has_learned(self) -> bool:
        """Whether there was anything to learn from; else it scores by its evidence alone."""
        return bool(self.manifest["fit"]["n_rows"])

    @property
    def margin(self) -> float | None:
        """By how much a choice must lead plain RAG's answer, in log-odds (`answering.do_no_harm`); None: not at all."""
        caution = self.manifest["fit"].get("caution")
        return caution and float(caution["margin"])

    def features(self, a: Sequence[str], b: Sequence[str], evidence: np.ndarray) -> np.ndarray:
        """What heads read of the pairs, float32 [N, F]: the base's z, then the evidence."""
        return with_evidence(base_features(self.shared.base, self.reader.pairs(a, b)), evidence)

    def score(
        self, a: Sequence[str], b: Sequence[str], evidence: np.ndarray, user_ids: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Personal and shared-head scores of the pairs, float32 [N] each; features are computed once for both."""
        x = self.features(a, b, evidence)
        heads = self.bank.heads_of(user_ids.tolist())
        nobody = no_heads(self.shared.head, self.shared.width)
        return (
            score_features(self.shared, heads, x, user_ids),
            score_features(self.shared, nobody, x, user_ids),
        )
