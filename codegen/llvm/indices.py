"""Indices while a kernel is written: polynomials as numbers, as i64 values, and by lane."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from ...ir.sizes import ZERO, Dim, Poly, poly
from .emit import Builder, Value

Parts = list[tuple[int, list[Value]]]
"""A sum: what each product of values is multiplied with."""


def spelled(parts: Parts) -> str:
    """A key for a sum."""
    if len(parts) == 1 and len(parts[0][1]) == 1:
        return f"{parts[0][0]}*{parts[0][1][0].text}"
    return " ".join([f"{c}*{'*'.join([v.text for v in values])}" for c, values in parts])


class Indices(Builder):
    """Knows what each axis and size is (a number or a value), and which axis is the lane.

    ``lane`` is (axis, lanes, mask) inside a vector loop; the mask is None where all lanes are on.
    """

    def __init__(self, features: Collection[str]) -> None:
        super().__init__(features)
        self.env: dict[str, Value | int] = {}
        self.lane: tuple[str, int, Value | None] | None = None

    def parts(self, terms: Iterable[tuple[tuple[str, ...], int]]) -> tuple[Parts, int]:
        """The terms of a polynomial: those known when it runs, and the sum of the others."""
        env, out, constant = self.env, [], 0
        for monomial, c in terms:
            values = []
            for n in monomial:
                v = env[n]
                if type(v) is int:
                    c *= v
                else:
                    values.append(v)
            if not values:
                constant += c
            elif c:
                out.append((c, values))
        return out, constant  # type: ignore[return-value]

    def total(self, parts: Parts) -> Value:
        """The value of a sum that is not empty."""
        key = spelled(parts)
        total = self.known.get(key)
        if total is not None:
            return total
        for c, values in parts:
            term = values[0]
            for v in values[1:]:
                term = term * v
            term = term if c == 1 else term * c
            total = term if total is None else total + term
        assert total is not None
        self.keep(key, total)
        return total

    def number(self, p: Dim) -> Value:
        """A polynomial as a scalar i64 (the lane is not in it)."""
        parts, constant = self.parts(poly(p).terms.items())
        if not parts:
            return self.const("i64", 0, constant)
        total = self.total(parts)
        return total + constant if constant else total

    def is_number(self, p: Dim) -> int | None:
        """The value of a polynomial if it is known while writing."""
        if type(p) is int:
            return p
        out = 0
        for monomial, c in p.terms.items():  # type: ignore[union-attr]
            for n in monomial:
                v = self.env.get(n)
                if type(v) is not int:
                    return None
                c *= v
            out += c
        return out

    def split_lane(self, p: Poly) -> tuple[Poly, Poly]:
        """(what the lane is multiplied with, the rest)."""
        if self.lane is None:
            return ZERO, p
        axis = self.lane[0]
        factor, rest = {}, {}
        for monomial, c in p.terms.items():
            if axis in monomial:
                others = list(monomial)
                others.remove(axis)
                factor[tuple(others)] = c
            else:
                rest[monomial] = c
        return (Poly(factor), Poly(rest)) if factor else (ZERO, p)

    def index_value(self, p: Poly) -> Value:
        """A polynomial as an i64, per lane where the lane is in it."""
        factor, rest = self.split_lane(p)
        base = self.number(rest)
        if not factor.terms:
            return base
        assert self.lane is not None
        return self.splat(base, self.lane[1]) + self.lane_steps(factor)

    def lane_steps(self, factor: Poly) -> Value:
        """The lanes' numbers times a factor."""
        assert self.lane is not None
        lanes = self.lane[1]
        step = self.is_number(factor)
        if step is None:
            return self.lane_numbers(lanes) * self.splat(self.number(factor), lanes)
        numbers = ", ".join([f"i64 {n * step}" for n in range(lanes)])
        return Value(self, "i64", lanes, f"<{numbers}>")

    def wide(self, v: Value) -> Value:
        """The value in every lane."""
        return v if self.lane is None or v.lanes else self.splat(v, self.lane[1])
