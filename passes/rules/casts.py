"""Rules of conversions between element types: what changes nothing, and what may be skipped on the way."""

from __future__ import annotations

from ...ir.dtypes import DType
from ...ir.graph import Value
from .pattern import op, rule, variables

x, middle, last = variables("x middle last")

# What each float holds exactly: bits of precision and of exponent.
_FLOATS = {"f16": (11, 5), "bf16": (8, 8), "f32": (24, 8), "f64": (53, 11)}


def passes_through(x: Value, middle: DType, last: DType) -> bool:
    """Whether a detour over ``middle`` gives what the direct conversion gives."""
    first = x.dtype
    if first.kind == "b":
        return middle.kind != "b" or last.kind == "b"
    if first.is_floating_point and middle.is_floating_point:
        return all(a <= b for a, b in zip(_FLOATS[first.name], _FLOATS[middle.name], strict=True))
    if first.kind in "iu" and middle.kind in "iu":
        narrows = last.kind in "iu" and last.bits <= middle.bits
        return narrows or _holds(middle, first)
    return first.kind == middle.kind == "c" and middle.itemsize >= first.itemsize


def _holds(wide: DType, narrow: DType) -> bool:
    """Whether every integer of ``narrow`` is one of ``wide``."""
    if wide.kind == narrow.kind:
        return wide.bits >= narrow.bits
    return wide.kind == "i" and wide.bits > narrow.bits


CASTS = (
    rule("cast-nothing", op.cast(x, dtype=last), x, where=lambda x, last: x.dtype is last),
    rule("cast-cast", op.cast(op.cast(x, dtype=middle), dtype=last), op.cast(x, dtype=last), where=passes_through),
)
