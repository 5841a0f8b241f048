"""What is known of indices: least and greatest values, and what is larger for all sizes.

Names of sizes stand for integers of at least 0 (a quotient such as ``n // 6`` may well be 0).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..errors import ScheduleError
from ..sizes import Dim, Poly, dim, poly
from .nest import Size

Extents = Mapping[str, Dim]


def put(at: Poly, axis: str, value: Poly) -> Poly:
    """``value`` in the place of ``axis``; the same object if the axis does not occur."""
    terms = at.terms
    for monomial in terms:
        if axis in monomial:
            break
    else:
        return at
    out: dict[tuple[str, ...], int] = {}
    for monomial, c in terms.items():
        if axis not in monomial:
            out[monomial] = out.get(monomial, 0) + c
            continue
        rest = list(monomial)
        rest.remove(axis)
        for other, d in value.terms.items():
            key = tuple(sorted((*rest, *other))) if rest else other
            out[key] = out.get(key, 0) + c * d
    return Poly({m: c for m, c in out.items() if c})


def factor(at: Poly, axis: str) -> Dim:
    """What ``axis`` is multiplied with (a number, or a polynomial in sizes)."""
    terms = at.terms
    for monomial in terms:
        if axis in monomial and len(monomial) > 1:
            return at.coefficient(axis)
    return terms.get((axis,), 0)


def split_off(at: Poly, inside: Iterable[str]) -> tuple[Poly, Poly]:
    """The terms with a name outside of ``inside``, and the others (constants are inside)."""
    outer: dict[tuple[str, ...], int] = {}
    inner: dict[tuple[str, ...], int] = {}
    for monomial, c in at.terms.items():
        (inner if all(n in inside for n in monomial) else outer)[monomial] = c
    return Poly(outer), Poly(inner)


def bounds(at: Poly, extents: Extents) -> tuple[Dim, Dim]:
    """Least and greatest value while each axis runs over its extent; in terms of sizes.

    >>> from gristmill.ir.sizes import parse
    >>> bounds(parse("6*i - j + 2"), {"i": 3, "j": parse("n")})
    (-n + 3, 14)
    """
    low: Dim = 0
    high: Dim = 0
    for monomial, c in at.terms.items():
        end: Dim = c
        moves = False
        for n in monomial:
            if n in extents:
                end, moves = end * (extents[n] - 1), True
            else:
                end = end * Poly({(n,): 1})
        if not moves:
            low, high = low + end, high + end
        elif c > 0:
            high = high + end
        else:
            low = low + end
    return dim(low), dim(high)


def is_nonnegative(value: Dim, sizes: Sequence[Size] = (), depth: int = 3) -> bool:
    """Whether ``value >= 0`` is certain, by ``0 <= P - d*q < d`` for each ``size q = P // d``."""
    if type(value) is int:
        return value >= 0
    if min(value.terms.values(), default=0) >= 0:  # type: ignore[union-attr]
        return True
    for size in sizes if depth else ():
        if size.numerator is not None:
            spelled = _by_quotient(poly(value), size)
            if spelled is not None and is_nonnegative(spelled, sizes, depth - 1):
                return True
    return False


def _by_quotient(value: Poly, size: Size) -> Poly | None:
    """A lower bound of ``value`` with one free name written as ``d*q + remainder``."""
    numerator = poly(size.numerator or 0)
    names = [m[0] for m, c in numerator.terms.items() if len(m) == 1 and c == 1]
    for name in names:
        if not any(name in m for m in value.terms):
            continue
        if sum(name in m for m in numerator.terms) > 1:
            continue
        rest = numerator - Poly({(name,): 1})
        remainder = "%r" + size.name
        whole = Poly({(size.name,): size.divisor, (remainder,): 1}) - rest
        spelled = put(value, name, whole)
        if any(name in m for m in spelled.terms):
            continue
        return _least_remainder(spelled, remainder, size.divisor - 1)
    return None


def _least_remainder(value: Poly, remainder: str, most: int) -> Poly:
    """``value`` where the remainder is as bad as it can be."""
    out = Poly({m: c for m, c in value.terms.items() if remainder not in m})
    for m, c in value.terms.items():
        if remainder in m and c < 0:
            rest = list(m)
            rest.remove(remainder)
            out = out + Poly({tuple(rest): c * most})
    return out


def greatest(values: Sequence[Dim], sizes: Sequence[Size]) -> Dim:
    """The largest of several sizes; ScheduleError where that depends on what they are."""
    first = values[0]
    if all(type(v) is int for v in values):
        return max(values)  # type: ignore[type-var]
    for v in dict.fromkeys(values):
        if all(v is w or is_nonnegative(dim(v - w), sizes) for w in values):
            return v
    raise ScheduleError(
        f"which of {', '.join(map(str, values))} is the largest depends on sizes ({first})"
    )


def least(values: Sequence[Dim], sizes: Sequence[Size]) -> Dim:
    """The smallest of several sizes; ScheduleError where that depends on what they are."""
    return dim(-1 * greatest([dim(-1 * v) for v in values], sizes))
