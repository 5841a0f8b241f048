"""Programs that run eagerly and compiled: what the tests of tracing share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import gristmill as gm
import gristmill.nn.functional as F
from gristmill import nn, optim

Compile = Callable[[Callable[..., Any]], Callable[..., Any]]


def draw(*shape: int, seed: int = 0) -> gm.Tensor:
    """A float32 tensor of normal numbers, always the same."""
    return gm.tensor(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def numbers(x: Any) -> np.ndarray:
    """The values of a tensor, a copy."""
    return np.array(x.detach().numpy())


class BatchNorm1d(nn.Module):
    """Normalisation over the batch, with running statistics in buffers."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(gm.ones(features))
        self.bias = nn.Parameter(gm.zeros(features))
        self.register_buffer("running_mean", gm.zeros(features))
        self.register_buffer("running_var", gm.ones(features))
        self.momentum, self.eps = 0.1, 1e-5

    def forward(self, x: gm.Tensor) -> gm.Tensor:
        mean, var = self.running_mean, self.running_var
        if self.training:
            batch_mean = x.mean(0)
            batch_var = ((x - batch_mean) ** 2).mean(0)
            with gm.no_grad():
                mean.mul_(1 - self.momentum).add_(batch_mean * self.momentum)
                var.mul_(1 - self.momentum).add_(batch_var * self.momentum)
            mean, var = batch_mean, batch_var
        return (x - mean) / (var + self.eps).sqrt() * self.weight + self.bias


def network(kind: Any = optim.SGD, **options: Any) -> tuple[nn.Sequential, Any]:
    """A small network with its optimizer, always the same."""
    gm.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    return net, kind(net.parameters(), **(options or {"lr": 0.1}))


def training(net: nn.Module, opt: Any) -> Callable[..., Any]:
    """A training step of a network."""

    def step(x: gm.Tensor, y: gm.Tensor) -> gm.Tensor:
        opt.zero_grad()
        loss = F.mse_loss(net(x), y)
        loss.backward()
        opt.step()
        return loss

    return step


def compare(
    make: Callable[[Compile], Callable[[int], Any]],
    traces: list[int],
    steps: int = 6,
    tolerance: float = 1e-5,
) -> None:
    """Run ``make(compile) -> call(i)`` eagerly and compiled: equal results, and as many traces as wanted."""
    rows = []
    made: list[Any] = []
    for disable in (True, False):
        gm.manual_seed(3)
        made.clear()

        def comp(f: Any, disable: bool = disable) -> Any:
            made.append(gm.compile(f, disable=disable))
            return made[-1]

        call = make(comp)
        rows.append([call(i) for i in range(steps)])
    for i, (eager, compiled) in enumerate(zip(*rows, strict=True)):
        assert_same(eager, compiled, f"call {i}", tolerance)
    assert [len(f.log) for f in made] == traces, [f.log for f in made]


def assert_same(eager: Any, compiled: Any, what: str, tolerance: float = 1e-5) -> None:
    """Equal within rounding, through lists and tuples."""
    if isinstance(eager, list | tuple):
        assert len(eager) == len(compiled)
        for a, b in zip(eager, compiled, strict=True):
            assert_same(a, b, what, tolerance)
    else:
        np.testing.assert_allclose(compiled, eager, rtol=tolerance, atol=tolerance, err_msg=what)


def follows(
    f: Callable[..., Any],
    change: Callable[[], Any],
    *args: Any,
    other: Callable[[], Any] | None = None,
    **named: Any,
) -> list[str]:
    """Eager and compiled agree before and after a change, which is the only reason to compile again."""
    compiled = gm.compile(f)
    for count, act in enumerate((lambda: None, other or (lambda: None), change)):
        act()
        for _ in range(4):
            want, found = f(draw(3), *args, **named), compiled(draw(3), *args, **named)
            np.testing.assert_array_equal(numbers(found), numbers(want))
        assert len(compiled.log) == 1 + (count == 2), compiled.log
    return compiled.log
