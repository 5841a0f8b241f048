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

from ..ir.sizes import Dim, Poly, SizeError, evaluate, is_name, poly
from ..ir.sizes import dim as normal
from .state import state


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

    def __getattr__(self, name: str) -> Any:  # bit_length, is_integer, real ...
        return getattr(self.fix(), name)

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

    def __pow__(self, other: Any) -> Any:
        return _power(self.trace, self, other)

    def __rpow__(self, other: Any) -> Any:
        return _power(self.trace, other, self)


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


def _power(trace: Any, base: Any, exponent: Any) -> Any:
    """A power; what decides whether it is an int, a float or complex is a decision."""
    (a, s, _), (b, t, _) = parts(base), parts(exponent)
    if s is None or t is None:
        return NotImplemented
    if type(a) is not float and type(b) is not float:
        trace.decide(f"({t} >= 0)", b >= 0)
    elif not float(b).is_integer() or type(exponent) is Number:
        trace.decide(f"({s} >= 0)", a >= 0)
    now = a**b
    if type(now) is complex:
        return value(fixed(base)) ** value(fixed(exponent))
    return Number(now, f"({s} ** {t})", trace)


def fixed(x: Any) -> Any:
    """A plain number: a run-time one is decided."""
    return x.fix() if type(x) is Number else x


def _decided(function: Callable[..., Any]) -> Any:
    """A method that computes with plain numbers: bits, quotients with remainders, rounding to an int."""

    def method(self: Number, *others: Any) -> Any:
        return function(self.fix(), *map(fixed, others))

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
}
_COMPARISONS = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}

for _name, _sign in _SIGNS.items():
    setattr(Number, f"__{_name}__", _arithmetic(getattr(operator, _name), _sign, False))
    setattr(Number, f"__r{_name}__", _arithmetic(getattr(operator, _name), _sign, True))
for _name in ("and", "or", "xor", "lshift", "rshift"):
    _bits = getattr(operator, f"__{_name}__")
    setattr(Number, f"__{_name}__", _decided(_bits))
    setattr(Number, f"__r{_name}__", _decided(lambda a, b, f=_bits: f(b, a)))
_DECIDED: dict[str, Callable[..., Any]] = {
    "invert": operator.invert, "trunc": math.trunc, "floor": math.floor, "ceil": math.ceil,
    "divmod": divmod, "rdivmod": lambda a, b: divmod(b, a),
}  # fmt: skip
for _name, _function in _DECIDED.items():
    setattr(Number, f"__{_name}__", _decided(_function))
for _name, _sign in _COMPARISONS.items():
    setattr(Number, f"__{_name}__", _comparison(getattr(operator, _name), _sign))


SPELLED: dict[str, Any] = {"abs": abs, "bool": bool, "inf": math.inf, "nan": math.nan, "repr": repr, "cos": math.cos}
"""What the text of a run-time number may name beside numbers and sizes."""


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


def settled(n: Dim) -> Dim:
    """A size that is one name, as the number that it is in this call: the trace is made anew with it."""
    if is_name(n) and state.trace is not None:
        known = evaluate(n, state.trace.hints)
        state.trace.decide_size(n, "==", known)
    return n
