"""Training steps: compiled as eager, and both as PyTorch computes them from the same weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gristmill as gm
import gristmill.nn.functional as F
from gristmill import nn, optim

IN, HIDDEN, OUT, BATCH, STEPS = 6, 10, 4, 16, 50
Maker = Callable[[Any, Any], tuple[Any, Any]]


class Masked(gm.nn.Module):
    """Linear, ReLU, dropout by a mask that is given, Linear: what both frameworks compute alike."""

    def __init__(self, weights: list[np.ndarray]) -> None:
        super().__init__()
        for name, w in zip(("w1", "b1", "w2", "b2"), weights, strict=True):
            setattr(self, name, nn.Parameter(gm.tensor(w)))

    def forward(self, x: gm.Tensor, mask: gm.Tensor) -> gm.Tensor:
        hidden = F.relu(F.linear(x, self.w1, self.b1)) * mask
        return F.linear(hidden, self.w2, self.b2)


def initial(dtype: Any) -> list[np.ndarray]:
    rng = np.random.default_rng(7)
    shapes = (HIDDEN, IN), (HIDDEN,), (OUT, HIDDEN), (OUT,)
    return [(rng.standard_normal(s) * 0.4).astype(dtype) for s in shapes]


def batches(dtype: Any, steps: int = STEPS) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Inputs, labels and dropout masks; every fifth batch is ragged."""
    rng = np.random.default_rng(11)
    out = []
    for i in range(steps):
        n = BATCH if i % 5 != 4 else 9
        mask = (rng.random((n, HIDDEN)) < 0.75).astype(dtype) / dtype(0.75)
        x = rng.standard_normal((n, IN)).astype(dtype)
        out.append((x, x[:, :OUT].argmax(1), mask))
    return out


def sgd(optim: Any, params: Any) -> tuple[Any, Any]:
    return optim.SGD(params, lr=0.05, momentum=0.9), None


def adam(optim: Any, params: Any) -> tuple[Any, Any]:
    opt = optim.Adam(params, lr=0.02)
    return opt, optim.lr_scheduler.StepLR(opt, 10, 0.5)


def halved(optim: Any, params: Any) -> tuple[Any, Any]:
    """The rate is changed by hand between calls."""
    opt = optim.SGD(params, lr=0.3)

    class By:
        calls = 0

        def step(self) -> None:
            self.calls += 1
            if self.calls % 20 == 0:
                opt.param_groups[0]["lr"] *= 0.5

    return opt, By()


def ours(make: Maker, dtype: Any, disable: bool) -> tuple[list[float], list[np.ndarray], list[str]]:
    """Losses, final weights and the log of a training run."""
    net = Masked(initial(dtype))
    opt, schedule = make(optim, net.parameters())

    def step(x: gm.Tensor, y: gm.Tensor, mask: gm.Tensor) -> gm.Tensor:
        opt.zero_grad()
        loss = F.cross_entropy(net(x, mask), y)
        loss.backward()
        opt.step()
        return loss

    f = gm.compile(step, disable=disable)
    losses = []
    for x, y, mask in batches(dtype):
        losses.append(f(gm.tensor(x), gm.tensor(y), gm.tensor(mask)).item())
        if schedule is not None:
            schedule.step()
    return losses, [p.detach().numpy().copy() for p in net.parameters()], f.log


def theirs(make: Maker, dtype: Any) -> tuple[list[float], list[np.ndarray]]:
    """The same in PyTorch."""
    torch = pytest.importorskip("torch")
    w1, b1, w2, b2 = params = [torch.tensor(w, requires_grad=True) for w in initial(dtype)]
    opt, schedule = make(torch.optim, params)
    losses = []
    for x, y, mask in batches(dtype):
        opt.zero_grad()
        hidden = torch.relu(torch.tensor(x) @ w1.T + b1) * torch.tensor(mask)
        loss = torch.nn.functional.cross_entropy(hidden @ w2.T + b2, torch.tensor(y))
        loss.backward()
        opt.step()
        losses.append(loss.item())
        if schedule is not None:
            schedule.step()
    return losses, [p.detach().numpy() for p in params]


@pytest.mark.parametrize("make", [sgd, adam, halved], ids=lambda f: f.__name__)
@pytest.mark.parametrize("dtype, tolerance", [(np.float64, 1e-9), (np.float32, 1e-3)])
def test_fifty_steps(make: Maker, dtype: Any, tolerance: float) -> None:
    eager, eager_weights, _ = ours(make, dtype, disable=True)
    compiled, weights, log = ours(make, dtype, disable=False)
    np.testing.assert_allclose(compiled, eager, rtol=tolerance)
    for a, b in zip(weights, eager_weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
    assert len(log) == 2, log
    assert np.mean(compiled[-5:]) < 0.9 * np.mean(compiled[:5])
    want, want_weights = theirs(make, dtype)
    np.testing.assert_allclose(compiled, want, rtol=tolerance)
    for a, b in zip(weights, want_weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def model(seed: int = 0) -> nn.Sequential:
    gm.manual_seed(seed)
    return nn.Sequential(nn.Linear(IN, HIDDEN), nn.ReLU(), nn.Dropout(0.25), nn.Linear(HIDDEN, OUT))


def data(n: int, seed: int = 0) -> tuple[gm.Tensor, gm.Tensor]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, IN)).astype(np.float32)
    return gm.tensor(x), gm.tensor(rng.integers(0, OUT, n))


def stepping(net: nn.Module, opt: Any) -> Callable[..., gm.Tensor]:
    def step(x: gm.Tensor, y: gm.Tensor) -> gm.Tensor:
        opt.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        opt.step()
        return loss

    return step


def both(run: Callable[[Callable[[Any], Any]], list[Any]], traces: list[int]) -> None:
    """What ``run(compile)`` returns is the same eagerly and compiled, with that many traces."""
    made: list[Any] = []

    def comp(f: Any, disable: bool) -> Any:
        made.append(gm.compile(f, disable=disable))
        return made[-1]

    eager = run(lambda f: comp(f, True))
    made.clear()
    compiled = run(lambda f: comp(f, False))
    assert len(eager) == len(compiled)
    for a, b in zip(eager, compiled, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5)
    assert [len(f.log) for f in made] == traces, [f.log for f in made]


@pytest.mark.parametrize("make", [sgd, adam], ids=lambda f: f.__name__)
def test_an_epoch_with_dropout_schedule_and_ragged_batch(make: Maker) -> None:
    """One trace, one more for the ragged batch; a third size compiles nothing."""

    def run(comp: Any) -> list[Any]:
        net = model()
        opt, schedule = make(optim, net.parameters())
        f = comp(stepping(net, opt))
        seen = []
        for _ in range(2):
            for i, n in enumerate((8, 8, 8, 5)):
                seen.append(f(*data(n, i)).item())
            if schedule is not None:
                schedule.step()
        seen.append(f(*data(11)).item())
        return [*seen, *(p.detach().numpy().copy() for p in net.parameters()), gm.rand(3).numpy()]

    both(run, [2])


def test_old_weights_read_after_the_step() -> None:
    """A detached view shows the new weights, a clone the old ones."""

    def run(comp: Any) -> list[Any]:
        net = model()
        opt = optim.SGD(net.parameters(), lr=0.5)

        def step(x: gm.Tensor, y: gm.Tensor) -> tuple[gm.Tensor, ...]:
            p = net[0].weight
            old, kept = p.detach(), p.detach().clone()
            opt.zero_grad()
            F.cross_entropy(net(x), y).backward()
            opt.step()
            return old * 1.0, kept, (p - old).abs().sum().detach(), (p - kept).abs().sum().detach()

        f = comp(step)
        seen = []
        for i in range(3):
            view, kept, zero, moved = (t.numpy() for t in f(*data(8, i)))
            assert zero == 0 and moved > 0
            assert np.array_equal(view, net[0].weight.detach().numpy())
            seen += [view, kept, moved]
        return seen

    both(run, [1])


def test_old_weights_kept_between_calls() -> None:
    """A tensor detached outside shares memory with the weight, before and after compiled steps."""
    net = model()
    opt = optim.SGD(net.parameters(), lr=0.5)
    f = gm.compile(stepping(net, opt))
    old, copy = net[0].weight.detach(), net[0].weight.detach().clone()
    for i in range(3):
        f(*data(8, i))
        assert np.array_equal(old.numpy(), net[0].weight.detach().numpy())
        assert not np.array_equal(old.numpy(), copy.numpy())
    assert len(f.log) == 1


def test_tied_weights() -> None:
    def run(comp: Any) -> list[Any]:
        gm.manual_seed(1)
        a, b = nn.Linear(IN, IN), nn.Linear(IN, IN)
        b.weight = a.weight
        params = [a.weight, a.bias, b.bias]
        opt = optim.SGD(params, lr=0.1, momentum=0.9)

        def step(x: gm.Tensor) -> gm.Tensor:
            opt.zero_grad()
            loss = (b(F.relu(a(x))) ** 2).mean()
            loss.backward()
            opt.step()
            return loss

        f = comp(step)
        seen = [f(data(8, i)[0]).item() for i in range(5)]
        assert b.weight is a.weight
        return [*seen, a.weight.detach().numpy().copy(), a.weight.grad.numpy().copy()]

    both(run, [1])


def test_eval_and_train() -> None:
    def run(comp: Any) -> list[Any]:
        net = model()
        opt = optim.Adam(net.parameters(), lr=0.05)
        f, evaluate = comp(stepping(net, opt)), comp(lambda x: net(x).softmax(-1).detach())
        seen = []
        for i in range(4):
            net.train()
            seen.append(f(*data(8, i)).item())
            net.eval()
            out = evaluate(data(6)[0]).numpy().copy()
            assert np.array_equal(out, evaluate(data(6)[0]).numpy())
            seen.append(out)
        return seen

    both(run, [1, 1])


def test_accumulation_over_two_calls() -> None:
    def run(comp: Any) -> list[Any]:
        net = model()
        opt = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)

        def micro(x: gm.Tensor, y: gm.Tensor) -> gm.Tensor:
            loss = F.cross_entropy(net(x), y) / 2
            loss.backward()
            return loss

        def update() -> None:
            opt.step()
            opt.zero_grad()

        f, u = comp(micro), comp(update)
        seen = []
        for i in range(8):
            seen.append(f(*data(8, i)).item())
            seen.append(net[0].weight.grad.numpy().copy())
            if i % 2:
                u()
                assert net[0].weight.grad is None
        return [*seen, net[0].weight.detach().numpy().copy()]

    both(run, [2, 1])
