"""Rules of contractions: a transposed operand or result is the same product with its letters in another order."""

from __future__ import annotations

from typing import Any

from ...ir.ops.contract import split_spec
from .pattern import Computed, op, rule, variables

x, y = variables("x y")
spec, order = variables("spec order")


def _turned(letters: str, order: tuple[Any, ...]) -> str:
    """The letters of ``x`` given those of ``permute(x, order)``."""
    back = dict(zip(order, letters, strict=True))
    return "".join(back[d] for d in range(len(order)))


def _first(spec: str, order: tuple[Any, ...]) -> str:
    a, b, out = split_spec(spec)
    return f"{_turned(a, order)},{b}->{out}"


def _second(spec: str, order: tuple[Any, ...]) -> str:
    a, b, out = split_spec(spec)
    return f"{a},{_turned(b, order)}->{out}"


def _result(spec: str, order: tuple[Any, ...]) -> str:
    a, b, out = split_spec(spec)
    return f"{a},{b}->{''.join(out[d] for d in order)}"


CONTRACTIONS = (
    rule("contract-permute", op.contract(op.permute(x, order=order), y, spec=spec),
         op.contract(x, y, spec=Computed(_first))),
    rule("contract-permute-second", op.contract(x, op.permute(y, order=order), spec=spec),
         op.contract(x, y, spec=Computed(_second))),
    rule("permute-contract", op.permute(op.contract(x, y, spec=spec), order=order),
         op.contract(x, y, spec=Computed(_result))),
)  # fmt: skip
