"""Constants: values known when compiling, computed by the references of their ops on one element.

Constants are uniform (one number in each place), so that folding never makes anything large.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ir.graph import Node
from ..ir.op import OPS, Op, Type
from ..ir.ops.elementwise import Cast, ElementwiseOp, Select
from ..ir.sizes import is_static, product

_CONSTANT, _SIZE, _IOTA = OPS["constant"], OPS["size"], OPS["iota"]
_PLACING = frozenset(OPS[n] for n in ("broadcast", "permute", "reshape", "slice"))
_REDUCING = frozenset((OPS["sum"], OPS["amax"]))
_EACH = frozenset(op for op in OPS.values() if isinstance(op, ElementwiseOp | Select | Cast))

#: a reduction of more elements is left to the kernel
LARGEST = 64

Folded = tuple[Any, Type]


def fold(node: Node) -> Folded | None:
    """The number and the type of the constant that ``node`` is, or None."""
    op, operands = node.op, node.operands
    if op is _SIZE and isinstance(node.attributes[0], int):
        return node.attributes[0], node.value.type
    if op is _IOTA:
        shape, axis, _ = node.attributes
        return (0, node.value.type) if shape[axis] == 1 else None
    if not operands or operands[0].node.op is not _CONSTANT:
        return None
    if op in _PLACING:
        return operands[0].node.attributes[0], node.value.type
    if op in _EACH and all(v.node.op is _CONSTANT for v in operands):
        return _evaluate(op, node, ()), node.value.type
    shape = operands[0].shape
    if op in _REDUCING and is_static(shape) and 0 < product(shape) <= LARGEST:  # type: ignore[operator]
        return _evaluate(op, node, shape), node.value.type
    return None


def _evaluate(op: Op, node: Node, shape: Any) -> Any:
    """One element of what the reference makes of constants of ``shape``."""
    with np.errstate(all="ignore"):
        arrays = []
        for value in node.operands:
            number, dtype, _ = value.node.attributes
            arrays.append(_CONSTANT.reference(number, dtype, shape))
        found = np.asarray(op.reference(*arrays, **node.named)).ravel()[0]
    if found.dtype.kind == "b":
        return bool(found)
    if found.dtype.kind in "iu":
        return int(found)
    return complex(found) if found.dtype.kind == "c" else float(found)
