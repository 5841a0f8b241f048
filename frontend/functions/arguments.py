"""What every function checks of its arguments: tensors, sizes, dimensions, dtypes, and numbers that must fit."""

from __future__ import annotations

import functools
import inspect
import operator
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from ...ir import dtypes
from ...ir.dtypes import DType, complex128, float64
from ...ir.errors import ShapeError
from ...ir.sizes import Dim, Shape
from ...ir.source import caller, explain
from .. import numbers
from ..storage import from_array
from ..tensor import Tensor

Function = TypeVar("Function", bound=Callable[..., Any])
PYTHON = {float: float64, complex: complex128, int: dtypes.int64, bool: dtypes.bool_}
NUMPY_NAMES = {"axis": "dim", "keepdims": "keepdim"}


# ---- tensors ----


ARRAYS = (np.ndarray, np.generic)
OPERANDS = (Tensor, bool, int, float, complex, *ARRAYS)


def is_operand(x: Any) -> bool:
    """Whether arithmetic takes it: a tensor, an array or a number."""
    return isinstance(x, OPERANDS) or numbers.is_number(x)


def as_operand(x: Any, what: str = "an operand") -> Any:
    """A tensor, or a number; arrays become tensors, anything else is a TypeError with the user's line."""
    if isinstance(x, ARRAYS):
        return Tensor(from_array(np.asarray(x)))
    if is_operand(x):
        return x
    raise TypeError(
        explain(f"{what} must be a Tensor or a number, not {type(x).__name__}", caller())
    )


def tensor_of(x: Any, name: str, argument: str = "input") -> Tensor:
    """A tensor, or an array as one; a TypeError that names the function and the argument for anything else."""
    if isinstance(x, Tensor):
        return x
    if isinstance(x, ARRAYS):
        return Tensor(from_array(np.asarray(x)))
    raise TypeError(
        explain(f"{name}: {argument} must be a Tensor, not {type(x).__name__}", caller())
    )


def tensors_of(xs: Any, name: str) -> list[Tensor]:
    """A list of tensors, at least one."""
    if isinstance(xs, Tensor) or not hasattr(xs, "__iter__"):
        raise TypeError(
            explain(f"{name}: takes a list of tensors, not {type(xs).__name__}", caller())
        )
    found = [tensor_of(x, name, f"element {k}") for k, x in enumerate(xs)]
    if not found:
        raise ValueError(explain(f"{name}: needs at least one tensor", caller()))
    return found


def of_tensor(function: Function) -> Function:
    """A function whose first argument must be a tensor; it also takes NumPy's names axis and keepdims.

    What it takes as ``*sizes`` can be given by that name as well: ``flip(x, dims=(0, 1))``.
    """
    name, starred = function.__name__, _starred(function)

    @functools.wraps(function)
    def checked(input: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(input, Tensor):
            input = tensor_of(input, name)
        if kwargs:
            kwargs = {NUMPY_NAMES.get(k, k): v for k, v in kwargs.items()}
            if starred in kwargs:
                args = (*args, kwargs.pop(starred))
        return function(input, *args, **kwargs)

    return checked  # type: ignore[return-value]


def of_size(function: Function) -> Function:
    """A function of ``*size`` that also takes ``size=``."""
    starred = _starred(function)

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        if starred in kwargs:
            args = (*args, kwargs.pop(starred))
        return function(*args, **kwargs)

    return checked  # type: ignore[return-value]


def _starred(function: Callable[..., Any]) -> str | None:
    for p in inspect.signature(function).parameters.values():
        if p.kind is p.VAR_POSITIONAL:
            return p.name
    return None


# ---- sizes and dimensions ----


def shape_of(sizes_: Any, name: str = "shape", least: int = 0) -> Shape:
    """Sizes as users give them, ``f(2, 3)`` or ``f((2, 3))``, as a shape of integers and polynomials.

    ``least`` is -1 where -1 stands for a size that is found.
    """
    if len(sizes_) == 1 and isinstance(sizes_[0], tuple | list):
        sizes_ = sizes_[0]
    return tuple([size_of(n, name, least) for n in sizes_])


def size_of(n: Any, name: str, least: int = 0) -> Dim:
    """One size; TypeError for what is no integer, ShapeError for a negative one."""
    if type(n) is not int:
        try:
            n = numbers.dim(n)
        except TypeError:
            raise TypeError(
                explain(f"{name}: a size must be an integer, not {type(n).__name__}", caller())
            ) from None
    if type(n) is int and n < least:
        raise ShapeError(explain(f"{name}: a size cannot be negative: {n}", caller()))
    return n  # type: ignore[no-any-return]


def integer_of(x: Any, name: str, argument: str) -> int:
    """A plain integer; a run-time one is decided. TypeError for floats, bools and the like."""
    try:
        if isinstance(x, bool):
            raise TypeError
        return operator.index(x)
    except TypeError:
        raise TypeError(
            explain(f"{name}: {argument} must be an integer, not {type(x).__name__}", caller())
        ) from None


def axis_of(dim: Any, rank: int, name: str = "dim", scalar: bool = True) -> int:
    """A dimension counted from the front; IndexError as PyTorch's where there is none of that number.

    A 0-d tensor has the dimension 0 for most functions, but not for those with ``scalar=False``.
    """
    dim = integer_of(dim, name, "dim")
    if not rank and not scalar:
        raise IndexError(explain(f"{name}: a 0-d tensor has no dimension {dim}", caller()))
    n = max(rank, 1)
    if not -n <= dim < n:
        raise IndexError(
            explain(f"{name}: dimension {dim} is out of range: expected {-n} to {n - 1}", caller())
        )
    return dim % n


def distinct(dims: Any, rank: int, name: str) -> tuple[int, ...]:
    """Dimensions from the front in the order given; ShapeError where one stands twice."""
    found = tuple(
        [axis_of(d, rank, name) for d in (dims if isinstance(dims, tuple | list) else (dims,))]
    )
    if len(set(found)) != len(found):
        raise ShapeError(explain(f"{name}: a dimension stands twice in {found}", caller()))
    return found


def axes_of(dim: Any, rank: int, name: str = "dim") -> tuple[int, ...]:
    """Dimensions from the front, ascending; None and () mean all."""
    if dim is None or (isinstance(dim, tuple | list) and not dim):
        return tuple(range(rank))
    found = distinct(dim, rank, name)
    return tuple(sorted(found)) if rank else ()


# ---- dtypes and numbers ----


def float_of(x: Any, name: str, argument: str) -> float:
    """A number as a float; a run-time one is decided."""
    if is_operand(x) and not isinstance(x, complex):
        return float(x)
    raise TypeError(
        explain(f"{name}: {argument} must be a number, not {type(x).__name__}", caller())
    )


def named_dtype(dtype: Any) -> DType:
    """A dtype given as such, by name, or as Python's float (float64), int, bool or complex (complex128)."""
    if isinstance(dtype, DType):
        return dtype
    if is_python_type(dtype):
        return PYTHON[dtype]
    if isinstance(dtype, str):
        return dtypes.by_name(dtype)
    if isinstance(dtype, type | np.dtype):
        return dtypes.from_numpy(dtype)
    raise TypeError(explain(f"dtype must be a dtype, not {type(dtype).__name__}", caller()))


def is_python_type(x: Any) -> bool:
    """Whether ``x`` is one of Python's types that stand for a dtype."""
    return isinstance(x, type) and x in PYTHON


def bounds_of(dtype: DType) -> tuple[int, int]:
    """The integers that may be given for an integer dtype: negative ones wrap in an unsigned one, as in PyTorch."""
    info = np.iinfo(dtype.numpy)
    return (-int(info.max) if dtype.kind == "u" else int(info.min)), int(info.max)


def fitting(number: Any, dtype: DType, name: str) -> Any:
    """``number``, if ``dtype`` holds it; RuntimeError for an integer out of range, NaN as an integer, and the like."""
    number = as_operand(number, f"{name}: the value")
    if isinstance(number, complex) and not dtype.is_complex:
        if number.imag or dtype.kind in "iu":
            raise _misfit(number, dtype, name)
        return number.real
    if dtype.kind not in "iu" or (numbers.is_number(number) and dtype is dtypes.int64):
        return number
    low, high = bounds_of(dtype)
    if not low <= number <= high:
        raise _misfit(number, dtype, name)
    return number


def fitting_array(array: np.ndarray, dtype: DType, name: str) -> np.ndarray:
    """As ``fitting``, for each element."""
    if dtype.kind in "iu" and array.size and array.dtype.kind in "iuf":
        low, high = bounds_of(dtype)
        outside = ~((array >= low) & (array <= high))
        if outside.any():
            raise _misfit(array[outside][0], dtype, name)
    return array


def _misfit(number: Any, dtype: DType, name: str) -> RuntimeError:
    return RuntimeError(
        explain(
            f"{name}: {number} cannot be kept in {dtype!r}",
            caller(),
            "choose a dtype that holds it",
        )
    )
