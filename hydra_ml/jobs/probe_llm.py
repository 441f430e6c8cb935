"""probe_llm: asks the LLM the same prompts every night, and says when its answers moved beyond what sampling explains.

The prompts are frozen when the watch begins. Another model named in params.yaml, or other settings of how it answers,
begin it anew: a change that somebody made is none to find. A night that was asked is not asked again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import cast

from hydra_ml.answering.probe import answer_vectors, probe_chats
from hydra_ml.answering.prompts import parse_answers
from hydra_ml.errors import LLMError
from hydra_ml.evaluation.drift import DriftFinding, Probed, label_p, vector_p
from hydra_ml.io.drift import DriftFolder, Probe
from hydra_ml.io.encoders import open_encoder
from hydra_ml.io.layout import task_folder
from hydra_ml.io.llm import open_llm
from hydra_ml.io.tables import load_table
from hydra_ml.llm.chat import Ask
from hydra_ml.model.interfaces import Encode
from hydra_ml.params import Params
from hydra_ml.records import Message, content_digest, normalized
from hydra_ml.sample import DOMAINS
from hydra_ml.tasks.task import Task

SEEDS = 1_000_000  # of nights: each draws its own samples
OPENING = 3  # nights after which there is enough to compare with


def probe_llm(task: Task, params: Params, night: str, *, data: Path, cache: Path) -> tuple[DriftFinding, int]:
    """What the answers of this night say of the LLM, and how many calls it took.

    Raises LLMError and BudgetExceeded, with nothing kept of the night but the answers bought, which the response cache
    has; run again, it goes on.
    """
    folder = DriftFolder(data, task)
    with open_encoder(params.encoder, cache, progress="") as texts:
        probe, is_new = _probe(folder, task, params, data)
        heard = folder.probed() or Probed(content_digest(probe.settings), answers=((),) * len(probe.chats))
        if night in heard.nights:
            return _finding(heard, params.drift.alpha, ""), 0
        with open_llm(params.llm, cache=cache / "responses.sqlite", encode=texts.encode) as client:
            asks = _asks(probe, task, params, night)
            replies = client.ask_nearly_all(asks, label=f"probe {task.name}")
            n_calls = client.usage.calls
        fresh = [
            [
                normalized(answer)
                for answer in parse_answers(of_prompt, [input] * len(of_prompt), task, params.answers)[0]
            ]
            for input, of_prompt in zip(
                probe.inputs, ([a for a in reply.answers if a.strip()] for reply in replies), strict=True
            )
        ]
        p_values, answers = _judged(heard.answers, fresh, task, texts.encode, f"{heard.prompts} {night}")
    heard = heard.after(night, p_values, answers, params.drift.alpha)
    folder.keep_probed(heard)
    return _finding(heard, params.drift.alpha, "begun anew; " if is_new and len(heard.nights) == 1 else ""), n_calls


def _probe(folder: DriftFolder, task: Task, params: Params, data: Path) -> tuple[Probe, bool]:
    """What is asked, and whether that is new: nothing was asked yet, or it was of another model or in another way."""
    how = (params.generate.temperature, params.generate.max_tokens, params.prompts, params.answers)
    settings = (
        f"{params.llm.identity} {how} {params.drift.probe_prompts}x{params.drift.probe_samples} {task.definition}"
    )
    known = folder.probe()
    if known is not None and known.settings == settings:
        return known, False
    frozen: Sequence[str] = ()
    if task.folder not in DOMAINS:
        queries = load_table(task_folder(data, "prepare", task) / "queries.parquet", ["role", "input"])
        frozen = queries.loc[queries["role"] == "evaluate", "input"].tolist()
    chats = probe_chats(task, frozen, n=params.drift.probe_prompts, form=params.prompts)
    probe = Probe(
        settings,
        [input for input, _ in chats],
        [[{"role": turn["role"], "content": turn["content"]} for turn in chat] for _, chat in chats],
    )
    folder.begin_probe(probe)
    return probe, True


def _asks(probe: Probe, task: Task, params: Params, night: str) -> list[Ask]:
    """Tonight's: the samples have seeds of their own, so that no answer of another night is read from the cache."""
    seed = int(content_digest(f"{params.seed} {night}"), 16) % SEEDS
    settings, room = params.generate, task.answer_tokens(params.generate.max_tokens)
    n = params.drift.probe_samples
    chats = [tuple(cast(Message, dict(turn)) for turn in chat) for chat in probe.chats]
    return [Ask(chat, n, settings.temperature, room, seed) for chat in chats]


def _judged(
    before: Sequence[Sequence[str]], fresh: Sequence[Sequence[str]], task: Task, encode: Encode, name: str
) -> tuple[list[float], list[list[str]]]:
    """A p-value of each fresh answer, beside those to the same prompt before it; and all answers, by prompt."""
    luck = Random(name)  # seeded by the night, so that a night judged again is judged alike
    p_values: list[float] = []
    everything = [list(of_prompt) for of_prompt in before]
    for heard, of_prompt in zip(everything, fresh, strict=True):
        for answer in of_prompt:
            heard.append(answer)
            tie = 1.0 - luck.random()  # above 0
            p_values.append(
                label_p(heard, tie) if task.kind != "text" else vector_p(answer_vectors(heard, encode), tie)
            )
    return p_values, everything


def _finding(heard: Probed, alpha: float, before: str) -> DriftFinding:
    n = len(heard.nights)
    tens = min(heard.process.log_e / math.log(10), 99.0)
    strength = f"{len(heard.answers)} prompts, nights: {n}, evidence 10^{tens:.1f}, alarm at {1 / alpha:.0f}"
    if heard.since:
        return DriftFinding(
            "llm", True, f"its answers moved in the night of {heard.since}, beyond what sampling explains ({strength})"
        )
    few = f"; from {OPENING} nights on there is something to compare" if n < OPENING else ""
    return DriftFinding("llm", False, f"{before}answers as before, as far as sampling tells ({strength}){few}")


def not_probed(error: LLMError | None) -> DriftFinding:
    """What is told where it was not asked."""
    why = "drift.probe_prompts is 0" if error is None else str(error).partition("\n")[0]
    return DriftFinding("llm", False, f"not probed: {why}")
