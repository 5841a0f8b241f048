"""Sizes: integers, or integer polynomials in named sizes; the arithmetic of shapes and of loop indices.

    poly = term ("+" term)*       term = [int "*"] name ("*" name)*  |  int

A named size stands for an integer of at least 2: sizes 0 and 1 broadcast, so they are always numbers.
A ``Dim`` is an ``int`` where the number is known, else a ``Poly``; ``dim`` brings it to that form.
"""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Union

LEAST = 2


class SizeError(ValueError):
    """A question about sizes that has no answer for all values of their names."""


class Poly:
    """An integer polynomial in names, immutable: ``{("b", "n"): 3, (): 1}`` is ``3*b*n + 1``.

    >>> n = name("n")
    >>> (n + 1) * (n - 1), (4 * n) // 2, (n * 3).evaluate({"n": 5})
    (n*n - 1, 2*n, 15)
    """

    __slots__ = ("_hash", "terms")

    def __init__(self, terms: dict[tuple[str, ...], int]) -> None:
        self.terms = terms
        self._hash: int | None = None

    @property
    def const(self) -> int:
        """The part without names."""
        return self.terms.get((), 0)

    @property
    def names(self) -> set[str]:
        """Every name that occurs."""
        return {n for monomial in self.terms for n in monomial}

    def coefficient(self, name: str) -> Dim:
        """What ``name`` is multiplied with, to the first power."""
        out = {}
        for monomial, c in self.terms.items():
            if name in monomial:
                rest = list(monomial)
                rest.remove(name)
                out[tuple(rest)] = c
        return dim(Poly(out))

    def only(self, names: Iterable[str]) -> Poly:
        """The terms in which one of ``names`` occurs."""
        keep = set(names)
        return Poly({m: c for m, c in self.terms.items() if not keep.isdisjoint(m)})

    def evaluate(self, values: Mapping[str, int]) -> int:
        """The number it is where each name has the given value."""
        return sum(c * math.prod(values[n] for n in m) for m, c in self.terms.items())

    def substitute(self, values: Mapping[str, Dim | str]) -> Poly:
        """Put polynomials (or numbers, or names) in the place of names."""
        if not any(n in values for m in self.terms for n in m):
            return self
        out = ZERO
        for m, c in self.terms.items():
            term = Poly({(): c})
            for n in m:
                term = term * poly(values.get(n, n))
            out = out + term
        return out

    def __add__(self, other: Dim) -> Poly:
        if type(other) is int:
            if other == 0:
                return self
            out = dict(self.terms)
            out[()] = out.get((), 0) + other
            if not out[()]:
                del out[()]
            return Poly(out)
        if type(other) is not Poly:
            return NotImplemented
        out = dict(self.terms)
        for m, c in other.terms.items():
            c += out.get(m, 0)
            if c:
                out[m] = c
            else:
                del out[m]
        return Poly(out)

    __radd__ = __add__

    def __neg__(self) -> Poly:
        return Poly({m: -c for m, c in self.terms.items()})

    def __sub__(self, other: Dim) -> Poly:
        return self + (-other)

    def __rsub__(self, other: Dim) -> Poly:
        return -self + other

    def __mul__(self, other: Dim) -> Poly:
        if type(other) is int:
            if other == 1:
                return self
            return Poly({m: c * other for m, c in self.terms.items()}) if other else ZERO
        if type(other) is not Poly:
            return NotImplemented
        out: dict[tuple[str, ...], int] = {}
        for m, c in self.terms.items():
            for k, d in other.terms.items():
                both = tuple(sorted(m + k))
                out[both] = out.get(both, 0) + c * d
        return Poly({m: c for m, c in out.items() if c})

    __rmul__ = __mul__

    def __floordiv__(self, other: Dim) -> Dim:
        """The quotient, where it is exact for all values of the names; else SizeError."""
        divisor = poly(other)
        if len(divisor.terms) != 1:
            return self._divide_by_sum(divisor)
        ((by, factor),) = divisor.terms.items()
        out = {}
        for m, c in self.terms.items():
            rest = list(m)
            try:
                for n in by:
                    rest.remove(n)
            except ValueError:
                raise SizeError(f"{self} is not divisible by {other} for all sizes") from None
            if c % factor:
                raise SizeError(f"{self} is not divisible by {other} for all sizes")
            out[tuple(rest)] = c // factor
        return dim(Poly(out))

    def _divide_by_sum(self, divisor: Poly) -> Dim:
        """Division by a sum, by the leading term again and again (few terms: sizes are small)."""
        if not divisor.terms:
            raise ZeroDivisionError("a size divided by 0")
        lead = max(divisor.terms, key=lambda m: (len(m), m))
        head = Poly({lead: divisor.terms[lead]})
        rest, out = self, ZERO
        while rest.terms:
            top = max(rest.terms, key=lambda m: (len(m), m))
            part = poly(Poly({top: rest.terms[top]}) // head)
            out, rest = out + part, rest - part * divisor
        return dim(out)

    def __eq__(self, other: object) -> bool:
        if type(other) is int:
            return self.terms == ({(): other} if other else {})
        return type(other) is Poly and self.terms == other.terms

    def __hash__(self) -> int:
        if self._hash is None:
            constant = not self.terms or (len(self.terms) == 1 and () in self.terms)
            self._hash = hash(self.const) if constant else hash(frozenset(self.terms.items()))
        return self._hash

    def __repr__(self) -> str:
        ordered = sorted((m for m in self.terms if m), key=lambda m: (-len(m), m))
        parts = [_term(self.terms[m], m) for m in ordered]
        if self.const or not parts:
            parts.append(str(self.const))
        return " + ".join(parts).replace("+ -", "- ")


def _term(c: int, m: tuple[str, ...]) -> str:
    names = "*".join(m)
    return names if c == 1 else f"-{names}" if c == -1 else f"{c}*{names}"


Dim = Union[int, Poly]  # noqa: UP007 (used at run time, before Poly supports |)
Shape = tuple[Dim, ...]

ZERO = Poly({})


def name(text: str) -> Poly:
    """The polynomial that is one name."""
    return Poly({(text,): 1})


def poly(value: Dim | str) -> Poly:
    """An integer, a name or a polynomial, as a polynomial."""
    if type(value) is Poly:
        return value
    if isinstance(value, str):
        return name(value)
    return Poly({(): int(value)}) if value else ZERO  # type: ignore[arg-type]


def dim(value: Any) -> Dim:
    """The normal form: an ``int`` if it is constant, else a ``Poly``."""
    if type(value) is Poly:
        if not value.terms:
            return 0
        if len(value.terms) == 1 and () in value.terms:
            return value.terms[()]
        return value
    return int(value)


def is_name(value: Dim) -> bool:
    """Whether a size is one name alone."""
    return (
        type(value) is Poly
        and len(value.terms) == 1
        and next(iter(value.terms.values())) == 1
        and len(next(iter(value.terms))) == 1
    )


def product(shape: Iterable[Dim]) -> Dim:
    """The number of elements of a shape."""
    out: Dim = 1
    for n in shape:
        out = out * n
    return dim(out)


def evaluate(value: Dim, values: Mapping[str, int]) -> int:
    """The number that a size is where each name has the given value."""
    return value if type(value) is int else value.evaluate(values)  # type: ignore[union-attr]


def substitute(value: Dim, values: Mapping[str, Dim]) -> Dim:
    """A size with other sizes in the place of its names."""
    return dim(value.substitute(values)) if type(value) is Poly else value


def is_static(shape: Iterable[Dim]) -> bool:
    """Whether every size of a shape is a number."""
    return all(type(n) is int for n in shape)


def least(value: Dim) -> int | None:
    """The least value that is certain, or None: every name is at least 2."""
    if type(value) is int:
        return value
    if all(c > 0 for m, c in value.terms.items() if m):  # type: ignore[union-attr]
        return value.const + sum(c * LEAST ** len(m) for m, c in value.terms.items() if m)  # type: ignore
    return _least_of_differences(poly(value))


def _least_of_differences(value: Poly) -> int | None:
    """``n*m - n`` is at least 2: a negative term is covered by a larger monomial that contains it."""
    positive = {m: c for m, c in value.terms.items() if m and c > 0}
    out = value.const
    for m, c in value.terms.items():
        if not m or c > 0:
            continue
        cover = next(
            (
                k
                for k, d in positive.items()
                if _contains(k, m) and d * LEAST ** (len(k) - len(m)) >= -c
            ),
            None,
        )
        if cover is None:
            return None
        d, factor = positive.pop(cover), LEAST ** (len(cover) - len(m))
        out += (d * factor + c) * LEAST ** len(m)
    return out + sum(d * LEAST ** len(k) for k, d in positive.items())


def _contains(big: tuple[str, ...], small: tuple[str, ...]) -> bool:
    rest = list(big)
    for n in small:
        if n not in rest:
            return False
        rest.remove(n)
    return True


# ---- questions that may need a decision ----

Decider = Callable[[Dim, str, Dim], bool]
_state = threading.local()


class deciding:
    """While it is entered, ``decide(left, relation, right)`` answers what polynomials cannot."""

    def __init__(self, decide: Decider) -> None:
        self.decide = decide

    def __enter__(self) -> None:
        self.before = getattr(_state, "decide", None)
        _state.decide = self.decide

    def __exit__(self, *_: object) -> None:
        _state.decide = self.before


def _decide(a: Dim, relation: str, b: Dim) -> bool:
    decide: Decider | None = getattr(_state, "decide", None)
    if decide is None:
        raise SizeError(f"whether {a} {relation} {b} depends on sizes that are not known here")
    return decide(a, relation, b)


def accept_bounds(a: Dim, relation: str, b: Dim) -> bool:
    """A decider for graphs that are traced already: their bounds are guarded, equal sizes have one name."""
    if relation == ">=":
        return True
    raise SizeError(f"whether {a} {relation} {b} depends on sizes that are not known here")


def equal(a: Dim, b: Dim) -> bool:
    """Whether two sizes are the same for all values of their names; asks the decider where that is open."""
    if type(a) is int and type(b) is int:
        return a == b
    if a == b:
        return True
    low, high = least(dim(a - b)), least(dim(b - a))
    if (low is not None and low > 0) or (high is not None and high > 0):
        return False
    return _decide(a, "==", b)


def at_least(a: Dim, b: Dim) -> bool:
    """Whether ``a >= b``; asks the decider where that is open."""
    if type(a) is int and type(b) is int:
        return a >= b
    low, high = least(dim(a - b)), least(dim(b - a))
    if low is not None and low >= 0:
        return True
    if high is not None and high > 0:
        return False
    return _decide(a, ">=", b)


def same_shape(a: Sequence[Dim], b: Sequence[Dim]) -> bool:
    """Whether two shapes have equal sizes."""
    return len(a) == len(b) and (a == b or all(equal(n, m) for n, m in zip(a, b, strict=True)))


def broadcast_shapes(*shapes: Sequence[Dim]) -> Shape:
    """NumPy's rule: align at the right, sizes of 1 stretch. ValueError where two sizes do not meet.

    >>> broadcast_shapes((3, 1), (4,))
    (3, 4)
    """
    rank = max((len(s) for s in shapes), default=0)
    out: list[Dim] = [1] * rank
    for shape in shapes:
        for d, n in enumerate(shape, rank - len(shape)):
            if n == 1 or (type(n) is type(out[d]) and n == out[d]):
                continue
            if out[d] == 1:
                out[d] = n
            elif not equal(n, out[d]):
                raise ValueError(f"sizes {out[d]} and {n} do not meet in dimension {d - rank}")
    return tuple(out)


def contiguous_strides(shape: Sequence[Dim]) -> Shape:
    """Strides in elements of a row-major array; a size of 0 counts as 1, as in PyTorch."""
    out: list[Dim] = []
    step: Dim = 1
    for n in reversed(shape):
        out.append(step)
        step = dim(step * (n if n != 0 else 1))
    return tuple(reversed(out))


_TOKEN = re.compile(r"\s*([+-]?)\s*([0-9]+|[A-Za-z_]\w*)((?:\s*\*\s*[A-Za-z_]\w*)*)")


def parse(text: str) -> Poly:
    """Read a polynomial back from its text.

    >>> parse("3*b*n - n + 2")
    3*b*n - n + 2
    """
    at, out, text = 0, ZERO, text.strip()
    while at < len(text):
        found = _TOKEN.match(text, at)
        if not found or (at and not found[1]):
            raise ValueError(f"not a size: {text!r}")
        term = poly(int(found[2]) if found[2].isdigit() else found[2])
        for factor in found[3].split("*")[1:]:
            term = term * name(factor.strip())
        out = out - term if found[1] == "-" else out + term
        at = found.end()
    return out
