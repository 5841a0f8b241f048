"""Steps that cut loops: ``split`` and ``cut``; and ``simplify``, which decides what has become certain."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...ir.errors import ScheduleError
from ...ir.loops.bounds import bounds, is_nonnegative
from ...ir.loops.expr import Expr, Where, map_expr
from ...ir.loops.nest import Kernel, Loop, Size, Stmt, Store
from ...ir.loops.walk import Body, at_loops, axes, buffers, rebuild, substitute, with_value
from ...ir.sizes import Dim, Poly, SizeError, dim, poly

Tail = str | tuple[int, ...]


def on_axis(kernel: Kernel, axis: str, fn: Callable[[Loop], Body]) -> Kernel:
    """Replace each loop over ``axis``; ScheduleError if none changes."""
    body = at_loops(kernel.body, axis, fn)
    if body is kernel.body:
        raise ScheduleError(f"nothing to do for loop {axis!r} of {kernel.name}")
    return kernel.with_body(body)


class _Quotients:
    """Quotients of extents: numbers where they are exact, else sizes declared in the kernel's head."""

    def __init__(self, kernel: Kernel, stem: str) -> None:
        self.kernel, self.stem, self.sizes = kernel, stem, list(kernel.sizes)

    def divide(self, extent: Dim, by: int) -> Dim:
        """``extent // by``."""
        if type(extent) is int:
            return extent // by
        try:
            return poly(extent) // by
        except SizeError:
            pass
        for size in self.sizes:
            if size.divisor == by and size.numerator == extent:
                return poly(size.name)
        taken = {s.name for s in self.sizes} | axes(self.kernel.body) | set(buffers(self.kernel))
        name, k = f"{self.stem}n", 1
        while name in taken:
            name, k = f"{self.stem}n{k}", k + 1
        self.sizes.append(Size(name, extent, by))
        return poly(name)


def split(
    kernel: Kernel, axis: str, factor: int, outer: str, inner: str, tail: Tail = "cut"
) -> Kernel:
    """Cut one loop in two; ``tail`` says what becomes of the iterations that are left over.

        for i in 14: S(i)   -->   for i0 in 3 { for i1 in 4: S(4*i0 + i1) }
                                  for i0 in 1 { for i1 in 2: S(i0 + i1 + 12) }
                     clamp  -->   for i0 in 4 { for i1 in min(4, 14 - 4*i0): S(4*i0 + i1) }
                     mask   -->   for i0 in 3 { for i1 in 4: S(4*i0 + i1) }
                                  for i0 in 1 { for i1 in min(4, 2 - 4*i0): S(4*i0 + i1 + 12) }

    A tail of unknown length is a loop of single iterations (``i0 in n - 4*q { i1 in 1 }``); a tuple
    of smaller factors, ``(2,)``, cuts it once more by each of them. Copies share the axis names.
    """
    if factor < 1:
        raise ScheduleError(f"split: factor {factor} of {axis!r} is below 1")
    taken = axes(kernel.body) - {axis}
    if outer == inner or outer in taken or inner in taken:
        raise ScheduleError(f"split: {outer!r} or {inner!r} is the name of another loop")
    quotients = _Quotients(kernel, outer)

    def in_two(loop: Loop) -> Body:
        if loop.limit is not None and (tail != "clamp" or _remainder(loop.extent, factor)):
            raise ScheduleError(f"split: {axis!r} has a limit: clamp it, by a factor of its extent")
        if loop.limit is not None or (tail == "clamp" and _remainder(loop.extent, factor)):
            return (_clamped(loop, factor, outer, inner, quotients),)
        return _pieces(loop, factor, outer, inner, tail, quotients)

    kernel = on_axis(kernel, axis, in_two)
    return Kernel(kernel.name, kernel.params, tuple(quotients.sizes), kernel.body)


def _remainder(extent: Dim, factor: int) -> bool:
    """Whether something may be left over."""
    if type(extent) is int:
        return extent % factor != 0
    return any(c % factor for c in extent.terms.values())  # type: ignore[union-attr]


def _clamped(loop: Loop, factor: int, outer: str, inner: str, quotients: _Quotients) -> Loop:
    if type(loop.extent) is int and loop.limit is None:
        factor = min(factor, loop.extent)
    at = Poly({(outer,): factor}) if factor else poly(0)
    body = substitute(loop.body, loop.axis, at + poly(inner))
    if factor == loop.extent:
        return Loop(outer, 1, (Loop(inner, factor, body, limit=loop.limit),))
    limit = poly(loop.limit if loop.limit is not None else loop.extent) - at
    count = quotients.divide(dim(loop.extent + (factor - 1)), factor)
    return Loop(outer, count, (Loop(inner, factor, body, limit=limit),))


def _pieces(
    loop: Loop, factor: int, outer: str, inner: str, tail: Tail, quotients: _Quotients
) -> Body:
    """The main copy, then one for each smaller factor, then what is left."""
    out: list[Stmt] = []
    done: Dim = 0
    rest: Dim = loop.extent
    for by in (factor, *(tail if isinstance(tail, tuple) else ())):
        count = quotients.divide(rest, by)
        if count != 0:
            at = Poly({(outer,): by, (inner,): 1}) + done
            body = substitute(loop.body, loop.axis, at)
            out.append(Loop(outer, count, (Loop(inner, by, body),)))
        done, rest = dim(done + count * by), dim(rest - count * by)
    if rest == 0:
        return tuple(out)
    if tail == "mask":
        return (*out, _masked_tail(loop, factor, outer, inner, done, rest, quotients))
    body = substitute(loop.body, loop.axis, Poly({(outer,): 1, (inner,): 1}) + done)
    many, each = (1, rest) if type(rest) is int else (rest, 1)
    return (*out, Loop(outer, many, (Loop(inner, each, body),)))


def _masked_tail(
    loop: Loop, factor: int, outer: str, inner: str, done: Dim, rest: Dim, quotients: _Quotients
) -> Loop:
    """The last iterations as one clamped block (or none)."""
    blocks = 1 if type(rest) is int else quotients.divide(dim(loop.extent + (factor - 1)), factor)
    count = blocks if type(rest) is int else dim(blocks - quotients.divide(loop.extent, factor))
    at = Poly({(outer,): factor})
    body = substitute(loop.body, loop.axis, at + poly(inner) + done)
    return Loop(outer, count, (Loop(inner, factor, body, limit=poly(rest) - at),))


def cut(kernel: Kernel, axis: str, at: int) -> Kernel:
    """Divide a loop's range.

    for i in n: S(i)   -->   for i in at: S(i); for i in n - at: S(at + i)
    """

    def two(loop: Loop) -> Body:
        if type(loop.extent) is not int:
            raise ScheduleError(f"cut: how far {axis!r} runs ({loop.extent}) is not a number")
        if not 0 < at < loop.extent:
            return (loop,)
        limit = None if loop.limit is None else loop.limit - at
        body = substitute(loop.body, axis, poly(axis) + at)
        first = Loop(axis, at, loop.body, loop.kind, loop.width, loop.limit)
        return first, Loop(axis, loop.extent - at, body, loop.kind, loop.width, limit)

    return simplify(on_axis(kernel, axis, two))


def simplify(kernel: Kernel) -> Kernel:
    """Decide each ``where`` and each limit that is the same for all iterations.

    for i in min(4, 2) { y[i] = where(0 <= i < 9; x[i]; 0) }   -->   for i in 2 { y[i] = x[i] }
    """
    return kernel.with_body(_simplify(kernel.body, {}, kernel.sizes))


def _simplify(body: Body, extents: dict[str, Dim], sizes: Sequence[Size]) -> Body:
    out: list[Stmt] = []
    for s in body:
        if type(s) is Loop:
            if s.limit is not None:
                s = _decide_limit(s, extents, sizes)
            if type(s.extent) is int and s.extent < 1:
                continue
            s = s.with_body(_simplify(s.body, {**extents, s.axis: s.extent}, sizes))
        elif type(s) is Store and _has_where(s.value):
            s = with_value(s, map_expr(s.value, lambda e: _decide(e, extents, sizes)))
        out.append(s)
    return rebuild(body, out)


def _has_where(e: Expr) -> bool:
    return type(e) is Where or any(_has_where(a) for a in getattr(e, "args", ()))


def _decide_limit(s: Loop, extents: dict[str, Dim], sizes: Sequence[Size]) -> Loop:
    assert s.limit is not None
    low, high = bounds(s.limit, extents)
    if is_nonnegative(dim(low - s.extent), sizes):
        return Loop(s.axis, s.extent, s.body, s.kind, s.width)
    if low == high and type(low) is int:
        return Loop(s.axis, low, s.body, s.kind, s.width)
    return s


def _decide(e: Expr, extents: dict[str, Dim], sizes: Sequence[Size]) -> Expr:
    if type(e) is not Where:
        return e
    left = []
    for at, lo, hi in e.conds:
        low, high = bounds(at, extents)
        if is_nonnegative(dim(low - hi), sizes) or is_nonnegative(dim(lo - high - 1), sizes):
            return e.other
        if not (is_nonnegative(dim(low - lo), sizes) and is_nonnegative(dim(hi - high - 1), sizes)):
            left.append((at, lo, hi))
    if len(left) == len(e.conds):
        return e
    return Where(tuple(left), e.value, e.other) if left else e.value
