"""The quick way of solving ends where the careful one does, and hands over whom it cannot solve."""

import pytest
import torch

from hydra_ml.model.newton import Problems, _solve_quickly, solve, solve_carefully

USERS, ROWS, SIZE = 6, 48, 10


def problems(*, scale=1.0, ridge=1.0, far=0.0, seed=0):
    random = torch.Generator().manual_seed(seed)
    x = scale * torch.randn(USERS, ROWS, SIZE, generator=random)
    labels = (torch.rand(USERS, ROWS, generator=random) < torch.sigmoid(2 * x[..., 0] / scale)).double()
    weight = (torch.rand(USERS, ROWS, generator=random) < 0.8).double()
    return Problems(x, torch.full((USERS, ROWS), far, dtype=torch.float64), labels, weight, ridge)


@pytest.mark.parametrize("scale", [0.1, 1.0, 5.0])
@pytest.mark.parametrize("ridge", [0.5, 10.0, 1000.0])
def test_quick_and_careful_agree(scale, ridge):
    given = problems(scale=scale, ridge=ridge)
    quick, solved = _solve_quickly(given)
    assert solved.all()
    torch.testing.assert_close(quick, solve_carefully(given.double()), rtol=0, atol=1e-6)


def test_gradient_and_hessian_are_those_of_the_objective():
    given = problems(far=0.3).double()
    delta = torch.randn(USERS, SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    p = torch.sigmoid(given.logits(delta))
    gradient = torch.func.grad(lambda d: given.objective(d).sum())(delta)
    torch.testing.assert_close(given.gradient(p, delta), gradient)
    step = torch.full_like(delta, 1e-6)
    there = given.gradient(torch.sigmoid(given.logits(delta + step)), delta + step)
    moved = (given.hessian(p) @ step.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(there - gradient, moved, rtol=1e-4, atol=1e-10)


def test_far_starts_are_solved_carefully_and_nobody_else_is():
    hard = problems(far=200.0, ridge=0.01, scale=3.0)
    easy = problems()
    both = Problems(easy.x.clone(), easy.offset.clone(), easy.labels, easy.weight, 0.01)
    both.x[2], both.offset[2] = hard.x[2], hard.offset[2]
    _, solved = _solve_quickly(both)
    assert not solved[2]
    found = solve(both)
    p = torch.sigmoid(both.double().logits(found))
    assert both.double().gradient(p, found).abs().max() < 1e-4
    assert torch.equal(found[~solved], solve(both.of(~solved)))


def test_weights_of_zero_leave_rows_out():
    given = problems()
    given.x[given.weight == 0] *= 100
    torch.testing.assert_close(solve(given), solve(problems()), rtol=0, atol=1e-6)


def test_who_is_at_the_solution_already_stays_there():
    given = problems()
    given.labels[1] = 0.5  # as the offset says: the gradient is exactly zero
    found = solve(given)
    assert (found[1] == 0).all()
    assert torch.isfinite(found).all()
    assert torch.equal(found[[0, 2]], solve(problems())[[0, 2]])
