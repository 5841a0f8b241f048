"""What the intrinsics of the loop language mean: one rounding, and the corner cases."""

import math
from fractions import Fraction

import numpy as np
import pytest

from gristmill.ir.dtypes import float64, int64
from gristmill.ir.loops.intrinsics import INTRINSICS, identity


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
