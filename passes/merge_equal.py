"""Common subexpressions: the key under which two nodes compute the same values."""

from __future__ import annotations

from typing import Any

from ..ir.graph import Node
from ..ir.op import OPS

_COMMUTATIVE = frozenset(
    OPS[n]
    for n in ("add", "mul", "maximum", "minimum", "eq", "ne", "bitwise_and", "bitwise_or", "bitwise_xor")
)
_CONSTANT = OPS["constant"]


def key_of(node: Node) -> Any:
    """Equal for nodes that give the same bits (of NaN: some NaN) wherever they stand."""
    op, operands = node.op, node.operands
    if op is _CONSTANT:
        return constant_key(*node.attributes)
    if op in _COMMUTATIVE and operands[0].node.number > operands[1].node.number:
        operands = operands[::-1]
    return op, operands, node.attributes


def constant_key(value: complex, dtype: Any, shape: Any) -> Any:
    """Constants differ by the sign of zero and agree across spellings of one number (1, 1.0, True)."""
    if dtype.is_complex:
        return "constant", repr(complex(value)), dtype, shape
    if dtype.is_floating_point and (isinstance(value, float) or abs(value) <= 2**53):
        return "constant", repr(float(value)), dtype, shape  # type: ignore[arg-type]
    return "constant", repr(bool(value) if dtype.kind == "b" else int(value)), dtype, shape  # type: ignore[arg-type]
