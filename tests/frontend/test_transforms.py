"""grad, value_and_grad and vjp as functions of functions, eagerly and compiled, against torch and each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from compiled_programs import draw, numbers

import gristmill as gm
from gristmill.func import grad, value_and_grad, vjp

BOTH = pytest.mark.parametrize("disable", [True, False], ids=["eager", "compiled"])


def run(f: Any, disable: bool) -> Any:
    """A function, compiled or not, that is called three times."""
    compiled = gm.compile(f, disable=disable)

    def call(*args: Any) -> Any:
        for _ in range(2):
            compiled(*args)
        return compiled(*args)

    return call


def cost(params: Any, x: gm.Tensor) -> gm.Tensor:
    return ((x @ params["w"] + params["b"]).tanh() ** 2).sum()


@BOTH
def test_gradients_have_the_structure_of_the_argument(disable: bool) -> None:
    torch = pytest.importorskip("torch")
    params = {"w": draw(3, 2), "b": draw(2, seed=1)}
    found = run(grad(cost), disable)(params, draw(4, 3, seed=2))
    leaves = {k: torch.tensor(numbers(v), requires_grad=True) for k, v in params.items()}
    x = torch.tensor(numbers(draw(4, 3, seed=2)))
    ((x @ leaves["w"] + leaves["b"]).tanh() ** 2).sum().backward()
    assert list(found) == ["w", "b"]
    for k, t in leaves.items():
        np.testing.assert_allclose(numbers(found[k]), t.grad.numpy(), rtol=1e-4, atol=1e-5)
    assert not found["w"].requires_grad


@BOTH
def test_argnums(disable: bool) -> None:
    def f(a: gm.Tensor, b: gm.Tensor) -> gm.Tensor:
        return (a * a * b).sum()

    a, b = draw(3), draw(3, seed=1)
    np.testing.assert_allclose(
        numbers(run(grad(f, argnums=1), disable)(a, b)), numbers(a) ** 2, rtol=1e-6
    )
    both = run(grad(f, argnums=(0, 1)), disable)(a, b)
    np.testing.assert_allclose(numbers(both[0]), 2 * numbers(a) * numbers(b), rtol=1e-6)
    np.testing.assert_allclose(numbers(both[1]), numbers(a) ** 2, rtol=1e-6)


@BOTH
def test_value_and_aux(disable: bool) -> None:
    def f(x: gm.Tensor) -> Any:
        y = x * 3
        return (y * y).sum(), {"y": y}

    (value, aux), found = run(value_and_grad(f, has_aux=True), disable)(draw(3))
    np.testing.assert_allclose(value.item(), (9 * numbers(draw(3)) ** 2).sum(), rtol=1e-6)
    np.testing.assert_allclose(numbers(aux["y"]), 3 * numbers(draw(3)), rtol=1e-6)
    np.testing.assert_allclose(numbers(found), 18 * numbers(draw(3)), rtol=1e-6)
    g, aux = run(grad(f, has_aux=True), disable)(draw(3))
    np.testing.assert_allclose(numbers(g), numbers(found), rtol=1e-6)
    assert not value.requires_grad and not aux["y"].requires_grad


@BOTH
def test_higher_derivatives(disable: bool) -> None:
    def f(x: gm.Tensor) -> gm.Tensor:
        return x**4

    third = grad(grad(grad(f)))
    assert run(third, disable)(gm.tensor(2.0)).item() == pytest.approx(48.0)


@BOTH
def test_vjp(disable: bool) -> None:
    def f(x: gm.Tensor, v: gm.Tensor) -> Any:
        value, pull = vjp(lambda x: (x * x, x.sum()), x)
        return value, pull((v, gm.tensor(10.0)))

    (square, total), (found,) = run(f, disable)(draw(3), draw(3, seed=1))
    np.testing.assert_allclose(numbers(square), numbers(draw(3)) ** 2, rtol=1e-6)
    np.testing.assert_allclose(total.item(), numbers(draw(3)).sum(), rtol=1e-5)
    want = 2 * numbers(draw(3)) * numbers(draw(3, seed=1)) + 10
    np.testing.assert_allclose(numbers(found), want, rtol=1e-6)


def test_a_pullback_may_be_used_twice() -> None:
    _, pull = vjp(lambda x: x * x, draw(3))
    first, second = pull(gm.ones(3))[0], pull(gm.full((3,), 2.0))[0]
    np.testing.assert_allclose(2 * numbers(first), numbers(second))


@BOTH
def test_grad_fields_are_left_alone(disable: bool) -> None:
    w = draw(3).requires_grad_()
    found = run(grad(lambda x: (x * w).sum()), disable)(draw(3, seed=1))
    np.testing.assert_allclose(numbers(found), numbers(w))
    assert w.grad is None


@BOTH
def test_meets_backward(disable: bool) -> None:
    w = draw(3).requires_grad_()

    def f(x: gm.Tensor) -> gm.Tensor:
        w.grad = None
        g = grad(lambda x: (x * x * w).sum())(x * w)
        (g * g).sum().backward()
        return w.grad

    found = numbers(run(f, disable)(draw(3, seed=1)))
    want = 16 * numbers(draw(3, seed=1)) ** 2 * numbers(w) ** 3
    np.testing.assert_allclose(found, want, rtol=1e-5)


@BOTH
def test_an_unused_argument_has_zero_gradient(disable: bool) -> None:
    found = run(grad(lambda a, b: (a * 2).sum(), argnums=(0, 1)), disable)(draw(2), draw(3))
    assert found[0].tolist() == [2.0, 2.0] and found[1].tolist() == [0.0] * 3


def test_bad_calls() -> None:
    with pytest.raises(gm.GradError, match=r"must return one number, not f32\[3\]"):
        grad(lambda x: x * 2)(draw(3))
    with pytest.raises(gm.GradError, match=r"float tensors, not i64\[2\]"):
        grad(lambda x: (x * 2).sum())(gm.tensor([1, 2]))
    with pytest.raises(gm.GradError, match="float tensors, not float"):
        grad(lambda x: x * 2)(3.0)


def test_which_arguments() -> None:
    def f(a: gm.Tensor, b: gm.Tensor) -> gm.Tensor:
        return (a * b * b).sum()

    a, b = gm.ones(1), gm.ones(1) * 3
    assert grad(f, argnums=-1)(a, b).tolist() == [6]
    assert [g.tolist() for g in grad(f, argnums=(-1, 0))(a, b)] == [[6], [9]]
    for wrong, error, words in (
        (2, ValueError, "argument 2, and the function got 2 positional"),
        ((0, -3), ValueError, "argument -3"),
        ((0, -2), ValueError, "different arguments"),
        ((), ValueError, "at least one"),
        (1.0, TypeError, "an int or a tuple of ints"),
        ((0.0,), TypeError, "an int or a tuple of ints"),
    ):
        with pytest.raises(error, match=words):
            grad(f, argnums=wrong)(a, b)
