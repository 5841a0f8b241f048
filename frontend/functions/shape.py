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
from .arguments import (
    axis_of,
    distinct,
    integer_of,
    of_tensor,
    shape_of,
    size_of,
    tensor_of,
    tensors_of,
)
from .operands import append, cast, common_dtype, located

PERMUTE, RESHAPE, BROADCAST, SLICE, DETACH = (
    OPS[n] for n in ("permute", "reshape", "broadcast", "slice", "detach")
)


@of_tensor
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


@of_tensor
def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """A view with two dimensions exchanged."""
    a, b = axis_of(dim0, input.ndim, "transpose"), axis_of(dim1, input.ndim, "transpose")
    order = list(range(input.ndim))
    if order:
        order[a], order[b] = order[b], order[a]
    return permute(input, order)


@of_tensor
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


@of_tensor
def reverse_dims(input: Tensor) -> Tensor:
    """All dimensions in reverse order (the attribute ``T``)."""
    return permute(input, tuple(range(input.ndim - 1, -1, -1)))


@of_tensor
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


@of_tensor
def view(input: Tensor, *size: Any) -> Tensor:
    """The same memory under another shape; ShapeError where strides do not allow it (use reshape)."""
    wanted = complete(shape_of(size, "view", -1), product(input._type.shape), "view")
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


@of_tensor
def reshape(input: Tensor, *shape: Any) -> Tensor:
    """``input`` under another shape: a view where strides allow it, else a copy."""
    wanted = complete(shape_of(shape, "reshape", -1), product(input._type.shape), "reshape")
    out = _viewed(input, wanted, "reshape")
    return wrap(append(RESHAPE, value_of(input), shape=wanted)) if out is None else out


@of_tensor
def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """The dimensions from ``start_dim`` to ``end_dim`` as one."""
    a, b = axis_of(start_dim, input.ndim, "flatten"), axis_of(end_dim, input.ndim, "flatten")
    if not input.ndim:
        return reshape(input, 1)
    if a > b:
        raise ShapeError(explain("flatten: start_dim comes after end_dim", caller()))
    shape = input._type.shape
    return reshape(input, (*shape[:a], product(shape[a : b + 1]), *shape[b + 1 :]))


@of_tensor
def unflatten(input: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """One dimension as several, row-major."""
    a, shape = axis_of(dim, input.ndim, "unflatten", scalar=False), input._type.shape
    parts = complete(shape_of((sizes,), "unflatten", -1), shape[a], "unflatten")
    return reshape(input, (*shape[:a], *parts, *shape[a + 1 :]))


@of_tensor
def squeeze(input: Tensor, dim: Any = None) -> Tensor:
    """A view without the dimensions of size 1 (all of them, or those of ``dim`` that are)."""
    dims = range(input.ndim) if dim is None else distinct(dim, input.ndim, "squeeze")
    gone = {d for d in dims if input.ndim and input._type.shape[d] == 1}
    kept = [d for d in range(input.ndim) if d not in gone]
    return step(
        input,
        RESHAPE,
        (tuple(input._type.shape[d] for d in kept),),
        tuple(input._strides[d] for d in kept),
    )


@of_tensor
def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """A view with a new dimension of size 1 at ``dim``."""
    a = axis_of(dim, input.ndim + 1, "unsqueeze")
    shape, strides = list(input._type.shape), list(input._strides)
    shape_step = sizes.dim(poly(strides[a]) * shape[a]) if a < len(shape) else 1
    shape.insert(a, 1)
    strides.insert(a, shape_step)
    return step(input, RESHAPE, (tuple(shape),), tuple(strides))


@of_tensor
def expand(input: Tensor, *size: Any) -> Tensor:
    """A view that repeats dimensions of size 1 (and new ones in front) without copying; -1 keeps a size."""
    wanted = list(shape_of(size, "expand", -1))
    lead = len(wanted) - input.ndim
    for d, n in enumerate(wanted):
        if type(n) is int and n == -1:
            if d < lead:
                raise ShapeError(
                    explain(f"expand: -1 keeps a size, and dimension {d} is a new one", caller())
                )
            wanted[d] = input._type.shape[d - lead]
    return broadcast_to(input, tuple(wanted))


@of_tensor
def broadcast_to(input: Tensor, shape: Any) -> Tensor:
    """A view of the given shape: dimensions of size 1 repeat."""
    wanted = shape_of((shape,), "broadcast_to")
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


@of_tensor
def expand_as(input: Tensor, other: Tensor) -> Tensor:
    """``expand`` to the shape of another tensor."""
    return broadcast_to(input, tensor_of(other, "expand_as", "other")._type.shape)


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


@of_tensor
def narrow(input: Tensor, dim: int, start: Any, length: Any) -> Tensor:
    """A view of ``length`` places along ``dim`` from ``start``."""
    a, shape = axis_of(dim, input.ndim, "narrow", scalar=False), input._type.shape
    first, count = _place(start, "narrow", "start"), size_of(length, "narrow")
    if type(first) is int and first < 0:
        first = sizes.dim(poly(shape[a]) + first)
    starts = [first if d == a else 0 for d in range(len(shape))]
    stops = [sizes.dim(poly(first) + count) if d == a else n for d, n in enumerate(shape)]
    return slice_view(input, starts, stops, [1] * len(shape))


def _place(x: Any, name: str, argument: str) -> Dim:
    """A place along a dimension: an integer, maybe negative, or a run-time size."""
    if type(x) is int or numbers.is_number(x):
        return numbers.dim(x)
    return integer_of(x, name, argument)


@of_tensor
def select(input: Tensor, dim: int, index: Any) -> Tensor:
    """A view of one place along ``dim``; the dimension goes."""
    a = axis_of(dim, input.ndim, "select", scalar=False)
    index, n = integer_of(index, "select", "index"), input._type.shape[a]
    if type(n) is int and not -n <= index < n:
        raise IndexError(
            explain(
                f"select: index {index} is out of range for dimension {a} with size {n}", caller()
            )
        )
    return squeeze(narrow(input, a, index, 1), a)


@of_tensor
def split(input: Tensor, split_size_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Views along ``dim``: of one size each (the last may be shorter), or of the sizes of a list."""
    a = axis_of(dim, input.ndim, "split", scalar=False)
    n = int(input.shape[a])
    if isinstance(split_size_or_sections, tuple | list):
        parts = [int(size_of(k, "split")) for k in split_size_or_sections]  # type: ignore[arg-type]
        if sum(parts) != n:
            raise ShapeError(explain(f"split: the sizes {parts} do not add up to {n}", caller()))
    else:
        size = integer_of(split_size_or_sections, "split", "the size of a part")
        if size < min(n, 1):
            raise ValueError(
                explain(f"split: the size of a part must be positive, not {size}", caller())
            )
        parts = [min(size, n - k) for k in range(0, n, size)] if n else [0]
    starts = [sum(parts[:k]) for k in range(len(parts))]
    return tuple(narrow(input, a, s, k) for s, k in zip(starts, parts, strict=True))


@of_tensor
def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most ``chunks`` views along ``dim`` of equal size, the last perhaps shorter; of nothing all are empty."""
    chunks = integer_of(chunks, "chunk", "chunks")
    if chunks < 1:
        raise ValueError(explain(f"chunk: chunks must be positive, not {chunks}", caller()))
    n = int(input.shape[axis_of(dim, input.ndim, "chunk", scalar=False)])
    return split(input, -(-n // chunks) if n else [0] * chunks, dim)


@of_tensor
def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """The views along ``dim``, one for each place."""
    n = int(input.shape[axis_of(dim, input.ndim, "unbind", scalar=False)])
    return tuple(select(input, dim, k) for k in range(n))


def cat(tensors: Sequence[Tensor], dim: int = 0, *, axis: int | None = None) -> Tensor:
    """One after the other along ``dim``; 1-d empty tensors are left out, as in PyTorch."""
    tensors = tensors_of(tensors, "cat")
    real = [x for x in tensors if x._type.shape != (0,)] or tensors[:1]
    dtype = common_dtype(tensors)
    place = axis_of(dim if axis is None else axis, real[0].ndim, "cat", scalar=False)
    values = [cast(value_of(x), dtype) for x in real]
    return wrap(located(lambda: append(OPS["concatenate"], *values, axis=place)))


def stack(tensors: Sequence[Tensor], dim: int = 0, *, axis: int | None = None) -> Tensor:
    """Tensors of one shape along a new dimension."""
    tensors = tensors_of(tensors, "stack")
    place = axis_of(dim if axis is None else axis, tensors[0].ndim + 1, "stack")
    return cat([unsqueeze(x, place) for x in tensors], place)


@of_tensor
def repeat(input: Tensor, *repeats: Any) -> Tensor:
    """Copies side by side: ``repeats[d]`` of them along dimension ``d``."""
    counts = shape_of(repeats, "repeat")
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


@of_tensor
def detach(input: Tensor) -> Tensor:
    """The same memory without history: nothing done to it is recorded for a backward."""
    return step(input, DETACH, ())


@of_tensor
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


@of_tensor
def contiguous(input: Tensor) -> Tensor:
    """``input`` itself if it lies in row-major order, else a copy that does."""
    return input if input.is_contiguous() else wrap(append(OPS["alias"], value_of(input)))


@of_tensor
def flip(input: Tensor, *dims: Any) -> Tensor:
    """A copy with the order along ``dims`` reversed."""
    wanted = dims[0] if len(dims) == 1 and isinstance(dims[0], tuple | list) else dims
    axes = distinct(wanted, input.ndim, "flip")
    value = value_of(input)
    if not input.ndim or not axes:
        return wrap(append(OPS["alias"], value))
    for axis in axes:
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
    return wrap(value)


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
