"""Compiled functions whose results are differentiated outside: the same gradients as eagerly."""

from __future__ import annotations

from typing import Any

import pytest
from outer_gradients import check, gradient, leaf, scaled

import gristmill as gm
from gristmill import nn

# ---- what the trace recorded counts ----


def test_no_grad_inside() -> None:
    def body(w: gm.Tensor, x: gm.Tensor) -> gm.Tensor:
        with gm.no_grad():
            a = w * x
        return w * a

    assert gradient(body)[0][1].tolist() == [1.0, 4.0, 9.0]


def test_detach_inside() -> None:
    assert gradient(lambda w, x: w * (w * x).detach())[0][1].tolist() == [1.0, 4.0, 9.0]


def test_enable_grad_inside_no_grad() -> None:
    def make(comp: Any) -> Any:
        w = leaf()

        def f(x: gm.Tensor) -> gm.Tensor:
            with gm.enable_grad():
                return w * x

        c = comp(f)

        def call() -> Any:
            w.grad = None
            with gm.no_grad():
                y = c(gm.ones(3) * 2)
            y.sum().backward()
            return w.grad

        return call

    assert check(make)[0].tolist() == [2.0] * 3


def test_a_cotangent_that_does_not_arrive_is_none() -> None:
    def make(comp: Any) -> Any:
        v, w = leaf(), leaf()
        f = comp(lambda x: (v * x, w * x))

        def call() -> Any:
            f(gm.ones(3))[0].sum().backward()
            return v.grad, w.grad

        return call

    assert check(make)[0][1] is None


# ---- leaves that are written inside ----


def scaled_row(w: gm.Tensor) -> None:
    with gm.no_grad():
        w[0].mul_(0.5)


def scaled_data(w: gm.Tensor) -> None:
    w.data.mul_(0.5)


@pytest.mark.parametrize("write", [scaled, scaled_row, scaled_data])
@pytest.mark.parametrize("twice", [False, True])
def test_a_parameter_is_written_before_it_is_used(write: Any, twice: bool) -> None:
    def body(w: gm.Tensor, x: gm.Tensor) -> gm.Tensor:
        y = w + x if twice else x * 2
        write(w)
        z = w * x + y
        if twice:
            write(w)
            z = z + w
        return z

    want = [3.0, 4.0, 5.0] if twice else [1.0, 2.0, 3.0]
    assert gradient(body)[0][1].tolist() == want


def test_an_argument_leaf_is_written() -> None:
    def make(comp: Any) -> Any:
        def f(w: gm.Tensor, x: gm.Tensor) -> gm.Tensor:
            scaled(w)
            return w * x

        c, w = comp(f), leaf()

        def call() -> Any:
            w.grad = None
            c(w, gm.ones(3) * 3).sum().backward()
            return w, w.grad

        return call

    assert check(make)[0][1].tolist() == [3.0] * 3


def test_grad_of_a_written_leaf_is_that_of_its_last_value() -> None:
    def make(comp: Any) -> Any:
        w = leaf()

        def f(x: gm.Tensor) -> gm.Tensor:
            y = w + x
            scaled(w)
            return y + w * 3

        c = comp(f)
        return lambda: gm.autograd.grad(c(gm.ones(3)).sum(), [w])[0]

    assert check(make)[0].tolist() == [3.0] * 3


# ---- history that a write makes ----


@pytest.mark.parametrize("part", [lambda y: y, lambda y: y[0], lambda y: y[1:], lambda y: y.t()])
@pytest.mark.parametrize("result", ["itself", "sum", "nothing"])
def test_an_argument_with_history_is_written(part: Any, result: str) -> None:
    def make(comp: Any) -> Any:
        w = gm.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)

        def f(x: gm.Tensor) -> Any:
            x.mul_(2.0)
            return x if result == "itself" else x.sum() if result == "sum" else None

        c = comp(f)

        def call() -> Any:
            w.grad = None
            y = w * 3
            x = part(y)
            r = c(x)
            total = y.sum() if r is None else (r.sum() + y.sum())
            total.backward()
            return y, y.requires_grad, x.requires_grad, w.grad

        return call

    check(make)


def test_history_of_an_argument_is_replaced() -> None:
    def make(comp: Any) -> Any:
        v, w = leaf(), leaf()

        def f(x: gm.Tensor, k: gm.Tensor) -> None:
            x.copy_(w * k)

        def g(x: gm.Tensor) -> None:
            x.copy_(gm.ones(3))

        cf, cg = comp(f), comp(g)

        def call() -> Any:
            v.grad = w.grad = None
            y, z = v * 3, gm.zeros(3)
            cf(y, gm.ones(3))
            cf(z, gm.ones(3))
            u = v * 3
            cg(u)
            (y + z).sum().backward()
            return v.grad, w.grad, u.requires_grad, z.requires_grad

        return call

    assert check(make)[0][2:] == [False, True]


@pytest.mark.parametrize("attribute", [False, True])
def test_a_buffer_gets_a_history(attribute: bool) -> None:
    def make(comp: Any) -> Any:
        w, m = leaf(), nn.Module()
        m.h = h = gm.zeros(3)

        def f(x: gm.Tensor) -> None:
            (m.h if attribute else h).add_(w * x)

        c = comp(f)
        calls = []

        def call() -> Any:
            calls.append(1)
            w.grad = None
            c(gm.ones(3))
            (m.h * m.h).sum().backward(retain_graph=True)
            if len(calls) == 3:
                h.copy_(gm.ones(3))
            return h, h.requires_grad, w.grad

        return call

    assert check(make)[1][1] is True


@pytest.mark.parametrize("inside", [False, True])
def test_a_write_that_is_not_recorded_keeps_the_history(inside: bool) -> None:
    def make(comp: Any) -> Any:
        w = leaf()

        def f(x: gm.Tensor) -> None:
            if inside:
                with gm.no_grad():
                    x.mul_(2.0)
            else:
                x.mul_(2.0)

        c = comp(f)

        def call() -> Any:
            w.grad = None
            y = w * 3
            with gm.set_grad_enabled(inside):
                c(y)
                c(y[:2])
            (y * y.detach()).sum().backward()
            return y.requires_grad, w.grad

        return call

    assert check(make)[0][0] is True


def test_a_recorded_write_into_a_detached_argument_is_refused() -> None:
    w = leaf()

    def f(x: gm.Tensor) -> None:
        x.mul_(w)

    c = gm.compile(f)
    for _ in range(2):
        with pytest.raises(gm.TraceError, match=r"into an argument that is detached(.|\n)*x\.mul_"):
            c((w * 3).detach())


def test_a_recorded_write_into_a_view_of_a_leaf() -> None:
    def make(comp: Any) -> Any:
        w, c = leaf(), comp(lambda x: x.mul_(2.0))
        return lambda: c(w[0])

    assert "a leaf tensor that requires grad is changed in place" in check(make)[0]
