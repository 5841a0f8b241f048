"""Tensor: a view of a storage, with a dtype, a shape, strides and an offset; and how tensors meet the graph.

A view is a chain of steps (view op, attributes) from the base of its storage. Reading it derives its value from what
the storage holds now; writing it puts the new value back through the chain. Methods are attached by ``methods``.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from ..ir.dtypes import DType
from ..ir.errors import GradError, LeakedError, ShapeError
from ..ir.graph import Type, Value, current
from ..ir.op import OPS, Op, set_default_builder
from ..ir.sizes import Dim, Shape, contiguous_strides
from ..ir.source import caller, explain
from .device import CPU, Device
from .eager import Eager
from .layout import Size, copy_strides, is_contiguous, with_strides
from .state import bump, state, tracing
from .storage import Stamp, Storage, settle

Step = tuple[Op, tuple[Any, ...]]
NEED = "use gm.where(...), keep the value as a tensor, return it, or run with gm.compile(f, disable=True)"


class Tensor:
    """A multi-dimensional array of one dtype that can record what is done to it.

    Made by ``gristmill.tensor`` and its like, by ops and by indexing.

    >>> import gristmill as gm
    >>> x = gm.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    tensor([[2., 4.],
            [6., 8.]])
    """

    __slots__ = (
        "__weakref__",
        "_base",
        "_cache",
        "_grad",
        "_offset",
        "_recorded",
        "_steps",
        "_storage",
        "_strides",
        "_type",
        "_watched",
    )
    __array_priority__ = 1000

    _storage: Storage

    def __init__(
        self,
        storage: Storage,
        steps: tuple[Step, ...] = (),
        type: Type | None = None,
        strides: Shape | None = None,
        offset: Dim = 0,
    ) -> None:
        self._grad: Tensor | None = None
        self._watched = False
        self._recorded = state.grad_enabled
        self._rebind(storage, steps, type, strides, offset)

    def _rebind(
        self,
        storage: Storage,
        steps: tuple[Step, ...] = (),
        type: Type | None = None,
        strides: Shape | None = None,
        offset: Dim = 0,
    ) -> None:
        """Become a view of another storage."""
        self._storage, self._steps, self._offset = storage, steps, offset
        self._type = storage.type if type is None else type
        self._strides = storage.strides if strides is None else strides
        self._base: Value | None = None
        self._cache: Value | None = None

    if TYPE_CHECKING:  # methods of ``methods`` and the operators

        def __getattr__(self, name: str) -> Any: ...
        def __add__(self, other: Any) -> Tensor: ...
        def __radd__(self, other: Any) -> Tensor: ...
        def __sub__(self, other: Any) -> Tensor: ...
        def __rsub__(self, other: Any) -> Tensor: ...
        def __mul__(self, other: Any) -> Tensor: ...
        def __rmul__(self, other: Any) -> Tensor: ...
        def __truediv__(self, other: Any) -> Tensor: ...
        def __rtruediv__(self, other: Any) -> Tensor: ...
        def __pow__(self, other: Any) -> Tensor: ...
        def __matmul__(self, other: Any) -> Tensor: ...
        def __neg__(self) -> Tensor: ...
        def __getitem__(self, key: Any) -> Tensor: ...
        def __setitem__(self, key: Any, value: Any) -> None: ...
        def __gt__(self, other: Any) -> Tensor: ...
        def __ge__(self, other: Any) -> Tensor: ...
        def __lt__(self, other: Any) -> Tensor: ...
        def __le__(self, other: Any) -> Tensor: ...

    # ---- what is known without values ----

    @property
    def dtype(self) -> DType:
        """The element type."""
        return self._type.dtype

    @property
    def shape(self) -> Size:
        """The sizes of the dimensions; inside a trace a size that may change is a run-time number."""
        shape = self._type.shape
        if state.trace is not None:
            return Size([n if type(n) is int else state.trace.size(n) for n in shape])
        return Size(shape)

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return len(self._type.shape)

    def dim(self) -> int:
        """The number of dimensions."""
        return len(self._type.shape)

    def numel(self) -> int:
        """The number of elements."""
        return self.shape.numel()

    nelement = numel

    def element_size(self) -> int:
        """Bytes of one element."""
        return self.dtype.itemsize

    def storage_offset(self) -> Any:
        """Where in its storage the first element lies, in elements."""
        return self._offset

    def is_contiguous(self) -> bool:
        """Whether the elements lie in row-major order without gaps."""
        return is_contiguous(self._type.shape, self._strides)

    @property
    def device(self) -> Device:
        """Where the memory lies."""
        return CPU

    @property
    def is_cuda(self) -> bool:
        """Whether the memory lies on a GPU."""
        return False

    def is_floating_point(self) -> bool:
        """Whether the dtype is a float."""
        return self.dtype.is_floating_point

    def is_complex(self) -> bool:
        """Whether the dtype is complex."""
        return self.dtype.is_complex

    def data_ptr(self) -> int:
        """The address of the first element."""
        return self._array("data_ptr()").__array_interface__["data"][0]  # type: ignore[no-any-return]

    def __len__(self) -> int:
        if not self._type.shape:
            raise TypeError("len() of a 0-d tensor")
        return self.shape[0]  # type: ignore[no-any-return]

    def __iter__(self) -> Iterator[Tensor]:
        if not self._type.shape:
            raise TypeError("iteration over a 0-d tensor")
        return (self[i] for i in range(self.shape[0]))

    def __hash__(self) -> int:
        return id(self)

    # ---- values ----

    def _array(self, what: str = "the value of a tensor") -> np.ndarray:
        """The elements as an array on the same memory; refused inside a trace."""
        if state.trace is not None and not state.trace.holds_concrete(self):
            state.trace.refuse(f"{what} needs the value of a tensor inside a traced function", NEED)
        if self._storage.owner is not None:
            base_value(self._storage, self)
        out: np.ndarray = self._storage.data  # type: ignore[assignment]
        for op, attributes in self._steps:
            out = op.reference(out, **op.named(attributes))
        return out

    def numpy(self, *, force: bool = False) -> np.ndarray:
        """A NumPy array on the same memory; of a tensor that requires grad only with ``detach()`` (or ``force``)."""
        if self.requires_grad and not force:
            raise GradError("numpy() of a tensor that requires grad: use tensor.detach().numpy()")
        return self._array("numpy()")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        out = self.numpy()
        if dtype is not None and out.dtype != dtype:
            return out.astype(dtype)
        return out.copy() if copy else out

    def item(self) -> Any:
        """The only element as a Python number."""
        if state.trace is not None and not state.trace.holds_concrete(self):
            return state.trace.item(self)
        array = self._array("item()")
        if array.size != 1:
            raise ShapeError(
                f"item: a tensor of shape {tuple(self.shape)} has {array.size} elements, not one"
            )
        return (
            array.reshape(()).astype(np.float32).item()
            if array.dtype.name == "bfloat16"
            else array.item()
        )

    def tolist(self) -> Any:
        """The elements as nested lists of Python numbers."""
        array = self._array("tolist()")
        return (
            array.astype(np.float32).tolist() if array.dtype.name == "bfloat16" else array.tolist()
        )

    def _one(self, what: str) -> Any:
        array = self._array(what)
        if array.size != 1:
            raise ShapeError(
                f"{what} of a tensor with {array.size} elements is ambiguous: use any(), all() or item()"
            )
        return array.reshape(())[()]

    def __bool__(self) -> bool:
        return bool(self._one("a branch (bool)"))

    def __int__(self) -> int:
        return int(self._one("int()"))

    def __float__(self) -> float:
        return float(self._one("float()"))

    def __complex__(self) -> complex:
        return complex(self._one("complex()"))

    def __index__(self) -> int:
        one = self._one("an index")
        if self.dtype.kind not in "biu":
            raise TypeError(f"only integer tensors can be an index, not {self.dtype!r}")
        return int(one)


    # ---- gradients ----

    @property
    def requires_grad(self) -> bool:
        """Whether operations on it are recorded for a backward."""
        if self._storage.leaf is not None and not self._steps:
            return True
        return value_of(self).tracked

    @requires_grad.setter
    def requires_grad(self, on: bool) -> None:
        self.requires_grad_(on)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Start (or stop) recording; the tensor becomes a leaf. Only floats and complex numbers can."""
        from_leaf = self._storage.leaf is not None and not self._steps
        if not requires_grad and not from_leaf:
            if value_of(self).tracked:
                raise GradError(
                    "requires_grad_(False) on a result of recorded operations: use detach()"
                )
            return self
        if not (self.dtype.is_floating_point or self.dtype.is_complex):
            raise GradError(
                f"only floating point and complex tensors can require gradients, not {self.dtype!r}"
            )
        if requires_grad and (from_leaf or value_of(self).tracked):
            return self
        make_leaf(self, requires_grad)
        return self

    @property
    def is_leaf(self) -> bool:
        """Whether it was made by the user rather than by a recorded operation."""
        return (self._storage.leaf is not None and not self._steps) or not self.requires_grad

    @property
    def grad(self) -> Tensor | None:
        """The gradient that backward added up here, or None."""
        return self._grad if state.trace is None else state.trace.read(self, "grad", self._grad)

    @grad.setter
    def grad(self, new: Tensor | None) -> None:
        if new is not None:
            if not isinstance(new, Tensor):
                raise TypeError(f"grad must be a Tensor or None, not {type(new).__name__}")
            if new._type != self._type:
                raise ShapeError(
                    f"grad is {new._type}, the tensor is {self._type}: they must agree"
                )
        if state.trace is not None:
            state.trace.assign(self, "grad", self._grad)
        elif self._watched and new is not self._grad:
            bump()
        self._grad = new

    @property
    def data(self) -> Tensor:
        """The same memory, without history."""
        return view(self, OPS["detach"], ())

    @data.setter
    def data(self, other: Tensor) -> None:
        if state.trace is not None:
            state.trace.refuse("x.data = y inside a traced function", "write x.data.copy_(y)")
        leaf = self._storage.leaf
        old = other._storage
        if any(op.name != "detach" for op, _ in other._steps):
            array = other._array()
            storage = Storage(
                other._type,
                copy_strides(other._type.shape, other._strides),
                np.array(array, order="K"),
                None,
            )
        else:
            storage = Storage(old.type, old.strides, old.data, None)
            storage.versions = old.versions
        storage.leaf = leaf
        settle(storage)
        self._rebind(storage)
        bump()

    @property
    def grad_fn(self) -> Any:
        """The node that made it, or None for a leaf and for what is not recorded."""
        return None if self.is_leaf else value_of(self).node


# ---- tensors and values ----


@contextmanager
def grad_mode(on: bool) -> Iterator[None]:
    """Record operations, or do not, inside the block."""
    before, state.grad_enabled = state.grad_enabled, on
    try:
        yield
    finally:
        state.grad_enabled = before


def base_value(storage: Storage, tensor: Tensor | None = None) -> Value:
    """What a storage holds now; inside a trace a concrete storage becomes an input of it."""
    trace = state.trace
    if storage.owner is not trace:
        if storage.owner is not None:
            with tracing:  # till another thread's trace has put back what it holds
                now = storage if tensor is None else tensor._storage
                if now.owner in (None, trace):
                    return base_value(now, tensor)
            place = storage.value.node.site.span
            raise LeakedError(
                explain(
                    f"this tensor was made at {place} inside a traced function that has ended",
                    caller(2),
                    "return it from the function, or assign it to an attribute of a Module",
                )
            )
        trace.capture(storage, tensor)
    value = storage.value
    return value if storage.owner is trace else base_value(storage, tensor)


def value_of(t: Tensor) -> Value:
    """The value of a tensor in the graph that is being built (eagerly: with its array)."""
    base = base_value(t._storage, t)
    if not t._steps:
        return base
    if t._base is not base or t._cache is None:
        value = base
        with grad_mode(
            t._recorded
        ):  # a view made while recording stays tracked when it is read under no_grad
            builder = current()
            for op, attributes in t._steps:
                value = builder.append(op, (value,), attributes)
        value.note = Stamp(t._storage)
        t._base, t._cache = base, value
    return t._cache


def view(
    t: Tensor,
    op: Op,
    attributes: tuple[Any, ...],
    strides: Shape | None = None,
    offset: Dim | None = None,
) -> Tensor:
    """A tensor on the same storage, one step further."""
    found = op.infer(t._type, **op.named(attributes))
    return Tensor(
        t._storage,
        (*t._steps, (op, attributes)),
        found,
        t._strides if strides is None else strides,
        t._offset if offset is None else offset,
    )


_SHARES = frozenset(["overwrite", "constant", "iota"])


def wrap(value: Value, strides: Shape | None = None) -> Tensor:
    """A tensor with a storage of its own that holds ``value``; ``strides`` None means row-major."""
    trace = state.trace
    layout = contiguous_strides(value.shape) if strides is None else strides
    if trace is not None:
        storage = Storage(value.type, layout, None, value, trace)
        trace.made(storage)
        return Tensor(storage)
    array = value.data
    if value.node.op.is_view or value.node.op.name in _SHARES or not array.flags.writeable:
        array = array.copy("C")
    if strides is not None:
        array = with_strides(array, strides)
    elif not array.flags.c_contiguous:
        array = array.copy("C")
    value.data = array
    return Tensor(Storage(value.type, layout, array, value))


def make_leaf(t: Tensor, on: bool) -> None:
    """Turn ``t`` into a leaf (or back): a view gets a storage of its own on the same memory."""
    if state.trace is not None and t._steps:
        state.trace.check_new(t)
    if t._steps:
        value = current().append(OPS["alias"], (value_of(t),), ())
        if state.trace is None:
            array, versions = t._array(), t._storage.versions
            storage = Storage(t._type, t._strides, array, None)
            storage.versions = versions
            t._rebind(storage)
        else:
            t._rebind(wrap(value, t._strides)._storage)
    if state.trace is not None:
        state.trace.make_leaf(t, on)
        return
    t._storage.leaf = weakref.ref(t) if on else None
    settle(t._storage)
    bump()


set_default_builder(Eager)
