"""Run-time numbers: arithmetic that stays symbolic, decisions that become guards, sizes that stay polynomials."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.frontend.numbers import Number, dim, is_number, value
from gristmill.ir import sizes


class Log:
    """A trace that only remembers decisions."""

    def __init__(self) -> None:
        self.decisions: dict[str, bool] = {}

    def decide(self, text: str, outcome: bool) -> bool:
        self.decisions[text] = outcome
        return outcome


def number(now: Any, text: str = "n0") -> Number:
    return Number(now, text, Log())


def size(now: int, text: str = "s0") -> Number:
    return Number(now, f"({text})", Log(), sizes.poly(sizes.name(text)))


OPERATORS = [
    operator.add,
    operator.sub,
    operator.mul,
    operator.truediv,
    operator.floordiv,
    operator.mod,
]


@given(
    st.floats(0.1, 9),
    st.floats(0.1, 9),
    st.floats(-9, -0.1),
    st.lists(st.sampled_from(OPERATORS), min_size=3, max_size=3),
)
def test_expressions_say_what_was_computed(
    a: float, b: float, c: float, ops: list[Callable[..., Any]]
) -> None:
    p, q, r = ops
    x, y = number(a, "n0"), number(b, "n1")
    try:
        want = q(p(a, b), r(c, a))
    except ZeroDivisionError:
        with pytest.raises(ZeroDivisionError):
            q(p(x, y), r(c, x))
        return
    found = q(p(x, y), r(c, x))
    assert is_number(found)
    assert found.now == want
    assert eval(found.text, {"n0": a, "n1": b}) == found.now
    assert found.trace.decisions == {}


@given(st.integers(2, 50), st.integers(2, 50))
def test_size_arithmetic_stays_polynomial(a: int, b: int) -> None:
    x, y = size(a, "s0"), size(b, "s1")
    found = (x * y * 6 - 3 * x) // 3 + 1 - y
    assert found.size is not None
    assert sizes.evaluate(found.size, {"s0": a, "s1": b}) == found.now == 2 * a * b - a + 1 - b
    assert found.trace.decisions == {}


def test_a_size_that_does_not_divide_is_a_plain_number() -> None:
    half = size(7) // 2
    assert half.size is None and half.now == 3
    assert dim(half) == 3
    assert half.trace.decisions == {"((s0) // 2) == 3": True}


def test_dim() -> None:
    assert dim(4) == 4
    assert dim(size(5)) == sizes.name("s0")
    assert dim(size(5) - size(5) + 3) == 3
    n = number(6)
    assert dim(n) == 6 and n.trace.decisions == {"n0 == 6": True}
    with pytest.raises(TypeError):
        dim(1.5)


@pytest.mark.parametrize("decide", [
    float, int, hash, repr, str, round, math.sqrt, lambda n: f"{n:.2f}", lambda n: [0, 1, 2][n],
], ids=["float", "int", "hash", "repr", "str", "round", "sqrt", "format", "index"])  # fmt: skip
def test_conversions_decide(decide: Callable[[Any], Any]) -> None:
    n = number(2)
    assert decide(n) == decide(2)
    assert n.trace.decisions == {"n0 == 2": True}


def test_comparisons_decide_their_outcome_only() -> None:
    n = number(0.5)
    assert n > 0.1 and not n >= 1 and n != 0.0 and n < 1
    assert n.trace.decisions == {
        "(n0 > 0.1)": True,
        "(n0 >= 1)": False,
        "(n0 != 0.0)": True,
        "(n0 < 1)": True,
    }
    assert bool(number(0.0)) is False


def test_numbers_pass_for_what_they_are() -> None:
    assert isinstance(number(1.5), float) and isinstance(size(3), int)
    assert value(number(1.5)) == 1.5 and value(2) == 2
    assert not is_number(1.5)
    assert (-number(2.0)).now == -2.0 and abs(number(-2.0)).now == 2.0 and (+number(2.0)).now == 2.0
    with pytest.raises(TypeError):
        number(1.0) + "text"
