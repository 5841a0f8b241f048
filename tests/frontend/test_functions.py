"""Functions of tensors against PyTorch: values, dtypes, shapes, strides and gradients, from one table of expressions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gristmill as gm
import gristmill.nn.functional as F

torch = pytest.importorskip("torch", reason="compares with torch, which is not installed")

RNG = np.random.default_rng(0)
MATRIX = RNG.standard_normal((3, 4))
OTHER = RNG.standard_normal((3, 4)) + 3
ROW = RNG.standard_normal(4)
CUBE = RNG.standard_normal((2, 3, 4))
PLACES = np.array([2, 0, 1, 1])

EXPRESSIONS = {
    "arithmetic": lambda th, x, y, r, c: (x + y) * r - x / y + 2 - x * 3.5,
    "reversed": lambda th, x, y, r, c: 2 - x + 1 / y - 3 * x,
    "alpha": lambda th, x, y, r, c: x.add(y, alpha=2).sub(r, alpha=0.5),
    "powers": lambda th, x, y, r, c: x**2 + y**0.5 + y**r + 2**x + y**-1.5,
    "divisions": lambda th, x, y, r, c: th.div(x, y, rounding_mode="floor") + x.div(y, rounding_mode="trunc") + (x.detach() // 0.3) + x % 0.7,
    "analysis": lambda th, x, y, r, c: th.exp(x) + th.log(y) + th.sqrt(y) + th.sin(x) * th.cos(x) + th.tanh(x),
    "more analysis": lambda th, x, y, r, c: th.sigmoid(x) + th.erf(x) + th.rsqrt(y) + y.reciprocal() + x.square() + th.log2(y),
    "rounding": lambda th, x, y, r, c: x.floor() + x.ceil() + x.trunc() + x.round() + x.abs() + x.sign(),
    "extremes": lambda th, x, y, r, c: th.maximum(x, r) + th.minimum(y, x) + x.clamp(-0.5, 0.5) + x.clamp(min=0.1),
    "where": lambda th, x, y, r, c: th.where(x > r, x * 2, y) + th.where(x > 0, 1.5, x),
    "comparison": lambda th, x, y, r, c: (x > r).double() + (x <= 0).double() * 2 + (x == x).double() + (x != y).double(),
    "logic": lambda th, x, y, r, c: ((x > 0) & (y > 3) | ~(x > 1) ^ (y < 2)).double() * x,
    "relu": lambda th, x, y, r, c: th.relu(x) + x.relu(),
    "sums": lambda th, x, y, r, c: x.sum() + x.sum(0) + x.sum(1, keepdim=True) + c.sum((0, 2)).sum() + x.sum(dim=-1).sum(),
    "means": lambda th, x, y, r, c: x.mean() + x.mean(0) + c.mean((0, 1)) + x.var() + x.std(1, keepdim=True) + x.var(0, unbiased=False),
    "max and min": lambda th, x, y, r, c: x.amax(1, keepdim=True) + x.amin(0) + x.max() + x.min() + x.max(1).values.sum() + x.min(dim=0)[0],
    "logsumexp": lambda th, x, y, r, c: x.logsumexp(1, keepdim=True) + th.logsumexp(c, (0, 2)).sum(),
    "norms": lambda th, x, y, r, c: x.norm() + x.norm(1) + x.norm(dim=1, keepdim=True) + x.norm(3, dim=0),
    "turning": lambda th, x, y, r, c: (c.permute(2, 0, 1) * 2).transpose(0, 1).sum(0) + x.t().sum() + c.mT.sum() + x.T.sum(0).sum(),
    "shapes": lambda th, x, y, r, c: c.reshape(6, 4)[:3] + x.view(4, 3).t() + c.flatten(1)[:1, :4] + x.unsqueeze(0).squeeze(0),
    "expanding": lambda th, x, y, r, c: r.expand(3, 4) + r.unsqueeze(0).expand(3, -1) + x.unsqueeze(1).expand_as(c[:, :1].transpose(0, 1).expand(3, 2, 4)).sum(1),
    "joining": lambda th, x, y, r, c: th.cat([x, y, r.unsqueeze(0)], 0)[2:5] + th.stack([x, y], 1).sum(1) + th.cat([x, y], dim=-1)[:, 2:6],
    "parting": lambda th, x, y, r, c: x.split(2, 1)[1].sum() + x.chunk(3)[0] + c.unbind(1)[2].sum() + x.narrow(1, 1, 2).sum() + x.split([1, 3], -1)[1].sum(),
    "repeating": lambda th, x, y, r, c: r.repeat(3, 1) + x.repeat(1, 2)[:, 4:] + x.flip(0) + x.flip(0, 1),
    "indexing": lambda th, x, y, r, c: c[1, :, ::2].sum() + c[..., 1:3].sum() + x[1] + x[:, None, 2].sum() + c[-1, -2] + x[1:, :-1].sum(),
    "places": lambda th, x, y, r, c: x[th.tensor([2, 0, -1])] + x[:, th.tensor([3, 1])].sum() + c[th.tensor([0, 1]), th.tensor([2, 0])].sum() + c[:, th.tensor([[0, 1], [2, 0]])].sum(),
    "masks": lambda th, x, y, r, c: x[x > 0].sum() + x.masked_fill(x > 0, -1.0),
    "gather": lambda th, x, y, r, c: x.gather(0, th.tensor([[2, 0, 1, 1]])) + x.index_select(1, th.tensor([1, 1, 0, 2])).sum(0) + th.zeros(3, 4, dtype=th.float64).scatter_add(0, th.tensor([[0, 0, 1, 2]]), x[:1]),
    "products": lambda th, x, y, r, c: x @ y.t() @ x + (c @ y.t()).sum() + (x @ r).sum() + (r @ r) + th.mm(x, y.t()).sum() + th.outer(r, r).sum(),
    "batched products": lambda th, x, y, r, c: (c @ c.transpose(1, 2)).sum() + th.bmm(c, c.mT).sum() + (c.unsqueeze(1) @ y.t()).sum() + (x @ c.transpose(1, 2)).sum(),
    "einsum": lambda th, x, y, r, c: th.einsum("ij,kj->ik", x, y).sum() + th.einsum("bij,ij,j->b", c, x, r).sum() + th.einsum("ij->j", x) + th.einsum("ij->ji", x).sum(),
    "in place": lambda th, x, y, r, c: (x * 1).add_(y).mul_(2).sub_(r).div_(y).clamp_(-1, 1),
    "writes through views": lambda th, x, y, r, c: written(x * 1.0, r),
    "detach": lambda th, x, y, r, c: x * x.detach() + (x * 2).detach(),
    "casts": lambda th, x, y, r, c: x.float().double() + x.to(th.float32).to(th.float64) + x.type_as(y) + x.long().double(),
}


def written(t: Any, r: Any) -> Any:
    t[0] = r
    t[1:, 1] += 2
    t.t()[0].mul_(3)
    t.view(-1)[2:5] = 0
    return t


def leaves(th: Any) -> list[Any]:
    return [th.tensor(a, dtype=th.float64, requires_grad=True) for a in (MATRIX, OTHER, ROW, CUBE)]


def gm_leaves() -> list[Any]:
    return [gm.tensor(a, dtype=gm.float64, requires_grad=True) for a in (MATRIX, OTHER, ROW, CUBE)]


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_as_torch(name: str) -> None:
    ours, theirs = gm_leaves(), leaves(torch)
    a, b = EXPRESSIONS[name](gm, *ours), EXPRESSIONS[name](torch, *theirs)
    assert tuple(a.shape) == tuple(b.shape)
    assert a.stride() == b.stride()
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-12, atol=1e-12)
    if not b.requires_grad:
        return
    weight = np.cos(np.arange(max(b.numel(), 1))).reshape(b.shape)
    a.backward(gm.tensor(weight, dtype=gm.float64))
    b.backward(torch.tensor(weight))
    for p, q in zip(ours, theirs, strict=True):
        assert (p.grad is None) == (q.grad is None)
        if q.grad is not None:
            np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-10, atol=1e-10)


INTEGERS = {
    "division": lambda th, a, b: a // b + a % b + th.div(a, b, rounding_mode="trunc"),
    "true division": lambda th, a, b: a / b,
    "bits": lambda th, a, b: (a & b) + (a | b) + (a ^ b) + ~a + (b << 2) + (a >> 1),
    "sums": lambda th, a, b: a.sum() + a.to(th.int8).sum() + (a > 0).sum(),
    "any and all": lambda th, a, b: (a > 0).any() ^ (a > 0).all(),
    "argmax": lambda th, a, b: a.argmax() + a.argmin() + a.argmax(1) + a.argmax(1, keepdim=True).sum(),
    "argsort": lambda th, a, b: th.argsort(a, dim=1, stable=True) + th.argsort(a, dim=-1, descending=True, stable=True),
    "mixed": lambda th, a, b: a.to(th.uint8) + a.to(th.int8),
    "with a float": lambda th, a, b: a * 2.5,
    "zero-dimensional": lambda th, a, b: a.to(th.int16) + th.tensor(3),
    "power": lambda th, a, b: b**2 + b**3,
    "arange": lambda th, a, b: th.arange(5).sum() + th.arange(2, 9, 3).sum() + th.arange(10, 0, -3).sum(),
}


@pytest.mark.parametrize("name", INTEGERS)
def test_integers_as_torch(name: str) -> None:
    a, b = np.array([[7, -7, 3], [-8, 0, 3]]), np.array([[2, 2, -2], [3, 5, -4]])
    ours = INTEGERS[name](gm, gm.tensor(a), gm.tensor(b))
    theirs = INTEGERS[name](torch, torch.tensor(a), torch.tensor(b))
    assert str(ours.dtype.long) == str(theirs.dtype).removeprefix("torch.")
    np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


LOSSES = {
    "cross_entropy": lambda f, th, x, t, w: f.cross_entropy(x, t),
    "cross_entropy sum": lambda f, th, x, t, w: f.cross_entropy(x, t, reduction="sum"),
    "cross_entropy none": lambda f, th, x, t, w: f.cross_entropy(x, t, reduction="none"),
    "cross_entropy weight": lambda f, th, x, t, w: f.cross_entropy(x, t, weight=w),
    "cross_entropy ignore": lambda f, th, x, t, w: f.cross_entropy(x, t, ignore_index=1),
    "cross_entropy smooth": lambda f, th, x, t, w: f.cross_entropy(x, t, label_smoothing=0.1),
    "cross_entropy smooth weight": lambda f, th, x, t, w: f.cross_entropy(x, t, weight=w, label_smoothing=0.1),
    "cross_entropy soft": lambda f, th, x, t, w: f.cross_entropy(x, f.softmax(x * 2, 1).detach(), weight=w),
    "nll_loss": lambda f, th, x, t, w: f.nll_loss(f.log_softmax(x, 1), t, weight=w),
    "mse_loss": lambda f, th, x, t, w: f.mse_loss(x, x * x) + f.mse_loss(x, x.detach() + 1, reduction="sum"),
    "softmax": lambda f, th, x, t, w: f.softmax(x, 1) * x + f.softmax(x, 0),
    "log_softmax": lambda f, th, x, t, w: f.log_softmax(x, -1) * x,
    "linear": lambda f, th, x, t, w: f.linear(x, th.outer(w, w), w),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_as_torch(name: str) -> None:
    logits, target, weight = RNG.standard_normal((6, 5)) * 2, np.array([0, 4, 1, 1, 2, 3]), np.abs(RNG.standard_normal(5)) + 0.1
    x, y = gm.tensor(logits, dtype=gm.float64, requires_grad=True), torch.tensor(logits, requires_grad=True)
    a = LOSSES[name](F, gm, x, gm.tensor(target), gm.tensor(weight, dtype=gm.float64))
    b = LOSSES[name](torch.nn.functional, torch, y, torch.tensor(target), torch.tensor(weight))
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-12)
    (a * a).sum().backward()
    (b * b).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=1e-9, atol=1e-12)


def test_random_numbers_are_uniform_and_normal() -> None:
    gm.manual_seed(5)
    u, n = gm.rand(20000).numpy(), gm.randn(20000).numpy()
    assert u.min() >= 0 and u.max() < 1 and abs(u.mean() - 0.5) < 0.01 and abs(u.var() - 1 / 12) < 0.002
    assert abs(n.mean()) < 0.03 and abs(n.std() - 1) < 0.02
    assert sorted(gm.randperm(50).tolist()) == list(range(50))
    assert set(gm.randint(-2, 3, (500,)).tolist()) == {-2, -1, 0, 1, 2}
    gm.manual_seed(5)
    np.testing.assert_array_equal(gm.rand(20000).numpy(), u)


def test_sizes_stay_sizes() -> None:
    size, plain, listed = gm.ones(1, 2).shape, (3,), [3]
    assert (size + plain, plain + size) == ((1, 2, 3), (3, 1, 2))
    assert (size * 2, 2 * size[1:]) == ((1, 2, 1, 2), (2, 2))
    for found in (size + plain, plain + size, size * 2, 2 * size):
        assert type(found) is gm.Size
    with pytest.raises(TypeError, match="list"):
        size + listed
