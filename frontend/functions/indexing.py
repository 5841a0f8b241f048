"""Reading and writing by index: slices are views, tensors of places are gathers."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ir.dtypes import bool_, int64
from ...ir.errors import DTypeError, IndexRangeError, ShapeError
from ...ir.graph import Value
from ...ir.op import OPS
from ...ir.sizes import Dim, at_least, broadcast_shapes, contiguous_strides, dim, poly, product
from ...ir.source import caller, explain
from .. import numbers
from ..state import state
from ..tensor import Tensor, value_of, wrap
from .arithmetic import where
from .creation import from_numpy, tensor
from .operands import append, axis_of, cast, located, stretch, tensor_of
from .shape import permute, slice_view, squeeze, unsqueeze


def get_item(self: Tensor, key: Any) -> Tensor:
    """``x[key]``: integers, slices, None and ... give views; tensors (or lists) of places or a mask copy."""
    out, places = basic(self, expand_masks(self, key))
    return take(out, places) if places else out


def expand_masks(self: Tensor, key: Any) -> tuple[Any, ...]:
    """The key as a tuple without ...; a mask becomes the places where it is True (only where its values are known)."""
    parts = list(key) if isinstance(key, tuple) else [key]
    parts = [_as_place(k) for k in parts]
    used = sum(
        k.ndim if isinstance(k, Tensor) and k.dtype is bool_ else 1
        for k in parts
        if k is not None and k is not Ellipsis
    )
    if used > self.ndim:
        raise IndexRangeError(explain(f"too many indices ({used}) for {self._type}", caller()))
    if sum(1 for k in parts if k is Ellipsis) > 1:
        raise IndexRangeError(explain("an index can hold ... only once", caller()))
    if not any(k is Ellipsis for k in parts):
        parts.append(Ellipsis)
    at = next(i for i, k in enumerate(parts) if k is Ellipsis)
    parts[at : at + 1] = [slice(None)] * (self.ndim - used)
    out: list[Any] = []
    for k in parts:
        out += _where_true(k) if isinstance(k, Tensor) and k.dtype is bool_ else [k]
    return tuple(out)


def _as_place(k: Any) -> Any:
    if isinstance(k, list | np.ndarray):
        k = from_numpy(k) if isinstance(k, np.ndarray) else tensor(k)
    if isinstance(k, bool):
        raise DTypeError(
            explain(
                "an index cannot be a bool: use unsqueeze, or a mask of the tensor's shape",
                caller(),
            )
        )
    if isinstance(k, Tensor) and k.dtype is not bool_:
        if k.dtype.kind not in "iu":
            raise DTypeError(
                explain(f"an index must be integers or bools, not {k._type}", caller())
            )
        return k
    return k


def _where_true(mask: Tensor) -> list[Tensor]:
    if state.trace is not None:
        state.trace.refuse(
            "an index by a mask has a size that depends on values", "use gm.where(mask, x, other)"
        )
    return [from_numpy(found.astype(np.int64)) for found in np.nonzero(mask.detach().numpy())]


def basic(self: Tensor, key: tuple[Any, ...]) -> tuple[Tensor, dict[int, Tensor]]:
    """Apply everything but tensors as views; returns the view, and the places by dimension of it."""
    shape = self._type.shape
    starts: list[Dim] = [0] * len(shape)
    stops, steps = list(shape), [1] * len(shape)
    gone, new, places, source, at = [], [], {}, 0, 0
    for k in key:
        if k is None:
            new.append(at)
            at += 1
            continue
        if isinstance(k, Tensor):
            places[at] = k
        elif isinstance(k, slice):
            starts[source], stops[source], steps[source] = bounds(k, shape[source])
        else:
            starts[source] = _one(k, shape[source], source)
            stops[source] = dim(starts[source] + 1)
            gone.append(source)
            at -= 1
        source, at = source + 1, at + 1
    whole = all(s == 0 for s in starts) and stops == list(shape) and all(k == 1 for k in steps)
    out = self if whole and (new or gone or places) else slice_view(self, starts, stops, steps)
    if gone:
        out = squeeze(out, gone)
    for d in new:
        out = unsqueeze(out, d)
    return out, places


def _one(k: Any, n: Dim, d: int) -> Dim:
    try:
        index = numbers.dim(k)
    except TypeError:
        raise TypeError(
            explain(
                f"an index must be an integer, a slice, None, ... or a tensor, not {type(k).__name__}",
                caller(),
            )
        ) from None
    if type(index) is int and index < 0:
        index = dim(n + index)
    if not (at_least(index, 0) and at_least(n, dim(index + 1))):
        raise IndexRangeError(
            explain(f"index {k} is out of range for dimension {d} with size {n}", caller())
        )
    return index


def bounds(k: slice, n: Dim) -> tuple[Dim, Dim, int]:
    """Start, stop and step of a slice of a dimension of size ``n``, by Python's rule; steps are positive."""
    step = 1 if k.step is None else int(k.step)
    if step < 1:
        raise ValueError(
            explain(
                f"the step of a slice must be positive, not {step}",
                caller(),
                "use flip for the reverse order",
            )
        )
    if step > 1:
        n = numbers.settled(n)  # how many steps fit is no polynomial in a size
    start, stop = _inside(k.start, n, 0), _inside(k.stop, n, n)
    return start, stop if at_least(stop, start) else start, step


def _inside(x: Any, n: Dim, default: Dim) -> Dim:
    if x is None:
        return default
    at = numbers.dim(x)
    if type(at) is int and at < 0:
        at = dim(poly(n) + at)
    if not at_least(at, 0):
        return 0
    return at if at_least(n, at) else n


# ---- places given by tensors ----


def take(x: Tensor, places: dict[int, Tensor]) -> Tensor:
    """The elements at the places, as NumPy and PyTorch index.

    The broadcast dimensions of the places stand where the first of them stood if they are
    neighbours, else in front.
    """
    axes = sorted(places)
    front = permute(x, (*axes, *(d for d in range(x.ndim) if d not in axes)))
    picked, rank = _gather_front(value_of(front), [value_of(places[d]) for d in axes])
    neighbours = axes == list(range(axes[0], axes[0] + len(axes)))
    out = wrap(picked)
    if neighbours and axes[0]:
        lead = axes[0]
        order = (*range(rank, rank + lead), *range(rank), *range(rank + lead, out.ndim))
        out = permute(out, order)
    return out


def _gather_front(x: Value, places: list[Value]) -> tuple[Value, int]:
    """``x[places...]`` where the places name the first dimensions; also the number of their broadcast dimensions."""
    shape = located(lambda: broadcast_shapes(*(p.shape for p in places)))
    sizes_, rest = x.shape[: len(places)], x.shape[len(places) :]
    flat = _linear([stretch(cast(p, int64), shape) for p in places], sizes_)
    count, width = product(shape), product(rest)
    table = append(OPS["reshape"], x, shape=(product(sizes_), width))
    index = stretch(append(OPS["reshape"], flat, shape=(count, 1)), (count, width))
    out = append(OPS["gather"], table, index, axis=0)
    return append(OPS["reshape"], out, shape=(*shape, *rest)), len(shape)


def _linear(places: list[Value], sizes_: tuple[Dim, ...]) -> Value:
    """Places in several dimensions as places in row-major order; each is checked against its own dimension."""
    strides = contiguous_strides(sizes_)
    out: Value | None = None
    for p, n, s in zip(places, sizes_, strides, strict=True):
        p = _wrapped(p, n)
        if len(places) > 1:
            p = _checked(p, n)
            p = p * stretch(append(OPS["size"], value=s), p.shape)
        out = p if out is None else out + p
    return out  # type: ignore[return-value]


def _wrapped(p: Value, n: Dim) -> Value:
    """Negative places count from the end."""
    size = stretch(append(OPS["size"], value=n), p.shape)
    return append(OPS["select"], append(OPS["lt"], p, p.full(0)), p + size, p)


def _checked(p: Value, n: Dim) -> Value:
    """``p`` itself, read through a table of all places: so a place outside is an error of its own dimension."""
    table = append(OPS["iota"], shape=(n,), axis=0, dtype=int64)
    flat = append(OPS["reshape"], p, shape=(product(p.shape),))
    return append(OPS["reshape"], append(OPS["gather"], table, flat, axis=0), shape=p.shape)


def set_item(self: Tensor, key: Any, value: Any) -> None:
    """``x[key] = value``: through a view for basic keys, by selection for a mask of the tensor's shape."""
    if isinstance(value, Tensor) and _is_same_view(self, key, value):
        return  # x[i] += 1 stores the very view that it has already written
    if (
        isinstance(key, Tensor)
        and key.dtype is bool_
        and key._type.shape == self._type.shape
        and _is_single(value)
    ):
        self.copy_(
            where(key, value if not isinstance(value, Tensor) else value.to(self.dtype), self)
        )
        return
    out, places = basic(self, expand_masks(self, key))
    if not places:
        out.copy_(value)
        return
    _set_places(out, places, value)


def _is_single(value: Any) -> bool:
    return not isinstance(value, Tensor) or value.ndim == 0


def _is_same_view(self: Tensor, key: Any, value: Tensor) -> bool:
    return (
        value._storage is self._storage
        and len(value._steps) > len(self._steps)
        and not isinstance(key, Tensor)
        and value._steps == get_item(self, key)._steps
    )


def _set_places(out: Tensor, places: dict[int, Tensor], value: Any) -> None:
    """Write at places: what stood there is taken away, and the last value for each place added."""
    axes = sorted(places)
    order = (*axes, *(d for d in range(out.ndim) if d not in axes))
    front = permute(out, order)
    x = value_of(front)
    shape = located(lambda: broadcast_shapes(*(value_of(places[d]).shape for d in axes)))
    sizes_, rest = x.shape[: len(axes)], x.shape[len(axes) :]
    flat = _linear([stretch(cast(value_of(places[d]), int64), shape) for d in axes], sizes_)
    total, count, width = product(sizes_), product(shape), product(rest)
    row = append(OPS["reshape"], flat, shape=(count,))
    keep = stretch(
        append(OPS["reshape"], _last_writers(row, count), shape=(count, 1)), (count, width)
    )
    source = value if isinstance(value, Tensor) else tensor(value, dtype=out.dtype)
    fresh = stretch(cast(value_of(source), out.dtype), (*shape, *rest))
    fresh = append(OPS["reshape"], fresh, shape=(count, width))
    fresh = append(OPS["select"], keep, fresh, fresh.full(0))
    table, index = (
        append(OPS["reshape"], x, shape=(total, width)),
        stretch(append(OPS["reshape"], flat, shape=(count, 1)), (count, width)),
    )
    zeros = append(OPS["constant"], value=0, dtype=int64, shape=(total, width))
    hit = append(OPS["scatter_add"], zeros, index, index.full(1), axis=0)
    cleared = append(OPS["select"], append(OPS["gt"], hit, hit.full(0)), table.full(0), table)
    written = append(OPS["scatter_add"], cleared, index, fresh, axis=0)
    front.copy_(wrap(append(OPS["reshape"], written, shape=x.shape)))


def _last_writers(row: Value, count: Dim) -> Value:
    """Where nobody later writes to the same place: the last of each run in stable sorted order."""
    order = append(OPS["argsort"], row, axis=0, descending=False)
    ascending = append(OPS["gather"], row, order, axis=0)
    end = append(OPS["constant"], value=-1, dtype=int64, shape=(1,))
    shifted = append(
        OPS["slice"],
        append(OPS["concatenate"], ascending, end, axis=0),
        starts=(1,),
        stops=(dim(poly(count) + 1),),
        steps=(1,),
    )
    last = cast(append(OPS["ne"], ascending, shifted), int64)
    found = append(OPS["scatter_add"], row.full(0), order, last, axis=0)
    return append(OPS["ne"], found, found.full(0))


# ---- functions ----


def gather(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """``input`` at the places ``index`` names along ``dim``; the result has the shape of ``index``."""
    axis = axis_of(dim, input.ndim, "gather")
    return wrap(located(lambda: append(OPS["gather"], value_of(input), value_of(index), axis=axis)))


def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """``input`` with ``src`` added at the places ``index`` names along ``dim``."""
    axis = axis_of(dim, input.ndim, "scatter_add")
    source = (
        src[tuple(slice(0, n) for n in index._type.shape)]
        if src._type.shape != index._type.shape
        else src
    )
    return wrap(
        located(
            lambda: append(
                OPS["scatter_add"], value_of(input), value_of(index), value_of(source), axis=axis
            )
        )
    )


def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """The places of a 1-d ``index`` along ``dim``, in its order."""
    if index.ndim != 1:
        raise ShapeError(
            explain(f"index_select: index must have one dimension, not {index._type}", caller())
        )
    axis = axis_of(dim, input.ndim, "index_select")
    return get_item(input, (*([slice(None)] * axis), index))


def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """``value`` where ``mask`` is True, else ``input``."""
    if isinstance(value, Tensor) and value.ndim:
        raise ShapeError(
            explain(
                f"masked_fill: value must be a number or a 0-d tensor, not {value._type}", caller()
            )
        )
    return where(
        tensor_of(mask, "masked_fill"),
        value if not isinstance(value, Tensor) else value.to(input.dtype),
        input,
    )


def argsort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """The places along ``dim`` in ascending (or descending) order; always stable, NaN is greatest."""
    value = value_of(input)
    if not value.shape:
        return tensor(0)
    return wrap(
        append(OPS["argsort"], value, axis=axis_of(dim, input.ndim), descending=bool(descending))
    )
