"""The functions of ``nn.functional``: activations, linear maps, dropout and losses, composed of ops.

Softmax, norms and losses of f16 and bf16 compute in f32 inside and round once.
"""

from __future__ import annotations

import warnings
from typing import Any

from ...ir.dtypes import DType, float32, int64, promote, uint8
from ...ir.errors import DTypeError, ShapeError
from ...ir.op import OPS
from ...ir.sizes import equal, product, same_shape
from ...ir.source import caller, explain
from .. import random
from ..inplace import write
from ..state import state
from ..tensor import Tensor, value_of, wrap
from . import arithmetic, reduction
from .arguments import as_operand, axis_of, integer_of, of_tensor, tensor_of
from .indexing import gather
from .linalg import same_dtype
from .operands import append, located
from .reduction import widened


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """``max(x, 0)``; its derivative at 0 is 0."""
    input = tensor_of(input, "relu")
    out = arithmetic.relu(input)
    return write(input, value_of(out)) if inplace else out


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``input @ weight.T + bias``: input [*b, i], weight [o, i], bias [o] -> [*b, o].

    >>> import gristmill as gm, gristmill.nn.functional as F
    >>> F.linear(gm.ones(2, 3), gm.ones(4, 3)).shape
    gristmill.Size([2, 4])
    """
    x, w = same_dtype("linear", tensor_of(input, "linear"), tensor_of(weight, "linear", "weight"))
    if len(w.shape) not in (1, 2) or not x.shape or not equal(x.shape[-1], w.shape[-1]):
        raise ShapeError(
            explain(
                f"linear: inner sizes differ: input is {x.type}, weight is {w.type}",
                caller(),
                f"the last size of input must be in_features ({w.shape[-1] if w.shape else '?'})",
            )
        )
    batch = "abcdefgh"[: len(x.shape) - 1]
    out = "o" if len(w.shape) == 2 else ""
    y = located(lambda: append(OPS["contract"], x, w, spec=f"{batch}i,{out}i->{batch}{out}"))
    if bias is None:
        return wrap(y)
    return arithmetic.add(wrap(y), tensor_of(bias, "linear", "bias"))


@of_tensor
def softmax(input: Tensor, dim: int | None = None, dtype: Any = None) -> Tensor:
    """``exp(x) / sum(exp(x))`` along ``dim``: computed as e * (1/s) with e = exp(x - max(x)), s = sum(e)."""
    axis, x, final = _prepared(input, dim, dtype, "softmax")
    e = arithmetic.exp(_shifted(x, axis))
    return arithmetic.to(e * arithmetic.reciprocal(reduction.sum(e, axis, True)), final)


@of_tensor
def log_softmax(input: Tensor, dim: int | None = None, dtype: Any = None) -> Tensor:
    """``log(softmax(x))`` along ``dim``, without overflow."""
    axis, x, final = _prepared(input, dim, dtype, "log_softmax")
    shifted = _shifted(x, axis)
    return arithmetic.to(
        shifted - arithmetic.log(reduction.sum(arithmetic.exp(shifted), axis, True)), final
    )


def _shifted(x: Tensor, axis: int) -> Tensor:
    """``x`` less its greatest element along an axis, so that exp does not overflow; of no elements ``x``."""
    if x.ndim and x._type.shape[axis] == 0:
        return x
    return x - reduction.amax(x, axis, True).detach()


def _prepared(input: Tensor, dim: int | None, dtype: Any, name: str) -> tuple[int, Tensor, DType]:
    if dim is None:
        raise ValueError(
            explain(f"{name}: say along which dimension: dim=-1 is the last", caller())
        )
    x = input if dtype is None else arithmetic.to(input, dtype)
    if not x.dtype.is_floating_point:
        raise DTypeError(
            explain(f"{name}: takes floats, not {x._type}", caller(), "convert it, or pass dtype=")
        )
    return axis_of(dim, x.ndim, name), widened(x), x.dtype


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """While training: zeros with probability ``p``, the rest scaled by 1 / (1 - p); else ``input`` itself."""
    input = tensor_of(input, "dropout")
    p = as_operand(p, "dropout: p")
    if p < 0 or p > 1:
        raise ValueError(explain(f"dropout: p must be between 0 and 1, not {p}", caller()))
    if not training or p == 0:
        return input
    if p == 1:
        out = input * 0.0
    else:
        kept = random.rand(input._type.shape, dtype=float32) >= p
        out = input * arithmetic.to(kept, input.dtype) * (1.0 / (1.0 - p))
    return write(input, value_of(out)) if inplace else out


def reduce_loss(loss: Tensor, reduction_: str) -> Tensor:
    """Elementwise losses as they are (``none``), their mean, or their sum."""
    if reduction_ == "none":
        return loss
    if reduction_ == "mean":
        return reduction.mean(loss)
    if reduction_ == "sum":
        return reduction.sum(loss)
    raise ValueError(
        explain(f"reduction must be 'none', 'mean' or 'sum', not {reduction_!r}", caller())
    )


def legacy(size_average: bool | None, reduce: bool | None, reduction_: str) -> str:
    """PyTorch's old pair of flags as a reduction."""
    if size_average is None and reduce is None:
        return reduction_
    warnings.warn(
        "size_average and reduce are deprecated: pass reduction='mean', 'sum' or 'none'",
        DeprecationWarning,
        stacklevel=3,
    )
    if reduce is False:
        return "none"
    return "sum" if size_average is False else "mean"


def mse_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """The squared difference, its mean by default; ``weight`` multiplies each element."""
    input, target = tensor_of(input, "mse_loss"), tensor_of(target, "mse_loss", "target")
    if input._type.shape != target._type.shape:
        warnings.warn(
            f"mse_loss: target is {target._type}, input is {input._type}: broadcasting them is rarely meant",
            UserWarning,
            stacklevel=2,
        )
    difference = input - target
    loss, how = difference * difference, legacy(size_average, reduce, reduction)
    if weight is None:
        return reduce_loss(loss, how)
    weight = tensor_of(weight, "mse_loss", "weight")
    if not same_shape(weight._type.shape, input._type.shape):
        raise ShapeError(
            explain(
                f"mse_loss: weight is {weight._type}, it must have the shape of input, {input._type}",
                caller(),
            )
        )
    return _mean(loss * weight, weight) if how == "mean" else reduce_loss(loss * weight, how)


def _mean(losses: Tensor, weights: Tensor) -> Tensor:
    """The mean of losses that are weighted already."""
    return losses.sum() / weights.sum()  # type: ignore[no-any-return]


def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Minus the log-probability of the target class: input [n, c, *d] or [c], target [n, *d] or [] of int64 or uint8.

    Targets equal to ``ignore_index`` do not count; the mean is weighted by the classes' ``weight``.
    """
    how = legacy(size_average, reduce, reduction)
    input, target = tensor_of(input, "nll_loss"), tensor_of(target, "nll_loss", "target")
    weight = None if weight is None else tensor_of(weight, "nll_loss", "weight")
    target = _classes("nll_loss", input, target)
    _check_weight("nll_loss", input, weight, input.dtype)
    return _nll(input, target, weight, ignore_index, how)


def _classes(name: str, input: Tensor, target: Tensor) -> Tensor:
    """The target as int64; errors for shapes and dtypes that do not fit."""
    if target.dtype not in (int64, uint8):
        raise DTypeError(
            explain(
                f"{name}: target must be class indices of int64 or uint8, not {target._type}",
                caller(),
                "convert it: target.long()",
            )
        )
    axis = _class_axis(input)
    rest = (*input._type.shape[:axis], *input._type.shape[axis + 1 :])
    if (
        input.ndim == 0
        or len(rest) != target.ndim
        or not all(equal(n, m) for n, m in zip(rest, target._type.shape, strict=True))
    ):
        raise ShapeError(
            explain(
                f"{name}: input is {input._type}, so target must have the shape {rest}, not {target._type}",
                caller(),
            )
        )
    return arithmetic.to(target, int64)


def _class_axis(input: Tensor) -> int:
    return 0 if input.ndim == 1 else 1


def _check_weight(name: str, input: Tensor, weight: Tensor | None, dtype: DType | None) -> None:
    """Whether ``weight`` has a number for each class, of that dtype (None: of any)."""
    if weight is None:
        return
    classes = input._type.shape[_class_axis(input) :][:1]
    if weight.ndim != 1 or not all(equal(n, weight._type.shape[0]) for n in classes):
        raise ShapeError(
            explain(
                f"{name}: input is {input._type}, so weight must have the shape {classes}, not {weight._type}",
                caller(),
            )
        )
    if dtype is not None and weight.dtype is not dtype:
        raise DTypeError(
            explain(
                f"{name}: input is {input._type}, so weight must be {dtype.name}, not {weight._type}",
                caller(),
                "convert it: weight.to(input.dtype)",
            )
        )


def _nll(
    input: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, how: str
) -> Tensor:
    axis = _class_axis(input)
    valid = arithmetic.ne(target, ignore_index)
    safe = arithmetic.where(valid, target, 0)
    picked = gather(input, axis, safe.unsqueeze(axis)).squeeze(axis)
    factor = (
        arithmetic.to(valid, input.dtype)
        if weight is None
        else arithmetic.where(valid, weight[safe], 0.0)
    )
    losses = (
        arithmetic.where(valid, -picked * factor, 0.0)
        if weight is not None
        else arithmetic.where(valid, -picked, 0.0)
    )
    if how == "mean":
        return _mean(losses, factor)
    return reduce_loss(losses, how)


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """The cross entropy between logits and classes: ``nll_loss(log_softmax(input), target)``.

    input: [n, c, *d] or [c]; target: class indices [n, *d] or [] (int64 or uint8), or probabilities in input's shape.

    >>> import gristmill as gm, gristmill.nn.functional as F
    >>> F.cross_entropy(gm.zeros(2, 4), gm.tensor([0, 3]))
    tensor(1.3863)
    """
    how = legacy(size_average, reduce, reduction)
    input, target = tensor_of(input, "cross_entropy"), tensor_of(target, "cross_entropy", "target")
    weight = None if weight is None else tensor_of(weight, "cross_entropy", "weight")
    if not 0 <= label_smoothing <= 1:
        raise RuntimeError(
            explain(
                f"cross_entropy: label_smoothing must be between 0 and 1, not {label_smoothing}",
                caller(),
            )
        )
    axis = _class_axis(input)
    final, wide = input.dtype, widened(input)
    if target._type.shape == input._type.shape and target.dtype.is_floating_point:
        if ignore_index >= 0:
            raise RuntimeError(
                explain("cross_entropy: ignore_index has no meaning for probabilities", caller())
            )
        _check_weight("cross_entropy", input, weight, None)
        final = promote(
            final, target.dtype if weight is None else promote(target.dtype, weight.dtype)
        )
        logp = log_softmax(wide, axis)
        return arithmetic.to(_soft(logp, target, weight, how, label_smoothing, axis), final)
    target = _classes("cross_entropy", input, target)
    _check_weight("cross_entropy", input, weight, input.dtype)
    logp = log_softmax(wide, axis)
    loss = _nll(logp, target, weight, ignore_index, how)
    if label_smoothing:
        loss = (
            loss * (1 - label_smoothing)
            + _smooth(logp, target, weight, ignore_index, how, axis) * label_smoothing
        )
    return arithmetic.to(loss, final)


def _per_class(weight: Tensor, logp: Tensor, axis: int) -> Tensor:
    return weight.reshape([-1 if d == axis else 1 for d in range(logp.ndim)])  # type: ignore[no-any-return]


def _soft(
    logp: Tensor, target: Tensor, weight: Tensor | None, how: str, smoothing: float, axis: int
) -> Tensor:
    """Targets as probabilities; the mean is over the samples."""
    classes = logp.shape[axis]
    if smoothing:
        target = target * (1 - smoothing) + smoothing / classes
    terms = logp * target if weight is None else logp * target * _per_class(weight, logp, axis)
    losses = -reduction.sum(terms, axis)
    return losses.sum() / (logp.numel() / classes) if how == "mean" else reduce_loss(losses, how)


def _smooth(
    logp: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, how: str, axis: int
) -> Tensor:
    """The share of the loss that label smoothing spreads over all classes."""
    valid = arithmetic.ne(target, ignore_index)
    terms = logp if weight is None else logp * _per_class(weight, logp, axis)
    losses = arithmetic.where(valid, -reduction.sum(terms, axis) / logp.shape[axis], 0.0)
    if how != "mean":
        return reduce_loss(losses, how)
    safe = arithmetic.where(valid, target, 0)
    factor = (
        arithmetic.to(valid, logp.dtype)
        if weight is None
        else arithmetic.where(valid, weight[safe], 0.0)
    )
    return _mean(losses, factor)


def sigmoid(input: Tensor) -> Tensor:
    """``1 / (1 + exp(-x))``."""
    return arithmetic.sigmoid(input)


def tanh(input: Tensor) -> Tensor:
    """The hyperbolic tangent."""
    return arithmetic.tanh(input)


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """Int64 vectors with a 1 at the class of each element: [*d] -> [*d, num_classes].

    A class that is negative or not below ``num_classes`` is refused where its value is known, outside of a trace.
    """
    tensor = tensor_of(tensor, "one_hot", "tensor")
    if tensor.dtype is not int64:
        raise DTypeError(
            explain(f"one_hot: classes must be int64, not {tensor._type}", caller(), "use .long()")
        )
    count = integer_of(num_classes, "one_hot", "num_classes")
    if count <= 0 and product(tensor._type.shape) == 0:
        raise _class_error("an empty tensor does not tell the number of classes: give num_classes")
    if count < -1:
        raise _class_error(f"num_classes must be positive, not {count}")
    if state.trace is None or state.trace.holds_concrete(tensor):
        places = tensor._array()
        if (places < 0).any():
            raise _class_error(f"class {places.min()} is negative")
        if count >= 0 and (places >= count).any():
            raise _class_error(f"class {places.max()} is not below num_classes = {count}")
    if count == -1:
        count = int(tensor.max().item()) + 1
    line = append(OPS["iota"], shape=(*tensor._type.shape, count), axis=tensor.ndim, dtype=int64)
    return arithmetic.to(arithmetic.eq(tensor.unsqueeze(-1), wrap(line)), int64)


def _class_error(message: str) -> RuntimeError:
    return RuntimeError(explain(f"one_hot: {message}", caller()))
