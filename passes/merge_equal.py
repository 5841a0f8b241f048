"""Common subexpressions: the key under which two nodes compute the same values."""

from __future__ import annotations

from typing import Any

from ..ir.graph import Node
from ..ir.op import OPS

#: ops of two operands whose order does not count
COMMUTATIVE = frozenset(
    OPS[n] for n in ("add", "mul", "maximum", "minimum", "eq", "ne", "bitwise_and", "bitwise_or", "bitwise_xor")
)
_CONSTANT = OPS["constant"]


def key_of(node: Node) -> Any:
    """Equal for nodes that give the same bits (of NaN: some NaN) wherever they stand."""
    op, operands = node.op, node.operands
    if op is _CONSTANT:
        return constant_key(*node.attributes)
    if op in COMMUTATIVE and operands[0].node.number > operands[1].node.number:
        operands = operands[::-1]
    return op, operands, node.attributes


def constant_key(value: Any, dtype: Any, shape: Any) -> Any:
    """Constants differ by the sign of zero and agree across spellings of one number (1, 1.0, True)."""
    if dtype.is_complex:
        number = repr(complex(value))
    elif dtype.is_floating_point:  # an integer beyond 2^53 rounds to f32 in one step, not over a Python float
        number = repr(float(value) if isinstance(value, float) or abs(value) <= 2**53 else value)
    else:
        number = repr(bool(value) if dtype.kind == "b" else int(value))
    return _CONSTANT, number, dtype, shape
