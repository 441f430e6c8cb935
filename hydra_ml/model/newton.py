"""Ridge logistic regression with offsets for many users at once, each user's problem alone on its own rows.

    min over delta   sum_i w_i logloss(y_i, o_i + x_i.delta) + ridge/2 |delta|^2

Most users are solved the quick way: Newton's method with steps found by conjugate gradients in single precision, no
Hessian formed or factored, so that work grows with rows x P alone. The later gradients are in double precision: what
the steps run into is the exact solution. Who does not get there (far starts, next to no ridge) is solved the careful
way: damped Newton, all in double precision.

Every product is `bmm` with the user first, every function is of doubles, and nobody steps on because another user must:
so a user's solution has the same bits in whatever company it is found, if n is a multiple of ROW_MULTIPLE. Legend:
u users, n rows each (weight 0 on padding), P numbers of a solution.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn.functional import binary_cross_entropy_with_logits

ROW_MULTIPLE = 16  # fills the processor's vectors, so that no row is worked on by the code for what is left over
TOLERANCE = 1e-6  # of the gradient, to the first one and to the ridge: no number is then off by more than this
FORCING = 0.3  # how far a step's equation is solved at first; by the square root of the gradient's fall further on
SINGLE_STEPS = 3  # whose gradients need not be exact either
QUICK_STEPS, MOST_PRODUCTS = 12, 100  # products of one step
TINY = 1e-30  # for what is nothing already
CAREFUL_STEPS = 30
CAREFUL_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Problems:
    """u problems: x [u, n, P], offset, labels in 0..1 and weight float64 [u, n]."""

    x: torch.Tensor
    offset: torch.Tensor
    labels: torch.Tensor
    weight: torch.Tensor
    ridge: float

    def of(self, users: torch.Tensor) -> Problems:
        """Those of some users, chosen by mask."""
        return Problems(self.x[users], self.offset[users], self.labels[users], self.weight[users], self.ridge)

    def double(self) -> Problems:
        """The same with x float64."""
        return Problems(self.x.double(), self.offset, self.labels, self.weight, self.ridge)

    def logits(self, delta: torch.Tensor) -> torch.Tensor:
        """float64 [u, n]."""
        product = torch.bmm(delta.to(self.x.dtype).unsqueeze(1), self.x.mT)  # [u, 1, P] @ [u, P, n] -> [u, 1, n]
        return self.offset + product.squeeze(1)

    def objective(self, delta: torch.Tensor) -> torch.Tensor:
        """Each user's penalised loss [u]."""
        loss = binary_cross_entropy_with_logits(self.logits(delta), self.labels, reduction="none")  # [u, n]
        return (self.weight * loss).sum(dim=1) + 0.5 * self.ridge * (delta * delta).sum(dim=1)

    def gradient(self, p: torch.Tensor, delta: torch.Tensor) -> torch.Tensor:
        """Its gradient [u, P] at delta, where the probabilities are p [u, n]."""
        residual = (self.weight * (p - self.labels)).to(self.x.dtype).unsqueeze(1)  # [u, 1, n]
        return torch.bmm(residual, self.x).squeeze(1) + self.ridge * delta

    def curvature(self, p: torch.Tensor) -> torch.Tensor:
        """Each row's second derivative [u, n] by its logit."""
        return (self.weight * p * (1 - p)).to(self.x.dtype)

    def hessian(self, p: torch.Tensor) -> torch.Tensor:
        """Its second derivative [u, P, P]."""
        hessian = torch.bmm(self.x.mT, self.curvature(p).unsqueeze(-1) * self.x)
        hessian.diagonal(dim1=1, dim2=2).add_(self.ridge)
        return hessian


def solve(problems: Problems) -> torch.Tensor:
    """Each user's solution, float64 [u, P]."""
    delta, solved = _solve_quickly(problems)
    if not solved.all():
        delta[~solved] = solve_carefully(problems.of(~solved).double())
    return delta


def _solve_quickly(problems: Problems) -> tuple[torch.Tensor, torch.Tensor]:
    """Solutions float64 [u, P], and which of them are: bool [u]."""
    n_users, _, width = problems.x.shape
    at, delta = problems, problems.weight.new_zeros(n_users, width)
    for i in range(QUICK_STEPS):
        if i == SINGLE_STEPS:
            at = problems.double()
        p = torch.sigmoid(at.logits(delta))
        gradient = at.gradient(p, delta)
        size = gradient.norm(dim=1)  # [u]
        if i == 0:
            first, enough = size, TOLERANCE * size.clamp(max=problems.ridge)
        solved = size <= enough
        if i >= SINGLE_STEPS and solved.all():
            break
        short_of = torch.maximum(size * FORCING * (size / first).sqrt().clamp(max=1.0), 0.3 * enough)
        delta = delta - _newton_step(problems, p, gradient, torch.where(solved, torch.inf, short_of))
    return delta, solved


def _newton_step(problems: Problems, p: torch.Tensor, gradient: torch.Tensor, short_of: torch.Tensor) -> torch.Tensor:
    """What the Hessian takes to the gradient but for a rest of norm short_of [u], by conjugate gradients: float64
    [u, P]. Each user stops at their own rest: from then on their numbers do not change."""
    curvature = problems.curvature(p).unsqueeze(1)  # [u, 1, n]
    rest = gradient.to(problems.x.dtype).unsqueeze(1)  # [u, 1, P], as all below
    step, direction = torch.zeros_like(rest), rest
    bound = short_of.square().to(rest.dtype).view(-1, 1, 1)
    left = rest.square().sum(dim=2, keepdim=True)  # [u, 1, 1]
    for _ in range(MOST_PRODUCTS):
        going = left > bound
        if not going.any():
            break
        bent = curvature * torch.bmm(direction, problems.x.mT)  # [u, 1, n]
        product = torch.baddbmm(direction, bent, problems.x, beta=problems.ridge)
        length = torch.where(going, left / (direction * product).sum(dim=2, keepdim=True), 0.0)
        step, rest = step + length * direction, rest - length * product
        now = rest.square().sum(dim=2, keepdim=True)
        direction, left = rest + (now / left.clamp(min=TINY)) * direction, now
    return step.squeeze(1).double()


def solve_carefully(problems: Problems) -> torch.Tensor:
    """Each user's solution, float64 [u, P], x being float64: Newton's method, no step of which raises the loss."""
    delta = problems.x.new_zeros(problems.x.shape[0], problems.x.shape[2])
    value = problems.objective(delta)
    done = torch.zeros_like(value, dtype=torch.bool)
    for _ in range(CAREFUL_STEPS):
        p = torch.sigmoid(problems.logits(delta))
        step = torch.linalg.solve(problems.hessian(p), problems.gradient(p, delta))
        trial, trial_value = _descend(problems, delta, step, value)
        delta, value = torch.where(done.unsqueeze(-1), delta, trial), torch.where(done, value, trial_value)
        done |= step.abs().amax(dim=1) < CAREFUL_TOLERANCE
        if done.all():
            break
    return delta


def _descend(
    problems: Problems, delta: torch.Tensor, step: torch.Tensor, value: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The Newton step, halved per user until that user's loss does not rise (far starts overshoot)."""
    scale = torch.ones_like(value)
    for _ in range(20):
        trial = delta - scale.unsqueeze(-1) * step
        trial_value = problems.objective(trial)
        worse = trial_value > value + 1e-12 * value.abs()
        if not worse.any():
            return trial, trial_value
        scale = torch.where(worse, scale / 2, scale)
    return torch.where(worse.unsqueeze(-1), delta, trial), torch.where(worse, value, trial_value)
