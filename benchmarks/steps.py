"""Whole training steps: forward, backward and Adam as one compiled function."""

from collections.abc import Callable
from typing import Any

import numpy as np

from . import peers
from .limits import copying, multiply_adds
from .timing import OURS, Builder, Call, Timed, fastest

BATCH = 128
PARAMETERS = 784 * 512 + 512 * 512 + 512 * 10
FORWARD = 2 * BATCH * PARAMETERS
FLOPS = 3 * FORWARD - 2 * BATCH * 784 * 512  # the input needs no gradient
MOVED = 7 * 4 * PARAMETERS  # Adam reads four arrays and writes three


def mlp(th: Any) -> Any:
    nn = th.nn
    return nn.Sequential(
        nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10)
    )


def labels(count: int) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 10, count)


def training(th: Any, jit: peers.Jit, make: Callable[[Any], Any]) -> Callable[..., Any]:
    """One step of training, to be called with a batch and its labels."""
    net = make(th)
    optimizer = th.optim.Adam(net.parameters(), lr=1e-3)

    @jit
    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = th.nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return step


def mlp_step(batch: int, before: int | None = None) -> peers.Program:
    """The step at ``batch``; a first call at ``before`` makes the batch a symbolic size."""

    def program(th: Any, jit: peers.Jit) -> Call:
        step = training(th, jit, mlp)
        if before is not None:
            step(th.tensor(peers.random(before, 784)), th.tensor(labels(before)))
        x, y = th.tensor(peers.random(batch, 784)), th.tensor(labels(batch))
        return lambda: step(x, y)

    return program


def symbolic() -> Timed:
    contenders: dict[str, Builder] = {
        OURS: peers.ours(mlp_step(100, before=64)),
        "static": peers.ours(mlp_step(100)),
        "torch": peers.torch(mlp_step(100)),
    }
    return Timed(
        "MLP step, symbolic batch 100",
        "within 10% of a static one",
        contenders,
        bar=lambda seconds: 1.1 * seconds["static"],
        same_results=False,
    )


def figures() -> list[Timed]:
    roofs = {"FMA peak": multiply_adds(FLOPS), "copy": copying(MOVED)}
    return [
        Timed(
            f"MLP step, batch {BATCH}",
            "not slower than torch",
            {**peers.both(mlp_step(BATCH)), **roofs},
            bar=fastest(("torch",)),
            limit=lambda seconds: seconds["FMA peak"] + seconds["copy"],
            same_results=False,
        ),
        symbolic(),
    ]
