"""Grad modes as calls, blocks and decorators, of functions and of generators; PyTorch's meaning."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import gristmill as gm

on = gm.is_grad_enabled


def test_a_decorator_does_not_change_what_follows() -> None:
    @gm.set_grad_enabled(False)
    def f() -> bool:
        return on()

    assert on() and not f() and on()


def test_a_call_and_a_block() -> None:
    gm.set_grad_enabled(False)
    assert not on()
    gm.set_grad_enabled(True)
    with gm.set_grad_enabled(False) as nothing:
        assert not on() and nothing is None
        with gm.set_grad_enabled(True):
            assert on()
        assert not on()
    assert on()


@pytest.mark.parametrize("mode", [gm.no_grad, gm.inference_mode])
@pytest.mark.parametrize("bare", [True, False])
def test_with_and_without_parentheses(mode: Any, bare: bool) -> None:
    def f(x: int) -> tuple[int, bool]:
        """Words."""
        return x, on()

    made = mode(f) if bare else mode()(f)
    assert made(3) == (3, False) and made.__doc__ == "Words." and on()
    with gm.no_grad():
        assert gm.enable_grad(on)() is True


def test_inference_mode_that_is_off() -> None:
    with gm.inference_mode(False):
        assert on()


def test_a_mode_is_a_bool() -> None:
    with pytest.raises(TypeError, match="a bool, not function"):
        gm.set_grad_enabled(on)
    assert on()


def test_a_generator_runs_in_the_mode_and_its_caller_does_not() -> None:
    seen: list[Any] = []

    @gm.no_grad()
    def f(n: int) -> Iterator[Any]:
        got = None
        try:
            for _ in range(n):
                try:
                    got = yield got, on()
                except KeyError:
                    seen.append(("thrown", on()))
        finally:
            seen.append(("end", on()))
        return "done"

    steps: Any = f(9)
    assert next(steps) == (None, False) and on()
    assert steps.send(5) == (5, False) and on()
    assert steps.throw(KeyError()) == (5, False) and on()
    steps.close()
    assert seen == [("thrown", False), ("end", False)]
    with pytest.raises(StopIteration, match="done"):
        next(f(0))
    assert [v for _, v in f(2)] == [False, False] and on()


def test_a_decorated_function_in_a_trace() -> None:
    @gm.no_grad
    def f(x: gm.Tensor) -> gm.Tensor:
        return x * 2

    @gm.compile
    def g(x: gm.Tensor) -> None:
        (f(x) + x).sum().backward()

    x = gm.ones(2, requires_grad=True)
    g(x)
    assert x.grad.tolist() == [1, 1]
