"""Sizes: the first call is compiled for what it sees, the second size makes a dimension symbolic, the third compiles nothing."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
from compiled_programs import assert_same, draw, network, numbers, training

import gristmill as gm


def check(f: Any, g: Any, *shapes: tuple[int, ...]) -> None:
    """A compiled function of one tensor against the function."""
    for shape in shapes:
        assert_same(numbers(g(draw(*shape))), numbers(f(draw(*shape))), str(shape))


def test_third_size_compiles_nothing() -> None:
    f = gm.compile(lambda x: (x * 2).sum(1) + x.shape[0])
    check(f, f.function, (4, 3), (5, 3), (6, 3), (100, 3), (4, 3), (2, 3))
    assert len(f.log) == 2


def test_one_and_zero_have_their_own_variants() -> None:
    f = gm.compile(lambda x: x * 2 + x.sum(0))
    check(f, f.function, (4, 3), (5, 3), (1, 3), (0, 3), (7, 3), (1, 3), (0, 3))
    assert len(f.log) == 4


def test_dynamic_names_all_sizes_at_once() -> None:
    f = gm.compile(lambda x: x.t() @ x, dynamic=True)
    check(f, f.function, (4, 3), (5, 6), (7, 2), (3, 3))
    assert len(f.log) <= 2


def test_dynamic_false_names_none() -> None:
    f = gm.compile(lambda x: x * 2, dynamic=False)
    check(f, f.function, (2,), (3,), (4,), (2,))
    assert len(f.log) == 3


def test_both_sizes_differ_in_turn() -> None:
    f = gm.compile(lambda x: x.reshape(-1) * 2)
    check(f, f.function, (4, 3), (5, 3), (5, 4), (6, 7), (8, 9))
    assert len(f.log) == 3


def test_equal_sizes_are_one() -> None:
    f = gm.compile(lambda x, y: (x * y).sum())
    for n in (3, 4, 5, 6):
        assert_same(f.function(draw(n), draw(n)).item(), f(draw(n), draw(n)).item(), str(n))
    assert len(f.log) == 2


def test_arithmetic_of_sizes_stays_symbolic() -> None:
    def f(x: gm.Tensor) -> gm.Tensor:
        n, m = x.shape
        return x.reshape(n * m) / (n * m - 1) + gm.zeros(m * n) + n

    check(c := gm.compile(f), f, (4, 3), (5, 3), (6, 3), (9, 3))
    assert len(c.log) == 2


def test_a_decision_on_a_size_is_a_guard() -> None:
    def f(x: gm.Tensor) -> gm.Tensor:
        return x.sum() if x.shape[0] > 5 else x.mean()

    c = gm.compile(f)
    check(c, f, (3,), (4,), (5,), (8,), (9,), (2,))
    assert len(c.log) == 3
    assert "test_compile_sizes.py" in c.log[-1]


def test_broadcast_against_a_symbolic_size() -> None:
    f = gm.compile(lambda x, y: x + y)
    for n, m in ((4, 4), (5, 5), (6, 1), (7, 1), (1, 8), (9, 9)):
        want = numbers(draw(n)) + numbers(draw(m, seed=1))
        np.testing.assert_allclose(numbers(f(draw(n), draw(m, seed=1))), want, rtol=1e-6)


def test_slices_and_joins() -> None:
    def f(x: gm.Tensor) -> gm.Tensor:
        return gm.cat([x[1:], x[:-1] * 2, x])

    c = gm.compile(f)
    check(c, f, (4, 2), (5, 2), (6, 2), (7, 2))
    assert len(c.log) == 2


def test_ragged_last_batch_of_a_training_step() -> None:
    found = []
    for disable in (True, False):
        f = gm.compile(training(*network()), disable=disable)
        sizes = (8, 8, 5, 8, 5, 3, 7, 1, 8)
        found.append([f(draw(n, 4, seed=n), draw(n, 2)).item() for n in sizes])
    assert_same(found[0], found[1], "losses")
    assert len(f.log) == 3


def test_compiled_forward_of_many_sizes() -> None:
    net, _ = network()
    f = gm.compile(lambda x: net(x).tanh())
    for n in (3, 4, 5, 6):
        net.zero_grad()
        f(draw(n, 4)).sum().backward()
        found = numbers(net[0].weight.grad)
        net.zero_grad()
        net(draw(n, 4)).tanh().sum().backward()
        assert_same(numbers(net[0].weight.grad), found, str(n))
    assert len(f.log) == 2


def test_results_that_are_numbers() -> None:
    f = gm.compile(lambda x: (x * 2, x.shape[0], x.shape, len(x)))
    for n in (3, 4, 5, 6):
        _, size, shape, length = f(draw(n, 2))
        assert (size, tuple(shape), length) == (n, (n, 2), n)
        assert type(size) is int


def test_views_of_results_of_many_sizes() -> None:
    f = gm.compile(lambda x: (x * 2)[1:].t())
    for n in (3, 4, 5, 6):
        found = f(draw(n, 2))
        assert found.shape == (2, n - 1) and found.stride() == (1, 2)
        assert np.array_equal(numbers(found), numbers(draw(n, 2) * 2)[1:].T)


def test_iterating_fixes_the_size() -> None:
    f = gm.compile(lambda x: sum(row * i for i, row in enumerate(x)))
    check(f, f.function, (3, 2), (4, 2), (5, 2))


def test_each_new_variant_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    f = gm.compile(lambda x: x * 2)
    with caplog.at_level(logging.INFO, "gristmill"):
        for n in (3, 4, 5):
            f(draw(n))
    assert [r.getMessage() for r in caplog.records] == [
        "<lambda> compiled again: sizes changed: (f32[3]) -> (f32[4])"
    ]


def test_too_many_variants_is_an_error() -> None:
    f = gm.compile(lambda x, n: x[:n])
    with pytest.raises(
        RuntimeError, match=r"compiled 64 times for one structure of arguments[\s\S]*n0 == "
    ):
        for n in range(1, 70):
            f(draw(100), n)


def test_steps_of_a_slice_settle_the_size() -> None:
    """How many steps fit is no polynomial: each size is compiled for itself."""
    f = gm.compile(lambda x: x[1::2] * 2)
    for n in (4, 6, 8, 7, 4, 6):
        assert f(gm.arange(float(n))).tolist() == [2.0 * k for k in range(1, n, 2)]
    assert len(f.log) == 4
