"""HYDRA (arXiv 2406.02888), as releases serve it: the reranked prompt's answers pooled with plain RAG's.

What plain RAG would say is always a candidate, and two prompts' votes are steadier than one's.
"""

from hydra_ml.answering.arms import SERVED
from hydra_ml.evaluation.methods.method import choice_method

METHOD = choice_method(
    "hydra",
    SERVED,
    "answers to the reranked prompt and to rag_k4's, chosen by the adapter; the user's own heads",
    place=110,
)
