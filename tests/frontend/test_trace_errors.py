"""Bad input to traced functions: what the message says, and that nothing has changed afterwards."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gristmill as gm
import gristmill.nn.functional as F
from gristmill import nn, optim

CASES: dict[str, tuple[Callable[[gm.Tensor], Any], type, list[str]]] = {
    "matmul": (lambda x: x @ gm.zeros(5, 2), ValueError, ["matmul", "f32[3, 4]", "f32[5, 2]", "transpose"]),
    "dtypes of matmul": (lambda x: x @ gm.zeros(4, 2, dtype=gm.int64), TypeError, ["matmul", "i64[4, 2]", ".to(dtype)"]),
    "add": (lambda x: x + gm.zeros(5), ValueError, ["add", "f32[3, 4]", "f32[5]", "reshape or unsqueeze"]),
    "add_": (lambda x: x.add_(gm.zeros(5, 3, 4)), ValueError, ["add_", "f32[5, 3, 4]", "f32[3, 4]", "use add()"]),
    "reshape": (lambda x: x.reshape(5), ValueError, ["reshape", "f32[3, 4]", "(5,)", "same product"]),
    "permute": (lambda x: x.permute(0, 0), ValueError, ["permute", "(0, 0)", "f32[3, 4]", "once"]),
    "cat": (lambda x: gm.cat([x, gm.zeros(2, 5)]), ValueError, ["concatenate", "f32[3, 4]", "f32[2, 5]", "slice"]),
    "expand": (lambda x: x.expand(5, 4), ValueError, ["broadcast", "f32[3, 4]", "(5, 4)", "reshape"]),
    "bitwise": (lambda x: x & x, TypeError, ["bitwise_and", "f32[3, 4]", ".to(dtype)"]),
    "gather": (lambda x: gm.gather(x, 0, gm.zeros(3, 4)), TypeError, ["gather", "i64", ".to(dtype)"]),
    "linear": (lambda x: F.linear(x, gm.zeros(2, 5)), ValueError, ["linear", "f32[2, 5]", "in_features"]),
    "cross_entropy": (lambda x: F.cross_entropy(x, gm.zeros(3)), TypeError, ["cross_entropy", "f32[3]", "target.long()"]),
    "index": (lambda x: x[7], IndexError, ["index 7", "dimension 0 with size 3"]),
    "dim": (lambda x: x.sum(5), IndexError, ["dimension 5", "-2 to 1"]),
}  # fmt: skip


@pytest.mark.parametrize("disable", [True, False], ids=["eager", "compiled"])
@pytest.mark.parametrize("name", CASES)
def test_message(name: str, disable: bool) -> None:
    """The op, the shapes, the user's line with one caret, the way out: the same in both modes."""
    function, kind, words = CASES[name]
    with pytest.raises(kind) as found:
        gm.compile(function, disable=disable)(gm.zeros(3, 4))
    text = str(found.value)
    for word in words:
        assert word in text, text
    assert len(re.findall(r"test_trace_errors\.py:\d+", text)) == 1, text
    assert len(re.findall(r"^ +\^+$", text, re.M)) == 1, text


REFUSED: dict[str, tuple[Callable[[gm.Tensor], Any], str]] = {
    "item": (lambda x: x.sum().item(), "item()"),
    "float": (lambda x: float(x.sum()), "float()"),
    "int": (lambda x: int(x.sum()), "int()"),
    "numpy": (lambda x: x.numpy(), "numpy()"),
    "tolist": (lambda x: x.tolist(), "tolist()"),
    "if": (lambda x: x if x.sum() > 0 else -x, "a branch (bool)"),
    "and": (lambda x: (x.sum() > 0) and x, "a branch (bool)"),
    "range": (lambda x: list(range(x.sum())), "an index"),
    "in": (lambda x: 3 in x, "a branch (bool)"),
    "max": (lambda x: max(x[0, 0], x[0, 1]), "a branch (bool)"),
    "mask": (lambda x: x[x > 0], "an index by a mask"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusal(name: str) -> None:
    """Reading a value while tracing names the line and a way out, and a bare except does not hide it."""
    function, word = REFUSED[name]

    def hidden(x: gm.Tensor) -> Any:
        try:
            return function(x)
        except BaseException:
            return x * 2

    for f in (function, hidden):
        with pytest.raises(gm.TraceError) as found:
            gm.compile(f)(gm.ones(3, 4))
        text = str(found.value)
        assert word in text and ("gm.where" in text or "keep it as a tensor" in text), text
        assert re.search(r"test_trace_errors\.py:\d+", text) and re.search(r"^ +\^+$", text, re.M), text


class World:
    """A network with momentum, a buffer, gradients and dropout, whose whole state can be read."""

    def __init__(self) -> None:
        gm.manual_seed(0)
        self.net: Any = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 3))
        self.net.register_buffer("calls", gm.zeros(2))
        self.net.count = 0
        self.net.last = gm.zeros(3)
        self.opt = optim.SGD(self.net.parameters(), lr=0.1, momentum=0.9)
        self.rng = np.random.default_rng(0)

    def step(self, x: gm.Tensor, y: gm.Tensor) -> gm.Tensor:
        self.opt.zero_grad()
        out = self.net(x)
        loss = F.cross_entropy(out, y)
        loss.backward()
        self.opt.step()
        self.net.calls += 1
        self.net.count += 1
        self.net.last = out.detach().sum(0)
        return loss

    def batch(self, label: int = 1) -> tuple[gm.Tensor, gm.Tensor]:
        x = gm.tensor(self.rng.standard_normal((6, 4)).astype(np.float32))
        return x, gm.tensor([0, 1, 2, 0, 1, label])

    def state(self) -> list[Any]:
        """The bits of everything that a step changes."""
        momentum = [s["momentum_buffer"] for s in self.opt.state.values() if "momentum_buffer" in s]
        tensors = [*self.net.parameters(), self.net.calls, self.net.last, *momentum, gm.get_rng_state()]
        grads = [p.grad for p in self.net.parameters()]
        tensors += [g for g in grads if g is not None]
        names = sorted(k for k in vars(self.net) if k != "_watched")
        return [names, self.net.count, [g is None for g in grads], *(t.detach().numpy().tobytes() for t in tensors)]


def run(world: World, fails: Callable[..., Any], error: Any, first: bool, label: int = 1) -> World:
    """Train (or not), fail, and look; returns the world for what comes after."""
    if first:
        f = gm.compile(world.step)
        f(*world.batch())
        f(*world.batch())
    before = world.state()
    with pytest.raises(error):
        fails(*world.batch(label))
    assert world.state() == before
    return world


@pytest.mark.parametrize("first", [False, True], ids=["fresh", "trained"])
@pytest.mark.parametrize("fault", ["exception", "shape", "item", "hidden"])
def test_a_trace_that_fails_changes_nothing(first: bool, fault: str) -> None:
    world = World()

    def bad(x: gm.Tensor, y: gm.Tensor) -> Any:
        loss = world.step(x, y)
        world.net.extra = x
        if fault == "exception":
            raise KeyError("user")
        if fault == "shape":
            return loss + x @ x
        if fault == "item":
            return loss.item()
        try:
            return float(loss)
        except BaseException:
            return 0.0

    error = {"exception": KeyError, "shape": ValueError}.get(fault, gm.TraceError)
    if not first:
        world.step(*world.batch())  # the optimizer's state is made at its first step
    run(world, gm.compile(bad), error, first)
    losses = world.step(*world.batch()).item(), gm.compile(world.step)(*world.batch()).item()
    assert np.isfinite(losses).all() and world.net.count == (4 if first else 3)


@pytest.mark.parametrize("calls", [1, 2, 4])
def test_a_run_that_fails_changes_nothing(calls: int) -> None:
    """A label out of range in a compiled step, by the general way and by the generated one."""
    world = World()
    f = gm.compile(world.step)
    for _ in range(calls):
        f(*world.batch())
    run(world, f, IndexError, False, label=7)
    run(world, f, IndexError, False, label=7)
    traces = len(f.log)
    f(*world.batch())
    assert len(f.log) == max(traces, 1) and world.net.count == calls + 1


def test_a_failing_index_in_the_last_op() -> None:
    """Everything before it was computed already, and is thrown away."""
    for warm in (0, 1, 3):
        world = World()

        def step(x: gm.Tensor, y: gm.Tensor, i: gm.Tensor, world: World = world) -> gm.Tensor:
            world.step(x, y)
            x.mul_(2.0)
            return (world.net[0].weight.detach() * 1.0)[i]

        f = gm.compile(step)
        for _ in range(warm):
            f(*world.batch(), gm.tensor([0, 7]))
        if not warm:
            world.step(*world.batch())
        x, y = world.batch()
        held = x.numpy().copy()
        run(world, lambda *_, f=f, x=x, y=y: f(x, y, gm.tensor([0, 8])), IndexError, False)
        assert np.array_equal(x.numpy(), held)
        f(x, y, gm.tensor([0, 7]))
        assert np.array_equal(x.numpy(), held * 2)


def test_a_gradient_passed_as_an_argument() -> None:
    """It shares memory with the gradient that the function adds to: refused by name, however often it was called."""
    w = gm.tensor([1.0, 2.0], requires_grad=True)

    def f(x: gm.Tensor) -> gm.Tensor:
        (w * x).sum().backward()
        return w.grad * 1.0

    c = gm.compile(f)
    w.grad = gm.zeros(2)
    for _ in range(3):
        c(gm.ones(2))
    before = w.grad.tolist()
    for _ in range(2):
        with pytest.raises(gm.TraceError, match="share memory and the function changes one of them: pass a copy"):
            c(w.grad)
    assert w.grad.tolist() == before
    assert c(w.grad.clone()).tolist() == [2 * g for g in before]
