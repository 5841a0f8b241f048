"""One row or more per op: what to call it with. The tests of ops, and of their compiled forms, are generated from it.

pytest puts ``tests/`` on the path: ``from op_examples import EXAMPLES, Example``. A new op gets its tests by a row
here (a row of the elementwise table needs only its ``EXACT`` meaning: its operands follow from its record).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy.special

from gristmill.ir.dtypes import COMPLEX, DTYPES, FLOATS, INTEGERS, bool_, float32, float64, int64
from gristmill.ir.op import OPS, Op
from gristmill.ir.ops.elementwise import ElementwiseOp


class Example(NamedTuple):
    """One use of an op. ``shapes`` are those of its operands; ``dtypes`` those that operand 0 takes here.

    ``exact`` gives the result in float64 (or the integers) from NumPy arrays; ``fixed`` the operands that do not
    vary with the dtype (indices, conditions, states), by a generator; ``smooth``: finite differences apply.
    """

    op: Op
    shapes: tuple[tuple[int, ...], ...]
    attributes: dict[str, Any]
    exact: Callable[..., Any]
    dtypes: tuple[Any, ...] = FLOATS
    fixed: dict[int, Callable[[np.random.Generator], np.ndarray]] = {}  # noqa: RUF012 (read only)
    smooth: bool = True

    def __str__(self) -> str:
        return f"{self.op.name}-{'-'.join(map(str, self.shapes))}".replace(" ", "")


NUMERIC = (*INTEGERS, *FLOATS, *COMPLEX)


def _floor_divide(a, b):
    return np.where(b == 0, 0, np.floor_divide(a, b)) if a.dtype.kind in "iu" else np.floor_divide(a, b)


#: the meaning of each elementwise op in float64, complex128, int or bool, by libraries that we did not write
EXACT: dict[str, Callable[..., Any]] = {
    "add": lambda a, b: np.logical_or(a, b) if a.dtype == bool else np.add(a, b),
    "sub": np.subtract,
    "mul": lambda a, b: np.logical_and(a, b) if a.dtype == bool else np.multiply(a, b),
    "div": np.true_divide, "floordiv": _floor_divide, "remainder": np.mod,
    "neg": np.negative, "abs": np.abs, "conj": np.conj, "floor": np.floor, "ceil": np.ceil, "trunc": np.trunc,
    "round": np.round, "maximum": np.maximum, "minimum": np.minimum, "relu": lambda x: np.maximum(x, 0),
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
    "bitwise_and": np.bitwise_and, "bitwise_or": np.bitwise_or, "bitwise_xor": np.bitwise_xor,
    "bitwise_not": np.bitwise_not, "exp": np.exp, "log": np.log, "sqrt": np.sqrt, "sin": np.sin, "cos": np.cos,
    "tanh": np.tanh, "sigmoid": lambda x: scipy.special.expit(x) if x.dtype.kind == "f" else 1 / (1 + np.exp(-x)),
    "erf": scipy.special.erf, "pow": lambda a, b: np.float_power(a, b) if a.dtype.kind in "fc" else _int_power(a, b),
    "shift_left": lambda a, b: _each(lambda x, y: x << y if 0 <= y < 8 * a.dtype.itemsize else 0, a, b),
    "shift_right": lambda a, b: _each(
        lambda x, y: x >> (y if 0 <= y < 8 * a.dtype.itemsize else 8 * a.dtype.itemsize - 1), a, b
    ),
}


def _each(function, *arrays):
    """A function of Python integers at each place, wrapped to the type of the first array."""
    bits = 8 * arrays[0].dtype.itemsize
    out = [function(*map(int, xs)) & (2**bits - 1) for xs in zip(*(a.ravel() for a in arrays), strict=True)]
    return np.array(out, np.uint64).astype(f"u{bits // 8}").view(arrays[0].dtype).reshape(arrays[0].shape)


def _int_power(a, b):
    def one(x, y):
        return x**y if y >= 0 else {1: 1, -1: -1 if y % 2 else 1}.get(x, 0)

    return _each(lambda x, y: one(x, y) if y < 200 else pow(x, y, 2**64), a, b)


def elementwise_examples() -> list[Example]:
    """Every row of the elementwise table on three shapes."""
    found = []
    for op in OPS.values():
        if isinstance(op, ElementwiseOp):
            for shape in ((3, 5), (), (0, 2)):
                shapes = (shape,) * len(op.operands)
                found.append(Example(op, shapes, {}, EXACT[op.name], op.dtypes, {}, op.result is None))
    return found


def condition(*shape: int) -> Callable[[np.random.Generator], np.ndarray]:
    return lambda rng: rng.random(shape) < 0.5


def places(below: int, *shape: int) -> Callable[[np.random.Generator], np.ndarray]:
    return lambda rng: rng.integers(0, below, shape)


def state(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 2**40, 2)


def _put(base, new, starts, stops, steps):
    out = base.copy()
    out[tuple(map(slice, starts, stops, steps))] = new
    return out


def _scatter(x, index, source, axis):
    out = x.copy()
    for at in np.ndindex(index.shape):
        to = list(at)
        to[axis] = index[at]
        out[tuple(to)] += source[at]
    return out


def _sorted_places(x, axis, descending=False):
    key = x.astype(np.float64)
    if not descending:
        return np.argsort(key, axis, kind="stable")
    return np.lexsort((-key, ~np.isnan(key)), axis=axis)


def _contract(x, y, spec):
    return np.einsum(spec, x, y)


def _sum(x, axes):
    return np.sum(x, axis=axes, dtype=x.dtype)


def _cut(x, starts, stops, steps):
    return x[tuple(map(slice, starts, stops, steps))]


_CUT = {"starts": (1, 0), "stops": (3, 5), "steps": (1, 2)}
_NONE = {"starts": (0, 2), "stops": (0, 2), "steps": (1, 1)}

# fmt: off
OTHERS = [
    Example(OPS["select"], ((3, 5),) * 3, {}, np.where, DTYPES, {0: condition(3, 5)}),
    Example(OPS["select"], ((),) * 3, {}, np.where, DTYPES, {0: condition()}),
    Example(OPS["cast"], ((3, 4),), {"dtype": float32},
            lambda x, dtype: x.astype(np.float32), (*INTEGERS, *FLOATS), {}, False),
    Example(OPS["cast"], ((3, 4),), {"dtype": float64},
            lambda x, dtype: x.astype(float), (bool_, *INTEGERS, *FLOATS)),
    Example(OPS["alias"], ((3, 4),), {}, lambda x: x, DTYPES),
    Example(OPS["detach"], ((3, 4),), {}, lambda x: x, DTYPES, {}, False),
    Example(OPS["overwrite"], ((3, 4),) * 2, {}, lambda old, new: new, DTYPES, {}, False),
    Example(OPS["broadcast"], ((3, 1),), {"shape": (2, 3, 5)},
            lambda x, shape: x + np.zeros(shape, x.dtype), NUMERIC),
    Example(OPS["broadcast"], ((),), {"shape": (0, 3)}, lambda x, shape: x + np.zeros(shape, x.dtype), NUMERIC),
    Example(OPS["permute"], ((2, 3, 5),), {"order": (2, 0, 1)}, lambda x, order: np.moveaxis(x, 2, 0), DTYPES),
    Example(OPS["permute"], ((),), {"order": ()}, lambda x, order: x, DTYPES),
    Example(OPS["reshape"], ((4, 3),), {"shape": (2, 1, 6)}, lambda x, shape: x.ravel().reshape(shape), DTYPES),
    Example(OPS["reshape"], ((0, 3),), {"shape": (5, 0)}, lambda x, shape: np.zeros(shape, x.dtype), DTYPES),
    Example(OPS["slice"], ((3, 5),), _CUT, _cut, DTYPES),
    Example(OPS["slice"], ((3, 5),), _NONE, _cut, DTYPES),
    Example(OPS["put"], ((3, 5), (2, 3)), _CUT, _put, DTYPES),
    Example(OPS["put"], ((3, 5), (0, 0)), _NONE, _put, DTYPES),
    Example(OPS["concatenate"], ((2, 3), (2, 1), (2, 0)), {"axis": 1},
            lambda *xs, axis: np.concatenate(xs, axis), DTYPES),
    Example(OPS["concatenate"], ((2,),), {"axis": 0}, lambda x, axis: x, DTYPES),
    Example(OPS["sum"], ((3, 5, 7),), {"axes": (0, 2)}, _sum, NUMERIC),
    Example(OPS["sum"], ((3, 5),), {"axes": ()}, _sum, NUMERIC),
    Example(OPS["sum"], ((0, 5),), {"axes": (0,)}, _sum, NUMERIC),
    Example(OPS["sum"], ((1, 131),), {"axes": (0, 1)}, _sum, NUMERIC),
    Example(OPS["amax"], ((3, 5, 7),), {"axes": (0, 2)},
            lambda x, axes: np.max(x, axes), (bool_, *INTEGERS, *FLOATS)),
    Example(OPS["amax"], ((3, 0, 2),), {"axes": (0, 2)}, lambda x, axes: np.max(x, axes), (*INTEGERS, *FLOATS)),
    Example(OPS["argmax"], ((3, 7),), {"axis": 1},
            lambda x, axis: np.argmax(x, axis), (*INTEGERS, *FLOATS), {}, False),
    Example(OPS["argmax"], ((7, 0),), {"axis": 0},
            lambda x, axis: np.argmax(x, axis), (*INTEGERS, *FLOATS), {}, False),
    Example(OPS["argsort"], ((3, 7),), {"axis": 0}, _sorted_places, (*INTEGERS, *FLOATS), {}, False),
    Example(OPS["argsort"], ((3, 7),), {"axis": 1, "descending": True},
            _sorted_places, (*INTEGERS, *FLOATS), {}, False),
    Example(OPS["contract"], ((3, 5), (2, 5)), {"spec": "bi,oi->bo"}, _contract, NUMERIC),
    Example(OPS["contract"], ((2, 3, 5), (5, 2, 7)), {"spec": "abi,iac->cab"}, _contract, NUMERIC),
    Example(OPS["contract"], ((5,), (5,)), {"spec": "i,i->"}, _contract, NUMERIC),
    Example(OPS["contract"], ((2,), (3,)), {"spec": "a,b->ba"}, _contract, NUMERIC),
    Example(OPS["contract"], ((2, 0), (0, 3)), {"spec": "ai,ib->ab"}, _contract, NUMERIC),
    Example(OPS["gather"], ((4, 5), (2, 7)), {"axis": 1}, np.take_along_axis, DTYPES, {1: places(5, 4, 7)}),
    Example(OPS["gather"], ((4, 5), (3, 2)), {"axis": 0},
            lambda x, i, axis: np.take_along_axis(x[:, :2], i, 0), DTYPES, {1: places(4, 3, 2)}),
    Example(OPS["scatter_add"], ((4, 5), (3, 5), (3, 5)), {"axis": 0}, _scatter, NUMERIC, {1: places(4, 3, 5)}),
    Example(OPS["scatter_add"], ((4,), (0,), (0,)), {"axis": 0}, _scatter, NUMERIC, {1: places(4, 0)}),
    Example(OPS["random_bits"], ((2,),), {"shape": (3, 50)}, None, (int64,), {0: state}, False),
    Example(OPS["random_bits"], ((2,),), {"shape": (70,), "bits": 64}, None, (int64,), {0: state}, False),
    Example(OPS["random_advance"], ((2,),), {"count": 9},
            lambda s, count: s + np.array([0, count]), (int64,), {0: state}, False),
    Example(OPS["constant"], (), {"value": 2.5, "dtype": float64, "shape": (2, 3)},
            lambda value, dtype, shape: np.full(shape, value), ()),
    Example(OPS["iota"], (), {"shape": (2, 3), "axis": 1}, lambda shape, axis: np.indices(shape)[axis], ()),
    Example(OPS["size"], (), {"value": 7}, lambda value: np.int64(value), ()),
]
EXAMPLES = [*elementwise_examples(), *OTHERS]
