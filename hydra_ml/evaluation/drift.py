"""Drift found by betting: tests that may be looked at every night for ever, with false alarms at most alpha in all.

Who bets against "nothing has changed", or "personal heads do no harm", cannot grow rich if it is true: the wealth is a
non-negative supermartingale from 1, so it ever reaches 1 / alpha with probability alpha at most (Ville; Ramdas et al.,
arXiv 2210.01948). A change may come late: a share 1 / (t (t + 1)) of the wealth is kept for bets that begin in round t.
Every such bet is made at several stakes at once. Knows no files, clocks or LLMs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

STAKES = (0.05, 0.15, 0.4, 0.8)  # of the wealth, on a difference in [-1, 1]
POWERS = (0.3, 0.5, 0.7, 0.9)  # of a p-value: e p^(e - 1) is a fair bet on small ones (Vovk and Wang, 2021)
NOTHING = -1e9  # log of no wealth at all, as JSON can hold it


@dataclass(frozen=True)
class EProcess:
    """The wealth of bets that began in some round, by stake; state enough to go on."""

    n: int = 0  # rounds so far
    logs: tuple[float, ...] = (NOTHING,) * len(STAKES)  # log wealth by stake

    def after(self, factors: Sequence[float]) -> EProcess:
        """One round later. factors: log of what each stake makes of 1."""
        logs = bet(np.array(self.logs), self.n + 1, np.array(factors))
        return EProcess(self.n + 1, tuple(float(value) for value in np.maximum(logs, NOTHING)))

    @property
    def log_e(self) -> float:
        """Log of the wealth; at log(1 / alpha) there is drift."""
        return float(log_wealth(np.array(self.logs), self.n))


def bet(logs: np.ndarray, t: int, factors: np.ndarray) -> np.ndarray:
    """Log wealth by stake [..., S] after round t (from 1), which begins with what is kept for it."""
    found: np.ndarray = np.logaddexp(logs, -np.log(t * (t + 1.0))) + factors
    return found


def log_wealth(logs: np.ndarray, t: int) -> np.ndarray:
    """Log of all there is after round t [...]: the mean over stakes, and what is kept for later rounds."""
    mean = np.logaddexp.reduce(logs, axis=-1) - np.log(logs.shape[-1])
    found: np.ndarray = np.logaddexp(mean, -np.log(t + 1.0))
    return found


def difference_factors(difference: float | np.ndarray) -> np.ndarray:
    """Log factors by stake [..., S] of a bet that differences in [-1, 1] are above 0 on average, given the past."""
    found: np.ndarray = np.log1p(np.multiply.outer(np.clip(difference, -1.0, 1.0), np.array(STAKES)))
    return found


def p_factors(p: Sequence[float] | np.ndarray) -> np.ndarray:
    """Log factors by power [S] of a bet that independent p-values in (0, 1] are smaller than uniform ones."""
    powers = np.array(POWERS)
    logs = np.log(np.maximum(np.asarray(p, dtype=np.float64), 1e-300))
    found: np.ndarray = len(logs) * np.log(powers) + (powers - 1.0) * logs.sum()
    return found


def has_drifted(process: EProcess, alpha: float) -> bool:
    """Whether the wealth is 1 / alpha now."""
    return process.log_e >= -float(np.log(alpha))


def e_bh(log_es: Mapping[str, float], alpha: float) -> list[str]:
    """Names of which at most a share alpha is false on average, however they hang together: the k largest, where the
    k-th has an e-value of n / (alpha k) (Wang and Ramdas, 2022)."""
    names = sorted(log_es, key=lambda name: (-log_es[name], name))
    enough = [k for k, name in enumerate(names, start=1) if log_es[name] >= np.log(len(names) / (alpha * k))]
    return names[: max(enough, default=0)]


def choice_loss(scores: Sequence[float], chosen: int) -> float:
    """1 less the probability that softmax(scores) gives the chosen candidate, 0..1."""
    logits = np.asarray(scores, dtype=np.float64)
    weight = np.exp(logits - logits.max())
    return float(1.0 - weight[chosen] / weight.sum())


# ------------------------------------------------------------------------------------ answers of an LLM to one prompt


def label_p(answers: Sequence[str], luck: float) -> float:
    """How rare the last answer is among all of them: a p-value, uniform if they were drawn alike. luck: 0..1, for ties.

    Conformal: the share of answers that are rarer, ties divided by luck. Those of answers one after another are
    independent (Vovk, Gammerman and Shafer, 2005)."""
    counts = Counter(answers)
    own = counts[answers[-1]]
    rarer = sum(n for n in counts.values() if n < own)
    tied = sum(n for n in counts.values() if n == own)
    return (rarer + luck * tied) / len(answers)


def vector_p(vectors: np.ndarray, luck: float) -> float:
    """`label_p` for answers as vectors [n, D]: how far the last lies from their mean, among all of them."""
    distance = np.round(np.linalg.norm(vectors - vectors.mean(axis=0), axis=1), 9)
    farther = int((distance > distance[-1]).sum())
    return float((farther + luck * int((distance == distance[-1]).sum())) / len(vectors))


@dataclass(frozen=True)
class Probed:
    """What was heard of an LLM so far, night by night."""

    prompts: str  # digest of prompts, settings and model: what must stay as it is
    nights: tuple[str, ...] = ()
    answers: tuple[tuple[str, ...], ...] = ()  # of each prompt, in the order they came
    process: EProcess = EProcess()
    since: str = ""  # night of the first alarm

    def after(self, night: str, p_values: Sequence[float], answers: Sequence[Sequence[str]], alpha: float) -> Probed:
        """One night later. p_values: of the fresh answers; answers: all of each prompt, those among them."""
        process = self.process.after(p_factors(p_values).tolist())
        since = self.since or (night if has_drifted(process, alpha) else "")
        kept = tuple(tuple(of_prompt) for of_prompt in answers)
        return replace(self, nights=(*self.nights, night), answers=kept, process=process, since=since)


# ------------------------------------------------------------------------------------- losses of users, as they come


@dataclass(frozen=True)
class UserLosses:
    """Of one user, or of all together: how the personal choice fared beside the shared one."""

    n: int = 0
    personal: float = 0.0  # sum of losses
    shared: float = 0.0
    process: EProcess = EProcess()

    def after(self, personal: float, shared: float) -> UserLosses:
        """One answer later; losses 0..1."""
        process = self.process.after(difference_factors(personal - shared).tolist())
        return UserLosses(self.n + 1, self.personal + personal, self.shared + shared, process)

    @property
    def told(self) -> str:
        """The mean losses, in words."""
        return f"personal loss {self.personal / max(1, self.n):.3f}, shared {self.shared / max(1, self.n):.3f}"


# --------------------------------------------------------------------------------------------------- what was found


@dataclass(frozen=True)
class DriftFinding:
    """What one watch came to."""

    watch: str  # "llm", "losses" or "inputs"
    is_alarm: bool
    told: str  # in a line; figures, never a text, and nobody's id
    users: tuple[str, ...] = ()  # whose heads it names

    @property
    def line(self) -> str:
        """What was found, with the users it names."""
        return f"{self.told}: {', '.join(f'user {one}' for one in self.users)}" if self.users else self.told


@dataclass(frozen=True)
class DriftReport:
    """What was found of one task in one night."""

    task: str  # folder
    night: str
    findings: tuple[DriftFinding, ...]
    llm_calls: int = 0

    @property
    def alarms(self) -> tuple[str, ...]:
        """What somebody should look at."""
        return tuple(f"drift, {one.watch}: {one.line}" for one in self.findings if one.is_alarm)

    def markdown(self) -> str:
        """As an artifact shows it, alarms first."""
        found = sorted(self.findings, key=lambda one: not one.is_alarm)
        lines = [f"- {'**DRIFT** ' if one.is_alarm else ''}{one.watch}: {one.line}" for one in found]
        return "\n".join([f"# Drift, {self.task}, {self.night}", "", *lines, "", f"{self.llm_calls} LLM calls."])
