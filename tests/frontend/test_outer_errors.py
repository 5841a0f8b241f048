"""Compiled functions and a backward outside: what it must not read is refused as it is eagerly."""

from __future__ import annotations

from typing import Any

import pytest
from outer_gradients import check, gradient, leaf, scaled

import gristmill as gm
import gristmill.nn.functional as F

# ---- what backward must not read any more ----


def test_an_argument_is_overwritten_before_backward() -> None:
    def make(comp: Any) -> Any:
        w, f = leaf(), None

        def body(x: gm.Tensor) -> gm.Tensor:
            return (w * x).tanh().sum()

        f = comp(body)

        def call() -> Any:
            x = gm.ones(3)
            r = f(x)
            x.mul_(2.0)
            r.backward()

        return call

    assert check(make)[0] == "a value that backward needs was overwritten in place"


def test_a_parameter_is_overwritten_before_backward() -> None:
    def make(comp: Any) -> Any:
        w = leaf()
        f = comp(lambda x: (w * x).tanh().sum())

        def call() -> Any:
            r = f(gm.ones(3).requires_grad_())
            with gm.no_grad():
                w.add_(1.0)
            r.backward()

        return call

    assert "overwritten in place" in check(make)[-1]


def test_what_backward_does_not_read_may_be_overwritten() -> None:
    def make(comp: Any) -> Any:
        w = leaf()
        f = comp(lambda x: (w + x).sum())

        def call() -> Any:
            w.grad, x = None, gm.ones(3)
            r = f(x)
            x.mul_(2.0)
            with gm.no_grad():
                w.add_(1.0)
            r.backward()
            return w.grad

        return call

    assert check(make)[-1].tolist() == [1.0] * 3


def test_what_the_program_computes_again_is_refused_by_name() -> None:
    w = leaf()
    f = gm.compile(lambda x: (w + x).tanh().sum())
    for _ in range(4):
        x = gm.ones(3)
        r = f(x)
        x.mul_(2.0)
        with pytest.raises(gm.GradError, match=r"computes again from it(.|\n)*\(w \+ x\)"):
            r.backward()


def test_a_parameter_is_overwritten_inside_after_its_use() -> None:
    def body(w: gm.Tensor, x: gm.Tensor) -> gm.Tensor:
        y = (w * x * w).sum()
        scaled(w)
        return y

    assert "overwritten in place" in gradient(body)[0]


def test_a_result_is_overwritten() -> None:
    def make(comp: Any) -> Any:
        w = leaf()
        f = comp(lambda x: (w * x).exp())

        def call() -> Any:
            r = f(gm.ones(3))
            r.mul_(2.0)
            r.sum().backward()

        return call

    assert "overwritten in place" in check(make)[-1]


def test_a_value_inside_is_overwritten() -> None:
    def body(w: gm.Tensor, x: gm.Tensor) -> gm.Tensor:
        y = w * 2
        z = y * y
        y.add_(1.0)
        return z

    assert "overwritten in place" in gradient(body)[0]


def test_a_state_that_is_carried_on() -> None:
    def make(comp: Any) -> Any:
        w, h = leaf(), gm.zeros(3)

        def f(x: gm.Tensor) -> gm.Tensor:
            y = (h + w * x).tanh()
            with gm.no_grad():
                h.copy_(y)
            return y.sum()

        c = comp(f)

        def call() -> Any:
            w.grad = None
            c(gm.ones(3)).backward()
            return w.grad, h

        return call

    check(make)


def test_dropout_has_one_mask_forward_and_backward() -> None:
    def make(comp: Any) -> Any:
        w = gm.ones(64).requires_grad_()
        f = comp(lambda: F.dropout(w, 0.5))

        def call() -> Any:
            w.grad = None
            y = f()
            y.sum().backward()
            return y, w.grad

        return call

    for y, g in check(make):
        assert (y == g).all()


# ---- backward twice ----


def test_a_step_that_returns_what_it_made_of_the_loss_keeps_nothing() -> None:
    w = leaf()

    def step(x: gm.Tensor) -> gm.Tensor:
        w.grad = None
        loss = (w * x * w).sum()
        loss.backward()
        with gm.no_grad():
            w.sub_(w.grad * 0.1)
        return loss * 2

    f: Any = gm.compile(step)
    for _ in range(4):
        r = f(gm.ones(3))
        assert r.requires_grad
        with pytest.raises(gm.GradError, match="backward a second time through mul"):
            r.backward()
    assert f.variants[-1].tape.parts == []


@pytest.mark.parametrize("retain", [False, True])
def test_backward_twice_outside(retain: bool) -> None:
    def make(comp: Any) -> Any:
        w = leaf()
        f = comp(lambda x: (w * x).sum())

        def call() -> Any:
            w.grad, r = None, f(gm.ones(3))
            r.backward(retain_graph=retain)
            r.backward()
            return w.grad

        return call

    first = check(make)[0]
    assert first.tolist() == [2.0] * 3 if retain else first == "backward a second time through mul"


def test_backward_twice_where_nothing_is_read() -> None:
    def make(comp: Any) -> Any:
        w = leaf()
        f = comp(lambda: (w + 1).sum())

        def call() -> Any:
            w.grad, r = None, f()
            r.backward()
            r.backward()
            return w.grad

        return call

    assert check(make)[0].tolist() == [2.0] * 3


def test_two_results_are_freed_apart() -> None:
    def make(comp: Any) -> Any:
        v, w = leaf(), leaf()
        f = comp(lambda x: ((v * x).sum(), (w * x).sum(), (v * w).sum()))

        def call() -> Any:
            v.grad = w.grad = None
            a, b, c = f(gm.ones(3))
            a.backward()
            b.backward()
            c.backward()
            first = [v.grad, w.grad]
            a.backward()
            return first

        return call

    assert "second time" in check(make)[0]


def test_backward_inside_and_again_outside() -> None:
    def make(comp: Any) -> Any:
        w = leaf()

        def f(x: gm.Tensor) -> gm.Tensor:
            y = (w * x).sum()
            y.backward()
            return y

        c = comp(f)
        return lambda: c(gm.ones(3)).backward()

    assert check(make)[0] == "backward a second time through mul"


def test_backward_inside_of_a_part() -> None:
    def make(comp: Any) -> Any:
        w = leaf()

        def f(x: gm.Tensor) -> gm.Tensor:
            y = w * x
            y.sum().backward()
            return y * 2

        c = comp(f)
        return lambda: c(gm.ones(3)).sum().backward()

    assert check(make)[0] == "backward a second time through mul"
