"""The text of a tensor, in PyTorch's form: ``tensor([1.0000, 2.5000])``.

One format serves all numbers of a tensor: whole numbers where all are whole, else four decimals, or powers of ten where
they are far apart. More than 1000 elements are shown by three at each end of every dimension.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..ir.dtypes import bool_, default_float, int64
from .state import state
from .tensor import Tensor

WIDTH, MOST, EDGE = 80, 1000, 3


def represent(self: Tensor) -> str:
    """``tensor([1., 2.], requires_grad=True)``; inside a trace the type without values."""
    if state.trace is not None and not state.trace.holds_concrete(self):
        return f"tensor(..., {self._type}, traced)"
    if self._storage.owner is not None:
        return f"tensor(..., {self._type}, made by a trace that has ended)"
    array = self._array("printing")
    if array.dtype.name == "bfloat16":
        array = array.astype(np.float32)
    head = "tensor("
    text = head + (_rows(array, len(head), *_formats(array)) if array.size else "[]")
    return _followed(text, _notes(self), len(head)) + ")"


def _notes(t: Tensor) -> list[str]:
    """What stands behind the numbers."""
    out = []
    empty = 0 in t._type.shape
    if empty and len(t._type.shape) != 1:
        out.append(f"size={tuple(t._type.shape)}")
    float_ = default_float()
    plain = (float_,) if empty else (float_, float_.to_complex(), int64, bool_)
    if t.dtype not in plain:
        out.append(f"dtype={t.dtype!r}")
    if t.requires_grad:
        out.append("requires_grad=True" if t.is_leaf else f"grad_fn=<{t.grad_fn.op.name}>")
    return out


def _followed(text: str, notes: list[str], indent: int) -> str:
    """The notes after the text, on new lines where a line is full."""
    length = len(text) - text.rfind("\n") + 1
    for note in notes:
        if length + len(note) + 2 > WIDTH:
            text += ",\n" + " " * indent + note
            length = indent + len(note)
        else:
            text += ", " + note
            length += len(note) + 2
    return text


# ---- numbers ----

Format = Callable[[Any], str]


def _formats(array: np.ndarray) -> tuple[Format, int]:
    """How each number is written, and how many characters it takes."""
    shown = _corners(array) if array.size > MOST else array
    if array.dtype.kind != "c":
        return _format(shown)
    real, before = _format(shown.real)
    imaginary, after = _format(shown.imag)

    def pair(z: complex) -> str:
        tail = imaginary(z.imag).lstrip() + "j"
        return real(z.real) + (tail if tail[0] in "+-" else "+" + tail)

    return pair, before + after + 1


def _format(array: np.ndarray) -> tuple[Format, int]:
    """One format for all numbers of a real array."""
    numbers = array.ravel().tolist()
    if array.dtype.kind != "f":
        width = max(len(str(n)) for n in numbers)
        return lambda n: str(n).rjust(width), width
    sized = [n for n in numbers if n != 0 and math.isfinite(n)]
    if not sized:
        return _whole, 1
    least, most = min(map(abs, sized)), max(map(abs, sized))
    if most / least > 1000 or most > 1e8 or least < 1e-4:
        write: Format = "{:.4e}".format
    elif all(n == math.ceil(n) for n in sized):
        write = _whole
    else:
        write = "{:.4f}".format
    width = max(len(write(n)) for n in sized)
    return lambda n: write(n).rjust(width), width


def _whole(n: float) -> str:
    return f"{n:.0f}." if math.isfinite(n) else f"{n:.0f}"


def _corners(array: np.ndarray) -> np.ndarray:
    """The elements at the ends of every dimension."""
    ends = [*range(EDGE), *range(-EDGE, 0)]
    for axis, n in enumerate(array.shape):
        if n > 2 * EDGE:
            array = array.take(ends, axis)
    return array


# ---- rows ----


def _rows(array: np.ndarray, indent: int, write: Format, width: int, whole: bool = True) -> str:
    """The array in brackets; ``whole`` until it is known that the numbers are too many."""
    if array.ndim == 0:
        return write(array.item())
    cut = (array.size > MOST or not whole) and len(array) > 2 * EDGE
    whole = whole and array.size <= MOST
    firsts, lasts = (array[:EDGE], array[-EDGE:]) if cut else (array, array[:0])
    if array.ndim == 1:
        parts = [*map(write, firsts.tolist()), *[" ..."] * cut, *map(write, lasts.tolist())]
        each = max(1, (WIDTH - indent) // (width + 2))
        lines = [", ".join(parts[i : i + each]) for i in range(0, len(parts), each)]
        between = ",\n"
    else:
        inner = [
            [_rows(a, indent + 1, write, width, whole) for a in end] for end in (firsts, lasts)
        ]
        lines = [*inner[0], *["..."] * cut, *inner[1]]
        between = "," + "\n" * (array.ndim - 1)
    return "[" + (between + " " * (indent + 1)).join(lines) + "]"
