"""Functions that place elements elsewhere; views wherever PyTorch's are views."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...ir import sizes
from ...ir.errors import ShapeError
from ...ir.op import OPS
from ...ir.sizes import Dim, Shape, dim, equal, poly, product
from ...ir.source import caller, explain
from .. import numbers
from ..layout import is_contiguous, view_strides
from ..state import state
from ..tensor import Tensor, value_of, wrap
from ..tensor import view as step
from .operands import append, axis_of, cast, common_dtype, located, shape_of

PERMUTE, RESHAPE, BROADCAST, SLICE, DETACH = (
    OPS[n] for n in ("permute", "reshape", "broadcast", "slice", "detach")
)


def permute(input: Tensor, *dims: Any) -> Tensor:
    """A view whose dimension ``k`` is dimension ``dims[k]`` of ``input``."""
    order = dims[0] if len(dims) == 1 and isinstance(dims[0], tuple | list) else dims
    order = tuple(axis_of(d, input.ndim, "permute") for d in order)
    if sorted(order) != list(range(input.ndim)):
        raise ShapeError(
            explain(
                f"permute: {order} is no order of the {input.ndim} dimensions of {input._type}",
                caller(),
                f"name each of 0 to {input.ndim - 1} once",
            )
        )
    return step(input, PERMUTE, (order,), tuple(input._strides[d] for d in order))


def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """A view with two dimensions exchanged."""
    a, b = axis_of(dim0, input.ndim, "transpose"), axis_of(dim1, input.ndim, "transpose")
    order = list(range(input.ndim))
    if order:
        order[a], order[b] = order[b], order[a]
    return permute(input, order)


def t(input: Tensor) -> Tensor:
    """The transpose of a matrix; vectors and numbers as they are."""
    if input.ndim > 2:
        raise ShapeError(
            explain(
                f"t: expects at most 2 dimensions, not {input._type}",
                caller(),
                "use transpose or mT",
            )
        )
    return transpose(input, 0, 1) if input.ndim == 2 else input


def reverse_dims(input: Tensor) -> Tensor:
    """All dimensions in reverse order (the attribute ``T``)."""
    return permute(input, tuple(range(input.ndim - 1, -1, -1)))


def matrix_transpose(input: Tensor) -> Tensor:
    """The last two dimensions exchanged (the attribute ``mT``)."""
    return transpose(input, -2, -1)


def complete(shape: Shape, total: Dim, name: str) -> Shape:
    """Put the missing size in the place of -1."""
    if not any(type(n) is int and n == -1 for n in shape):
        return shape
    known = product(n for n in shape if not (type(n) is int and n == -1))
    if sum(1 for n in shape if type(n) is int and n == -1) > 1:
        raise ShapeError(explain(f"{name}: only one size can be -1 in {shape}", caller()))
    if known == 0 or (type(total) is int and type(known) is int and total % known):
        raise ShapeError(
            explain(f"{name}: {total} elements do not fit the shape {shape}", caller())
        )
    try:
        rest = dim(poly(total) // known)
    except sizes.SizeError:
        rest = _by_number(total, known, name)
    return tuple(rest if type(n) is int and n == -1 else n for n in shape)


def _by_number(total: Dim, known: Dim, name: str) -> Dim:
    """A quotient that no polynomial holds: decided by the sizes of this call."""
    a, b = (int(state.trace.size(n)) if not isinstance(n, int) else n for n in (total, known))
    if a % b:
        raise ShapeError(explain(f"{name}: {a} elements do not divide by {b}", caller()))
    return a // b


def _viewed(input: Tensor, shape: Shape, name: str) -> Tensor | None:
    if not equal(product(shape), product(input._type.shape)):
        raise ShapeError(
            explain(
                f"{name}: {input._type} has {product(input._type.shape)} elements, "
                f"the shape {tuple(shape)} has {product(shape)}",
                caller(),
                "give sizes of the same product; -1 stands for one that is found",
            )
        )
    strides = view_strides(input._type.shape, input._strides, shape)
    return None if strides is None else step(input, RESHAPE, (shape,), strides)


def view(input: Tensor, *shape: Any) -> Tensor:
    """The same memory under another shape; ShapeError where strides do not allow it (use reshape)."""
    wanted = complete(shape_of(shape), product(input._type.shape), "view")
    out = _viewed(input, wanted, "view")
    if out is None:
        raise ShapeError(
            explain(
                f"view: the memory of {input._type} with strides {input.stride()} has no shape {wanted}",
                caller(),
                "use reshape(...), which copies where it must",
            )
        )
    return out


def reshape(input: Tensor, *shape: Any) -> Tensor:
    """``input`` under another shape: a view where strides allow it, else a copy."""
    wanted = complete(shape_of(shape), product(input._type.shape), "reshape")
    out = _viewed(input, wanted, "reshape")
    return wrap(append(RESHAPE, value_of(input), shape=wanted)) if out is None else out


def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """The dimensions from ``start_dim`` to ``end_dim`` as one."""
    if not input.ndim:
        return reshape(input, 1)
    a, b = axis_of(start_dim, input.ndim, "flatten"), axis_of(end_dim, input.ndim, "flatten")
    if a > b:
        raise ShapeError(explain("flatten: start_dim comes after end_dim", caller()))
    shape = input._type.shape
    return reshape(input, (*shape[:a], product(shape[a : b + 1]), *shape[b + 1 :]))


def unflatten(input: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """One dimension as several, row-major."""
    a, shape = axis_of(dim, input.ndim, "unflatten"), input._type.shape
    parts = complete(shape_of((sizes,)), shape[a], "unflatten")
    return reshape(input, (*shape[:a], *parts, *shape[a + 1 :]))


def squeeze(input: Tensor, dim: Any = None) -> Tensor:
    """A view without the dimensions of size 1 (all of them, or those of ``dim`` that are)."""
    dims = (
        range(input.ndim)
        if dim is None
        else [
            axis_of(d, input.ndim, "squeeze")
            for d in (dim if isinstance(dim, tuple | list) else (dim,))
        ]
    )
    gone = {d for d in dims if input.ndim and input._type.shape[d] == 1}
    kept = [d for d in range(input.ndim) if d not in gone]
    return step(
        input,
        RESHAPE,
        (tuple(input._type.shape[d] for d in kept),),
        tuple(input._strides[d] for d in kept),
    )


def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """A view with a new dimension of size 1 at ``dim``."""
    a = axis_of(dim, input.ndim + 1, "unsqueeze")
    shape, strides = list(input._type.shape), list(input._strides)
    shape_step = sizes.dim(poly(strides[a]) * shape[a]) if a < len(shape) else 1
    shape.insert(a, 1)
    strides.insert(a, shape_step)
    return step(input, RESHAPE, (tuple(shape),), tuple(strides))


def expand(input: Tensor, *shape: Any) -> Tensor:
    """A view that repeats dimensions of size 1 (and new ones in front) without copying; -1 keeps a size."""
    wanted = list(shape_of(shape))
    lead = len(wanted) - input.ndim
    for d in range(max(lead, 0), len(wanted)):
        if type(wanted[d]) is int and wanted[d] == -1:
            wanted[d] = input._type.shape[d - lead]
    return broadcast_to(input, tuple(wanted))


def broadcast_to(input: Tensor, shape: Any) -> Tensor:
    """A view of the given shape: dimensions of size 1 repeat."""
    wanted = shape_of((tuple(shape),))
    found = input._type
    located(lambda: BROADCAST.infer(found, shape=wanted))
    lead = len(wanted) - len(found.shape)
    strides = (
        *([0] * lead),
        *(
            0 if n == 1 and wanted[lead + d] != 1 else s
            for d, (n, s) in enumerate(zip(found.shape, input._strides, strict=True))
        ),
    )
    return step(input, BROADCAST, (wanted,), strides)


def expand_as(input: Tensor, other: Tensor) -> Tensor:
    """``expand`` to the shape of another tensor."""
    return broadcast_to(input, other._type.shape)


def slice_view(
    input: Tensor, starts: Sequence[Dim], stops: Sequence[Dim], steps: Sequence[int]
) -> Tensor:
    """A view of a box of elements (starts and stops already inside of the shape)."""
    moved = [s * a for s, a in zip(input._strides, starts, strict=True)]
    offset = sizes.dim(sum(moved, input._offset))
    strides = tuple([sizes.dim(s * k) for s, k in zip(input._strides, steps, strict=True)])
    return located(
        lambda: step(input, SLICE, (tuple(starts), tuple(stops), tuple(steps)), strides, offset)
    )  # type: ignore[no-any-return]


def narrow(input: Tensor, dim: int, start: Any, length: Any) -> Tensor:
    """A view of ``length`` places along ``dim`` from ``start``."""
    a, shape = axis_of(dim, input.ndim, "narrow"), input._type.shape
    first, count = numbers.dim(start), numbers.dim(length)
    if type(first) is int and first < 0:
        first = sizes.dim(poly(shape[a]) + first)
    starts = [first if d == a else 0 for d in range(len(shape))]
    stops = [sizes.dim(poly(first) + count) if d == a else n for d, n in enumerate(shape)]
    return slice_view(input, starts, stops, [1] * len(shape))


def select(input: Tensor, dim: int, index: Any) -> Tensor:
    """A view of one place along ``dim``; the dimension goes."""
    a = axis_of(dim, input.ndim, "select")
    index, n = int(index), input._type.shape[a]
    if type(n) is int and not -n <= index < n:
        raise IndexError(
            explain(
                f"select: index {index} is out of range for dimension {a} with size {n}", caller()
            )
        )
    return squeeze(narrow(input, a, index, 1), a)


def split(input: Tensor, split_size_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Views along ``dim``: of one size each (the last may be shorter), or of the sizes of a list."""
    a = axis_of(dim, input.ndim, "split")
    n = int(input.shape[a])
    if isinstance(split_size_or_sections, tuple | list):
        parts = [int(k) for k in split_size_or_sections]
        if sum(parts) != n:
            raise ShapeError(explain(f"split: the sizes {parts} do not add up to {n}", caller()))
    else:
        size = int(split_size_or_sections)
        if size < 1:
            raise ValueError(
                explain(f"split: the size of a part must be positive, not {size}", caller())
            )
        parts = [min(size, n - k) for k in range(0, n, size)] or [0]
    starts = [sum(parts[:k]) for k in range(len(parts))]
    return tuple(narrow(input, a, s, k) for s, k in zip(starts, parts, strict=True))


def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most ``chunks`` views along ``dim`` of equal size, the last perhaps shorter."""
    n = int(input.shape[axis_of(dim, input.ndim, "chunk")])
    return split(input, max(-(-n // chunks), 1), dim)


def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """The views along ``dim``, one for each place."""
    return tuple(
        select(input, dim, k) for k in range(int(input.shape[axis_of(dim, input.ndim, "unbind")]))
    )


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """One after the other along ``dim``; 1-d empty tensors are left out, as in PyTorch."""
    tensors = list(tensors)
    if not tensors:
        raise ValueError(explain("cat: needs at least one tensor", caller()))
    real = [x for x in tensors if x._type.shape != (0,)] or tensors[:1]
    dtype = common_dtype(tensors)
    axis = axis_of(dim, real[0].ndim, "cat")
    values = [cast(value_of(x), dtype) for x in real]
    return wrap(located(lambda: append(OPS["concatenate"], *values, axis=axis)))


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors of one shape along a new dimension."""
    tensors = list(tensors)
    if not tensors:
        raise ValueError(explain("stack: needs at least one tensor", caller()))
    axis = axis_of(dim, tensors[0].ndim + 1, "stack")
    return cat([unsqueeze(x, axis) for x in tensors], axis)


def repeat(input: Tensor, *sizes: Any) -> Tensor:
    """Copies side by side: ``sizes[d]`` of them along dimension ``d``."""
    counts = shape_of(sizes)
    lead = len(counts) - input.ndim
    if lead < 0:
        raise ShapeError(
            explain(f"repeat: needs a count for each of the {input.ndim} dimensions", caller())
        )
    shape = (*([1] * lead), *input._type.shape)
    paired = tuple(n for c, k in zip(counts, shape, strict=True) for n in (c, k))
    apart = reshape(input, tuple(n for k in shape for n in (1, k)))
    return reshape(
        broadcast_to(apart, paired),
        tuple(dim(poly(c) * k) for c, k in zip(counts, shape, strict=True)),
    )


def detach(input: Tensor) -> Tensor:
    """The same memory without history: nothing done to it is recorded for a backward."""
    return step(input, DETACH, ())


def clone(input: Tensor) -> Tensor:
    """A copy with its own memory; gradients flow through."""
    dense = _is_dense(input)
    return wrap(append(OPS["alias"], value_of(input)), input._strides if dense else None)


def _is_dense(input: Tensor) -> bool:
    """Whether the elements fill a block of memory, in whatever order."""
    shape, strides = input._type.shape, input._strides
    if is_contiguous(shape, strides):
        return False
    pairs = [
        (s, n) for s, n in zip(strides, shape, strict=True) if type(s) is int and type(n) is int
    ]
    if len(pairs) < len(shape):
        return False
    expected = 1
    for s, n in sorted(pairs):
        if n != 1 and s != expected:
            return False
        expected *= n
    return True


def contiguous(input: Tensor) -> Tensor:
    """``input`` itself if it lies in row-major order, else a copy that does."""
    return input if input.is_contiguous() else wrap(append(OPS["alias"], value_of(input)))


def flip(input: Tensor, *dims: Any) -> Tensor:
    """A copy with the order along ``dims`` reversed."""
    axes = dims[0] if len(dims) == 1 and isinstance(dims[0], tuple | list) else dims
    value = value_of(input)
    for d in axes:
        axis = axis_of(d, input.ndim, "flip")
        n = value.shape[axis]
        places = append(
            OPS["iota"], shape=value.shape, axis=axis, dtype=OPS["iota"].defaults["dtype"]
        )
        last = append(OPS["size"], value=sizes.dim(poly(n) - 1))
        value = append(
            OPS["gather"],
            value,
            append(OPS["broadcast"], last, shape=value.shape) - places,
            axis=axis,
        )
    return wrap(value if axes else append(OPS["alias"], value))


__all__ = [
    "broadcast_to",
    "cat",
    "chunk",
    "clone",
    "detach",
    "flatten",
    "flip",
    "narrow",
    "permute",
    "reshape",
    "select",
    "split",
    "squeeze",
    "stack",
    "t",
    "transpose",
    "unbind",
    "unflatten",
    "unsqueeze",
]
