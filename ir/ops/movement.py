"""Ops that place elements elsewhere: stretching, turning, reshaping, cutting, joining."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import DTypeError, ShapeError
from ..graph import Value
from ..loops import Index as At
from ..loops import Where, apply
from ..lowering import Index, Lowering, Pointwise, Reinterpret, View
from ..op import OPS, Op, Type
from ..sizes import Dim, Shape, SizeError, at_least, dim, equal, poly, product
from .creation import constant


class Broadcast(Op):
    """``broadcast(x, shape)``: align at the right, repeat along new dimensions and those of size 1."""

    name, operands, attributes, is_view = "broadcast", ("x",), ("shape",), True
    vjp = (lambda g, y, x, shape: unbroadcast(g, x.shape),)

    def infer(self, x: Type, shape: Shape) -> Type:
        lead = len(shape) - len(x.shape)
        if lead < 0 or not all(n == 1 or equal(n, m) for n, m in zip(x.shape, shape[lead:], strict=True)):
            raise ShapeError(f"broadcast: {x} does not stretch to ({', '.join(map(str, shape))})")
        return Type(x.dtype, tuple(shape))

    def reference(self, x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        return np.broadcast_to(x, shape)

    def lower(self, x: Type, shape: Shape) -> Lowering:
        lead = len(shape) - len(x.shape)
        zero = poly(0)
        return View(lambda at: tuple(zero if n == 1 else i for i, n in zip(at[lead:], x.shape, strict=True)))


def unbroadcast(g: Value, shape: Shape) -> Value:
    """Add up what a broadcast from ``shape`` repeated."""
    lead = len(g.shape) - len(shape)
    axes = (*range(lead), *(d + lead for d, n in enumerate(shape) if n == 1 and g.shape[d + lead] != 1))
    if axes:
        g = OPS["sum"](g, axes=axes)
    return g if g.shape == tuple(shape) else reshape(g, shape=tuple(shape))  # type: ignore[no-any-return]


class Permute(Op):
    """``permute(x, order)``: dimension ``d`` of the result is dimension ``order[d]`` of ``x``."""

    name, operands, attributes, is_view = "permute", ("x",), ("order",), True
    vjp = (lambda g, y, x, order: permute(g, order=inverse(order)),)

    def infer(self, x: Type, order: Sequence[int]) -> Type:
        if sorted(order) != list(range(len(x.shape))):
            raise ShapeError(f"permute: {tuple(order)} is no order of the {len(x.shape)} dimensions of {x}")
        return Type(x.dtype, tuple(x.shape[d] for d in order))

    def reference(self, x: np.ndarray, order: tuple[int, ...]) -> np.ndarray:
        return np.transpose(x, order)

    def put(self, base: Value, new: Value, order: tuple[int, ...]) -> Value:
        return permute(new, order=inverse(order))  # type: ignore[no-any-return]

    def lower(self, x: Type, order: tuple[int, ...]) -> Lowering:
        back = inverse(order)
        return View(lambda at: tuple(at[d] for d in back))


def inverse(order: Sequence[int]) -> tuple[int, ...]:
    """The order that undoes ``order``."""
    return tuple(sorted(range(len(order)), key=order.__getitem__))


class Reshape(Op):
    """``reshape(x, shape)``: the same elements in row-major order under another shape."""

    name, operands, attributes, is_view = "reshape", ("x",), ("shape",), True
    vjp = (lambda g, y, x, shape: reshape(g, shape=x.shape),)

    def infer(self, x: Type, shape: Shape) -> Type:
        if not equal(product(x.shape), product(shape)):
            wanted = f"({', '.join(map(str, shape))}) has {product(shape)}"
            raise ShapeError(f"reshape: {x} has {product(x.shape)} elements, {wanted}")
        return Type(x.dtype, tuple(shape))

    def reference(self, x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        return np.reshape(x, shape)

    def put(self, base: Value, new: Value, shape: Shape) -> Value:
        return reshape(new, shape=base.shape)  # type: ignore[no-any-return]

    def lower(self, x: Type, shape: Shape) -> Lowering:
        return Reinterpret()


def _span(start: Dim, stop: Dim, step: int) -> Dim:
    length = dim(stop - start)
    if step == 1:
        return length
    if isinstance(length, int):
        return -(-length // step)
    try:
        return length // step
    except SizeError:
        raise ShapeError(f"slice: {length} elements in steps of {step} are a size that no polynomial holds") from None


def _ranges(starts: Sequence[int], stops: Sequence[int], steps: Sequence[int]) -> tuple[Any, ...]:
    """The key of a slice; with ... it is a view even where there are no dimensions."""
    return (*(slice(a, b, s) for a, b, s in zip(starts, stops, steps, strict=True)), ...)


class Slice(Op):
    """``slice(x, starts, stops, steps)``: along each dimension start, start + step ... below stop (positive steps)."""

    name, operands, attributes, is_view = "slice", ("x",), ("starts", "stops", "steps"), True
    vjp = (lambda g, y, x, starts, stops, steps: put(x_like(g, x), g, starts=starts, stops=stops, steps=steps),)

    def infer(self, x: Type, starts: Shape, stops: Shape, steps: tuple[int, ...]) -> Type:
        if not len(starts) == len(stops) == len(steps) == len(x.shape):
            raise ShapeError(f"slice: needs a start, a stop and a step for each dimension of {x}")
        for d, (a, b, s) in enumerate(zip(starts, stops, steps, strict=True)):
            if s < 1:
                raise ShapeError(f"slice: a step must be positive, not {s}")
            if not (at_least(a, 0) and at_least(b, a) and at_least(x.shape[d], b)):
                raise ShapeError(f"slice: {a}:{b} is outside of dimension {d} of {x}")
        return Type(x.dtype, tuple(_span(a, b, s) for a, b, s in zip(starts, stops, steps, strict=True)))

    def reference(self, x: np.ndarray, starts: Any, stops: Any, steps: Any) -> np.ndarray:
        return x[_ranges(starts, stops, steps)]

    def put(self, base: Value, new: Value, starts: Any, stops: Any, steps: Any) -> Value:
        return put(base, new, starts=starts, stops=stops, steps=steps)  # type: ignore[no-any-return]

    def lower(self, x: Type, starts: Any, stops: Any, steps: Any) -> Lowering:
        return View(lambda at: tuple(i * s + a for i, a, s in zip(at, starts, steps, strict=True)))


def x_like(g: Value, x: Value) -> Value:
    """Zeros of the shape of ``x`` in the type of the cotangent."""
    return constant(value=0, dtype=g.dtype, shape=x.shape)  # type: ignore[no-any-return]


class Put(Op):
    """``put(base, new, starts, stops, steps)``: ``base`` with ``new`` where the slice lies."""

    name, operands, attributes = "put", ("base", "new"), ("starts", "stops", "steps")
    vjp = (
        lambda g, y, base, new, **at: put(g, new_zeros(g, new), **at),
        lambda g, y, base, new, **at: slice_(g, **at),
    )

    def infer(self, base: Type, new: Type, **at: Any) -> Type:
        if base.dtype is not new.dtype:
            raise DTypeError(f"put: base is {base}, new is {new}")
        if slice_.infer(base, **at) != new:
            raise ShapeError(f"put: the place has the type {slice_.infer(base, **at)}, new is {new}")
        return base

    def reference(self, base: np.ndarray, new: np.ndarray, starts: Any, stops: Any, steps: Any) -> np.ndarray:
        out = np.array(base, order="C")
        out[_ranges(starts, stops, steps)] = new
        return out

    def lower(self, base: Type, new: Type, starts: Any, stops: Any, steps: Any) -> Lowering:
        return Pointwise(lambda at, old, fresh: _inside(at, old, fresh, new.shape, starts, steps))


def _inside(at: Index, old: Any, fresh: Any, shape: Shape, starts: Shape, steps: Sequence[int]) -> Any:
    """``fresh`` where every index lies in the slice, else ``old``."""
    conditions = []
    place: list[Any] = []
    met: Any = None
    for i, n, start, step in zip(at, shape, starts, steps, strict=True):
        conditions.append((i, start, dim(start + poly(n) * step)))
        if step == 1:
            place.append(i - start)
            continue
        far = At(i - start)
        place.append(apply("floordiv", far, step))
        on = apply("eq", apply("rem", far, step), 0)
        met = on if met is None else apply("and", met, on)
    new, kept = fresh(place), old(at)
    return Where(tuple(conditions), new if met is None else apply("select", met, new, kept), kept)


def new_zeros(g: Value, new: Value) -> Value:
    """Zeros of the shape of ``new`` in the type of the cotangent."""
    return x_like(g, new)


class Concatenate(Op):
    """``concatenate(*xs, axis)``: one after the other along ``axis``."""

    name, operands, attributes = "concatenate", ("*xs",), ("axis",)

    def infer(self, *xs: Type, axis: int) -> Type:
        if not xs:
            raise ShapeError("concatenate: needs at least one operand")
        first = xs[0]
        if not 0 <= axis < len(first.shape):
            raise ShapeError(f"concatenate: axis {axis} of {first}")
        for x in xs[1:]:
            if x.dtype is not first.dtype:
                raise DTypeError(f"concatenate: dtypes differ: {first} and {x}")
            fits = len(x.shape) == len(first.shape) and all(
                d == axis or equal(n, m) for d, (n, m) in enumerate(zip(x.shape, first.shape, strict=True))
            )
            if not fits:
                raise ShapeError(f"concatenate: sizes differ outside of axis {axis}: {first} and {x}")
        total = dim(sum((poly(x.shape[axis]) for x in xs), poly(0)))
        return Type(first.dtype, (*first.shape[:axis], total, *first.shape[axis + 1 :]))

    def reference(self, *xs: np.ndarray, axis: int) -> np.ndarray:
        return np.concatenate(xs, axis)

    @staticmethod
    def vjp(i: int, g: Value, y: Value, *xs: Value, axis: int) -> Value:
        """The part of the cotangent that operand ``i`` became."""
        start = dim(sum((poly(x.shape[axis]) for x in xs[:i]), poly(0)))
        starts = tuple(start if d == axis else 0 for d in range(len(g.shape)))
        stops = tuple(dim(poly(start) + xs[i].shape[axis]) if d == axis else n for d, n in enumerate(g.shape))
        return slice_(g, starts=starts, stops=stops, steps=(1,) * len(g.shape))  # type: ignore[no-any-return]

    def lower(self, *xs: Type, axis: int) -> Lowering:
        def element(at: Index, *reads: Any) -> Any:
            start, parts = poly(0), []
            for read, x in zip(reads, xs, strict=True):
                stop = start + x.shape[axis]
                parts.append(((at[axis], dim(start), dim(stop)), read((*at[:axis], at[axis] - start, *at[axis + 1 :]))))
                start = stop
            out = parts.pop()[1]
            for condition, part in reversed(parts):
                out = Where((condition,), part, out)
            return out

        return Pointwise(element)


broadcast: Op = Broadcast()
permute: Op = Permute()
reshape: Op = Reshape()
slice_: Op = Slice()
put: Op = Put()
concatenate: Op = Concatenate()
