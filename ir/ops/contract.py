"""Sums of products over named dimensions: every matrix product, dot product and outer product."""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from ..dtypes import bool_
from ..errors import DTypeError, ShapeError
from ..lowering import Contract as ContractLowering
from ..lowering import Lowering
from ..op import Op, Type
from ..sizes import Dim, equal
from .elementwise import conjugate


@cache
def split_spec(spec: str) -> tuple[str, str, str]:
    """``"bi,oi->bo"`` as ``("bi", "oi", "bo")``; ShapeError where it is no product of two."""
    inputs, arrow, out = spec.partition("->")
    a, comma, b = inputs.partition(",")
    letters = set(a) | set(b)
    clear = all(len(set(t)) == len(t) for t in (a, b, out)) and set(out) <= letters
    if not (arrow and comma and clear and (set(a) ^ set(b)) <= set(out)):
        raise ShapeError(
            f"contract: {spec!r} must be like 'bi,oi->bo': a letter once in each term, "
            "and a letter of only one operand in the result"
        )
    return a, b, out


class Contract(Op):
    """``contract(x, y, spec)``: multiply along letters and sum those that the result does not name.

    One accumulation per element in the operands' type (f16 and bf16: in f32), each product and sum fused.
    """

    name, operands, attributes = "contract", ("x", "y"), ("spec",)

    def infer(self, x: Type, y: Type, spec: str) -> Type:
        a, b, out = split_spec(spec)
        if x.dtype is not y.dtype or x.dtype is bool_:
            raise DTypeError(f"contract: needs two operands of one numeric dtype, not {x} and {y}")
        if len(a) != len(x.shape) or len(b) != len(y.shape):
            raise ShapeError(f"contract: {spec!r} does not fit the dimensions of {x} and {y}")
        sizes: dict[str, Dim] = dict(zip(a, x.shape, strict=True))
        for letter, n in zip(b, y.shape, strict=True):
            if letter in sizes and not equal(n, sizes[letter]):
                raise ShapeError(f"contract: inner sizes differ along {letter!r} of {spec!r}: {x} and {y}")
            sizes.setdefault(letter, n)
        return Type(x.dtype, tuple(sizes[letter] for letter in out))

    def reference(self, x: np.ndarray, y: np.ndarray, spec: str) -> np.ndarray:
        dtype = x.dtype
        if dtype.itemsize == 2 and dtype.kind not in "iu":
            x, y = x.astype(np.float32), y.astype(np.float32)
        return _product(x, y, *split_spec(spec)).astype(dtype, copy=False)

    vjp = (
        lambda g, r, x, y, spec: contract(g, conjugate(y), spec=_for_first(spec)),
        lambda g, r, x, y, spec: contract(g, conjugate(x), spec=_for_second(spec)),
    )

    def lower(self, x: Type, y: Type, spec: str) -> Lowering:
        return ContractLowering(*split_spec(spec))


def _for_first(spec: str) -> str:
    a, b, out = split_spec(spec)
    return f"{out},{b}->{a}"


def _for_second(spec: str) -> str:
    a, b, out = split_spec(spec)
    return f"{out},{a}->{b}"


def _product(x: np.ndarray, y: np.ndarray, a: str, b: str, out: str) -> np.ndarray:
    """As one batched matrix product of contiguous operands with their letters sorted.

    So the order of sums depends neither on memory nor on the order in which the operands' dimensions stand.
    """
    both = sorted(set(a) & set(b) & set(out))
    left, right = sorted(set(out) - set(b)), sorted(set(out) - set(a))
    inner = sorted(set(a) - set(out))
    size = dict(zip(a, x.shape, strict=True)) | dict(zip(b, y.shape, strict=True))
    count = lambda letters: math.prod([size[c] for c in letters])  # noqa: E731
    batch = [size[c] for c in both]
    p = np.ascontiguousarray(x.transpose([a.index(c) for c in (*both, *left, *inner)]))
    q = np.ascontiguousarray(y.transpose([b.index(c) for c in (*both, *inner, *right)]))
    p, q = p.reshape(*batch, count(left), count(inner)), q.reshape(*batch, count(inner), count(right))
    order = [*both, *left, *right]
    return np.matmul(p, q).reshape([size[c] for c in order]).transpose([order.index(c) for c in out])


contract: Op = Contract()
