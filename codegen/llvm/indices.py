"""Indices while a kernel is written: polynomials as numbers, as i64 values, and by lane."""

from __future__ import annotations

from ...ir.sizes import Poly, poly
from .emit import Builder, Value


class Indices(Builder):
    """Knows what each axis and size is (a number or a value), and which axis is the lane.

    ``lane`` is (axis, lanes, mask) inside a vector loop; the mask is None where all lanes are on.
    """

    def __init__(self) -> None:
        super().__init__()
        self.env: dict[str, Value | int] = {}
        self.lane: tuple[str, int, Value | None] | None = None

    def number(self, p: Poly) -> Value:
        """A polynomial as a scalar i64 (the lane is not in it)."""
        total: Value | None = None
        constant = 0
        for monomial, c in p.terms.items():
            term: Value | None = None
            for n in monomial:
                v = self.env[n]
                if isinstance(v, int):
                    c *= v
                else:
                    term = v if term is None else term * v
            if term is None:
                constant += c
            elif c:
                term = term if c == 1 else term * c
                total = term if total is None else total + term
        if total is None:
            return self.const("i64", 0, constant)
        return total + constant if constant else total

    def is_number(self, p: Poly) -> int | None:
        """The value of a polynomial if it is known while writing."""
        out = 0
        for monomial, c in p.terms.items():
            for n in monomial:
                v = self.env.get(n)
                if not isinstance(v, int):
                    return None
                c *= v
            out += c
        return out

    def split_lane(self, p: Poly) -> tuple[Poly, Poly]:
        """(what the lane is multiplied with, the rest)."""
        if self.lane is None or self.lane[0] not in p.names:
            return poly(0), p
        axis = self.lane[0]
        factor = poly(p.coefficient(axis))
        return factor, p - factor * Poly({(axis,): 1})

    def index_value(self, p: Poly) -> Value:
        """A polynomial as an i64, per lane where the lane is in it."""
        factor, rest = self.split_lane(p)
        base = self.number(rest)
        if not factor.terms:
            return base
        assert self.lane is not None
        lanes = self.lane[1]
        return self.splat(base, lanes) + self.lane_numbers(lanes) * self.splat(
            self.number(factor), lanes
        )

    def wide(self, v: Value) -> Value:
        """The value in every lane."""
        return v if self.lane is None or v.lanes else self.splat(v, self.lane[1])
