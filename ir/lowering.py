"""What an op's ``lower`` says: how its result is made from its operands, as data that fusion and scheduling read.

Indices ``at`` are tuples of polynomials over the result's axes (``at[d]`` runs over dimension ``d``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .sizes import Poly

Index = tuple[Poly, ...]


@dataclass(frozen=True)
class Elementwise:
    """Each element from the operands' elements at the same place.

    ``scalar`` is the name of a loop intrinsic, or a function from the operands' expressions to one.
    """

    scalar: str | Callable[..., Any]


@dataclass(frozen=True)
class View:
    """The operand's elements in other places: ``index(at)`` says where the element ``at`` of the result is read."""

    index: Callable[[Index], Index]


@dataclass(frozen=True)
class Reinterpret:
    """The operand's elements in row-major order under another shape."""


@dataclass(frozen=True)
class Pointwise:
    """Each element by ``element(at, *reads)``: an expression, where ``reads[i](index)`` reads operand ``i``."""

    element: Callable[..., Any]


@dataclass(frozen=True)
class Reduce:
    """Combine the operand's elements along ``axes`` by ``kind``: ``add``, ``max``, ``mul``, ``min`` ..."""

    kind: str
    axes: tuple[int, ...]


@dataclass(frozen=True)
class ArgReduce:
    """The first place along ``axis`` where the greatest element stands (NaN is greatest)."""

    axis: int


@dataclass(frozen=True)
class Contract:
    """Sums of products: ``a``, ``b`` and ``out`` name dimensions by letters; what ``out`` lacks is summed."""

    a: str
    b: str
    out: str


@dataclass(frozen=True)
class ScatterAdd:
    """A copy of the first operand into which the third is added, along ``axis`` at the places that the second names."""

    axis: int


@dataclass(frozen=True)
class Host:
    """A step that Python runs between native stretches, by the op's reference."""


@dataclass(frozen=True)
class Region:
    """A graph of its own, inlined or run as a whole."""


Lowering = (
    Elementwise
    | View
    | Reinterpret
    | Pointwise
    | Reduce
    | ArgReduce
    | Contract
    | ScatterAdd
    | Host
    | Region
)
