"""The element types, and PyTorch's rule for what a mixture of them becomes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np


class DType:
    """An element type: ``name`` (as in IR text), ``long`` (as users write it), ``kind`` and ``itemsize`` in bytes.

    ``kind`` is one of ``b`` bool, ``u`` unsigned, ``i`` signed, ``f`` float, ``c`` complex.
    There is one object per type, so ``is`` compares.

    >>> float32, float32.itemsize, float32.is_floating_point
    (gristmill.float32, 4, True)
    """

    __slots__ = ("_numpy", "is_complex", "is_floating_point", "itemsize", "kind", "long", "name")

    def __init__(self, name: str, long: str, kind: str, itemsize: int) -> None:
        self.name, self.long, self.kind, self.itemsize = name, long, kind, itemsize
        self.is_floating_point, self.is_complex = kind == "f", kind == "c"
        self._numpy: np.dtype[Any] | None = None if name == "bf16" else np.dtype(long)

    @property
    def numpy(self) -> np.dtype[Any]:
        """The NumPy type of an array of these (bfloat16 comes from ml_dtypes, loaded when first asked for)."""
        if self._numpy is None:
            import ml_dtypes

            self._numpy = np.dtype(ml_dtypes.bfloat16)
        return self._numpy

    @property
    def is_signed(self) -> bool:
        """Whether negative numbers exist in it."""
        return self.kind in "ifc"

    @property
    def bits(self) -> int:
        """Size of one element in bits, as stored."""
        return 8 * self.itemsize

    def to_complex(self) -> DType:
        """The complex type whose parts are of this float type (float16 and bfloat16 become complex64)."""
        return complex128 if self.name in ("f64", "c128") else complex64

    def __repr__(self) -> str:
        return f"gristmill.{self.long}"

    def __reduce__(self) -> tuple[Any, ...]:
        return by_name, (self.name,)

    def __copy__(self) -> DType:
        return self

    def __deepcopy__(self, memo: Any) -> DType:
        return self


bool_ = DType("bool", "bool", "b", 1)
uint8 = DType("u8", "uint8", "u", 1)
int8 = DType("i8", "int8", "i", 1)
int16 = DType("i16", "int16", "i", 2)
int32 = DType("i32", "int32", "i", 4)
int64 = DType("i64", "int64", "i", 8)
float16 = DType("f16", "float16", "f", 2)
bfloat16 = DType("bf16", "bfloat16", "f", 2)
float32 = DType("f32", "float32", "f", 4)
float64 = DType("f64", "float64", "f", 8)
complex64 = DType("c64", "complex64", "c", 8)
complex128 = DType("c128", "complex128", "c", 16)

INTEGERS = (uint8, int8, int16, int32, int64)
FLOATS = (float16, bfloat16, float32, float64)
COMPLEX = (complex64, complex128)
REAL = (bool_, *INTEGERS, *FLOATS)
NUMERIC = (*INTEGERS, *FLOATS, *COMPLEX)
DTYPES = (*REAL, *COMPLEX)

_BY_NAME = {d.name: d for d in DTYPES} | {d.long: d for d in DTYPES}
_BY_NUMPY = {d.numpy: d for d in DTYPES if d.name != "bf16"}


def by_name(name: str) -> DType:
    """The type of a name, short (``f32``) or long (``float32``)."""
    try:
        return _BY_NAME[name]
    except KeyError:
        known = ", ".join(d.name for d in DTYPES)
        raise ValueError(f"no dtype is called {name!r}; there are {known}") from None


def from_numpy(dtype: Any) -> DType:
    """The type of a NumPy dtype; TypeError for one that has no counterpart (uint16, object, strings ...)."""
    dtype = np.dtype(dtype)
    found = _BY_NUMPY.get(dtype)
    if found is not None:
        return found
    if dtype.name == "bfloat16":
        return bfloat16
    raise TypeError(
        f"NumPy's {dtype} has no counterpart here; convert the array first, e.g. to float32 or int64"
    )


_RANK = {"b": 0, "u": 1, "i": 1, "f": 2, "c": 3}


def promote(a: DType, b: DType) -> DType:
    """The smallest type of PyTorch's table that holds both.

    >>> promote(int64, float16), promote(uint8, int8), promote(float16, bfloat16)
    (gristmill.float16, gristmill.int16, gristmill.float32)
    """
    if a is b:
        return a
    ra, rb = _RANK[a.kind], _RANK[b.kind]
    if ra != rb:
        low, high = (a, b) if ra < rb else (b, a)
        return complex128 if high is complex64 and low is float64 else high
    if a.kind == b.kind:
        if {a, b} == {float16, bfloat16}:
            return float32
        return a if a.itemsize > b.itemsize else b
    signed = a if a.kind == "i" else b
    return int16 if signed is int8 else signed


_default = float32


def default_float() -> DType:
    """The float type of Python floats and of integers that an op turns to floats."""
    return _default


def set_default_float(dtype: DType) -> None:
    """Make ``dtype`` (a float) the type of new float tensors."""
    global _default
    if not dtype.is_floating_point:
        raise TypeError(f"the default dtype must be a float, not {dtype!r}")
    _default = dtype


def of_number(value: object) -> DType:
    """The type a Python number has when nothing else decides: bool, int64, the default float, its complex."""
    if isinstance(value, bool | np.bool_):
        return bool_
    if isinstance(value, int | np.integer):
        return int64
    return _default.to_complex() if isinstance(value, complex) else _default


def result_type(
    dims: Iterable[DType], zeros: Iterable[DType] = (), numbers: Iterable[DType] = ()
) -> DType:
    """PyTorch's three ranks: tensors with dimensions, 0-d tensors, Python numbers.

    A lower rank changes the result only when its category (bool < integer < float < complex) is higher.

    >>> result_type([int32], numbers=[float32]), result_type([float16], [float64])
    (gristmill.float32, gristmill.float16)
    """
    found: DType | None = None
    for rank in (dims, zeros, numbers):
        here: DType | None = None
        for dtype in rank:
            here = dtype if here is None else promote(here, dtype)
        if here is None:
            continue
        if found is None:
            found = here
        elif _RANK[here.kind] > _RANK[found.kind]:
            found = _lift(found, here)
    if found is None:
        raise ValueError("result_type needs at least one operand")
    return found


def _lift(found: DType, here: DType) -> DType:
    """``here`` has the higher category; a complex number keeps the precision of the floats that it meets."""
    if here.kind == "c" and found.kind == "f":
        return found.to_complex()
    return here
