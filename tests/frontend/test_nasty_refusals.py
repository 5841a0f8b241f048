"""Nasty programs that must be refused by name, and calls that must go through as written."""

from __future__ import annotations

import contextlib
import io
import random
import time
import warnings
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest
from compiled_programs import compare, draw, numbers

import gristmill as gm
from gristmill.ir.errors import TraceError

SEEN: list[Any] = []


def test_appended_to_a_global_list() -> None:
    def f(x: gm.Tensor) -> gm.Tensor:
        SEEN.append(x * 2)
        return x

    with pytest.raises(gm.TraceError, match="SEEN was changed by the traced function"):
        gm.compile(f)(draw(3))
    assert SEEN == []


def test_kept_by_a_plain_object() -> None:
    class Box:
        y: Any

    box = Box()

    def f(x: gm.Tensor) -> gm.Tensor:
        box.y = x * 2
        return x

    with pytest.raises(gm.LeakedError, match=r"a tensor made at .*test_nasty_refusals\.py:\d+"):
        gm.compile(f)(draw(3))
    assert not hasattr(box, "y")


def test_reads_a_leaked_tensor() -> None:
    kept: SimpleQueue[Any] = SimpleQueue()

    def f(x: gm.Tensor) -> gm.Tensor:
        kept.put(x * 2)
        return x

    with pytest.raises(gm.LeakedError):
        gm.compile(f)(draw(3))
    with pytest.raises(gm.LeakedError, match=r"made at .*test_nasty_refusals\.py"):
        kept.get() + 1


def test_item_in_a_traced_function() -> None:
    with pytest.raises(
        gm.TraceError,
        match=r"item\(\) needs the value[\s\S]*test_nasty_refusals\.py:\d+[\s\S]*keep it as a tensor",
    ):
        gm.compile(lambda x: x * x.sum().item())(draw(3))


def test_branch_on_a_tensor() -> None:
    def f(x: gm.Tensor) -> gm.Tensor:
        return x if x.sum() > 0 else -x

    with pytest.raises(
        gm.TraceError,
        match=r"a branch \(bool\) needs[\s\S]*test_nasty_refusals\.py:\d+[\s\S]*where",
    ):
        gm.compile(f)(draw(3))


def test_swallowed_error() -> None:
    def f(x: gm.Tensor) -> gm.Tensor:
        try:
            s = float(x.sum())
        except Exception:
            s = 1.0
        return x * s

    with pytest.raises(gm.TraceError, match=r"float\(\) needs the value"):
        gm.compile(f)(draw(3))


def test_python_random_inside() -> None:
    with pytest.raises(gm.TraceError, match="Python's or NumPy's random numbers"):
        gm.compile(lambda x: x * random.random())(draw(3))


def test_numpy_random_inside() -> None:
    with pytest.raises(gm.TraceError, match="Python's or NumPy's random numbers"):
        gm.compile(lambda x: x * np.random.rand())(draw(3))


def test_clock_inside() -> None:
    with pytest.raises(gm.TraceError, match=r"perf_counter\(\) in a traced function"):
        gm.compile(lambda x: x * time.perf_counter())(draw(3))


def test_print_inside() -> None:
    out = io.StringIO()

    def g(x: gm.Tensor) -> gm.Tensor:
        print("hello")
        return x * 2

    f = gm.compile(g)
    with contextlib.redirect_stdout(out), warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        f(draw(3))
        f(draw(3))
    assert out.getvalue().count("hello") == 1
    assert "runs only while tracing" in str(seen[0].message)


def test_a_refusal_leaves_eager_working() -> None:
    w = gm.tensor([1.0, 2.0], requires_grad=True)

    def f() -> gm.Tensor:
        loss = (w * w).sum()
        loss.backward()
        return loss * loss.item()

    for _ in range(2):
        with pytest.raises(gm.TraceError):
            gm.compile(f)()
        assert w.grad is None
    f()
    assert w.grad is not None


def test_manual_seed_inside() -> None:
    def f(x: gm.Tensor) -> gm.Tensor:
        gm.manual_seed(0)
        return x + gm.rand(3)

    with pytest.raises(gm.TraceError, match="manual_seed inside a traced function"):
        gm.compile(f)(draw(3))


def test_nested_compile() -> None:
    def make(comp: Any) -> Any:
        inner = comp(lambda x: x * 2)
        f = comp(lambda x: inner(x).sum())
        return lambda i: f(draw(3)).item()

    compare(make, [0, 1])


def test_a_dict_batch() -> None:
    def make(comp: Any) -> Any:
        f = comp(lambda batch, *, scale: {"out": (batch["x"] * scale, batch["y"][0])})

        def call(i: int) -> Any:
            out = f({"x": draw(3), "y": [draw(2, seed=i)]}, scale=float(i))["out"]
            return [numbers(out[0]), numbers(out[1])]

        return call

    compare(make, [1])


def test_complex_numbers_inside() -> None:
    """No kernel computes with them, and a step in Python without a word is not what was asked for."""
    with pytest.raises(TraceError) as error:
        gm.compile(lambda x: (x * x).sum())(gm.tensor([1 + 2j, 3j]))
    text = str(error.value)
    assert "mul computes with complex numbers (c64[2])" in text
    assert "gm.compile(lambda x: (x * x).sum())" in text and "^^^^^" in text and "outside" in text
    f = gm.compile(lambda x: x * gm.ones(2).to(gm.complex64))
    for _ in range(2):
        with pytest.raises(TraceError, match="cast computes with complex numbers"):
            f(gm.ones(2))
    assert f.log == [] and gm.tensor([1j]).mul(1j).item() == -1


@pytest.mark.parametrize(
    "f",
    [
        lambda x: (x + k for k in range(3)),
        lambda x: map(abs, [x]),
        lambda x: (x + 1, {1, 2}),
        lambda x: {"a": x, "b": np.zeros(3)},
    ],
)
def test_results_that_would_be_the_same_object(f: Any) -> None:
    """An iterator is used up by the first caller, a set or an array changed by one shows in the next."""
    with pytest.raises(TraceError, match=r"that it made, which .* in every call"):
        gm.compile(f)(gm.ones(2))


def test_an_array_from_outside_may_be_returned() -> None:
    table, x = np.arange(3), gm.ones(2)
    f = gm.compile(lambda x, a: (x * 2, table, a))
    for _ in range(4):
        assert f(x, frozenset({1}))[1] is table
