"""Python numbers that may change between calls of a compiled function.

A ``Number`` stands for an int or a float of the call at hand. Its arithmetic stays symbolic (on
the host, in Python's own ints and doubles); a comparison, a conversion or a use as a size
*decides*: what was decided, and how, becomes a guard with the user's line. Sizes are such
numbers; their arithmetic stays a polynomial as long as it can.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

from ..ir.sizes import Dim, Poly, SizeError, poly
from ..ir.sizes import dim as normal


class Number:
    """``now`` is the value in this call; ``text`` a Python expression in the run-time numbers of the trace.

    ``size`` is the polynomial, where the number is one in named sizes. It passes ``isinstance(x, float)`` (or int), but
    no C code can read a value from it unseen.
    """

    __slots__ = ("now", "size", "text", "trace")

    def __init__(self, now: Any, text: str, trace: Any, size: Poly | None = None) -> None:
        self.now, self.text, self.trace, self.size = now, text, trace, size

    @property  # type: ignore[misc]
    def __class__(self) -> type:  # isinstance(x, float) holds
        return type(self.now)

    def fix(self) -> Any:
        """The value, which from here on must stay what it is."""
        if self.now and self.now - self.now == 0:
            self.trace.decide(f"{self.text} == {self.now!r}", True)
        else:  # 0.0 is not -0.0, and neither NaN nor infinity is written as a number
            self.trace.decide(f"repr({self.text}) == {repr(self.now)!r}", True)
        return self.now

    def __float__(self) -> float:
        return float(self.fix())

    def __int__(self) -> int:
        return int(self.fix())

    def __index__(self) -> int:
        return operator.index(self.fix())

    def __hash__(self) -> int:
        return hash(self.fix())

    def __bool__(self) -> bool:
        return bool(self.trace.decide(f"bool({self.text})", bool(self.now)))

    def __repr__(self) -> str:
        return repr(self.fix())

    def __str__(self) -> str:
        return str(self.fix())

    def __format__(self, spec: str) -> str:
        return format(self.fix(), spec)

    def __round__(self, digits: int | None = None) -> Any:
        return round(self.fix(), digits)

    def __neg__(self) -> Number:
        return Number(
            -self.now, f"(-{self.text})", self.trace, None if self.size is None else -self.size
        )

    def __pos__(self) -> Number:
        return self

    def __abs__(self) -> Number:
        return Number(abs(self.now), f"abs({self.text})", self.trace)


def parts(x: Any) -> tuple[Any, str | None, Dim | None]:
    """A number as (value, text, size); text is None for what is no number."""
    if type(x) is Number:
        return x.now, x.text, x.size
    if type(x) in (int, float, bool):
        return x, repr(x), x if type(x) is int else None
    return None, None, None


_POLYNOMIAL = {"+", "-", "*", "//"}


def _size(sign: str, a: Dim | None, b: Dim | None) -> Poly | None:
    """The polynomial of a result, where both operands are sizes and it has one."""
    if a is None or b is None or sign not in _POLYNOMIAL or (type(a) is int and type(b) is int):
        return None
    p, q = poly(a), poly(b)
    if sign != "//":
        return p + q if sign == "+" else p - q if sign == "-" else p * q
    try:
        return poly(p // q)
    except (SizeError, ZeroDivisionError):
        return None


def _arithmetic(function: Callable[[Any, Any], Any], sign: str, swap: bool) -> Any:
    def method(self: Number, other: Any) -> Any:
        value, text, size = parts(other)
        if text is None:
            return NotImplemented
        mine = (self.now, self.text, self.size)
        (a, s, p), (b, t, q) = ((value, text, size), mine) if swap else (mine, (value, text, size))
        return Number(function(a, b), f"({s} {sign} {t})", self.trace, _size(sign, p, q))

    return method


def _comparison(function: Callable[[Any, Any], bool], sign: str) -> Any:
    def method(self: Number, other: Any) -> Any:
        value, text, _ = parts(other)
        if text is None:
            return NotImplemented
        return self.trace.decide(f"({self.text} {sign} {text})", bool(function(self.now, value)))

    return method


_SIGNS = {
    "add": "+",
    "sub": "-",
    "mul": "*",
    "truediv": "/",
    "floordiv": "//",
    "mod": "%",
    "pow": "**",
}
_COMPARISONS = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}

for _name, _sign in _SIGNS.items():
    setattr(Number, f"__{_name}__", _arithmetic(getattr(operator, _name), _sign, False))
    setattr(Number, f"__r{_name}__", _arithmetic(getattr(operator, _name), _sign, True))
for _name, _sign in _COMPARISONS.items():
    setattr(Number, f"__{_name}__", _comparison(getattr(operator, _name), _sign))


def is_number(x: Any) -> bool:
    """Whether ``x`` is a run-time number of the open trace."""
    return type(x) is Number


def value(x: Any) -> Any:
    """The number that ``x`` is in this call, without deciding anything."""
    return x.now if type(x) is Number else x


def cos(x: Any) -> Any:
    """The cosine of a number; of a run-time number it is one."""
    if type(x) is not Number:
        return math.cos(x)
    return Number(math.cos(x.now), f"cos({x.text})", x.trace)


def dim(x: Any) -> Dim:
    """``x`` as a size: a polynomial of named sizes stays one, any other run-time number is decided."""
    if type(x) is int:
        return x
    if type(x) is Poly:
        return normal(x)
    if type(x) is Number and x.size is not None:
        return normal(x.size)
    return operator.index(x)
