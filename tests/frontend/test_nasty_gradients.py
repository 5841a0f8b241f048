"""Nasty programs about gradients: errors that must be the same in both modes, double backward, grad modes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from compiled_programs import compare, draw, network, numbers

import gristmill as gm
import gristmill.nn.functional as F

BOTH = pytest.mark.parametrize("disable", [True, False], ids=["eager", "compiled"])


def test_gradient_penalty() -> None:
    def make(comp: Any) -> Any:
        net, opt = network()

        def step(x: gm.Tensor) -> gm.Tensor:
            opt.zero_grad()
            x = x.detach().requires_grad_()
            y = (net(x).tanh()).sum()
            (g,) = gm.autograd.grad(y, [x], create_graph=True)
            loss = y + ((g * g).sum() - 1.0) ** 2.0
            loss.backward()
            opt.step()
            return loss

        f = comp(step)
        return lambda i: f(draw(8, 4) * 1.0).item()

    compare(make, [1])


def backward_twice(retain: bool) -> Any:
    def f(w: gm.Tensor) -> gm.Tensor:
        loss = (w * w).sum()
        loss.backward(retain_graph=retain)
        loss.backward()
        return loss

    return f


@BOTH
def test_backward_twice(disable: bool) -> None:
    w = gm.tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(
        gm.GradError, match=r"backward a second time through mul made at .*test_nasty_gradients\.py"
    ):
        gm.compile(backward_twice(False), disable=disable)(w)


@BOTH
def test_backward_twice_retained(disable: bool) -> None:
    w = gm.tensor([1.0, 2.0], requires_grad=True)
    gm.compile(backward_twice(True), disable=disable)(w)
    assert w.grad is not None
    assert w.grad.tolist() == [4.0, 8.0]


@BOTH
def test_needed_value_overwritten(disable: bool) -> None:
    def f(w: gm.Tensor) -> gm.Tensor:
        y = w * 2
        z = y * y
        y.add_(1.0)
        z.sum().backward()
        return z

    with pytest.raises(gm.GradError, match="overwritten in place"):
        gm.compile(f, disable=disable)(gm.tensor([1.0], requires_grad=True))


def test_unneeded_value_overwritten() -> None:
    def make(comp: Any) -> Any:
        w = gm.tensor([1.0, 2.0], requires_grad=True)

        def f() -> Any:
            w.grad = None
            y = w * 2
            z = y + 1.0
            y.mul_(3.0)
            (z.sum() + y.sum()).backward()
            return w.grad

        c = comp(f)
        return lambda i: numbers(c())

    compare(make, [1])


def test_compiled_forward_eager_backward() -> None:
    def make(comp: Any) -> Any:
        net, opt = network()
        f = comp(lambda x: net(x))

        def call(i: int) -> float:
            opt.zero_grad()
            loss = F.mse_loss(f(draw(8, 4)), draw(8, 2))
            loss.backward()
            opt.step()
            return loss.item()

        return call

    compare(make, [1])


def test_compiled_forward_is_differentiated_twice() -> None:
    w = gm.tensor([0.5, -1.0, 2.0], requires_grad=True)
    found = []
    for disable in (True, False):
        f = gm.compile(lambda: (w * w * w).sum(), disable=disable)
        (g,) = gm.autograd.grad(f(), [w], create_graph=True)
        (h,) = gm.autograd.grad(g.sum(), [w])
        found.append(numbers(h))
    np.testing.assert_allclose(found[1], found[0])
    np.testing.assert_allclose(found[1], [3.0, -6.0, 12.0])


def test_two_outputs_join_the_tape() -> None:
    w = gm.tensor([1.0, 2.0], requires_grad=True)
    f = gm.compile(lambda x: (w * x, (w * w).sum()))
    a, b = f(gm.tensor([3.0, 4.0]))
    (a.sum() + 10 * b).backward()
    assert w.grad is not None
    assert w.grad.tolist() == [23.0, 44.0]
    w.grad = None
    a, _ = f(gm.tensor([3.0, 4.0]))
    a.sum().backward()
    assert w.grad.tolist() == [3.0, 4.0]


def test_no_grad_around_the_call() -> None:
    net, _ = network()
    f = gm.compile(lambda x: net(x).sum())
    with gm.no_grad():
        assert not f(draw(3, 4)).requires_grad
    assert f(draw(3, 4)).requires_grad


def test_no_grad_inside_twin_values() -> None:
    def make(comp: Any) -> Any:
        w = gm.tensor([1.0, 2.0], requires_grad=True)

        def f() -> Any:
            w.grad = None
            with gm.no_grad():
                a = w * 2
            b = w * 2
            (a * b).sum().backward()
            return w.grad

        c = comp(f)
        return lambda i: numbers(c())

    compare(make, [1])


def test_backward_reaches_history_from_outside() -> None:
    w = gm.tensor([1.0, 2.0], requires_grad=True)
    y = w * 3
    with pytest.raises(gm.GradError, match="whose history was made outside"):
        gm.compile(lambda: (y * y).sum().backward())()
    assert w.grad is None
