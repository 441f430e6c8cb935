"""cfrag (arXiv 2504.05731): the records of the users most alike stand in the prompt, beside one's own.

It shows the LLM other users' data, so it runs only where it is named, and says so. Of the paper's parts the two tuned
ones are left out: users are the mean of their records' frozen vectors, and no cross encoder reranks.
"""

from __future__ import annotations

from dataclasses import replace

from hydra_ml.answering.arms import NEIGHBOURS, Arm
from hydra_ml.evaluation.methods.method import greedy_method

METHOD = replace(
    greedy_method(
        "cfrag",
        Arm("cfrag", NEIGHBOURS, 4),
        "the LLM shown the 4 best records of the user and of the 5 known users most alike",
        place=75,
        family="rival",
    ),
    paper="arXiv 2504.05731",
    others="records of other users: of the five known ones whose history is most like the user's",
)
