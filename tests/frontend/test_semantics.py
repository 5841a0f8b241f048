"""What PyTorch's functions mean at the edges: eagerly as PyTorch, compiled as eagerly."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import gristmill as gm
import gristmill.nn.functional as F

NAN, INF = math.nan, math.inf
X = np.arange(12.0).reshape(3, 4)
CUBE = np.arange(24.0).reshape(2, 3, 4)
V = np.array([2.0, NAN, 1.0])
ZEROS = np.zeros(3)
T = np.array([2, 0])
SMALL = np.array([5, -(2**63), 3])
BYTES = np.array([200, 7, 255], np.uint8)
FLAGS = np.array([True, False, True])
HALF = np.array([3e4, 1.0, 2e-3], np.float16)
COMPLEX = np.array([1 + 2j, 3 - 1j, 0.5j])
EMPTY = np.zeros((2, 0))


def put(x: Any, key: Any, value: Any) -> Any:
    """A copy of ``x`` after ``x[key] = value``."""
    x = x * 1 if x.is_floating_point() else x.clone()
    x[key] = value
    return x


def changed(x: Any, change: Any) -> Any:
    """The tensor and a view of it, after a change of the view."""
    x = x.clone()
    view = x.view(-1)
    before = view
    view = change(view)
    assert view is before
    return x


# name: (arrays, function of the library and the tensors)
ROWS: dict[str, Any] = {
    "write second": ((X, T, X[:, :2] * 10), lambda th, x, t, v: put(x, (slice(None), t), v)),
    "write last of three": ((CUBE, T, CUBE[..., :2] * 10), lambda th, x, t, v: put(x, (..., t), v)),
    "write middle of three": ((CUBE, T, CUBE[:, :2] * 10), lambda th, x, t, v: put(x, (slice(None), t), v)),
    "write after an integer": ((CUBE, T, CUBE[:, 0, :2] * 10), lambda th, x, t, v: put(x, (slice(None), 0, t), v)),
    "write after None": ((X, T, X[:2] * 10), lambda th, x, t, v: put(x, (None, t), v)),
    "write matrix of places": ((X, np.array([[0, 1], [3, 2]]), CUBE[:, :, :2].reshape(3, 2, 2) * 10), lambda th, x, t, v: put(x, (slice(None), t), v)),
    "write two places apart": ((CUBE, np.array([0, 1]), np.ones((2, 3))), lambda th, x, t, v: put(x, (t, slice(None), t), v)),
    "write two neighbours": ((CUBE, T, np.ones((2, 2))), lambda th, x, t, v: put(x, (slice(None), t, t), v)),
    "write minus zero": ((X, T), lambda th, x, t: 1 / put(x, t, -0.0)),
    "write false": ((FLAGS, T), lambda th, x, t: put(x, t, False)),
    "write bytes": ((BYTES, T), lambda th, x, t: put(x, t, 250)),
    "write with leading ones": ((X, T, X[None, :2]), lambda th, x, t, v: put(put(x, t, v * 2), 0, v[:, :1] * 3)),
    "write a float into integers by mask": ((SMALL, FLAGS), lambda th, x, m: put(x, m, 2.7)),
    "write nothing": ((X, np.zeros(0, np.int64)), lambda th, x, t: put(x, t, 5.0)),
    "write into a number": ((np.array(1.5),), lambda th, x: put(put(x, (), 3.0), ..., 4.0)),
    "write into a number of a row": ((ZEROS,), lambda th, x: put_first(x)),
    "fill a number": ((np.array(1.5),), lambda th, x: filled(x)),
    "read second": ((CUBE, T), lambda th, x, t: x[:, t] + x[:, :2, t].sum()),
    "read neighbours": ((CUBE, T), lambda th, x, t: x[:, t, t]),
    "read apart": ((CUBE, np.array([0, 1])), lambda th, x, t: x[t, :, t]),
    "read none": ((X,), lambda th, x: x[[]]),
    "select second": ((CUBE, T), lambda th, x, t: x.index_select(1, t)),
    "select int32": ((X, T.astype(np.int32)), lambda th, x, t: x.index_select(1, t) + x.gather(1, t.view(1, 2)).sum()),
    "select number": ((X, np.array(1)), lambda th, x, t: x.index_select(0, t)),
    "gather number": ((ZEROS, np.array(1)), lambda th, x, t: x.gather(0, t)),
    "max of a number": ((np.array(2.0),), lambda th, x: x.max() + x.amin() + x.logsumexp(0) + x.softmax(0) + x.max(0).values),
    "least integer": ((SMALL,), lambda th, x: x.min() + x.argmin() + x.amin(0) + x.min(0).indices),
    "least bytes": ((BYTES,), lambda th, x: th.stack([x.min(), x.amin(), x.max(0).values, x.argmin().to(th.uint8)])),
    "least int8": ((np.array([5, -128, 3], np.int8),), lambda th, x: x.min()),
    "extreme bools": ((FLAGS,), lambda th, x: th.stack([x.min(), x.max(), x.amin(), x.max(0).values, x.min(0).values])),
    "place among bools": ((FLAGS,), lambda th, x: x.min(0).indices),
    "nan in max": ((V,), lambda th, x: x.max() + x.min()),
    "integer to a float power": ((BYTES,), lambda th, x: x**2.0 + x**1.0),
    "bools to a power": ((FLAGS,), lambda th, x: x**2 + x.square()),
    "shift bytes": ((BYTES, np.array([1, 8, 200], np.uint8)), lambda th, x, n: (x >> n) + (x >> 9) + (x >> 2)),
    "shift a number": ((np.array([1, 2]),), lambda th, x: (1 << x) + (16 >> x)),
    "round integers": ((SMALL,), lambda th, x: x.floor() + x.ceil() + x.trunc() + x.round()),
    "sign of bools": ((FLAGS,), lambda th, x: x.sign()),
    "clamp nan bound": ((X, np.array([NAN, 0.0, 5.0, 1.0])), lambda th, x, b: x.clamp(b, b * 0 + 3)),
    "clamp nan number": ((X,), lambda th, x: x.detach().clamp(max=NAN)),
    "lerp at one": ((np.array([1e8, 3.0], np.float32), np.array([1.0, 7.0], np.float32)), lambda th, a, b: th.lerp(a, b, 1.0) + th.lerp(a, b, 0.25)),
    "lerp tensor": ((np.array([1e8, 3.0]), np.array([1.0, 7.0]), np.array([1.0, 0.25])), lambda th, a, b, w: th.lerp(a, b, w)),
    "half times a number": ((HALF,), lambda th, x: x * 1e-8 + x / 70000.0),
    "norms at zero": ((ZEROS,), lambda th, x: sum(x.norm(p) for p in (1, 2, 3, 1.5, 0, INF))),
    "norm below one": ((X[0] + 1,), lambda th, x: x.norm(0.5) + x.norm(-1.0) + x.norm(-INF)),
    "norm with a zero": ((X[0],), lambda th, x: x.norm(0.5)),
    "half norm": ((HALF,), lambda th, x: x.norm()),
    "complex norm": ((COMPLEX,), lambda th, x: x.norm() + x.norm(3) + x.var() + x.std()),
    "std of a constant": ((ZEROS + 3,), lambda th, x: x.std() + x.std(correction=0)),
    "half var": ((HALF,), lambda th, x: x.var() + x.std()),
    "var of too few": ((ZEROS[:1],), lambda th, x: x.var()),
    "var of one with correction": ((np.array([1.0, 2.0]),), lambda th, x: x.detach().var(correction=3)),
    "var of none": ((np.zeros(0),), lambda th, x: x.var()),
    "logsumexp of integers": ((np.array([1, 2]),), lambda th, x: x.logsumexp(0)),
    "softmax of none": ((EMPTY,), lambda th, x: x.softmax(1) + x.log_softmax(1)),
    "logsumexp of none": ((EMPTY,), lambda th, x: x.logsumexp(1)),
    "chunks of none": ((np.zeros(0),), lambda th, x: th.cat([*x.chunk(3), *x.split(2), *x.split(0)])),
    "masked_fill": ((SMALL, FLAGS), lambda th, x, m: x.masked_fill(m, 2.5)),
    "alpha": ((BYTES, np.array([1, 2, 3])), lambda th, x, y: y.add(x, alpha=300).sub(x, alpha=2)),
    "dtype=float": ((X.astype(np.float32),), lambda th, x: x.sum(dtype=float) + x.mean(dtype=float) + x.to(float) + x.softmax(0, dtype=float)),
    "dtype=complex": ((X,), lambda th, x: x.detach().to(complex)),
    "dtype=int": ((X,), lambda th, x: x.to(int) + th.zeros(4, dtype=int) + x.to(bool).to(int)),
    "in place floor_divide": ((np.array([7, -7]),), lambda th, x: changed(x, ifloor)),
    "in place remainder": ((np.array([7, -7]),), lambda th, x: changed(x, imod)),
    "in place bits": ((np.array([6, 3]),), lambda th, x: changed(x, ibits)),
    "axis": ((X,), lambda th, x: th.sum(x, axis=0) + th.max(x, axis=0).values + th.mean(x, axis=0, keepdims=True)),
    "names": ((X,), lambda th, x: th.flip(th.permute(th.reshape(x, shape=(2, 6)), dims=(1, 0)), dims=(0,)).repeat(repeats=(1, 2))),
    "other": ((X,), lambda th, x: th.max(x, other=x * 2) + th.min(x, other=x)),
    "sizes": ((X,), lambda th, x: th.zeros(size=(3, 4)) + th.ones(size=(4,)) + th.arange(end=4) + x.split(split_size=2)[0].sum()),
    "expand": ((X[0],), lambda th, x: x.expand(size=(3, 4)) + x.view(size=(1, 4))),
    "plus": ((X,), lambda th, x: +x),
}  # fmt: skip


def put_first(x: Any) -> Any:
    x = x * 1
    x[0][()] = 3.0
    x[1][...] = 4.0
    return x


def filled(x: Any) -> Any:
    x = x * 1
    x[...].fill_(7.0)
    return x


def ifloor(x: Any) -> Any:
    x //= 2
    return x


def imod(x: Any) -> Any:
    x %= 4
    return x


def ibits(x: Any) -> Any:
    x &= 7
    x |= 8
    x ^= 1
    x <<= 3
    x >>= 1
    return x


def run(th: Any, name: str) -> tuple[Any, list[Any]]:
    """The result, and the gradients of the float arguments with respect to its weighted sum."""
    arrays, function = ROWS[name]
    args = [th.tensor(a) for a in arrays]
    for a in args:
        if a.is_floating_point() and a.element_size() > 2:
            a.requires_grad_()
    out = function(th, *args)
    if out.requires_grad and out.numel():
        (out * th.arange(1, out.numel() + 1).view(out.shape)).sum().backward()
    return out, [None if a.grad is None else a.grad.tolist() for a in args]


@pytest.mark.parametrize("name", ROWS)
def test_as_torch(name: str) -> None:
    torch = pytest.importorskip("torch", reason="compares with torch, which is not installed")
    (ours, mine), (theirs, yours) = run(gm, name), run(torch, name)
    assert ours.dtype.long == str(theirs.dtype).removeprefix("torch.")
    assert (tuple(ours.shape), ours.stride()) == (tuple(theirs.shape), theirs.stride())
    np.testing.assert_allclose(ours.tolist(), theirs.tolist(), rtol=1e-6)
    for p, q in zip(mine, yours, strict=True):
        if p is not None:
            np.testing.assert_allclose(p, q, rtol=1e-6)


@pytest.mark.parametrize("name", ROWS)
def test_compiled_as_eager(name: str) -> None:
    arrays, function = ROWS[name]
    if any(a.dtype.kind == "c" for a in arrays) or "complex" in name:
        pytest.skip("complex numbers run eagerly")
    args = [gm.tensor(a) for a in arrays]
    eager, compiled = function(gm, *args), gm.compile(lambda *xs: function(gm, *xs))(*args)
    assert (compiled.dtype, compiled.shape) == (eager.dtype, eager.shape)
    np.testing.assert_array_equal(compiled.numpy(), eager.numpy())


UNITS = {
    "sum": lambda x: gm.sum(3),
    "relu": lambda x: gm.relu(3.0),
    "exp": lambda x: gm.exp("a"),
    "unsqueeze": lambda x: gm.unsqueeze([1], 0),
    "clamp": lambda x: gm.clamp(2, 0, 1),
    "softmax": lambda x: F.softmax([1.0], 0),
    "gather": lambda x: gm.gather(x, 0, [1]),
    "matmul": lambda x: gm.matmul(x, 2),
    "mm": lambda x: gm.mm(x, None),
    "outer": lambda x: gm.outer(x, 1),
    "cat": lambda x: gm.cat([x, 1]),
    "stack": lambda x: gm.stack([1, 2]),
    "add": lambda x: gm.add(x, "a"),
    "where": lambda x: gm.where(x > 0, "a", x),
    "masked_fill": lambda x: x.masked_fill(x, 1.0),
    "mse_loss": lambda x: F.mse_loss(x, 1.0),
    "one_hot": lambda x: F.one_hot(3),
    "expand_as": lambda x: x.expand_as(3),
    "norm": lambda x: x.long().norm(),
    "var": lambda x: x.var(0, True, correction=1),
    "sub": lambda x: x - (x > 0),
    "zeros": lambda x: gm.zeros(2.5),
    "unsqueeze by a float": lambda x: x.unsqueeze(1.5),
    "sum over a float": lambda x: x.sum(0.5),
    "to": lambda x: x.to(gm.float64, gm.float32),
    "select by uint8": lambda x: x.index_select(0, gm.tensor([0], dtype=gm.uint8)),
    "allclose": lambda x: gm.allclose(x, x.double()),
    "add with a float alpha": lambda x: x.long().add(1, alpha=0.5),
    "where on integers": lambda x: gm.where(x.long(), x, x),
}


@pytest.mark.parametrize("name", UNITS)
def test_type_errors_name_the_function(name: str) -> None:
    with pytest.raises(TypeError, match=rf"^{name.split()[0] if not name.startswith('select') else 'index_select'}: "):
        UNITS[name](gm.ones(3))


U8 = gm.uint8
REFUSED: dict[str, tuple[type, str, Any]] = {
    "mask": (IndexError, "mask bool.2. does not have the sizes", lambda x: x[gm.tensor([True, False])]),
    "mask written": (IndexError, "mask bool.2. does not have the sizes", lambda x: put(x, gm.tensor([True, False]), 0)),
    "argmax of a number": (IndexError, "dimension 5", lambda x: gm.tensor(1.0).argmax(5)),
    "flatten of a number": (IndexError, "dimension 5", lambda x: gm.tensor(1.0).flatten(5)),
    "size": (IndexError, "dimension 3", lambda x: x.size(3)),
    "select of a number": (IndexError, "0-d", lambda x: gm.tensor(1.0).select(0, 0)),
    "flip twice": (ValueError, "twice", lambda x: x.flip(0, 0)),
    "squeeze twice": (ValueError, "twice", lambda x: x.view(1, 3).squeeze((0, 0))),
    "no chunks": (ValueError, "chunks must be positive", lambda x: x.chunk(0)),
    "negative zeros": (ValueError, "zeros: a size cannot be negative: -1", lambda x: gm.zeros(-1)),
    "negative reshape": (ValueError, "negative: -2", lambda x: x.reshape(-2, 3)),
    "negative expand": (ValueError, "negative: -2", lambda x: x.expand(-2)),
    "negative steps": (ValueError, "linspace: a size", lambda x: gm.linspace(0, 1, -1)),
    "negative eye": (ValueError, "eye: a size", lambda x: gm.eye(-1)),
    "new -1": (ValueError, "dimension 0 is a new one", lambda x: x.expand(-1, 3)),
    "negative randperm": (ValueError, "randperm: a size", lambda x: gm.randperm(-1)),
    "negative repeat": (ValueError, "repeat: a size", lambda x: x.repeat(-1)),
    "large in tensor": (RuntimeError, "tensor: 300 cannot be kept in gristmill.uint8", lambda x: gm.tensor([300], dtype=U8)),
    "large in full": (RuntimeError, "full: 300", lambda x: gm.full((2,), 300, dtype=U8)),
    "large in full_like": (RuntimeError, "full_like: 300", lambda x: gm.full_like(x, 300, dtype=U8)),
    "large written": (RuntimeError, "in place: 300", lambda x: put(x.to(U8), 0, 300)),
    "large written at places": (RuntimeError, "300", lambda x: put(x.to(U8), [0], 300)),
    "large masked_fill": (RuntimeError, "masked_fill: 300", lambda x: x.to(U8).masked_fill(x > 0, 300)),
    "large randint": (RuntimeError, "randint: gristmill.uint8", lambda x: gm.randint(0, 300, (2,), dtype=U8)),
    "large randperm": (RuntimeError, "randperm: 299", lambda x: gm.randperm(300, dtype=U8)),
    "nan as an integer": (RuntimeError, "nan", lambda x: gm.full((2,), NAN, dtype=gm.int64)),
    "more than 64 bits": (OverflowError, "64 bits", lambda x: gm.tensor(2**70)),
    "more than 64 bits added": (OverflowError, "64 bits", lambda x: x.long() + 2**70),
    "classes": (RuntimeError, "class 3 is not below", lambda x: F.one_hot(gm.tensor([3]), 2)),
    "negative class": (RuntimeError, "class -1 is negative", lambda x: F.one_hot(gm.tensor([-1]))),
    "weights of another shape": (ValueError, "weight is", lambda x: F.mse_loss(x, x, weight=gm.ones(1))),
    "negative place": (IndexError, "outside", lambda x: x.index_select(0, gm.tensor([-1]))),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    kind, words, function = REFUSED[name]
    with pytest.raises(kind, match=words):
        function(gm.ones(3))


def test_a_number_keeps_its_memory() -> None:
    x = gm.tensor(2.0, requires_grad=True)
    x.max(), x.logsumexp(0), x.softmax(0), x.max(0)
    (x * 3).backward()
    assert x.grad.item() == 3


def test_in_place_operators_write_into_every_view() -> None:
    x = gm.tensor([6, 7])
    y, z = x.view(2, 1), x
    z //= 2
    assert (x.tolist(), y.tolist(), z is x) == ([3, 3], [[3], [3]], True)
    with pytest.raises(TypeError, match="remainder_: the result is"):
        x %= 2.5


def test_weighted_mean_of_mse_loss() -> None:
    x, w = gm.tensor([1.0, 2.0]), gm.tensor([1.0, 3.0])
    assert F.mse_loss(x, x * 0, weight=w).item() == 13 / 4
    assert F.mse_loss(x, x * 0, weight=w, reduction="sum").item() == 13


def test_masks_without_dimensions() -> None:
    x = gm.arange(6).view(2, 3)
    assert [tuple(x[k].shape) for k in (True, False, gm.tensor(True))] == [(1, 2, 3), (0, 2, 3), (1, 2, 3)]
    assert tuple(x[:, gm.tensor(False)].shape) == (2, 0, 3) and tuple(x[gm.tensor(True), 1].shape) == (1, 3)
    x[gm.tensor(False)] = 7
    assert x.max() == 5
    x[gm.tensor(True)] = 7
    assert x.min() == 7


def test_dtypes_of_data() -> None:
    f64, i64, f32 = gm.float64, gm.int64, gm.float32
    data = {(np.float64(1),): f64, (np.int32(1), 2.5): f32, (np.int32(1), 2): i64, (1, 2.5): f32, (): f32, (True, 2): i64}
    assert [gm.tensor(list(d)).dtype for d in data] == list(data.values())
    ends = (np.int64(3), gm.tensor(3), gm.tensor(3.0), np.float32(3))
    assert [gm.arange(e).dtype for e in ends] == [i64, i64, f32, f32]


def test_comparing_with_what_is_no_number() -> None:
    x = gm.ones(2)
    assert (x == None, x != "a", x == [1, 1]) == (False, True, False)  # noqa: E711


def test_formats() -> None:
    x = gm.tensor(2.5)
    assert (f"{x}", f"{x:.2f}", f"{x.view(1)}") == ("2.5", "2.50", repr(x.view(1)))
    assert [t.tolist() for t in reversed(gm.tensor([[1], [2]]))] == [[2], [1]]
    with pytest.raises(TypeError, match="0-d"):
        f"{x.view(1):.2f}"


def test_numbers_make_a_number() -> None:
    assert (gm.add(1, 2).item(), gm.mul(2, 3.0).item(), gm.div(1, 2).item()) == (3, 6.0, 0.5)


def test_allclose_computes_in_the_dtype() -> None:
    a = gm.tensor([1.0, INF, NAN])
    assert not gm.allclose(a, a) and gm.allclose(a, a, equal_nan=True)
    assert gm.allclose(gm.tensor([True]), gm.tensor([True])) and not gm.allclose(gm.tensor([3]), gm.tensor([4]))
    assert gm.allclose(gm.tensor([1 + 1j]), gm.tensor([1 + 1.000001j]))
