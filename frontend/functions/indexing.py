"""Reading and writing by index: slices are views, tensors of places are gathers."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...ir.dtypes import bool_, int32, int64
from ...ir.errors import DTypeError, IndexRangeError, ShapeError
from ...ir.graph import Value
from ...ir.op import OPS
from ...ir.sizes import (
    Dim,
    at_least,
    broadcast_shapes,
    contiguous_strides,
    dim,
    equal,
    poly,
    product,
)
from ...ir.source import caller, explain
from .. import numbers
from ..state import state
from ..tensor import Tensor, value_of, wrap
from .arguments import (
    as_operand,
    axis_of,
    fitting,
    integer_of,
    is_operand,
    of_tensor,
    tensor_of,
)
from .arithmetic import mask_of, to, where
from .creation import from_numpy, tensor
from .operands import append, cast, full, located, stretch
from .shape import broadcast_to, permute, reshape, slice_view, squeeze, unsqueeze


def get_item(self: Tensor, key: Any) -> Tensor:
    """``x[key]``: integers, slices, None and ... give views; tensors (or lists) of places or a mask copy."""
    out, places = basic(self, expand_masks(self, key))
    return take(out, places) if places else out


def expand_masks(self: Tensor, key: Any) -> tuple[Any, ...]:
    """The key as a tuple without ...; a mask becomes the places where it is True (only where its values are known).

    A mask without dimensions, ``x[True]``, becomes a pair (None, places): a new dimension of one element or none.
    """
    parts = [_as_place(k) for k in (key if isinstance(key, tuple) else (key,))]
    used = sum(map(_width, parts))
    if used > self.ndim:
        raise IndexRangeError(explain(f"too many indices ({used}) for {self._type}", caller()))
    if sum(1 for k in parts if k is Ellipsis) > 1:
        raise IndexRangeError(explain("an index can hold ... only once", caller()))
    if not any(k is Ellipsis for k in parts):
        parts.append(Ellipsis)
    at = next(i for i, k in enumerate(parts) if k is Ellipsis)
    parts[at : at + 1] = [slice(None)] * (self.ndim - used)
    out: list[Any] = []
    source = 0
    for k in parts:
        out += _where_true(self, k, source) if _is_mask(k) else [k]
        source += _width(k)
    return tuple(out)


def _is_mask(k: Any) -> bool:
    return isinstance(k, bool | np.bool_) or (isinstance(k, Tensor) and k.dtype is bool_)


def _width(k: Any) -> int:
    """How many dimensions a part of a key takes."""
    if _is_mask(k):
        return k.ndim if isinstance(k, Tensor) else 0
    return 0 if k is None or k is Ellipsis else 1


def _as_place(k: Any) -> Any:
    if isinstance(k, np.ndarray):
        k = from_numpy(k)
    elif isinstance(k, list):
        k = tensor(k)
        if not k.numel():
            k = k.long()
    if isinstance(k, Tensor) and k.dtype.kind not in "biu":
        raise DTypeError(explain(f"an index must be integers or bools, not {k._type}", caller()))
    return k


def _where_true(self: Tensor, mask: Any, source: int) -> list[Any]:
    """The places where a mask of the dimensions from ``source`` on is True."""
    if not isinstance(mask, Tensor):
        return [(None, from_numpy(np.zeros(int(bool(mask)), np.int64)))]
    shape, own = mask._type.shape, self._type.shape[source : source + mask.ndim]
    if not all(equal(n, m) for n, m in zip(shape, own, strict=True)):
        raise IndexRangeError(
            explain(
                f"the mask {mask._type} does not have the sizes {own} of the dimensions that it "
                f"stands for in {self._type}",
                caller(),
            )
        )
    if state.trace is not None:
        state.trace.refuse(
            "an index by a mask has a size that depends on values", "use gm.where(mask, x, other)"
        )
    if not mask.ndim:
        return _where_true(self, bool(mask), source)
    return [from_numpy(found.astype(np.int64)) for found in np.nonzero(mask.detach().numpy())]


def basic(self: Tensor, key: tuple[Any, ...]) -> tuple[Tensor, dict[int, Tensor]]:
    """Apply everything but tensors as views; returns the view, and the places by dimension of it."""
    shape = self._type.shape
    starts: list[Dim] = [0] * len(shape)
    stops, steps = list(shape), [1] * len(shape)
    gone, new, places, source, at = [], [], {}, 0, 0
    for k in key:
        if k is None or isinstance(k, tuple):
            if k is not None:
                places[at] = k[1]
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
    step = 1 if k.step is None else integer_of(k.step, "slice", "the step")
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


class _Table:
    """A tensor as a table [lead, rows, width], and the rows that places name: what reading and writing share.

    The broadcast dimensions of the places stand where the first of them stood if they are neighbours, else in front:
    ``shape`` is that of ``x[key]``. ``lead`` and its dimension are left out where nothing stands before the places.
    """

    def __init__(self, x: Tensor, places: dict[int, Tensor], wraps: bool = True) -> None:
        axes = sorted(places)
        if axes != list(range(axes[0], axes[0] + len(axes))):
            x = permute(x, (*axes, *(d for d in range(x.ndim) if d not in axes)))
            first = 0
        else:
            first = axes[0]
        self.x, own, last = x, x._type.shape, first + len(axes)
        values = [value_of(places[d]) for d in axes]
        chosen = located(lambda: broadcast_shapes(*(p.shape for p in values)))
        values = [stretch(cast(p, int64), chosen) for p in values]
        self.rows = _linear(values, own[first:last], wraps)
        self.count, self.total = product(chosen), product(own[first:last])
        self.shape = (*own[:first], *chosen, *own[last:])
        self.lead = (product(own[:first]),) if first else ()
        self.width, self.axis = product(own[last:]), len(self.lead)

    def table(self, value: Value, rows: Dim) -> Value:
        """``value`` as [lead, rows, width]."""
        return append(OPS["reshape"], value, shape=(*self.lead, rows, self.width))

    def read(self, value: Value, rows: Value, count: Dim) -> Value:
        """The named rows of a table."""
        return append(OPS["gather"], value, self.spread(rows, count), axis=self.axis)

    def spread(self, rows: Value, count: Dim) -> Value:
        """One value for each row, repeated over the table."""
        column = append(OPS["reshape"], rows, shape=(*(1 for _ in self.lead), count, 1))
        return stretch(column, (*self.lead, count, self.width))


def take(x: Tensor, places: dict[int, Tensor], wraps: bool = True) -> Tensor:
    """The elements at the places, as NumPy and PyTorch index; negative ones count from the end if ``wraps``."""
    t = _Table(x, places, wraps)
    out = t.read(t.table(value_of(t.x), t.total), t.rows, t.count)
    return wrap(append(OPS["reshape"], out, shape=t.shape))


def _linear(places: list[Value], sizes_: tuple[Dim, ...], wraps: bool) -> Value:
    """Places in several dimensions as places in row-major order; each is checked against its own dimension."""
    strides = contiguous_strides(sizes_)
    out: Value | None = None
    for p, n, s in zip(places, sizes_, strides, strict=True):
        p = _wrapped(p, n) if wraps else p
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
        and (value.ndim == 0 if isinstance(value, Tensor) else is_operand(value))
    ):
        self.copy_(masked_fill(self, key, value))
        return
    out, places = basic(self, expand_masks(self, key))
    if places:
        _set_places(out, places, value)
    else:
        out.copy_(_without_ones(value, out.ndim) if isinstance(value, Tensor) else value)


def _without_ones(value: Tensor, rank: int) -> Tensor:
    """A value whose leading dimensions of size 1, more than ``rank`` of them, do not count."""
    while value.ndim > rank and value._type.shape[0] == 1:
        value = squeeze(value, 0)
    return value


def _is_same_view(self: Tensor, key: Any, value: Tensor) -> bool:
    return (
        value._storage is self._storage
        and len(value._steps) > len(self._steps)
        and not isinstance(key, Tensor)
        and value._steps == get_item(self, key)._steps
    )


def _set_places(out: Tensor, places: dict[int, Tensor], value: Any) -> None:
    """Write at places: each row of the table reads the last value written to it, or keeps what it has."""
    t = _Table(out, places)
    source = value if isinstance(value, Tensor) else tensor(value, dtype=out.dtype)
    source = broadcast_to(to(_without_ones(source, len(t.shape)), out.dtype), t.shape)
    if t.count == 0:
        return
    row = append(OPS["reshape"], t.rows, shape=(t.count,))
    ordinal = append(OPS["iota"], shape=(t.count,), axis=0, dtype=int64) + 1
    mark = append(OPS["select"], _last_writers(row, t.count), ordinal, ordinal.full(0))
    none = append(OPS["constant"], value=0, dtype=int64, shape=(t.total,))
    writer = append(OPS["scatter_add"], none, row, mark, axis=0)
    hit = append(OPS["gt"], writer, writer.full(0))
    from_ = append(OPS["select"], hit, writer - 1, writer.full(0))
    fresh = t.read(t.table(value_of(source), t.count), from_, t.total)
    old = t.table(value_of(t.x), t.total)
    written = append(OPS["select"], t.spread(hit, t.total), fresh, old)
    t.x.copy_(wrap(append(OPS["reshape"], written, shape=t.x._type.shape)))


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


def index_of(index: Any, name: str) -> Tensor:
    """A tensor of places for a function: int32 or int64, as int64."""
    found = tensor_of(index, name, "index")
    if found.dtype not in (int32, int64):
        raise DTypeError(
            explain(
                f"{name}: index must be int32 or int64, not {found._type}",
                caller(),
                "convert it: index.long()",
            )
        )
    return to(found, int64)


def _lined(x: Tensor) -> Tensor:
    """A tensor with at least one dimension."""
    return x if x.ndim else unsqueeze(x, 0)


@of_tensor
def gather(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """``input`` at the places ``index`` names along ``dim``; the result has the shape of ``index``."""
    axis, index = axis_of(dim, input.ndim, "gather"), index_of(index, "gather")
    x, at = value_of(_lined(input)), value_of(_lined(index))
    out = wrap(located(lambda: append(OPS["gather"], x, at, axis=axis)))
    return out if index.ndim else squeeze(out, 0)


@of_tensor
def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """``input`` with ``src`` added at the places ``index`` names along ``dim``."""
    axis, index = axis_of(dim, input.ndim, "scatter_add"), index_of(index, "scatter_add")
    source = tensor_of(src, "scatter_add", "src")
    if source._type.shape != index._type.shape and source.ndim == index.ndim:
        source = source[tuple(slice(0, n) for n in index._type.shape)]
    values = [value_of(_lined(x)) for x in (input, index, source)]
    out = wrap(located(lambda: append(OPS["scatter_add"], *values, axis=axis)))
    return out if input.ndim else squeeze(out, 0)


@of_tensor
def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """The places of a 1-d ``index`` along ``dim``, in its order; they do not count from the end."""
    index = index_of(index, "index_select")
    if index.ndim > 1:
        raise ShapeError(
            explain(f"index_select: index must have one dimension, not {index._type}", caller())
        )
    axis = axis_of(dim, input.ndim, "index_select")
    out = take(_lined(input), {axis: _lined(index)}, wraps=False)
    return out if input.ndim else reshape(out, ())


@of_tensor
def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """``value`` where ``mask`` is True, else ``input``; in the dtype of ``input``."""
    mask = mask_of(mask, "masked_fill", "mask")
    value = as_operand(value, "masked_fill: value")
    if isinstance(value, Tensor) and value.ndim:
        raise ShapeError(
            explain(
                f"masked_fill: value must be a number or a 0-d tensor, not {value._type}", caller()
            )
        )
    if not isinstance(value, Tensor):
        value = wrap(full(fitting(value, input.dtype, "masked_fill"), input.dtype, ()))
    return where(mask, to(value, input.dtype), input)


@of_tensor
def argsort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """The places along ``dim`` in ascending (or descending) order; always stable, NaN is greatest."""
    value = value_of(input)
    axis = axis_of(dim, input.ndim, "argsort")
    if not value.shape:
        return tensor(0)
    return wrap(append(OPS["argsort"], value, axis=axis, descending=bool(descending)))
