"""pag without a record beside the profile (PAG-0): what the profile can do alone."""

from __future__ import annotations

from hydra_ml.answering.arms import ZERO_SHOT
from hydra_ml.evaluation.rival_written import written_rival
from hydra_ml.evaluation.rivals.pag import WRITING

METHOD = written_rival(
    "pag_k0",
    WRITING,
    "the LLM shown a profile that it wrote of the user, and no record",
    paper="arXiv 2310.20081",
    shown=ZERO_SHOT,
)
