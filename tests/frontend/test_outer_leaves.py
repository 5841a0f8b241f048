"""Compiled functions and a backward outside: leaves made inside, leaves as arguments, gradients of results."""

from __future__ import annotations

import gc
import weakref
from typing import Any

from compiled_programs import network
from outer_gradients import check, leaf, scaled

import gristmill as gm
import gristmill.nn.functional as F
from gristmill import nn

# ---- requires_grad_ ----


def test_an_argument_becomes_a_leaf() -> None:
    def make(comp: Any) -> Any:
        def f(x: gm.Tensor) -> gm.Tensor:
            x.requires_grad_()
            return (x * x).sum()

        c = comp(f)

        def call() -> Any:
            x = gm.ones(3)
            c(x).backward()
            c(x).backward()
            return x.requires_grad, x.is_leaf, x.grad

        return call

    assert check(make)[0][2].tolist() == [4.0] * 3


def test_an_argument_becomes_a_leaf_and_gets_its_gradient_inside() -> None:
    def make(comp: Any) -> Any:
        def f(x: gm.Tensor) -> None:
            x.requires_grad_()
            (x * x).sum().backward()

        c = comp(f)

        def call() -> Any:
            x = gm.ones(3)
            c(x)
            return x.requires_grad, x.grad

        return call

    assert check(make)[-1][1].tolist() == [2.0] * 3


def test_a_result_becomes_a_leaf() -> None:
    def make(comp: Any) -> Any:
        w = leaf()

        def f(x: gm.Tensor, inner: bool) -> Any:
            y = (x * 2).requires_grad_()
            if inner:
                (y * y).sum().backward()
            return y, (y * w).sum()

        c = comp(f)

        def call() -> Any:
            w.grad, out = None, []
            for inner in (False, True):
                y, total = c(gm.ones(3), inner)
                total.backward()
                (y * 3).sum().backward()
                out += [y.is_leaf, y.requires_grad, y.grad]
            return w.grad, out

        return call

    assert check(make)[0][1][2].tolist() == [4.0, 5.0, 6.0]


def test_requires_grad_is_stopped() -> None:
    def make(comp: Any) -> Any:
        w = leaf()

        def f(x: gm.Tensor) -> gm.Tensor:
            x.requires_grad_(False)
            return x * w

        c = comp(f)

        def call() -> Any:
            x = leaf()
            y = c(x)
            y.sum().backward()
            return x.requires_grad, x.grad, w.grad

        return call

    assert check(make)[0][0] is False


def test_a_parameter_is_frozen_and_thawed() -> None:
    def make(comp: Any) -> Any:
        v, w = leaf(), leaf()

        def f(x: gm.Tensor, on: bool) -> gm.Tensor:
            w.requires_grad_(on)
            return (w * x * v).sum()

        def g(x: gm.Tensor) -> gm.Tensor:
            w.requires_grad_(False)
            y = (w * x * v).sum()
            w.requires_grad_(True)
            return y

        cf, cg = comp(f), comp(g)

        def call() -> Any:
            v.grad = w.grad = None
            out: list[Any] = []
            for on in (False, True, True, False, True):
                cf(gm.ones(3), on).backward()
                out += [w.requires_grad, None if w.grad is None else w.grad.clone()]
            cg(gm.ones(3)).backward()
            return out, w.requires_grad, w.grad, v.grad

        return call

    check(make)


def test_a_module_attribute_becomes_a_leaf() -> None:
    def make(comp: Any) -> Any:
        m = nn.Module()
        m.h = gm.ones(3)

        def f(x: gm.Tensor) -> gm.Tensor:
            m.h.requires_grad_()
            return (m.h * x).sum()

        c = comp(f)

        def call() -> Any:
            c(gm.ones(3)).backward()
            return m.h.requires_grad, m.h.grad

        return call

    check(make)


# ---- results of which others are made ----


def test_gradient_with_respect_to_a_result() -> None:
    def make(comp: Any) -> Any:
        w = leaf()

        def f(x: gm.Tensor) -> Any:
            y = w * x
            z = y.tanh()
            return y, z, (z * y).sum()

        c = comp(f)

        def call() -> Any:
            w.grad = None
            y, z, total = c(gm.ones(3))
            gy, gz = gm.autograd.grad(total, [y, z], retain_graph=True)
            (total + y.sum()).backward()
            return gy, gz, w.grad

        return call

    check(make)


def test_gradient_with_respect_to_a_view_of_a_result() -> None:
    def make(comp: Any) -> Any:
        w = gm.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], requires_grad=True)

        def f(x: gm.Tensor, z: gm.Tensor) -> Any:
            y = w * x
            a, b, c = y[:, :2], y.t(), z[0]
            return a, b, c, (a * a).sum() + (b * b * w.t()).sum() + (c * c).sum()

        c = comp(f)

        def call() -> Any:
            w.grad = None
            *views, total = c(gm.ones(3), w * 2)
            found = gm.autograd.grad(total, views, retain_graph=True)
            total.backward()
            return list(found), w.grad

        return call

    check(make)


def test_gradient_with_respect_to_a_leaf_that_was_none_for_a_while() -> None:
    def make(comp: Any) -> Any:
        w = leaf()

        def f(x: gm.Tensor) -> gm.Tensor:
            y = w * x
            w.requires_grad_(False)
            y = y + w
            w.requires_grad_(True)
            return y + w * 3

        c = comp(f)
        return lambda: gm.autograd.grad(c(gm.ones(3)).sum(), [w])[0]

    assert check(make)[0].tolist() == [3.0] * 3


def test_second_derivative_through_a_result() -> None:
    def make(comp: Any) -> Any:
        w = leaf(0.1, 0.2, 0.3)

        def f(x: gm.Tensor) -> Any:
            y = w * x
            scaled(w)
            return y, (y * y * w.tanh()).sum()

        c = comp(f)

        def call() -> Any:
            with gm.no_grad():
                w.mul_(2.0)
            x = gm.ones(3).requires_grad_()
            y, total = c(x)
            (gy,) = gm.autograd.grad(total, [y], create_graph=True)
            (h,) = gm.autograd.grad((gy * gy).sum(), [w], retain_graph=True)
            return gy, h

        return call

    check(make)


# ---- leaves as arguments ----


def test_a_fresh_leaf_compiles_nothing_and_is_freed() -> None:
    f: Any = gm.compile(lambda x: (x * x).sum())
    refs = []
    for _ in range(80):
        x = gm.ones(3).requires_grad_()
        f(x).backward()
        assert x.grad is not None and x.grad.tolist() == [2.0] * 3
        refs.append(weakref.ref(x))
        del x
    gc.collect()
    assert len(f.variants) == 1
    assert not any(ref() for ref in refs)


def test_a_leaf_argument_that_is_captured_too() -> None:
    def make(comp: Any) -> Any:
        w = leaf()
        f = comp(lambda x: gm.autograd.grad((x * w).sum(), [w])[0])
        m = nn.Module()
        m.h = gm.ones(3)
        g = comp(lambda x: (x * m.h).sum())

        def call() -> Any:
            out = [f(gm.ones(3).requires_grad_()), f(w), f(gm.ones(3).requires_grad_())]
            return [*out, g(m.h * 2), g(m.h), g(m.h * 2)]

        return call

    check(make)


def test_gradients_inside_of_fresh_leaves() -> None:
    def make(comp: Any) -> Any:
        f = comp(lambda x: (x * x).sum().backward())

        def call() -> Any:
            x = leaf()
            f(x)
            f(x)
            return x.grad

        return call

    check(make)


def test_a_training_loop_of_three_modes() -> None:
    def make(comp: Any) -> Any:
        net, opt = network()
        f = comp(lambda x: F.dropout(net(x), 0.25))

        def call() -> Any:
            opt.zero_grad()
            f(gm.ones(4, 4)).sum().backward()
            opt.step()
            return [p.grad for p in net.parameters()]

        return call

    check(make)
