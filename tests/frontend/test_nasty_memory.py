"""Nasty programs about memory: views, in-place writes, arguments that overlap, results that are inputs."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from compiled_programs import compare, draw, network, numbers

import gristmill as gm
from gristmill.ir.errors import TraceError


def test_writes_through_views() -> None:
    def make(comp: Any) -> Any:
        w = gm.tensor(numbers(draw(3, 4)), requires_grad=True)

        def f(x: gm.Tensor) -> Any:
            w.grad = None
            y = w * 1.0
            y[0] += x
            y.t()[1].mul_(2.0)
            v = y.reshape(-1)[2:5]
            v.zero_()
            (y * y).sum().backward()
            return y, w.grad, v

        c = comp(f)
        return lambda i: [numbers(a) for a in c(draw(4))]

    compare(make, [1])


def test_argument_changed_in_place() -> None:
    def make(comp: Any) -> Any:
        f, x = comp(lambda x: x.mul_(2.0)), draw(3)
        return lambda i: [numbers(f(x)), numbers(x), f(x) is x]

    compare(make, [1])


def test_argument_is_a_view() -> None:
    def make(comp: Any) -> Any:
        f, data = comp(lambda x: x.add_(1.0).sum()), draw(12, 2)
        return lambda i: [f(data[2 * i : 2 * i + 2]).item(), numbers(data)]

    compare(make, [1])


def test_overlapping_arguments() -> None:
    def scaled(a: gm.Tensor, b: gm.Tensor) -> gm.Tensor:
        a.mul_(2.0)
        return b * 1.0

    f, x = gm.compile(scaled), draw(4)
    f(draw(4), draw(4))
    assert np.array_equal(numbers(f(x, x)), numbers(x))
    with pytest.raises(gm.TraceError, match="share memory and the function changes one of them"):
        f(x[:2], x[1:3])


def test_returns_captured_state() -> None:
    net, _ = network()
    f = gm.compile(lambda: (net[0].weight, net[0].weight[0]))
    for _ in range(3):
        whole, row = f()
        assert whole is net[0].weight
        assert np.shares_memory(row.detach().numpy(), whole.detach().numpy())


def test_returns_an_argument() -> None:
    f = gm.compile(lambda x: (x, x[1:], x.t()))
    for _ in range(3):
        x = draw(3, 4)
        same, rest, turned = f(x)
        assert same is x
        assert np.shares_memory(rest.numpy(), x.numpy()) and np.shares_memory(
            turned.numpy(), x.numpy()
        )
        rest.zero_()
        assert numbers(x)[1:].any() == np.False_


def test_results_share_memory_as_eagerly() -> None:
    def f(x: gm.Tensor) -> Any:
        y = x * 2
        return y, y[0], y.t()

    for g in (f, gm.compile(f)):
        for _ in range(3):
            y, row, turned = g(draw(3, 4))
            row.zero_()
            assert not numbers(y)[0].any() and not numbers(turned)[:, 0].any()


def test_a_kept_result_is_not_overwritten() -> None:
    f = gm.compile(lambda x: x + 1)
    first = f(gm.zeros(3))
    array = f(gm.ones(3)).numpy()
    for i in range(5):
        f(gm.full((3,), float(i)))
    assert first.tolist() == [1.0, 1.0, 1.0]
    assert array.tolist() == [2.0, 2.0, 2.0]


def test_arguments_are_never_reused() -> None:
    f = gm.compile(lambda x: (x * 2 + 1).exp())
    x = gm.ones(5)
    for _ in range(3):
        f(x)
    assert x.tolist() == [1.0] * 5


def test_a_transposed_argument() -> None:
    f = gm.compile(lambda x: x * 2 + 1)
    for x in (draw(3, 4), draw(4, 3).t(), draw(4, 3).t(), draw(3, 8)[:, ::2], draw(3, 4)):
        found, want = f(x), x * 2 + 1
        assert np.array_equal(numbers(found), numbers(want))
        assert found.stride() == want.stride()
    assert len(f.log) == 3


def test_strides_of_results_are_those_of_eager() -> None:
    def f(x: gm.Tensor) -> Any:
        return x.t() + 1, x.t().contiguous(), (x.t() * 2).t(), x.permute(1, 0).reshape(-1)

    for x in (draw(3, 4), draw(4, 3).t()):
        for eager, compiled in zip(f(x), gm.compile(f)(x), strict=True):
            assert eager.stride() == compiled.stride()
            assert np.array_equal(numbers(eager), numbers(compiled))


def test_a_state_that_is_read_and_written_by_one_kernel() -> None:
    """Its memory is an input and an output of the kernel: the machine code must not take them for apart."""

    def make(comp: Any) -> Any:
        s = draw(4, 4)

        def f(x: gm.Tensor) -> gm.Tensor:
            y = x + s
            s.copy_(x * 0.5)
            return y

        c = comp(f)
        return lambda i: [numbers(c(draw(4, 4, seed=i))), numbers(s)]

    compare(make, [1])
    s = draw(4, 4)
    f = gm.compile(lambda x: (x + s, s.copy_(x * 0.5))[0])
    f(draw(4, 4))
    parameters = re.search(r"define[^(]*_body\(([^)]*)\)", f.dump("llvm"))
    assert parameters is not None
    assert parameters[1].count("ptr %p.") >= 2


def test_two_tensors_of_one_array() -> None:
    """They share its memory wherever they overlap, and only there."""
    array = np.ones(8, np.float32)

    def f(a: gm.Tensor, b: gm.Tensor) -> gm.Tensor:
        a.add_(1)
        return a * b

    g = gm.compile(f)
    for k in range(4):
        assert g(gm.from_numpy(array[:4]), gm.from_numpy(array[4:])).tolist() == [2.0 + k] * 4
        with pytest.raises(TraceError, match="share memory"):
            g(gm.from_numpy(array[:4]), gm.from_numpy(array[2:6]))
    assert array.tolist() == [5.0] * 4 + [1.0] * 4
