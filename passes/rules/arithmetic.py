"""Rules of arithmetic and logic. Floats keep their bits: what holds for integers alone says so."""

from __future__ import annotations

import math

from ...ir.dtypes import DType
from ...ir.graph import Value
from .pattern import Computed, op, rule, variables

x, y, z, c = variables("x y z c")


def integers(x: Value) -> bool:
    """Integers, or bool."""
    return x.dtype.kind in "iub"


def numbers(x: Value) -> bool:
    """Integers, without bool."""
    return x.dtype.kind in "iu"


def floats(x: Value) -> bool:
    """Real floats."""
    return x.dtype.kind == "f"


def real(x: Value) -> bool:
    """Anything but complex numbers, whose products are sums."""
    return x.dtype.kind != "c"


def has_inverse(c: Value) -> bool:
    """A constant power of two whose inverse is a normal number of its type: multiplying by it rounds like dividing."""
    if c.node.op.name != "constant" or not floats(c):
        return False
    value = float(c.node.attributes[0])
    if not math.isfinite(value) or not value or math.frexp(abs(value))[0] != 0.5:
        return False
    return abs(math.frexp(value)[1]) < _exponents(c.dtype)


def _exponents(dtype: DType) -> int:
    return {"f16": 14, "f64": 1022}.get(dtype.name, 126)


_inverse = Computed(lambda c: 1.0 / float(c.node.attributes[0]))
_dtype, _shape = Computed(lambda c: c.dtype), Computed(lambda c: c.shape)

ARITHMETIC = (
    rule("add-zero", x + 0, x, where=integers),
    rule("add-negative-zero", x + -0.0, x, where=floats),
    rule("add-zero-twice", (x + 0.0) + 0.0, x + 0.0, where=floats),
    rule("sub-zero", x - 0.0, x, where=real),
    rule("zero-sub", 0 - x, -x, where=numbers),
    rule("negative-zero-sub", -0.0 - x, -x, where=floats),
    rule("sub-self", x - x, 0, where=numbers),
    rule("mul-one", x * 1, x, where=real),
    rule("mul-minus-one", x * -1, -x, where=lambda x: real(x) and x.dtype.is_signed),
    rule("mul-zero", x * 0, 0, where=integers),
    rule("div-one", x / 1, x, where=real),
    rule("div-minus-one", x / -1, -x, where=real),
    rule("div-power-of-two", x / c, x * op.constant(value=_inverse, dtype=_dtype, shape=_shape), where=has_inverse),
    rule("neg-neg", op.neg(op.neg(x)), x),
    rule("sub-neg", x - (-y), x + y),
    rule("add-neg", x + (-y), x - y),
    rule("neg-add", (-x) + y, y - x),
    rule("neg-sub", -(x - y), y - x, where=numbers),
    rule("mul-neg", (-x) * (-y), x * y),
    rule("div-neg", (-x) / (-y), x / y, where=real),
    rule("abs-neg", op.abs(-x), op.abs(x), where=lambda x: x.dtype.is_signed),
    rule("abs-abs", op.abs(op.abs(x)), op.abs(x)),
    rule("relu-relu", op.relu(op.relu(x)), op.relu(x)),
    rule("conj-conj", op.conj(op.conj(x)), x),
    rule("maximum-self", op.maximum(x, x), x),
    rule("minimum-self", op.minimum(x, x), x),
    rule("floor-floor", op.floor(op.floor(x)), op.floor(x)),
    rule("ceil-ceil", op.ceil(op.ceil(x)), op.ceil(x)),
    rule("trunc-trunc", op.trunc(op.trunc(x)), op.trunc(x)),
    rule("round-round", op.round(op.round(x)), op.round(x)),
)

# A power is exact within the ULPs that its op states; so few products are nearer still.
POWERS = (
    rule("pow-zero", op.pow(x, 0), 1, where=real),
    rule("pow-one", op.pow(x, 1), x, where=real, ulp=1),
    rule("square", op.pow(x, 2), x * x, where=real, ulp=1),
    rule("cube", op.pow(x, 3), (x * x) * x, where=lambda x: numbers(x) or x.dtype.name in ("f32", "f64"), ulp=2),
    rule("reciprocal", op.pow(x, -1), 1 / x, where=floats, ulp=1),
)

LOGIC = (
    rule("not-not", op.bitwise_not(op.bitwise_not(x)), x),
    rule("and-self", op.bitwise_and(x, x), x),
    rule("or-self", op.bitwise_or(x, x), x),
    rule("xor-self", op.bitwise_xor(x, x), 0),
    rule("and-all", op.bitwise_and(x, True), x, where=lambda x: x.dtype.kind == "b"),
    rule("and-none", op.bitwise_and(x, 0), 0),
    rule("or-none", op.bitwise_or(x, 0), x),
    rule("xor-none", op.bitwise_xor(x, 0), x),
    rule("shift-left-none", op.shift_left(x, 0), x),
    rule("shift-right-none", op.shift_right(x, 0), x),
    rule("equal-self", op.eq(x, x), True, where=integers),
    rule("unequal-self", op.ne(x, x), False, where=integers),
)

SELECTION = (
    rule("select-same", op.select(c, x, x), x),
    rule("select-true", op.select(True, x, y), x),
    rule("select-false", op.select(False, x, y), y),
    rule("select-not", op.select(op.bitwise_not(c), x, y), op.select(c, y, x)),
    rule("select-then", op.select(c, op.select(c, x, z), y), op.select(c, x, y)),
    rule("select-else", op.select(c, x, op.select(c, z, y)), op.select(c, x, y)),
)
