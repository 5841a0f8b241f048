"""Run-time numbers: arithmetic that stays symbolic, decisions that become guards, sizes that stay polynomials."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gristmill as gm
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


@pytest.mark.parametrize(
    "f, values",
    [
        (lambda x, k: x if k < math.inf else -x, (1.0, math.inf, math.nan, 2.0)),
        (lambda x, k: x * (k * math.inf), (1.0, -2.0, 0.0)),
        (lambda x, k: x * float(k), (math.inf, math.nan, math.nan, 2.0)),
        (lambda x, k: x * 2**k, (1, 2, -1, 3, -2)),
        (lambda x, k: x * k**0.5, (1.0, 4.0, 9.0, 2)),
        (lambda x, k: x * 0.9**k * k**2, (1, 2, 3)),
        (lambda x, k: x * (k & 1) + (k << 1) + (1 << k) + ~k + divmod(k, 3)[1] + (7 ^ k), (1, 2)),
        (lambda x, k: x * k.is_integer() + math.floor(k) + math.ceil(k), (1.0, 2.5)),
        (lambda x, k: x.double() + k, (1, 2**63, 2**64, 7)),
    ],
)
def test_what_python_numbers_can_do(f: Any, values: tuple[Any, ...]) -> None:
    """Infinite ones, powers that change their type, bits, quotients, methods, more than 64 bits."""
    compiled = gm.compile(f)
    x = gm.tensor([1.0, -2.0])
    for k in (*values, values[0]):
        assert str(compiled(x, k)) == str(f(x, k))
