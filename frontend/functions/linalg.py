"""Products of matrices and of named dimensions; all of them are contractions."""

from __future__ import annotations

import string
from typing import Any

from ...ir.dtypes import bool_
from ...ir.errors import DTypeError, ShapeError
from ...ir.graph import Value
from ...ir.op import OPS
from ...ir.sizes import Shape, equal
from ...ir.source import caller, explain
from ..tensor import Tensor, value_of, wrap
from .arguments import tensor_of, tensors_of
from .operands import append, cast, common_dtype, located

LETTERS = string.ascii_letters


def same_dtype(name: str, *tensors: Tensor) -> list[Value]:
    """Values of tensors that must have one dtype, as PyTorch's products ask for."""
    first = tensors[0].dtype
    if any(t.dtype is not first for t in tensors[1:]):
        types = " and ".join(str(t._type) for t in tensors)
        raise DTypeError(
            explain(
                f"{name}: expects one dtype, found {types}",
                caller(),
                "convert one of them with .to(dtype)",
            )
        )
    if first is bool_:
        raise DTypeError(explain(f"{name}: bools have no product; convert them first", caller()))
    return [value_of(t) for t in tensors]


def matmul(input: Tensor, other: Tensor) -> Tensor:
    """The product of vectors, matrices, or stacks of matrices whose leading dimensions broadcast.

    input: [*b, n, k] or [k]; other: [*b, k, m] or [k]; returns [*b, n, m] without the dimensions of vectors.

    >>> import gristmill as gm
    >>> (gm.ones(2, 3) @ gm.ones(3, 4)).shape
    gristmill.Size([2, 4])
    """
    input, other = tensor_of(input, "matmul"), tensor_of(other, "matmul", "other")
    x, y = same_dtype("matmul", input, other)
    if not x.shape or not y.shape:
        raise ShapeError(
            explain(
                f"matmul: both operands need at least one dimension: {x.type} and {y.type}",
                caller(),
            )
        )
    inner = (x.shape[-1], y.shape[-2] if len(y.shape) > 1 else y.shape[0])
    if not equal(*inner):
        raise ShapeError(
            explain(
                f"matmul: inner sizes differ: input is {x.type}, other is {y.type}",
                caller(),
                f"the last size of input ({inner[0]}) must be the one of other ({inner[1]}): transpose or fix one",
            )
        )
    return wrap(product_of(x, y))


def product_of(x: Value, y: Value) -> Value:
    """matmul on values whose inner sizes agree."""
    a = "k" if len(x.shape) == 1 else "nk"
    b = "k" if len(y.shape) == 1 else "km"
    x, y, p, q, batch = _batched(x, y, len(a), len(b))
    out = batch + a.replace("k", "") + b.replace("k", "")
    return located(lambda: append(OPS["contract"], x, y, spec=f"{p}{a},{q}{b}->{out}"))  # type: ignore[no-any-return]


_BATCH = "abcdefghij"


def _batched(x: Value, y: Value, own_x: int, own_y: int) -> tuple[Value, Value, str, str, str]:
    """Letters for the leading dimensions; a size of 1 that repeats is dropped from its operand."""
    lead_x, lead_y = x.shape[: len(x.shape) - own_x], y.shape[: len(y.shape) - own_y]
    rank = max(len(lead_x), len(lead_y))
    batch = _BATCH[:rank]
    keep_x, keep_y = list(batch[rank - len(lead_x) :]), list(batch[rank - len(lead_y) :])
    for k in range(1, min(len(lead_x), len(lead_y)) + 1):
        n, m = lead_x[-k], lead_y[-k]
        if n == 1 and m != 1:
            keep_x[-k] = ""
        elif m == 1 and n != 1:
            keep_y[-k] = ""
        elif not equal(n, m):
            raise ShapeError(
                explain(f"matmul: leading sizes do not broadcast: {x.type} and {y.type}", caller())
            )
    return _without(x, keep_x), _without(y, keep_y), "".join(keep_x), "".join(keep_y), batch


def _without(x: Value, letters: list[str]) -> Value:
    if all(letters):
        return x
    shape: Shape = tuple(n for d, n in enumerate(x.shape) if d >= len(letters) or letters[d])
    return append(OPS["reshape"], x, shape=shape)


def mm(input: Tensor, mat2: Tensor) -> Tensor:
    """The product of two matrices."""
    return _ranked("mm", input, mat2, 2, 2)


def bmm(input: Tensor, mat2: Tensor) -> Tensor:
    """The products of two stacks of matrices."""
    return _ranked("bmm", input, mat2, 3, 3)


def mv(input: Tensor, vec: Tensor) -> Tensor:
    """The product of a matrix and a vector."""
    return _ranked("mv", input, vec, 2, 1)


def dot(input: Tensor, tensor: Tensor) -> Tensor:
    """The sum of the products of two vectors."""
    return _ranked("dot", input, tensor, 1, 1)


def _ranked(name: str, x: Any, y: Any, n: int, m: int) -> Tensor:
    second = {"mm": "mat2", "bmm": "mat2", "mv": "vec", "dot": "tensor"}[name]
    x, y = tensor_of(x, name), tensor_of(y, name, second)
    if x.ndim != n or y.ndim != m:
        raise ShapeError(
            explain(
                f"{name}: expects {n} and {m} dimensions, found {x._type} and {y._type}",
                caller(),
                "use matmul",
            )
        )
    return matmul(x, y)


def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """All products of the elements of two vectors: [n], [m] -> [n, m]."""
    input, vec2 = tensor_of(input, "outer"), tensor_of(vec2, "outer", "vec2")
    if input.ndim != 1 or vec2.ndim != 1:
        raise ShapeError(
            explain(f"outer: expects two vectors, found {input._type} and {vec2._type}", caller())
        )
    return input.unsqueeze(1) * vec2.unsqueeze(0)  # type: ignore[no-any-return]


def einsum(equation: str, *operands: Any) -> Tensor:
    """Sums of products over named dimensions: ``einsum("bi,oi->bo", x, w)``.

    Without ``->`` the result names the letters that stand once, in alphabetical order.

    Letters of one operand alone are summed first; more than two operands are multiplied from left to right.
    """
    if not isinstance(equation, str):
        raise TypeError(
            explain(f"einsum: equation must be a str, not {type(equation).__name__}", caller())
        )
    tensors = tensors_of(
        operands[0] if len(operands) == 1 and isinstance(operands[0], tuple | list) else operands,
        "einsum",
    )
    inputs, arrow, out = equation.replace(" ", "").partition("->")
    terms = inputs.split(",")
    if not arrow:
        out = "".join(sorted(c for c in set(inputs) - {","} if inputs.count(c) == 1))
    _check_equation(equation, terms, out, tensors)
    dtype = common_dtype(tensors)
    values = [cast(value_of(t), dtype) for t in tensors]
    term, value = terms[0], values[0]
    for i, (next_term, next_value) in enumerate(zip(terms[1:], values[1:], strict=True), 1):
        later = set(out).union(*terms[i + 1 :])
        term, value = _contract(term, value, next_term, next_value, later)
    term, value = _summed(term, value, set(out))
    order = tuple(term.index(c) for c in out)
    return wrap(
        value
        if order == tuple(range(len(order))) and terms[1:]
        else append(OPS["permute"], value, order=order)
    )


def _check_equation(equation: str, terms: list[str], out: str, tensors: list[Tensor]) -> None:
    if len(terms) != len(tensors) or any(
        len(t) != x.ndim for t, x in zip(terms, tensors, strict=False)
    ):
        raise ShapeError(
            explain(
                f"einsum: {equation!r} does not fit operands {', '.join(str(x._type) for x in tensors)}",
                caller(),
            )
        )
    for term in [*terms, out]:
        if len(set(term)) != len(term) or any(c not in LETTERS for c in term):
            raise ShapeError(
                explain(
                    f"einsum: {term!r} of {equation!r}: each dimension needs a letter of its own",
                    caller(),
                )
            )
    if not set(out) <= set("".join(terms)):
        raise ShapeError(
            explain(
                f"einsum: the result of {equation!r} names a letter that no operand has", caller()
            )
        )


def _summed(term: str, value: Value, needed: set[str]) -> tuple[str, Value]:
    axes = tuple(d for d, c in enumerate(term) if c not in needed)
    if not axes:
        return term, value
    return "".join(c for c in term if c in needed), append(OPS["sum"], value, axes=axes)


def _contract(a: str, x: Value, b: str, y: Value, later: set[str]) -> tuple[str, Value]:
    a, x = _summed(a, x, later | set(b))
    b, y = _summed(b, y, later | set(a))
    out = "".join(c for c in dict.fromkeys(a + b) if c in later)
    return out, located(lambda: append(OPS["contract"], x, y, spec=f"{a},{b}->{out}"))
