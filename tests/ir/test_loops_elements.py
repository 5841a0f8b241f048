"""Elements spelled by their place agree with NumPy and with the ops' references; intrinsics round once."""

import math
from fractions import Fraction

import numpy as np
import pytest

from gristmill.ir.dtypes import float32, float64, int64
from gristmill.ir.loops import (
    Kernel,
    Store,
    buffer,
    interpret,
    join_along,
    load,
    loops,
    place_inside,
)
from gristmill.ir.loops.intrinsics import INTRINSICS, identity
from gristmill.ir.loops.random import advance_element, philox_element
from gristmill.ir.ops.random import random_advance, random_bits
from gristmill.ir.sizes import name


def fill(shape, dtype, element, **arrays):
    """Run ``out[at] = element(at, *reads)`` over a shape."""
    params = [
        buffer(n, float32 if a.dtype == "f" else int64, a.shape, role="in")
        for n, a in arrays.items()
    ]
    reads = [lambda at, b=b: load(b, *at) for b in params]
    out = buffer("out", dtype, shape, role="out")
    axes = [(f"i{d}", n) for d, n in enumerate(shape)]
    at = tuple(name(axis) for axis, _ in axes)
    body = loops(axes, Store("out", at, element(at, *reads)))
    result = np.zeros(shape, dtype.numpy)
    interpret(Kernel("k", (*params, out), (), body), {**arrays, "out": result})
    return result


@pytest.mark.parametrize("step", [1, 2, -1, -3])
def test_place_inside_is_slice_assignment(step):
    old = np.arange(36, dtype="f").reshape(9, 4)
    start = 1 if step > 0 else 7
    want = old.copy()
    rows = [start + step * k for k in range(3)]
    new = -np.arange(6, dtype="f").reshape(3, 2)
    want[np.ix_(rows, [1, 2])] = new
    got = fill(
        (9, 4),
        float32,
        lambda at, o, n: place_inside(at, o, n, (3, 2), (start, 1), (step, 1)),
        old=old,
        new=new,
    )
    np.testing.assert_array_equal(got, want)


def test_join_along_is_concatenation():
    parts = {f"p{n}": np.full((2, n), n, "f") for n in (1, 3, 2)}
    got = fill((2, 6), float32, lambda at, *reads: join_along(at, reads, (1, 3, 2), 1), **parts)
    np.testing.assert_array_equal(got, np.concatenate(list(parts.values()), 1))


@pytest.mark.parametrize("bits", [32, 64])
def test_random_elements_are_the_reference_bits(bits):
    state = np.array([-(2**40) + 12345, 7], np.int64)
    got = fill(
        (5, 27), int64, lambda at, read: philox_element(at, read, (5, 27), bits), state=state
    )
    np.testing.assert_array_equal(got, random_bits.reference(state, shape=(5, 27), bits=bits))
    moved = fill((2,), int64, lambda at, read: advance_element(at, read, 21), state=state)
    np.testing.assert_array_equal(moved, random_advance.reference(state, count=21))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fma_rounds_once(dtype):
    rng = np.random.default_rng(0)
    for _ in range(300):
        a, b = rng.standard_normal(2).astype(dtype)
        c = dtype(-a * b * (1 + rng.standard_normal() * 1e-6))
        got = INTRINSICS["fma"].meaning(a, b, c)
        exact = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
        below, above = np.nextafter(got, dtype(-math.inf)), np.nextafter(got, dtype(math.inf))
        error = abs(Fraction(float(got)) - exact)
        assert error <= abs(Fraction(float(below)) - exact)
        assert error <= abs(Fraction(float(above)) - exact)


def test_corner_cases_of_intrinsics():
    f, i = np.float32, np.int64
    meaning = {n: x.meaning for n, x in INTRINSICS.items()}
    assert math.copysign(1, meaning["max"](f(-0.0), f(0.0))) == 1
    assert math.copysign(1, meaning["min"](f(0.0), f(-0.0))) == -1
    assert np.isnan(meaning["max"](f(1), f("nan"))) and meaning["maxnum"](f(1), f("nan")) == 1
    assert meaning["floordiv"](i(5), i(0)) == meaning["rem"](i(5), i(0)) == 0
    assert (meaning["floordiv"](i(-7), i(2)), meaning["rem"](i(-7), i(2))) == (-4, 1)
    assert meaning["cast"](f(1e30), int64) == 2**63 - 1 and meaning["cast"](f("nan"), int64) == 0
    assert meaning["shl"](i(1), i(64)) == 0 and meaning["shr"](i(-8), i(70)) == -1
    assert identity("min", float64) == math.inf and identity("and", int64) == -1
